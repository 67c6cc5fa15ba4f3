//! The clock and its event heap.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use polypath_proto::Instant;

/// Events ordered by time; those of the same time come out in the order they went in.
///
/// The heap is the simulation's clock: [`now`](Self::now) is the time of the last event taken out.
#[derive(Debug)]
pub struct EventHeap<E> {
    heap: BinaryHeap<Entry<E>>,
    now: Instant,
    next_number: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    number: u64,
    event: E,
}

impl<E> EventHeap<E> {
    /// An empty heap with its clock at [`Instant::ZERO`].
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), now: Instant::ZERO, next_number: 0 }
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Schedules `event`. A time that has passed means now: the clock never runs backwards.
    pub fn push(&mut self, at: Instant, event: E) {
        let at = at.max(self.now);
        let number = self.next_number;
        self.next_number += 1;
        self.heap.push(Entry { at, number, event });
    }

    /// Takes out the earliest event and moves the clock to it.
    pub fn pop(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<E> Default for EventHeap<E> {
    fn default() -> Self {
        Self::new()
    }
}

// `BinaryHeap` is a max-heap: the order is reversed, the earliest is the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_by_time_then_by_order_of_arrival() {
        let mut heap = EventHeap::new();
        for (at, name) in [(30, "d"), (10, "a"), (20, "b"), (20, "c")] {
            heap.push(Instant::from_nanos(at), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| heap.pop()).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(heap.now(), Instant::from_nanos(30));
    }

    #[test]
    fn an_event_for_the_past_happens_now() {
        let mut heap = EventHeap::new();
        heap.push(Instant::from_nanos(50), "first");
        heap.pop();
        heap.push(Instant::from_nanos(10), "late");
        assert_eq!(heap.next_at(), Some(Instant::from_nanos(50)));
        heap.pop();
        assert_eq!(heap.now(), Instant::from_nanos(50));
    }
}
