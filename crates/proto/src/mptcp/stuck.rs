//! Data that is acknowledged on its subflow, while the DATA_ACK stands still (RFC 8684, sections 3.3.6 and 6).

use super::schedule::Reinjection;
use super::subflow::Question;
use super::timers::ConnectionTimer;
use super::{CloseReason, Connection, Env, FallbackReason, Subflow};
use crate::SubflowId;
use crate::tcp::MAX_RTO;
use crate::time::{Duration, Instant};
use crate::trace::ReinjectReason;
use polypath_wire::ResetReason;

/// How many unacknowledged bytes one stuck spot gets reinjected at a time.
const STUCK_CHUNK: u64 = 64 * 1024;
/// So often the only subflow is found to have delivered all before it is doubted.
const STUCK_ROUNDS: u32 = 4;
/// So often data is missing behind a proxy before its path is left.
const MAX_SWALLOWED: u32 = 3;

impl Connection {
    /// Data that its subflow has delivered, while the DATA_ACK stands still: the peer, or a proxy on the way,
    /// acknowledged and lost it.
    pub(super) fn reinject_if_stuck(&mut self, now: Instant, env: &Env<'_>) {
        let una = self.data_una;
        let acknowledged_at_all = self.is_active() && self.data_ack_seen;
        if una >= self.send.end() || !acknowledged_at_all {
            return;
        }
        if let Some(id) = self.ids().find(|id| self.may_fall_back(*id)) {
            if self.get(id).is_some_and(|s| s.bare_acks > 0) {
                // Delivered, and said so without options: they are removed on the way now.
                self.fall_back_unheard();
                return self.acknowledge_plain(env, id);
            }
            // The only subflow has delivered it. A peer without DSS would read a second copy as new bytes, and
            // one whose application is slow (Linux acknowledges on the subflow first) needs none.
            return self.doubt_delivery(now, env, id);
        }
        self.leave_swallowers(now, env);
        let bare = |(_, s): (SubflowId, &Subflow)| !s.is_usable() || s.bare_acks > 0;
        if self.iter().all(bare) {
            // Nor does one whose DATA_ACKs are removed on the way need any. When nothing else comes, another has to
            // take over.
            if !self.timers.is_set(ConnectionTimer::DataRetransmit) {
                self.reset_bare_subflows(now, env);
            }
            return self.arm_data_retransmit(now);
        }
        let holders = self.iter().filter(|(_, s)| s.stalled.is_none()).flat_map(|(_, s)| s.tcp.outstanding());
        let next_held = holders.filter(|r| r.dsn + r.payload.len() as u64 > una).map(|r| r.dsn).min();
        let end = next_held.unwrap_or(self.data_nxt).min(self.data_nxt).min(self.send.end()).min(una + STUCK_CHUNK);
        if end > una && !self.reinjections.iter().any(|r| r.start <= una && r.end > una) {
            self.trace_reinjection(None, una, end - una, ReinjectReason::DataAckStuck);
            self.reinjections.push_front(Reinjection { start: una, end, from: None, to: None });
        }
        self.arm_data_retransmit(now);
    }

    /// Subflows on which somebody acknowledged for the peer, who has not got it: whatever goes there goes nowhere.
    fn leave_swallowers(&mut self, now: Instant, env: &Env<'_>) {
        for id in self.ids() {
            let alone = self.is_alone(id);
            let Some(s) = self.get_mut(id).filter(|s| s.retracted && !alone) else { continue };
            s.retracted = false;
            s.swallowed += 1;
            if s.swallowed >= MAX_SWALLOWED {
                let reset = ResetReason::MiddleboxInterference;
                self.close_subflow_with_reset(now, env, id, reset, CloseReason::ProtocolError);
            }
        }
    }

    /// The only subflow has delivered all, and the peer has not got it although it has room: somebody on the way changes
    /// lengths, or acknowledges by himself. Plain TCP can live with the first (RFC 8684, section 3.7).
    fn doubt_delivery(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) {
        let room = self.data_wnd_end > self.data_nxt;
        let Some(s) = self.get(id).filter(|s| room && !s.tcp.has_outstanding()) else {
            self.stuck = None;
            return self.arm_data_retransmit(now);
        };
        let heard = s.data_ack_at;
        let (since, rounds) = self.stuck.get_or_insert((now, 0));
        *rounds += 1;
        if *rounds > STUCK_ROUNDS && heard > *since {
            self.fall_back(FallbackReason::NotDelivered);
            return self.acknowledge_plain(env, id);
        }
        if let Some(s) = self.get_mut(id) {
            s.question = Some(Question::Window);
        }
        self.arm_data_retransmit(now);
    }

    /// Restarted whenever something is acknowledged; well above any subflow's own timeout.
    pub(super) fn arm_data_retransmit(&mut self, now: Instant) {
        if !self.is_active() || self.data_una >= self.data_nxt.min(self.send.end()) {
            return self.timers.stop(ConnectionTimer::DataRetransmit);
        }
        let rto = self.iter().filter(|(_, s)| s.established).map(|(_, s)| s.tcp.rtt.rto()).max();
        let patience = rto.unwrap_or(Duration::from_secs(1)) * 2;
        self.timers.set(ConnectionTimer::DataRetransmit, now + patience.min(MAX_RTO));
    }
}
