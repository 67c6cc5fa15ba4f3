//! The connection's receive buffer and the window it offers (RFC 8684, section 3.3.4): one for all subflows,
//! counted from the DATA_ACK.

use crate::seq::Dsn;
use crate::time::{Duration, Instant};

/// The buffer before anything is known of the path.
const INITIAL: usize = 512 * 1024;

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

    /// `bytes` of new data arrived, in order or not; `rtt` is the longest round trip among the subflows.
    pub(super) fn on_arrival(&mut self, now: Instant, bytes: usize, rtt: Duration) {
        self.arrived += bytes;
        let from = *self.measured_from.get_or_insert(now);
        let elapsed = now - from;
        if elapsed < rtt || elapsed.is_zero() {
            return;
        }
        // What arrives in a round trip, and the half of it again for the sender to grow into. Not more: what
        // is offered beyond need ends up in the queue of the slowest path, and when a path dies all that is
        // missing has to wait behind it.
        let in_a_round_trip = (self.arrived as f64 * rtt.as_secs_f64() / elapsed.as_secs_f64()) as usize;
        self.capacity = self.capacity.max(in_a_round_trip.saturating_mul(3) / 2).min(self.max);
        self.measured_from = Some(now);
        self.arrived = 0;
    }
}
