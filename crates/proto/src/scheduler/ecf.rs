//! ECF: earliest completion first.

use super::{Decision, Scheduler, View};

/// How much sooner waiting must end, once it has begun (the paper's beta).
const BETA: f64 = 0.25;

/// Waits for the fastest subflow, where that finishes what is pending sooner than sending some of it on a slower one now.
///
/// Lim et al., "ECF: an MPTCP path scheduler to manage heterogeneous paths", CoNEXT 2017.
#[derive(Copy, Clone, Debug, Default)]
pub struct Ecf {
    waiting: bool,
}

impl Scheduler for Ecf {
    fn name(&self) -> &'static str {
        "ecf"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let (Some(fast), Some(slow)) = (view.fastest(), view.fastest_with_room()) else { return Decision::Wait };
        if view.reinjection_of.is_some() || slow.id == fast.id || fast.srtt.is_zero() {
            return Decision::on(Some(slow));
        }
        // Algorithm 1, with bytes for segments.
        let k = view.pending as f64;
        let margin = fast.rttvar.max(slow.rttvar).as_secs_f64();
        let (fast_rtt, slow_rtt) = (fast.srtt.as_secs_f64(), slow.srtt.as_secs_f64());
        let rounds = 1.0 + k / fast.cwnd.max(1) as f64;
        let patience = if self.waiting { 1.0 + BETA } else { 1.0 };
        if rounds * fast_rtt < patience * (slow_rtt + margin) {
            if k / slow.cwnd.max(1) as f64 * slow_rtt >= 2.0 * fast_rtt + margin {
                self.waiting = true;
                return Decision::Wait;
            }
        } else {
            self.waiting = false;
        }
        Decision::on(Some(slow))
    }
}
