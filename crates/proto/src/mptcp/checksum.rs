//! Checksums over the data (RFC 8684, section 3.3.1), and what follows where one is wrong (section 3.7): with other
//! subflows, a reset with MP_FAIL; on the only one, MP_FAIL and plain TCP from there on, announced by an infinite mapping.

use super::mapping::Conflict;
use super::output::Outgoing;
use super::stream::Obstacle;
use super::{Connection, FallbackReason, Multipath, Session};
use crate::SubflowId;
use crate::mib::Counter;
use crate::seq::{Dsn, Ssn};
use polypath_wire::{Checksum, Dss, DssMapping, MpFail, MptcpOption, Segment, TcpFlags};

/// Segments without options before a peer whose options are removed is believed to have heard MP_FAIL.
const UNANSWERED: u32 = 8;

/// The infinite mapping, which goes with data until some of that is acknowledged: it may be lost.
#[derive(Clone, Debug)]
pub(super) struct Farewell {
    option: MptcpOption,
    /// Where the first data that carried it ends.
    sent_to: Option<Ssn>,
}

impl Farewell {
    /// It begins with what is not known to have arrived intact; the subflow's bytes stand at the same places. It
    /// acknowledges nothing: plain TCP does from here on. [8684-3.7-6, 8684-3.7-16]
    pub(super) fn new(session: &Session, una: Dsn) -> Farewell {
        let checksum = session.checksum.then_some(0);
        let ssn = (una.0 - session.unnumbered) as u32;
        let mapping = DssMapping { dsn: session.number(una), ssn, len: 0, checksum };
        let option = MptcpOption::Dss(Dss { data_ack: None, mapping: Some(mapping), data_fin: false });
        Farewell { option, sent_to: None }
    }
}

impl Connection {
    /// A mapping's checksum as far as it is known before the data: adding that must make it zero. `Err`: it is there and
    /// was not agreed on, or the other way round.
    pub(super) fn check_of(
        &self,
        dsn: Dsn,
        ssn: u32,
        len: u16,
        checksum: Option<u16>,
    ) -> Result<Option<Checksum>, Conflict> {
        let Some(session) = self.multipath.session() else { return Ok(None) };
        if !session.checksum {
            // [8684-3.3-4]
            return if checksum.is_some() { Err(Conflict) } else { Ok(None) };
        }
        let dsn = session.remote_dsn.wrap(dsn);
        let mut sum = Checksum::new();
        for word in [(dsn >> 32) as u32, dsn as u32, ssn] {
            sum.add_u32(word);
        }
        sum.add_u16(len);
        // [8684-3.3-5]
        sum.add_u16(checksum.ok_or(Conflict)?);
        Ok(Some(sum))
    }

    /// All of a mapping has come, and is not what was sent. `Ok`: go on, as plain TCP.
    pub(super) fn on_corrupt_mapping(&mut self, id: SubflowId, dsn: Dsn) -> Result<(), Obstacle> {
        self.journal.count(Counter::MPTcpExtDataCsumErr);
        let Some(session) = self.multipath.session() else { return Err(Obstacle::Corrupt) };
        let mp_fail = MpFail { dsn: session.remote_dsn.wrap(dsn) };
        if !self.may_fall_back(id) {
            // The data is on no account acknowledged, and will come on another subflow.
            // [8684-3.7-9, 8684-3.7-10, 8684-3.7-11, 8684-3.7-13]
            if let Some(s) = self.get_mut(id) {
                s.failed = Some(mp_fail);
            }
            return Err(Obstacle::Corrupt);
        }
        self.fall_back_with_mp_fail(mp_fail);
        if let Some(s) = self.get_mut(id) {
            s.tcp.ack_now();
        }
        Ok(())
    }

    /// What waited to be verified is taken as it is: a middlebox that changes data is part of the path now, as in TCP.
    pub(super) fn release_held(&mut self) {
        let had = self.assembler.next();
        for id in self.ids() {
            let held = self.get_mut(id).map(|s| s.rx.take_held()).unwrap_or_default();
            for (ssn, piece) in held {
                // Plain TCP has no place that data must not lie at.
                let _ = self.assemble(Dsn(ssn.0), piece);
            }
        }
        self.collect_in_order(had);
    }

    /// MP_FAIL on a segment of a living subflow: our data does not arrive as it was sent. It is answered in kind. False:
    /// there is no way back to plain TCP, and so the subflow has to go.
    pub(super) fn on_mp_fail(&mut self, id: SubflowId) -> bool {
        self.journal.count(Counter::MPTcpExtMPFailRx);
        let possible = self.may_fall_back_as_asked(id);
        let Some(session) = self.multipath.session().filter(|_| possible) else { return false };
        let dsn = session.remote_dsn.wrap(Dsn(self.assembler.next()));
        // [8684-3.7-12]
        match self.mp_fail.take() {
            // It is the answer to ours.
            Some(_) => self.fall_back(FallbackReason::NoDss),
            None => self.fall_back_with_mp_fail(MpFail { dsn }),
        }
        if let Some(s) = self.get_mut(id) {
            s.tcp.ack_now();
        }
        true
    }

    fn fall_back_with_mp_fail(&mut self, mp_fail: MpFail) {
        self.fall_back(FallbackReason::ChecksumFailed);
        self.mp_fail = Some(mp_fail);
    }

    /// The peer maps everything from here on. False: that is only possible on a lone subflow.
    pub(super) fn on_infinite_mapping(&mut self, id: SubflowId) -> bool {
        self.journal.count(Counter::MPTcpExtInfiniteMapRx);
        let possible = self.may_fall_back_as_asked(id);
        if possible {
            self.fall_back(FallbackReason::PeerFellBack);
        }
        possible
    }

    /// The infinite mapping for data that ends at `end`, while it is due.
    pub(super) fn farewell_option(&mut self, id: SubflowId, end: Ssn) -> Option<MptcpOption> {
        let una = self.get(id)?.tcp.snd_una();
        self.farewell.take_if(|farewell| farewell.sent_to.is_some_and(|sent_to| una >= sent_to));
        let farewell = self.farewell.as_mut()?;
        farewell.sent_to.get_or_insert(end);
        self.journal.count(Counter::MPTcpExtInfiniteMapTx);
        Some(farewell.option.clone())
    }

    /// MP_FAIL, where it is due and the segment has room.
    pub(super) fn mp_fail_option(&self, what: &Outgoing<'_>) -> Option<MptcpOption> {
        let pure_ack = what.payload.is_none() && what.flags == TcpFlags::ACK && what.signals.is_empty();
        self.mp_fail.filter(|_| pure_ack).map(MptcpOption::MpFail)
    }

    /// A peer whose options are removed cannot answer, and may not know what to answer yet.
    fn patience_with_silence(&self) -> u32 {
        match self.multipath {
            Multipath::Fallback(FallbackReason::NoDss) => UNANSWERED,
            _ => 0,
        }
    }

    /// A segment arrived after the end of Multipath TCP: it may answer what was said then.
    pub(super) fn settle_fallback(&mut self, seg: &Segment) {
        let fell_back = |option: &MptcpOption| match option {
            MptcpOption::MpFail(_) => true,
            MptcpOption::Dss(dss) => dss.mapping.is_some_and(|mapping| mapping.is_infinite()),
            _ => false,
        };
        self.unanswered += u32::from(seg.options.mptcp.is_empty());
        if self.unanswered > self.patience_with_silence() || seg.options.mptcp.iter().any(fell_back) {
            self.mp_fail = None;
        }
    }
}
