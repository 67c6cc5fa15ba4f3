//! Noticing, as the receiver, that a path has gone silent in mid-download.
//!
//! The sender needs a retransmission timeout to notice. The receiver sees sooner that data is missing which
//! only that path can hold, asks the peer on it (a keep-alive probe, RFC 9293, section 3.8.4), and if no
//! answer comes says on a live path that the address is gone (REMOVE_ADDR), so that the sender reinjects at
//! once. MP_PRIO could not say it: in RFC 8684, section 3.3.8, it speaks of the subflow that it travels on.

use super::subflow::Question;
use super::timers::ConnectionTimer;
use super::{CloseReason, Connection, Env, Role, SendHalf};
use crate::SubflowId;
use crate::time::{Duration, Instant};
use crate::trace::TraceEvent;
use std::net::IpAddr;

/// Silence that makes a path worth a question, while data is missing. Doubled by each false alarm.
const SUSPICIOUS: Duration = Duration::from_millis(20);
/// How often to look, while data is missing.
const TICK: Duration = Duration::from_millis(5);
/// An answer is waited for one and a half round trips, within these bounds. Doubled by each false alarm.
const PATIENCE: core::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_millis(500);
/// A path that can be joined again so soon after it was given up had only paused.
const FALSE_ALARM: Duration = Duration::from_millis(500);
/// After so many false alarms the thresholds grow no more.
const MAX_FALSE_ALARMS: u32 = 4;

impl Connection {
    /// Called when data arrived: is there a hole to watch?
    pub(super) fn watch_liveness(&mut self, now: Instant) {
        // [9293-MUST-25]
        if self.is_active() && self.assembler.has_gap() && self.subflow_count() > 1 {
            if !self.timers.is_set(ConnectionTimer::Liveness) {
                self.timers.set(ConnectionTimer::Liveness, now + TICK);
            }
        } else {
            self.timers.stop(ConnectionTimer::Liveness);
        }
    }

    /// The time has come to look.
    pub(super) fn check_liveness(&mut self, now: Instant, env: &Env<'_>) {
        let heard = |s: &super::Subflow| now - s.tcp.last_received;
        let caution = 1 << self.false_alarms;
        // Somebody must be alive to tell it to; else there is nothing to say.
        let live = self.iter().any(|(_, s)| s.is_usable() && heard(s) < SUSPICIOUS * caution);
        let mut dead = None;
        for id in self.ids() {
            let Some(s) = self
                .subflows
                .get_mut(usize::from(id.0))
                .and_then(Option::as_deref_mut)
                .filter(|s| s.is_usable() && s.last_data.is_some())
            else {
                continue;
            };
            if heard(s) < SUSPICIOUS * caution {
                continue;
            }
            let patience = patience(s) * caution;
            match s.probed_at {
                None => {
                    s.probed_at = Some((now, 1));
                    s.question = Some(Question::Window);
                    let silent = heard(s);
                    self.journal.trace(|| TraceEvent::PathSuspected { subflow: id, silent });
                }
                Some((asked, _)) if now - asked >= patience => dead = dead.or(live.then_some(id)),
                // The question may have been lost: ask twice. [9293-MUST-29]
                Some((asked, 1)) if now - asked >= patience / 2 => {
                    s.probed_at = Some((asked, 2));
                    s.question = Some(Question::Window);
                }
                Some(_) => {}
            }
        }
        if let Some(id) = dead {
            self.give_up_silent(now, env, id);
        }
        self.watch_liveness(now);
    }

    fn give_up_silent(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) {
        // Linux takes no joins once either end has sent its DATA_FIN: the path would be lost for good.
        if self.data_fin_at.is_some() || matches!(self.send_half, SendHalf::FinSent | SendHalf::FinAcked) {
            return;
        }
        let Some((address_id, local)) = self.get(id).map(|s| (s.local_id, s.tcp.local().ip())) else { return };
        // REMOVE_ADDR ends every subflow of the address: a server with one address must leave it to the sender.
        if self.iter().any(|(other, s)| other != id && s.local_id == address_id) {
            return;
        }
        self.given_up = Some(Box::new((local, now)));
        self.withdraw(address_id);
        if self.role == Role::Server {
            // The client's joins find out when the path is back, but only to an address that they know. It is announced
            // again, by another number: a REMOVE_ADDR that comes late means the old one. [8684-3.4.1-17]
            self.forget_announcement(local);
        }
        self.close_subflow(now, env, id, CloseReason::Silent);
    }
}

impl Connection {
    /// A join is through: had its path been given up just before, that was hasty.
    pub(super) fn judge_alarm(&mut self, now: Instant, local: IpAddr) {
        if let Some(given_up) = self.given_up.take_if(|given_up| given_up.0 == local)
            && now - given_up.1 < FALSE_ALARM
        {
            self.false_alarms = (self.false_alarms + 1).min(MAX_FALSE_ALARMS);
        }
    }
}

fn patience(s: &super::Subflow) -> Duration {
    let rtt = s.tcp.rcv_rtt.max(s.tcp.rtt.srtt()).unwrap_or_default();
    (rtt * 3 / 2).clamp(*PATIENCE.start(), *PATIENCE.end())
}
