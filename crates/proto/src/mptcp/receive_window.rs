//! The connection's receive buffer and the window it offers (RFC 8684, section 3.3.5): one for all subflows,
//! counted from the DATA_ACK.

use crate::seq::Dsn;
use crate::time::{Duration, Instant};

/// The buffer before anything is known of the path.
const INITIAL: usize = 256 * 1024;

/// Dynamic right-sizing: the buffer follows what the application takes out in a round trip.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    capacity: usize,
    max: usize,
    /// The right edge offered so far; never retracted (RFC 9293, section 3.8.6.2.1: SHOULD NOT shrink).
    edge: Dsn,
    measured_from: Option<Instant>,
    taken: usize,
}

impl ReceiveWindow {
    pub(super) fn new(max: usize) -> Self {
        ReceiveWindow { capacity: INITIAL.min(max), max, edge: Dsn::FIRST, measured_from: None, taken: 0 }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn edge(&self) -> Dsn {
        self.edge
    }

    /// The window to advertise, in bytes from `rcv_nxt`, with `unread` bytes waiting for the application.
    pub(super) fn offer(&mut self, rcv_nxt: Dsn, unread: usize) -> u64 {
        self.edge = self.edge.max(self.potential(rcv_nxt, unread));
        self.edge.since(rcv_nxt)
    }

    fn potential(&self, rcv_nxt: Dsn, unread: usize) -> Dsn {
        rcv_nxt + self.capacity.saturating_sub(unread) as u64
    }

    /// Whether the peer should be told of room that a read made (RFC 9293, section 3.8.6.2.2: no silly windows).
    pub(super) fn update_is_due(&self, rcv_nxt: Dsn, unread: usize) -> bool {
        let offered = self.edge.since(rcv_nxt);
        let possible = self.potential(rcv_nxt, unread).since(rcv_nxt);
        offered < self.capacity as u64 / 2 && possible >= (2 * offered).max(self.capacity as u64 / 4)
    }

    /// The application took `bytes`; `rtt` is the longest round trip among the subflows.
    pub(super) fn on_read(&mut self, now: Instant, bytes: usize, rtt: Duration) {
        self.taken += bytes;
        let from = *self.measured_from.get_or_insert(now);
        if now - from < rtt {
            return;
        }
        // Twice what arrives in a round trip, and once more for slow start to double into.
        self.capacity = self.capacity.max(self.taken.saturating_mul(3)).min(self.max);
        self.measured_from = Some(now);
        self.taken = 0;
    }
}
