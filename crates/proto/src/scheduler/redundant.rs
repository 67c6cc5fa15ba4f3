//! Everything everywhere.

use super::{Decision, Scheduler, SubflowSet, View};

/// Sends each byte on every subflow. The latency is that of the fastest at each moment, the throughput that of the best
/// one alone.
///
/// Frömmgen et al., "ReMP TCP: low latency multipath TCP", ICC 2016.
#[derive(Copy, Clone, Debug, Default)]
pub struct Redundant;

impl Scheduler for Redundant {
    fn name(&self) -> &'static str {
        "redundant"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let Some(first) = view.fastest_with_room() else { return Decision::Wait };
        if view.reinjection_of.is_some() {
            return Decision::on(Some(first));
        }
        // No more at once than every copy can carry in a piece.
        let smallest = view.eligible().map(|p| p.room).filter(|room| *room >= first.mss).min();
        let on = view.eligible().fold(SubflowSet::default(), |set, p| set.with(p.id));
        Decision::Send { on, limit: smallest.unwrap_or(first.room).min(first.room) }
    }
}
