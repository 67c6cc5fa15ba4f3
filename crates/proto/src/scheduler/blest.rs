//! BLEST: estimates whether a slow subflow would block the fast one.

use super::{Decision, Scheduler, View};
use crate::SubflowId;

/// How much the estimate is corrected at a time, and within which bounds.
const LAMBDA_STEP: f64 = 0.01;
const LAMBDA: core::ops::RangeInclusive<f64> = 0.5..=2.0;

/// Fills the fastest subflow; sends on a slower one only if the connection's window has room for what the fastest can send
/// until the slower one's data is acknowledged.
///
/// Ferlin et al., "BLEST: blocking estimation-based MPTCP scheduler for heterogeneous networks", IFIP Networking 2016.
#[derive(Copy, Clone, Debug)]
pub struct Blest {
    lambda: f64,
    /// The window was full when last asked.
    blocked: bool,
    last_slow: Option<SubflowId>,
}

impl Default for Blest {
    fn default() -> Self {
        Blest { lambda: 1.0, blocked: false, last_slow: None }
    }
}

impl Blest {
    /// The correction of section IV: more caution when sending on the slow subflow has blocked, less otherwise.
    fn learn(&mut self, full: bool) {
        if full && !self.blocked && self.last_slow.is_some() {
            self.lambda += LAMBDA_STEP;
        } else if !full {
            self.lambda -= LAMBDA_STEP / 8.0;
        }
        self.blocked = full;
        self.lambda = self.lambda.clamp(*LAMBDA.start(), *LAMBDA.end());
    }
}

impl Scheduler for Blest {
    fn name(&self) -> &'static str {
        "blest"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let (Some(fast), Some(next)) = (view.fastest(), view.fastest_with_room()) else { return Decision::Wait };
        self.learn(view.window.saturating_sub(view.in_flight) < 2 * fast.mss);
        if view.reinjection_of.is_some() || next.id == fast.id || fast.srtt.is_zero() {
            self.last_slow = None;
            return Decision::on(Some(next));
        }
        // Equation (1) and (2): what the fast one sends while the slow one's segment is under way, its window growing by a
        // segment in each round trip.
        let rounds = next.srtt.as_secs_f64() / fast.srtt.as_secs_f64();
        let fast_bytes = fast.mss as f64 * rounds * (fast.cwnd as f64 / fast.mss as f64 + (rounds - 1.0) / 2.0);
        let left = view.window as f64 - (next.in_flight + next.mss) as f64;
        if fast_bytes * self.lambda > left {
            return Decision::Wait;
        }
        self.last_slow = Some(next.id);
        Decision::on(Some(next))
    }
}
