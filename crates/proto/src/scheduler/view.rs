//! What a scheduler sees.

use crate::SubflowId;
use crate::time::{Duration, Instant};

/// A set of subflows.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SubflowSet(u64);

impl SubflowSet {
    /// Just this one.
    pub const fn only(id: SubflowId) -> Self {
        SubflowSet(1 << id.0)
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, id: SubflowId) -> Self {
        SubflowSet(self.0 | 1 << id.0)
    }

    /// With one less.
    #[must_use]
    pub const fn without(self, id: SubflowId) -> Self {
        SubflowSet(self.0 & !(1 << id.0))
    }

    /// Whether `id` is in it.
    pub const fn contains(self, id: SubflowId) -> bool {
        self.0 & (1 << id.0) != 0
    }

    /// Its members, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = SubflowId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let next = left.trailing_zeros();
            // Without its lowest bit.
            left &= left.wrapping_sub(1);
            (next < u64::BITS).then_some(SubflowId(next as u16))
        })
    }
}

/// One subflow as a scheduler sees it.
#[derive(Copy, Clone, Debug)]
pub struct PathView {
    /// Which one.
    pub id: SubflowId,
    /// Smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// The shortest round trip seen: without queues, and without delayed acknowledgements. Zero before the first sample.
    pub min_rtt: Duration,
    /// How much it varies (RFC 6298: RTTVAR).
    pub rttvar: Duration,
    /// Congestion window, in bytes.
    pub cwnd: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes that may be sent now (congestion window, loss recovery, queue limit and the peer's window permitting).
    pub room: u64,
    /// When the oldest of them was sent.
    pub oldest_sent: Option<Instant>,
    /// When data last arrived on it.
    pub heard: Option<Instant>,
    /// How fast the path delivered lately, in bytes per second; zero before the first sample.
    pub delivery_rate: u64,
    /// Payload of a full segment, in bytes.
    pub mss: u64,
    /// Either end asked to use it only when nothing else works (RFC 8684, section 3.3.8).
    pub backup: bool,
    /// It does not answer: data was sent, and nothing is acknowledged, not even a probe.
    pub stalled: bool,
    /// Its acknowledgements are overdue, and it was asked whether it lives.
    pub suspected: bool,
}

impl PathView {
    /// Whether it can take a full segment now, or all of `pending` bytes.
    pub fn fits(&self, pending: u64) -> bool {
        self.room >= pending.min(self.mss)
    }

    /// How long until the oldest bytes in flight are acknowledged, as far as one can tell: then there is room again.
    pub fn acknowledgement_due(&self, now: Instant) -> Duration {
        self.oldest_sent.map_or(Duration::ZERO, |at| at + self.srtt - now)
    }

    /// How long a byte sent now is on its way, in seconds: half of the shortest round trip, and behind what is in flight
    /// beyond what the path holds without a queue.
    pub fn one_way(&self) -> f64 {
        let (min_rtt, rate) = (self.min_rtt.as_secs_f64(), self.rate());
        let queue = if rate > 0.0 { (self.in_flight as f64 / rate - min_rtt).max(0.0) } else { 0.0 };
        min_rtt / 2.0 + queue
    }

    /// What its window delivers, in bytes per second; zero before the first round trip was measured.
    pub fn rate(&self) -> f64 {
        if self.srtt.is_zero() { 0.0 } else { self.cwnd as f64 / self.srtt.as_secs_f64() }
    }

    /// What it can deliver, in bytes per second: what its window does, but no more than the path lately did (BBR's window is
    /// twice as large, and a loss-based one is used up only in part where packets are lost).
    pub fn capacity(&self) -> f64 {
        let delivered = if self.delivery_rate > 0 { self.delivery_rate as f64 } else { f64::INFINITY };
        self.rate().min(delivered)
    }
}

/// What is to be sent, and over what.
#[derive(Copy, Clone, Debug)]
pub struct View<'a> {
    /// When it is asked.
    pub now: Instant,
    /// The subflows that can carry data.
    pub paths: &'a [PathView],
    /// Bytes waiting, and allowed by the peer's connection-level window.
    pub pending: u64,
    /// The peer's connection-level window from the first byte that has no DATA_ACK, in bytes; or the send buffer, where
    /// that is smaller: so much can be under way on all subflows together.
    pub window: u64,
    /// Bytes of it that are used: sent, without a DATA_ACK.
    pub in_flight: u64,
    /// For bytes that another subflow was already given: that one (it must not be chosen).
    pub reinjection_of: Option<SubflowId>,
}

impl<'a> View<'a> {
    /// The subflows that may carry this. Those that work before those that do not answer, backups only where nothing else
    /// works: the best rank that exists at all decides, whether or not it has room now. A backup is not for overflow.
    // [8684-3.3.8-1]
    pub fn eligible(&self) -> impl Iterator<Item = &'a PathView> + Clone {
        let of = self.reinjection_of;
        let usable = self.paths.iter().filter(move |p| Some(p.id) != of);
        let rank = |p: &PathView| (p.stalled, p.backup, p.suspected);
        let best = usable.clone().map(rank).min();
        usable.filter(move |p| Some(rank(p)) == best)
    }

    /// Of those the fastest: with the lowest round-trip time, whether or not it has room now.
    pub fn fastest(&self) -> Option<&'a PathView> {
        self.eligible().min_by_key(|p| (p.srtt, p.id))
    }

    /// The fastest of those that have room.
    pub fn fastest_with_room(&self) -> Option<&'a PathView> {
        self.eligible().filter(|p| p.fits(self.pending)).min_by_key(|p| (p.srtt, p.id))
    }
}
