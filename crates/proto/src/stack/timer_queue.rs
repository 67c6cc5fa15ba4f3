//! When each connection wants to be called: a heap of deadlines, corrected lazily.
//!
//! A connection's deadline moves with every acknowledgement, mostly to later. So a deadline that moved to
//! later is left standing, and looked at again when it comes; only an earlier one is added.

use super::ConnectionId;
use crate::time::Instant;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    heap: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
}

impl TimerQueue {
    pub(super) fn push(&mut self, at: Instant, id: ConnectionId) {
        self.heap.push(Reverse((at, id)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// An entry that is due. It counts only if it is the connection's latest.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionId)> {
        let Reverse((at, id)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((at, id))
    }
}
