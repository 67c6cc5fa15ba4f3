//! Each in turn.

use super::{Decision, Scheduler, SubflowSet, View};
use crate::SubflowId;

/// Segments that a subflow gets in its turn.
const TURN: u64 = 10;

/// Gives each subflow that has room a few segments in its turn, whatever its round-trip time. For comparison: the slowest
/// path decides when anything can be read.
#[derive(Copy, Clone, Debug, Default)]
pub struct RoundRobin {
    last: Option<SubflowId>,
}

impl Scheduler for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let ready = view.eligible().filter(|p| p.fits(view.pending));
        let after = |id: SubflowId| self.last.is_some_and(|last| id > last);
        let Some(next) = ready.min_by_key(|p| (!after(p.id), p.id)) else { return Decision::Wait };
        self.last = Some(next.id);
        Decision::Send { on: SubflowSet::only(next.id), limit: next.room.min(TURN * next.mss) }
    }
}
