//! A segment arrives on a subflow.
//!
//! In order: the handshake, if it is not over; TCP's checks; what the MPTCP options say; what is
//! acknowledged; the data.

use super::info::SubflowChange;
use super::narrate::relative;
use super::placement::Misplaced;
use super::stream::Obstacle;
use super::{CloseReason, Connection, ConnectionError, Env, FallbackReason, Handshake, Multipath, Subflow};
use crate::SubflowId;
use crate::mib::Counter;
use crate::seq::{Dsn, Ssn};
use crate::tcp::{AckOutcome, State, Verdict};
use crate::time::Instant;
use crate::trace::{By, LossReason, MappingOutcome, TraceEvent};
use bytes::Bytes;
use polypath_wire::{
    CapableKeys, Dss, DssMapping, IcmpError, IcmpErrorKind, MptcpOption, ResetReason, Segment, TcpFlags, WireDsn,
};

/// So many acknowledgements of data in a row without any MPTCP option: options are removed on the way now.
const BARE_ACKS: u32 = 3;

impl Connection {
    pub(crate) fn on_segment(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment, payload: Bytes) {
        let Some(state) = self.get(id).map(|s| s.tcp.state) else { return };
        self.trace_received(id, seg);
        match state {
            State::Closed => return,
            State::SynSent => {
                self.on_syn_sent(now, env, id, seg);
                return self.advance_close(now);
            }
            State::SynReceived if !self.on_syn_received(now, env, id, seg) => return,
            _ => {}
        }
        let Some(s) = self.get_mut(id) else { return };
        // [8684-3-1, 8684-3.4.1-1, 8684-3.4.2-7]
        match s.tcp.check(now, seg, payload.len()) {
            Verdict::Drop => return self.advance_close(now),
            Verdict::Reset => return self.on_reset(now, env, id, seg),
            Verdict::Accept => {}
        }
        s.probed_at = None;
        self.soft_error = None;
        let Some(s) = self.get_mut(id) else { return };
        if s.stalled.is_some() && !s.tcp.has_outstanding() {
            s.stalled = None;
            self.subflow_news(id, SubflowChange::Recovered);
        }
        self.finish_join(now, env, id);
        if !self.on_options(now, env, id, seg, payload.len()) {
            return self.advance_close(now);
        }
        if self.on_acknowledgement(now, env, id, seg, payload.len()) {
            return self.advance_close(now);
        }
        self.on_payload(now, env, id, seg, payload);
        self.advance_close(now);
    }

    /// TCP's acknowledgement, and the connection-level window where there is no DSS. True: the subflow is over.
    fn on_acknowledgement(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        seg: &Segment,
        payload: usize,
    ) -> bool {
        let cwnd = self.congestion.window(id);
        let Some(s) = self.get_mut(id) else { return true };
        // [8684-3-3, 8684-4-2]
        let signals = seg.options.mptcp.iter().any(|option| !matches!(option, MptcpOption::Dss(_)));
        // One that is older than the last has not come this far (PAWS).
        s.retracted |= seg.options.timestamps.is_some() && s.tcp.is_retracted(seg);
        let out = s.tcp.on_ack(now, seg, payload, signals);
        let srtt = s.tcp.rtt.srtt().unwrap_or_default();
        let was_late = !s.answers();
        if out.delivered > 0 {
            s.on_delivery(now, &out);
        }
        if out.advanced && s.stalled.take().is_some() {
            // What waits to go elsewhere stays here now; should it stall again, it goes again.
            s.reinjected_to = Dsn::FIRST;
            self.subflow_news(id, SubflowChange::Recovered);
            self.hurry_data_fin();
        }
        self.trace_losses(id, &out, LossReason::Acknowledgements);
        self.feed_congestion(now, id, cwnd, srtt, &out);
        if out.newly_lost > 0 {
            self.reinject_lost(now, id);
        }
        self.note_mtu_probe(id, &out);
        if self.notice_missing_dss(now, env, id, seg, &out) {
            return true;
        }
        if was_late {
            self.watch_acknowledgements(now);
        }
        self.acknowledge_plain(env, id);
        if out.advanced && !self.is_active() {
            self.restart_user_timeout(now);
        }
        if out.delivered > 0 {
            self.arm_data_retransmit(now);
            self.note_progress(now);
            self.tell_writable(env.config.send_buffer_max);
        }
        self.arm_persist(now);
        false
    }

    /// In plain TCP the subflow's acknowledgement and window are the connection's.
    pub(super) fn acknowledge_plain(&mut self, env: &Env<'_>, id: SubflowId) {
        // [8684-4-1]
        if let (Multipath::Fallback(_), Some(s)) = (&self.multipath, self.get(id)) {
            let una = Dsn(s.tcp.snd_una().0);
            // [9293-SHLD-15]
            self.data_wnd_end = Dsn(s.tcp.window_edge().0);
            let una = una.min(self.send.end());
            // [8684-3.7-15]
            self.data_acknowledged(env.config.send_buffer_max, una);
        }
    }

    /// RFC 8684, section 3.7: our first data is acknowledged without a DATA_ACK, so options do not get through.
    /// True: the subflow had to go.
    fn notice_missing_dss(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        seg: &Segment,
        out: &AckOutcome,
    ) -> bool {
        if !self.is_active() || self.finished {
            return false;
        }
        let Some(s) = self.get_mut(id) else { return true };
        if has_mptcp(seg) {
            s.bare_acks = 0;
            return false;
        }
        // Its window counts from a DATA_ACK that is no older than the last one that came. Without this, who waits for a
        // window would wait for ever where something takes options off acknowledgements. [8684-3.3.5-1]
        let window = s.tcp.window_of(seg);
        self.data_wnd_end = self.data_wnd_end.max(self.data_una + window);
        let Some(s) = self.get_mut(id) else { return true };
        // One that would not have moved the DATA_ACK needs none. [8684-3.3.2-7]
        let nothing = s.tcp.snd_una() <= Ssn::FIRST + s.tcp.syn_bytes_sent() || s.tcp.counters.bytes_sent == 0;
        if !out.advanced || nothing && !self.is_empty_end_heard(id) {
            return false;
        }
        let Some(s) = self.get_mut(id) else { return true };
        s.bare_acks += 1;
        // [8684-3.7-3]
        let removed = !s.data_ack_seen || s.bare_acks >= BARE_ACKS;
        if !removed {
            return false;
        }
        if self.may_fall_back(id) {
            self.fall_back_unheard();
            return false;
        }
        // [8684-3.7-4, 8684-3.7-5]
        self.close_subflow_with_reset(now, env, id, ResetReason::MiddleboxInterference, CloseReason::ProtocolError);
        // It acknowledged, and nobody knows what of it arrived.
        self.reinject_if_stuck(now, env);
        true
    }

    /// The first subflow is the only one that ever carried anything, and in both directions its bytes are the
    /// connection's, in the same places.
    pub(super) fn may_fall_back(&self, id: SubflowId) -> bool {
        // [8684-3.7-17]
        let first = |s: &Subflow| s.handshake == Handshake::Done && s.rx.is_identity();
        // A peer that closed it as a subflow has not ended its stream.
        let ended = |s: &Subflow| s.tcp.fin_received() && !s.plain_fin && self.data_fin_at.is_none();
        let only = self.get(id).is_some_and(|s| first(s) && !ended(s));
        // One that waits for our fourth ACK may carry data of the peer's already.
        let silent = |s: &Subflow| matches!(s.handshake, Handshake::JoinSyn { .. } | Handshake::JoinSynAck { .. });
        let alone = self.iter().all(|(other, s)| other == id || silent(s));
        only && alone && self.bytes_reinjected == 0 && !self.ever_joined
    }

    /// The same where the peer asks for it. It would not if it had another subflow: one that waits for its fourth ACK
    /// has not come to be.
    pub(super) fn may_fall_back_as_asked(&self, id: SubflowId) -> bool {
        let joining = |s: &Subflow| !s.established && s.handshake != Handshake::Capable;
        let first = self.get(id).is_some_and(|s| s.handshake == Handshake::Done && s.rx.is_identity());
        let alone = self.iter().all(|(other, s)| other == id || joining(s));
        first && alone && self.bytes_reinjected == 0 && !self.ever_joined
    }

    /// The same where the peer has said nothing of it. Once it has sent mappings it may take itself to be in Multipath
    /// TCP, and send bytes again at another place of the subflow: read as plain TCP, they would be doubled.
    pub(super) fn may_fall_back_unasked(&self, id: SubflowId) -> bool {
        !self.mapping_seen && self.may_fall_back(id)
    }

    /// Bytes of the stream here or taken already.
    fn data_received(&self) -> u64 {
        self.assembler.next() - u64::from(self.eof && self.is_active()) + self.assembler.waiting_bytes() as u64
    }

    fn on_payload(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment, payload: Bytes) {
        let fin = seg.tcp.flags.contains(TcpFlags::FIN);
        if payload.is_empty() && !fin {
            return;
        }
        if self.refuses(now, env, id, seg, payload.len()) {
            return;
        }
        let len = payload.len();
        let hurried = self.is_active() && self.subflow_count() > 1;
        let limit = self.receive_limit(env, id, seg);
        let Some(s) = self.get_mut(id) else { return };
        s.tcp.hurry_acks(hurried);
        s.tcp.on_data(now, seg, payload, limit);
        if len > 0 {
            s.last_data = Some(now);
        }
        if fin {
            s.plain_fin = !has_mptcp(seg);
        }
        let known = self.data_received();
        // [8684-3.3.1-9, 8684-3.7-7]
        let drained = match self.drain_subflow(id) {
            Err(Obstacle::Unmapped(ssn, data)) => self.on_unmapped_data(id, ssn, data),
            result => result,
        };
        if let Err(obstacle) = drained {
            let reset = match obstacle {
                // [8684-3.7-8]
                Obstacle::Corrupt | Obstacle::Unmapped(..) => ResetReason::MiddleboxInterference,
                Obstacle::Violation => ResetReason::MptcpSpecific,
            };
            return self.close_subflow_with_reset(now, env, id, reset, CloseReason::ProtocolError);
        }
        if !self.judge_plain_fin(id) {
            let reset = ResetReason::MiddleboxInterference;
            return self.close_subflow_with_reset(now, env, id, reset, CloseReason::ProtocolError);
        }
        let fresh = self.data_received().saturating_sub(known);
        let (rtt, shortest) = (self.longest_rtt(), self.longest_min_rtt());
        self.window.on_arrival(now, fresh as usize, rtt, shortest);
        if fresh > 0 || fin {
            self.hear_after_asking(now, id, len);
        }
        // [9293-SHLD-3]
        self.trace_data_received(id, fresh);
        if self.orphaned && fresh > 0 {
            // RFC 9293, section 3.6.1: data for an application that is gone resets the connection.
            return self.abort(now);
        }
        if self.get(id).is_some_and(|s| s.tcp.fin_received()) {
            self.on_subflow_fin();
        }
        self.watch_liveness(now);
    }

    /// The end of a subflow came without a word on the connection's. From the only one this is the end of the stream in
    /// plain TCP: all bytes before it had mappings, and it has none that could come twice. False: there is no way back,
    /// and a FIN in answer would look to a peer in plain TCP like the end of our stream.
    fn judge_plain_fin(&mut self, id: SubflowId) -> bool {
        let plain = self.get(id).is_some_and(|s| s.plain_fin && s.tcp.fin_received());
        if !plain || !self.is_active() || self.data_fin_at.is_some() {
            return true;
        }
        if self.may_fall_back(id) {
            self.fall_back(FallbackReason::NoDss);
            return true;
        }
        // A peer that has another subflow is not in plain TCP.
        self.iter().any(|(other, s)| other != id && s.is_usable())
    }

    /// Data in order without a mapping. RFC 8684, section 3.7: options are removed on the way, or the peer has
    /// noticed that ours are. Where no mapping ever came, and there is only the first subflow, the connection goes on as
    /// plain TCP.
    // [8684-6-2]
    fn on_unmapped_data(&mut self, id: SubflowId, ssn: Ssn, data: Bytes) -> Result<(), Obstacle> {
        let fallback = self.may_fall_back_unasked(id);
        self.journal.count(Counter::MPTcpExtDSSNoMatchTCP);
        self.journal.trace(|| TraceEvent::MappingMissing { subflow: id, fallback });
        if !fallback {
            return Err(Obstacle::Unmapped(ssn, data));
        }
        self.fall_back(FallbackReason::NoDss);
        // It stands at the same place in the connection's stream.
        let had = self.assembler.next();
        self.assemble(Dsn(ssn.0), data)?;
        self.collect_in_order(had);
        self.drain_subflow(id)
    }

    /// What the MPTCP options of an accepted segment say. False: the segment goes no further.
    fn on_options(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment, payload: usize) -> bool {
        if !self.is_active() {
            self.settle_fallback(seg);
            return true;
        }
        for option in &seg.options.mptcp {
            match option {
                MptcpOption::Dss(dss) if !self.on_dss(now, env, id, dss, seg, payload) => return false,
                MptcpOption::MpCapable(capable) if !self.on_late_capable(id, &capable.keys, payload) => return false,
                MptcpOption::MpFastclose(fastclose) if self.on_fastclose(now, fastclose, None) => return false,
                MptcpOption::MpFail(_) if !self.on_mp_fail(id) => {
                    let reset = ResetReason::MiddleboxInterference;
                    self.close_subflow_with_reset(now, env, id, reset, CloseReason::ProtocolError);
                    return false;
                }
                MptcpOption::AddAddr(add) => self.on_add_addr(now, env, id, add),
                MptcpOption::RemoveAddr(remove) => self.on_remove_addr(now, env, remove),
                MptcpOption::MpPrio(prio) => self.on_mp_prio(id, prio.backup),
                MptcpOption::MpJoin(_) => self.on_repeated_join_ack(id),
                _ => {}
            }
        }
        self.get(id).is_some()
    }

    /// The third ACK of a join came again: our fourth was lost (RFC 8684, section 3.2).
    fn on_repeated_join_ack(&mut self, id: SubflowId) {
        if let Some(s) = self.get_mut(id) {
            s.tcp.ack_now();
        }
    }

    fn on_mp_prio(&mut self, id: SubflowId, backup: bool) {
        self.journal.count(Counter::MPTcpExtMPPrioRx);
        self.journal.trace(|| TraceEvent::PathPriority { subflow: id, backup, by: By::Peer });
        if let Some(s) = self.get_mut(id) {
            // [8684-3.3.8-2]
            s.remote_backup = backup;
        }
    }

    /// The client's first data carries its keys again, and its mapping without saying so: it starts the
    /// stream (RFC 8684, section 3.1, figure 5).
    fn on_late_capable(&mut self, id: SubflowId, keys: &CapableKeys, payload: usize) -> bool {
        if let CapableKeys::Data { data_len, checksum, .. } = keys
            && payload > 0
        {
            let unnumbered = self.get(id).map_or(0, |s| s.tcp.syn_bytes_received());
            let (dsn, ssn) = (Dsn::FIRST + unnumbered, Ssn::FIRST + unnumbered);
            let Ok(check) = self.check_of(dsn, Ssn::FIRST.0 as u32, *data_len, *checksum) else { return false };
            let Some(s) = self.get_mut(id) else { return false };
            let rcv_nxt = s.tcp.rcv_nxt();
            // [8684-3.1-26, 8684-3.1-27, 8684-3.1-28]
            let taken = s.rx.insert(ssn, dsn, u64::from(*data_len), check, rcv_nxt).is_ok();
            self.mapping_seen |= taken;
            return taken;
        }
        true
    }

    fn on_dss(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, dss: &Dss, seg: &Segment, payload: usize) -> bool {
        let (data_una, rcv_nxt) = (self.data_una, Dsn(self.assembler.next()));
        let Some(session) = self.multipath.session_mut() else { return true };
        let seen = dss.data_ack.is_some();
        // A server that has no key of ours yet, because it answers the data of our SYN, cannot make DATA_ACKs.
        let was_confirmed = session.confirmed;
        session.confirmed |= seen;
        // [8684-3.3.2-2]
        if let Some(mapping) = &dss.mapping {
            session.long_acks = matches!(mapping.dsn, WireDsn::Long(_));
        }
        // [8684-3.3.2-3]
        let data_ack = dss.data_ack.map(|ack| session.local_dsn.unwrap(ack, data_una));
        let mapping = dss.mapping.as_ref().map(|m| (m, session.remote_dsn.unwrap(m.dsn, rcv_nxt)));
        self.data_ack_seen |= seen;
        if let Some(s) = self.get_mut(id) {
            s.data_ack_seen |= seen;
            s.data_ack_at = if seen { now } else { s.data_ack_at };
        }
        if let Some(ack) = data_ack {
            self.on_data_ack(now, env, id, ack, seg);
        }
        if seen && !was_confirmed {
            // [8684-3.1-5]
            self.on_confirmed(now, env);
        }
        let accepted = mapping.is_none_or(|(m, dsn)| self.on_mapping(id, m, dsn, dss.data_fin, seg, payload));
        if !accepted {
            // [8684-3.3-6]
            self.close_subflow_with_reset(now, env, id, ResetReason::MptcpSpecific, CloseReason::ProtocolError);
        }
        accepted
    }

    /// RFC 8684, section 3.3.2 and 3.3.5: the DATA_ACK, and the window counted from it.
    fn on_data_ack(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, ack: Dsn, seg: &Segment) {
        // Never acknowledged before it was sent.
        if ack > self.data_nxt {
            return;
        }
        if let Some(s) = self.get(id) {
            let window = s.tcp.window_of(seg);
            // [8684-3.3.2-4, 8684-3.3.5-1, 8684-3.3.5-2, 8684-4-4]
            self.data_wnd_end = self.data_wnd_end.max(ack + window);
        }
        if ack > self.data_una {
            self.data_acknowledged(env.config.send_buffer_max, ack);
            self.trace_data_acknowledged(id, ack);
            self.forget_reinjections();
            self.limit_held(now, env, id);
            self.restart_user_timeout(now);
            self.arm_data_retransmit(now);
        }
    }

    /// False: it contradicts what was said before.
    fn on_mapping(
        &mut self,
        id: SubflowId,
        m: &DssMapping,
        dsn: Dsn,
        fin: bool,
        seg: &Segment,
        payload: usize,
    ) -> bool {
        if m.is_infinite() {
            return self.on_infinite_mapping(id);
        }
        let Ok(check) = self.check_of(dsn, m.ssn, m.len, m.checksum) else { return false };
        // Its last byte is the DATA_FIN itself, which no subflow byte stands for. [8684-3.3.3-2]
        let len = u64::from(m.len).saturating_sub(u64::from(fin));
        if len == 0 && check.is_some_and(|check| check.finish() != 0) {
            self.journal.count(Counter::MPTcpExtDataCsumErr);
            return false;
        }
        if fin && !self.on_data_fin(id, dsn + len) {
            return false;
        }
        let misfit = self.misplaced(id, seg, payload) == Some(Misplaced::Misfit);
        let Some((ssn, _)) = self.span_of(id, m, fin) else { return false };
        let Some(s) = self.get_mut(id) else { return false };
        let rcv_nxt = s.tcp.rcv_nxt();
        let seq = s.tcp.seq_of(seg);
        // [8684-3.3.1-15]
        // Only what the segment itself brings: mappings for bytes to come would cost memory on trust.
        let outcome = if misfit || len == 0 || ssn >= seq + payload as u64 || ssn + len <= seq {
            MappingOutcome::Ignored
        } else if s.rx.insert(ssn, dsn, len, check, rcv_nxt).is_ok() {
            MappingOutcome::Taken
        } else {
            self.journal.count(Counter::MPTcpExtDSSNotMatching);
            MappingOutcome::Conflict
        };
        self.mapping_seen |= outcome == MappingOutcome::Taken;
        if len > 0 {
            self.trace_mapping_received(id, ssn, dsn, len, outcome);
        }
        outcome != MappingOutcome::Conflict
    }

    /// RFC 8684, section 3.3.3: the end of the peer's stream. False: it lies before data that has arrived.
    fn on_data_fin(&mut self, id: SubflowId, at: Dsn) -> bool {
        if let Some(s) = self.get_mut(id) {
            s.tcp.ack_now();
        }
        if self.data_fin_at.is_some() || at < Dsn(self.assembler.next()) || at > self.window.edge() {
            return true;
        }
        if self.assembler.waiting_end().is_some_and(|end| end > at.0) {
            return false;
        }
        self.data_fin_at = Some(at);
        self.journal.trace(|| TraceEvent::DataFin { by: By::Peer, dsn: relative(at) });
        let had = self.assembler.next();
        self.collect_in_order(had);
        true
    }

    /// An ICMP error about a segment of a subflow.
    pub(crate) fn on_icmp(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, error: &IcmpError) {
        let initial = self.is_initial_handshake();
        let Some(s) = self.get_mut(id) else { return };
        // RFC 5927, section 4.1: only about what is in flight. [8201-4-1]
        if !s.tcp.is_in_flight(error.seq) {
            return;
        }
        let error = match error.kind {
            // [9293-MUST-54]
            IcmpErrorKind::PacketTooBig { mtu } => {
                return self.on_packet_too_big(now, id, mtu);
            }
            IcmpErrorKind::NetworkUnreachable => ConnectionError::NetworkUnreachable,
            IcmpErrorKind::HostUnreachable => ConnectionError::HostUnreachable,
            IcmpErrorKind::PortUnreachable => ConnectionError::Refused,
        };
        // RFC 9293, section 3.9.2.2: once established, a soft error that retransmission outlives.
        // [9293-MUST-56, 9293-SHLD-25, 9293-SHLD-26]
        if s.tcp.state != State::SynSent {
            self.soft_error = Some(error);
            return;
        }
        match initial {
            true => self.fail(now, error),
            false => self.close_subflow(now, env, id, CloseReason::Unreachable),
        }
    }

    /// A valid reset of one subflow.
    fn on_reset(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment) {
        for option in &seg.options.mptcp {
            match option {
                MptcpOption::MpFastclose(fastclose) if self.on_fastclose(now, fastclose, Some(id)) => return,
                MptcpOption::MpTcprst(_) => self.journal.count(Counter::MPTcpExtMPRstRx),
                MptcpOption::MpFail(_) => self.journal.count(Counter::MPTcpExtMPFailRx),
                _ => {}
            }
        }
        self.take_reset_reason(id, seg);
        // A Multipath TCP connection outlives its subflows for a while: the peer's address may have gone, and
        // a join from another may come (RFC 8684, section 3.6; Linux: close_timeout). [8684-4-5]
        self.close_subflow(now, env, id, CloseReason::ResetByPeer);
        if seg.options.mptcp.iter().any(|option| matches!(option, MptcpOption::MpFail(_))) {
            // What it had delivered is not what was sent: it goes again on another subflow.
            self.reinject_if_stuck(now, env);
        }
        self.reap_subflows(now);
    }
}

impl Connection {
    /// Whether a reset says that the subflow may be opened again. [8684-3.6-2]
    pub(super) fn take_reset_reason(&mut self, id: SubflowId, seg: &Segment) {
        if let Some(s) = self.get_mut(id) {
            s.reset_is_transient = is_transient(seg);
        }
    }
}

/// What a reset says of why: it may pass.
pub(super) fn is_transient(seg: &Segment) -> Option<bool> {
    seg.options.mptcp.iter().find_map(|option| match option {
        MptcpOption::MpTcprst(reset) => Some(reset.transient),
        _ => None,
    })
}

pub(super) fn has_mptcp(seg: &Segment) -> bool {
    !seg.options.mptcp.is_empty()
}
