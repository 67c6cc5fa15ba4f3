//! The peer's window on one subflow (RFC 9293, section 3.10.7.4: SND.WND, SND.WL1, SND.WL2).

use crate::seq::Ssn;

/// How far the peer lets us send.
#[derive(Copy, Clone, Debug)]
pub(super) struct SendWindow {
    size: u64,
    /// The right edge that the latest acknowledgement gives. It may lie before one given earlier.
    edge: Ssn,
    /// The furthest right edge ever given.
    furthest: Ssn,
    /// The largest window ever seen (RFC 5961: MAX.SND.WND).
    largest: u64,
    /// Where the segment that said so stood, and what it acknowledged: an older one says nothing.
    wl1: Ssn,
    wl2: Ssn,
}

impl SendWindow {
    /// Before anything is known.
    pub(super) fn closed() -> Self {
        let first = Ssn::FIRST;
        SendWindow { size: 0, edge: first, furthest: first, largest: 0, wl1: Ssn::ORIGIN, wl2: Ssn::ORIGIN }
    }

    /// As the peer's SYN or SYN/ACK says, which acknowledges `ack`: never scaled.
    pub(super) fn of_syn(window: u16, seq: Ssn, ack: Ssn) -> Self {
        let size = u64::from(window);
        let edge = ack + size;
        SendWindow { size, edge, furthest: edge, largest: size, wl1: seq, wl2: Ssn::ORIGIN }
    }

    /// A segment at `seq` acknowledges `ack` and offers `size` bytes from there.
    pub(super) fn update(&mut self, seq: Ssn, ack: Ssn, size: u64) {
        if seq < self.wl1 || (seq == self.wl1 && ack < self.wl2) {
            return;
        }
        (self.wl1, self.wl2, self.size) = (seq, ack, size);
        // [9293-MUST-34, 7323-2.4-3]
        self.edge = ack + size;
        self.furthest = self.furthest.max(self.edge);
        self.largest = self.largest.max(size);
    }

    pub(super) fn current(&self) -> u64 {
        self.size
    }

    pub(super) fn edge(&self) -> Ssn {
        self.edge
    }

    pub(super) fn furthest(&self) -> Ssn {
        self.furthest
    }

    pub(super) fn largest(&self) -> u64 {
        self.largest
    }
}
