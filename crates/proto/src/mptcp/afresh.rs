//! The only path lets nothing more of a subflow through: a NAT has lost it, a firewall has forgotten it, options are
//! removed from it. A new one over the same path may fare better.

use super::{CloseReason, Connection, Env, Request, Role};
use crate::SubflowId;
use crate::time::Instant;
use polypath_wire::ResetReason;

/// Timeouts in a row before the only path is tried with another subflow: smaller segments were no help either.
const TIMEOUTS: u32 = 7;

impl Connection {
    /// A subflow has timed out again, and no other works. Only clients can open one; to a server behind it all the same
    /// is as if the client had moved.
    pub(super) fn consider_another(&mut self, id: SubflowId, timeouts: u32) {
        let confirmed = self.multipath.session().is_some_and(|session| session.confirmed);
        let wanted = timeouts == TIMEOUTS && self.role == Role::Client && confirmed && self.established;
        let Some(s) = self.get(id).filter(|_| wanted && !self.finished && self.error.is_none()) else { return };
        let (local, remote, backup) = (s.tcp.local().ip(), s.tcp.remote(), s.backup);
        let under_way = |s: &super::Subflow| !s.established && (s.tcp.local().ip(), s.tcp.remote()) == (local, remote);
        if !self.iter().any(|(_, s)| under_way(s)) {
            self.renewing = Some(Box::new((local, remote)));
            self.requests.push(Request::Open { local, remote, backup });
        }
    }

    /// A subflow is established. Where it was to take the place of another, one of the two goes.
    pub(super) fn replace_silent(&mut self, now: Instant, env: &Env<'_>, new: SubflowId) {
        let Some(s) = self.get(new).filter(|_| self.role == Role::Client) else { return };
        let ends = (s.tcp.local().ip(), s.tcp.remote());
        if self.renewing.take_if(|renewing| **renewing == ends).is_none() {
            return;
        }
        let twin = |(id, s): &(SubflowId, &super::Subflow)| {
            *id != new && s.is_usable() && (s.tcp.local().ip(), s.tcp.remote()) == ends
        };
        let Some((old, stalled)) = self.iter().find(twin).map(|(id, s)| (id, s.stalled.is_some())) else { return };
        let which = if stalled { old } else { new };
        let reset = ResetReason::UnacceptablePerformance;
        self.close_subflow_with_reset(now, env, which, reset, CloseReason::TimedOut);
    }

    /// What was wrong with the path may pass; and the only path there is may be tried again, where the way is to blame and
    /// not the peer. [8684-3.6-3]
    pub(super) fn may_be_tried_again(&self, id: SubflowId, reset: ResetReason) -> bool {
        let may_pass = matches!(
            reset,
            ResetReason::LackOfResources | ResetReason::TooMuchOutstandingData | ResetReason::UnacceptablePerformance
        );
        may_pass || self.is_broken_by_the_only_way(id, reset)
    }

    pub(super) fn is_broken_by_the_only_way(&self, id: SubflowId, reset: ResetReason) -> bool {
        reset == ResetReason::MiddleboxInterference && self.is_alone(id)
    }
}
