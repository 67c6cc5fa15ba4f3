//! The lowest round-trip time first.

use super::{Decision, PathView, Scheduler, SubflowSet, View};

/// Fills the fastest subflow's window, then the next one's. Backup subflows carry data only while no other
/// works; stalled ones only while nothing else exists.
#[derive(Copy, Clone, Debug, Default)]
pub struct MinRtt;

impl Scheduler for MinRtt {
    fn name(&self) -> &'static str {
        "minrtt"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let usable = |p: &&PathView| Some(p.id) != view.reinjection_of;
        // The best rank that exists at all decides, whether or not it has room now: a backup is not for overflow.
        // [8684-3.3.8-1]
        let rank = |p: &PathView| (p.stalled, p.backup);
        let Some(best_rank) = view.paths.iter().filter(usable).map(rank).min() else {
            return Decision::Wait;
        };
        view.paths
            .iter()
            .filter(usable)
            .filter(|p| rank(p) == best_rank && p.room >= view.pending.min(p.mss))
            .min_by_key(|p| (p.srtt, p.id))
            .map_or(Decision::Wait, |p| Decision::Send { on: SubflowSet::only(p.id), limit: p.room })
    }
}
