//! Whether the bytes of a segment have a place in the connection's stream, by what was said of them.
//!
//! Every sender repeats the mapping in each segment of it, and no segment of a sender lies in two. Where one does, or lies
//! in none, somebody on the way has taken options off, put segments together, or changed the length of what they carry.
//! Such a segment is not taken, and so it is sent again: alone, and with its own options, where it had only been put
//! together with another.

use super::input::has_mptcp;
use super::timers::ConnectionTimer;
use super::{CloseReason, Connection, ConnectionError, Env, FallbackReason};
use crate::SubflowId;
use crate::mib::Counter;
use crate::seq::{Dsn, Ssn, unwrap_relative_ssn};
use crate::time::{Duration, Instant};
use crate::trace::TraceEvent;
use polypath_wire::{DssMapping, MpFail, ResetReason, Segment};

/// So often the same bytes come without a place before it is believed that they never will.
const MAX_REFUSALS: u32 = 4;

/// So long a peer that was asked for plain TCP may be silent in the midst of sending.
const PATIENCE: Duration = Duration::from_secs(60);
/// Options that a full segment may have had, in bytes: 40 of the segment's own, and of what would have been in it with those.
const OPTIONS: usize = 60;

/// Why a segment has no place.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// Its options were taken off.
    Unmapped,
    /// Its mapping is there, and does not fit.
    Misfit,
}

/// Bytes of a subflow that were not taken.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Refusals {
    /// Those that come next, and how often.
    at: Option<Ssn>,
    count: u32,
    /// Where they end.
    until: Option<Ssn>,
    /// Where the connection's stream may not go on before all of them have come, and fit.
    doubt: Option<Dsn>,
}

/// A peer that was asked for plain TCP.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Asked {
    /// How far it could send before it had heard that.
    edge: Dsn,
}

impl Connection {
    /// Where a mapping that a segment carries begins in the subflow, and how many bytes it has there.
    pub(super) fn span_of(&self, id: SubflowId, m: &DssMapping, fin: bool) -> Option<(Ssn, u64)> {
        let s = self.get(id)?;
        let ssn = m.ssn.wrapping_add(s.tcp.syn_bytes_received() as u32);
        // Its last byte is the DATA_FIN itself, which no subflow byte stands for. [8684-3.3.3-2]
        Some((unwrap_relative_ssn(ssn, s.tcp.rcv_nxt()), u64::from(m.len).saturating_sub(u64::from(fin))))
    }

    /// What is wrong with a segment's place.
    pub(super) fn misplaced(&self, id: SubflowId, seg: &Segment, payload: usize) -> Option<Misplaced> {
        let s = self.get(id).filter(|_| self.is_active() && payload > 0)?;
        let (seq, rcv_nxt) = (s.tcp.seq_of(seg), s.tcp.rcv_nxt());
        let end = seq + payload as u64;
        let own = seg.options.dss().and_then(|dss| self.span_of(id, dss.mapping.as_ref()?, dss.data_fin));
        if let Some((ssn, len)) = own.filter(|(ssn, len)| *ssn < end && *ssn + *len > seq) {
            return (ssn > seq || ssn + len < end).then_some(Misplaced::Misfit);
        }
        // Behind a gap it waits: its mapping may stand in front. And where none ever came, this is plain TCP.
        if seq > rcv_nxt || !self.mapping_seen || s.rx.covered_to(seq.max(rcv_nxt)) >= end {
            return None;
        }
        match has_mptcp(seg) {
            true => Some(Misplaced::Misfit),
            // Beside other subflows it is not worth waiting.
            false => self.may_fall_back(id).then_some(Misplaced::Unmapped),
        }
    }

    /// Does not take a segment that has no place, so that it comes again: true. On the only subflow the peer hears that
    /// plain TCP would do (RFC 8684, section 3.7): once it agrees, nothing is in doubt any more.
    pub(super) fn refuses(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        seg: &Segment,
        payload: usize,
    ) -> bool {
        let Some(why) = self.misplaced(id, seg, payload) else { return false };
        let plain_would_do = self.may_fall_back(id);
        self.journal.count(Counter::MPTcpExtDSSNoMatchTCP);
        self.journal.trace(|| TraceEvent::MappingMissing { subflow: id, fallback: plain_would_do });
        let received = Dsn(self.assembler.next());
        if let Some(session) = self.multipath.session().filter(|_| plain_would_do) {
            let dsn = session.remote_dsn.wrap(received);
            self.ask_for_plain_tcp(MpFail { dsn }, why == Misplaced::Unmapped);
            self.hear_after_asking(now, id, payload);
            // What is being joined would make the answer impossible.
            self.drop_joins_under_way(now);
        }
        let Some(s) = self.get_mut(id) else { return true };
        s.tcp.ack_now();
        let rcv_nxt = s.tcp.rcv_nxt();
        let seq = s.tcp.seq_of(seg);
        if seq > rcv_nxt {
            return true;
        }
        let refusals = s.refusals.get_or_insert_default();
        refusals.until = refusals.until.max(Some(seq + payload as u64));
        refusals.count = if refusals.at.replace(rcv_nxt) == Some(rcv_nxt) { refusals.count + 1 } else { 1 };
        let for_good = refusals.count >= MAX_REFUSALS;
        let checked = self.multipath.session().is_some_and(|session| session.checksum);
        if why == Misplaced::Misfit && !checked {
            if for_good {
                // Lengths have changed: nobody knows what of this subflow, taken before, is what was sent.
                self.abort(now);
                return true;
            }
            self.doubt_from(id);
        }
        if for_good {
            self.mp_fail = None;
            self.stop_asking();
            // [8684-3.7-7, 8684-3.7-8]
            let reset = ResetReason::MiddleboxInterference;
            self.close_subflow_with_reset(now, env, id, reset, CloseReason::ProtocolError);
        }
        true
    }

    fn ask_for_plain_tcp(&mut self, mp_fail: MpFail, unheard: bool) {
        if self.asked.is_none() && unheard {
            self.asked = Some(Asked { edge: self.window.edge() });
        }
        self.mp_fail.get_or_insert(mp_fail);
    }

    /// Bytes have come from a peer that was asked for plain TCP; nothing, where it was its end. Linux answers with an
    /// infinite mapping of its own: where that is due on a full segment, the segment becomes longer than its packets may
    /// be, and nothing gets through any more. After a full segment there is more to come, and to fail is better than to
    /// wait for it for ever. Where the first of an answer is such a segment, nobody can tell that there is one.
    pub(super) fn hear_after_asking(&mut self, now: Instant, id: SubflowId, len: usize) {
        // What lies beyond the window that was open then was sent after the answer.
        let next = Dsn(self.assembler.next());
        if self.asked.is_none_or(|asked| next > asked.edge) || self.eof {
            return self.stop_asking();
        }
        let full = self.get(id).is_some_and(|s| len + OPTIONS >= usize::from(s.tcp.info().advertised_mss));
        match full {
            true => self.timers.set(ConnectionTimer::PlainTcp, now + PATIENCE),
            false => self.timers.stop(ConnectionTimer::PlainTcp),
        }
    }

    /// Nothing has come for so long. It may be our own application, which leaves no room.
    pub(super) fn on_plain_tcp_timer(&mut self, now: Instant) {
        match self.inbox.len() {
            0 => self.fail(now, ConnectionError::TimedOut),
            _ => self.timers.set(ConnectionTimer::PlainTcp, now + PATIENCE),
        }
    }

    fn stop_asking(&mut self) {
        self.asked = None;
        self.timers.stop(ConnectionTimer::PlainTcp);
    }

    /// Another subflow could fill the place that these bytes do not fit in, and nobody would see that those before it are
    /// not what was sent.
    fn doubt_from(&mut self, id: SubflowId) {
        let Some(s) = self.get_mut(id) else { return };
        let rcv_nxt = s.tcp.rcv_nxt();
        // At the beginning of a mapping nothing of it was taken.
        let refusals = s.refusals.get_or_insert_default();
        refusals.doubt = refusals.doubt.or(s.rx.dsn_of(rcv_nxt));
    }

    /// How far the stream may be delivered.
    pub(super) fn doubted_from(&self) -> Option<Dsn> {
        self.iter().filter_map(|(_, s)| s.refusals.as_ref()?.doubt).min()
    }

    /// A subflow is gone. What was in doubt on it will never be known now.
    pub(super) fn judge_doubt(&mut self, now: Instant, refusals: Option<&Refusals>) {
        if refusals.is_some_and(|refusals| refusals.doubt.is_some())
            && self.is_active()
            && !self.finished
            && self.error.is_none()
        {
            self.abort(now);
        }
    }

    /// What was refused has come, and fits.
    pub(super) fn settle_doubt(&mut self, id: SubflowId) {
        let Some(s) = self.get_mut(id) else { return };
        let rcv_nxt = s.tcp.rcv_nxt();
        s.refusals.take_if(|refusals| refusals.until.is_some_and(|until| rcv_nxt >= until));
    }

    /// The peer was told that plain TCP would do, and has not answered: nobody may join.
    pub(super) fn waits_for_plain_tcp(&self) -> bool {
        self.is_active() && self.mp_fail.is_some()
    }

    /// Plain TCP, because the peer's options do not arrive. If ours do, it does not know: hearing no DATA_ACK it sends the
    /// same bytes again at another place of the subflow (Linux does), and they would be read twice. So it is told at once,
    /// whether we have data for an infinite mapping or not.
    pub(super) fn fall_back_unheard(&mut self) {
        let dsn = self.multipath.session().map(|session| session.remote_dsn.wrap(Dsn(self.assembler.next())));
        if let Some(dsn) = dsn.filter(|_| self.mapping_seen) {
            self.ask_for_plain_tcp(MpFail { dsn }, true);
        }
        self.unanswered = 0;
        self.fall_back(FallbackReason::NoDss);
    }
}
