//! Is the peer of an idle connection still there (RFC 9293, section 3.8.4)? And how long may data stay unacknowledged
//! (RFC 9293, section 3.8.3; RFC 5482)?
//!
//! Each subflow is asked for itself, as in Linux: what a NAT on one path has forgotten says nothing of the others. With
//! the last of them the connection is given up. The user timeout belongs to the connection: data may wait for as long
//! as that on whatever subflow.

use super::timers::{ConnectionTimer, GIVE_UP_AFTER};
use super::{CloseReason, Connection, ConnectionError, Env};
use crate::SubflowId;
use crate::mptcp::subflow::Question;
use crate::tcp::Timer;
use crate::time::{Duration, Instant};
use polypath_wire::ResetReason;

/// Nobody is asked more often.
const SHORTEST: Duration = Duration::from_secs(1);

impl Connection {
    /// Begins to wait for silence, or stops where nobody asks for that.
    pub(super) fn start_keepalive(&mut self, now: Instant, id: SubflowId) {
        let keepalive = self.settings.keepalive.as_deref().copied();
        let Some(s) = self.get_mut(id).filter(|s| s.established) else { return };
        s.keepalives = 0;
        match keepalive {
            Some(k) => s.tcp.timers.set(Timer::Keepalive, now.max(s.tcp.last_received + k.idle.max(SHORTEST))),
            None => s.tcp.timers.stop(Timer::Keepalive),
        }
    }

    /// It has been quiet for a while, or a question had its time for an answer.
    pub(super) fn on_keepalive_timer(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) {
        let Some(k) = self.settings.keepalive.as_deref().copied() else { return };
        let (idle, interval) = (k.idle.max(SHORTEST), k.interval.max(SHORTEST));
        let Some(s) = self.get_mut(id) else { return };
        let quiet_until = s.tcp.last_received + idle;
        if now < quiet_until || s.tcp.has_outstanding() {
            // It was heard of; or data is on its way, and its timeout asks better.
            // [9293-MUST-26]
            s.keepalives = 0;
            s.tcp.timers.set(Timer::Keepalive, if now < quiet_until { quiet_until } else { now + idle });
            return;
        }
        if s.keepalives < k.probes {
            s.keepalives += 1;
            // [9293-MAY-5]
            s.question = Some(Question::Keepalive);
            s.tcp.timers.set(Timer::Keepalive, now + interval);
            // With this timer it is never without one: it is idle all the same.
            return self.give_back();
        }
        if self.is_alone(id) {
            self.fail(now, ConnectionError::TimedOut);
        } else {
            self.close_subflow_with_reset(now, env, id, ResetReason::UnacceptablePerformance, CloseReason::TimedOut);
        }
    }

    /// How long an answer is waited for at most (R2).
    pub(super) fn patience(&self) -> Duration {
        self.settings.user_timeout.unwrap_or(GIVE_UP_AFTER)
    }

    /// Something was acknowledged, or there is something to wait for now.
    pub(super) fn restart_user_timeout(&mut self, now: Instant) {
        match self.settings.user_timeout {
            Some(timeout) if self.awaits_acknowledgement() => {
                self.timers.set(ConnectionTimer::UserTimeout, now + timeout);
            }
            _ => self.timers.stop(ConnectionTimer::UserTimeout),
        }
    }

    /// The same, but what already waits goes on waiting.
    pub(super) fn start_user_timeout(&mut self, now: Instant) {
        if self.settings.user_timeout.is_some() && !self.timers.is_set(ConnectionTimer::UserTimeout) {
            self.restart_user_timeout(now);
        }
    }

    pub(super) fn on_user_timeout(&mut self, now: Instant) {
        if self.awaits_acknowledgement() {
            self.fail(now, ConnectionError::TimedOut);
        }
    }

    /// The SYN, or data that was sent.
    fn awaits_acknowledgement(&self) -> bool {
        !self.established || self.data_una < self.data_nxt.min(self.send.end())
    }
}
