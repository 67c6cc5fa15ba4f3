//! When each connection wants to be called, in order, corrected lazily.
//!
//! A connection's deadline moves with every acknowledgement, mostly to later. So a deadline that moved to
//! later is left standing, and looked at again when it comes; an earlier one takes its place. Each connection
//! has one at most: those of keep-alives, two hours away, would otherwise pile up behind the near ones.

use super::ConnectionId;
use crate::time::Instant;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    deadlines: BTreeSet<(Instant, ConnectionId)>,
}

impl TimerQueue {
    /// Wants `id` called at `at` instead of `old`.
    pub(super) fn replace(&mut self, old: Option<Instant>, at: Instant, id: ConnectionId) {
        self.remove(old, id);
        self.deadlines.insert((at, id));
    }

    pub(super) fn remove(&mut self, old: Option<Instant>, id: ConnectionId) {
        if let Some(old) = old {
            self.deadlines.remove(&(old, id));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// A connection whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnectionId> {
        let (at, id) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(id)
    }
}
