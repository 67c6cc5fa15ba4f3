//! What Linux does today.

use super::{Decision, PathView, Scheduler, SubflowSet, View};

/// Linux gives a subflow so many bytes at a time (MPTCP_SEND_BURST_SIZE).
const BURST: u64 = 65_428;

/// The subflow whose queue drains first: bytes in flight over the rate of its window. If that one has no room, the data
/// waits for it, as it would in Linux behind what that subflow has queued.
#[derive(Copy, Clone, Debug, Default)]
pub struct Linux;

impl Linux {
    /// Seconds until all that the subflow has in flight is gone, at the rate of its window.
    fn drain_time(path: &PathView) -> f64 {
        let rate = path.rate();
        if rate == 0.0 { 0.0 } else { path.in_flight as f64 / rate }
    }
}

impl Scheduler for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let next = view.eligible().min_by(|a, b| Linux::drain_time(a).total_cmp(&Linux::drain_time(b)));
        match next.filter(|p| p.fits(view.pending)) {
            Some(p) => Decision::Send { on: SubflowSet::only(p.id), limit: p.room.min(BURST) },
            None => Decision::Wait,
        }
    }
}
