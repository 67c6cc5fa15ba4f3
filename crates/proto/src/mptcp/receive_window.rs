//! The connection's receive buffer and the window it offers (RFC 8684, section 3.3.4): one for all subflows,
//! counted from the DATA_ACK.

use crate::seq::Dsn;
use crate::time::{Duration, Instant};

/// The buffer before anything is known of the path.
const INITIAL: usize = 512 * 1024;

/// Round trips shorter than this may be nothing but the time that packets wait for the receiver, and then a larger window
/// makes them longer. So it grows only by what the path needs without queues...
pub(super) const SHORT: Duration = Duration::from_millis(10);
/// ...with both ends being late by so much...
const WAKE_UP: Duration = Duration::from_micros(200);
/// ...but for so many bytes, which caches can still hold.
const NEAR: usize = 2 << 20;

/// Bytes out of order lie within the window and are not charged again. Dynamic right-sizing: the buffer follows what arrives in a round trip.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    capacity: usize,
    max: usize,
    /// The right edge offered so far; not taken back (RFC 9293, section 3.8.6.2.1).
    edge: Dsn,
    measured_from: Option<Instant>,
    arrived: usize,
}

impl ReceiveWindow {
    pub(super) fn new(max: usize) -> Self {
        ReceiveWindow { capacity: INITIAL.min(max), max, edge: Dsn::FIRST, measured_from: None, arrived: 0 }
    }

    /// The window of a SYN/ACK, in bytes: what is offered before anything is known.
    pub(super) fn first(max: usize) -> u16 {
        INITIAL.min(max).min(usize::from(u16::MAX)) as u16
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn edge(&self) -> Dsn {
        self.edge
    }

    /// The window field that offers what there is room for, counted from `rcv_nxt` in units of 2^`shift` bytes,
    /// with `unread` bytes waiting for the application.
    pub(super) fn offer(&mut self, rcv_nxt: Dsn, unread: usize, shift: u8) -> u16 {
        let window = self.potential(rcv_nxt, unread).max(self.edge).since(rcv_nxt);
        let down = window >> shift;
        // Rounded down, the edge that the peer knows would go back by a part of a unit; up, the offer grows by as much
        // with each small segment, so that has an end: an application that does not read must shut the window.
        let taken_back = rcv_nxt + (down << shift) < self.edge;
        let may_grow = unread as u64 + window <= self.capacity as u64 * 3 / 2;
        // [8684-3.3.4-1, 9293-SHLD-14]
        let field = (down + u64::from(taken_back && may_grow)).min(65_535);
        self.edge = self.edge.max(rcv_nxt + (field << shift));
        field as u16
    }

    fn potential(&self, rcv_nxt: Dsn, unread: usize) -> Dsn {
        rcv_nxt + self.capacity.saturating_sub(unread) as u64
    }

    /// Whether the peer should be told of room that a read made (RFC 9293, section 3.8.6.2.2: no silly windows).
    pub(super) fn update_is_due(&self, rcv_nxt: Dsn, unread: usize) -> bool {
        let offered = self.edge.since(rcv_nxt);
        let possible = self.potential(rcv_nxt, unread).since(rcv_nxt);
        // [9293-MUST-39]
        offered < self.capacity as u64 / 2 && possible >= (2 * offered).max(self.capacity as u64 / 4)
    }

    /// `bytes` of new data arrived, in order or not; `rtt` is the longest round trip among the subflows, and `shortest` the
    /// longest of those that they had at best.
    pub(super) fn on_arrival(&mut self, now: Instant, bytes: usize, rtt: Duration, shortest: Duration) {
        self.arrived += bytes;
        let from = *self.measured_from.get_or_insert(now);
        let elapsed = now - from;
        if elapsed < rtt || elapsed.is_zero() {
            return;
        }
        // What arrives in a round trip, and the half of it again for the sender to grow into. Not more: what
        // is offered beyond need ends up in the queue of the slowest path, and when a path dies all that is
        // missing has to wait behind it.
        let rate = self.arrived as f64 / elapsed.as_secs_f64();
        let needed = |rtt: Duration| ((rate * rtt.as_secs_f64()) as usize).saturating_mul(3) / 2;
        let most = if rtt < SHORT { needed(2 * shortest + WAKE_UP).max(NEAR) } else { self.max };
        self.capacity = self.capacity.max(needed(rtt).min(most)).min(self.max);
        self.measured_from = Some(now);
        self.arrived = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the window is after data at so many bytes a second for a second, with round trips of `rtt`, and `shortest` at best.
    fn window_at(rate: u64, rtt: Duration, shortest: Duration) -> usize {
        let mut window = ReceiveWindow::new(16 << 20);
        let step = Duration::from_micros(20);
        for n in 0..50_000 {
            let bytes = (rate as f64 * step.as_secs_f64()) as usize;
            window.on_arrival(Instant::from_nanos(1) + step * n, bytes, rtt, shortest);
        }
        window.capacity()
    }

    #[test]
    fn it_does_not_grow_with_a_queue_that_it_makes_itself() {
        let (near, queued) = (Duration::from_micros(50), Duration::from_millis(4));
        assert_eq!(window_at(3_000_000_000, queued, near), NEAR);
        assert_eq!(window_at(3_000_000_000, near, near), INITIAL);
        // Twice the shortest round trip, and the time to wake up.
        assert!((4_400_000..4_600_000).contains(&window_at(2_500_000_000, queued, Duration::from_micros(500))));
        // Farther away the queue may be anybody's.
        assert!(window_at(30_000_000, Duration::from_millis(100), Duration::from_millis(20)) > 4_400_000);
    }
}
