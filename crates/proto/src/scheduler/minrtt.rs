//! The lowest round-trip time first.

use super::{Decision, Scheduler, View};

/// Fills the fastest subflow's window, then the next one's. Linux had it as `default` until 2020.
#[derive(Copy, Clone, Debug, Default)]
pub struct MinRtt;

impl Scheduler for MinRtt {
    fn name(&self) -> &'static str {
        "minrtt"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        Decision::on(view.fastest_with_room())
    }
}
