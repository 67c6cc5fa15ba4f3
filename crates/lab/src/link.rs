//! One direction of an emulated link as arithmetic: no clock, no sockets, no threads.
//!
//! A frame that arrives waits in a first-in first-out queue bounded in bytes (tail drop), is sent at the link's
//! rate, may be lost on the way, and comes out a propagation delay later. Departures are computed when the frame
//! arrives, so the caller only has to deliver in time; a late caller never lowers the rate.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use polypath_sim::{Red, RedState};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What an Ethernet header adds to an IP packet, in bytes: a link's rate and queue count whole frames.
pub const ETHERNET_HEADER: usize = 14;

/// Nanoseconds since an epoch of the caller's choice.
pub type Nanos = u64;

/// A link rate in bits per second, at least 1.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(u64);

impl Rate {
    /// A rate in bits per second; zero becomes 1, since a link that sends nothing is one that is cut.
    #[must_use]
    pub const fn bits_per_second(bits: u64) -> Self {
        Self(if bits == 0 { 1 } else { bits })
    }

    /// A rate in megabits per second (10^6).
    #[must_use]
    pub const fn mbit(megabits: u64) -> Self {
        Self::bits_per_second(megabits.saturating_mul(1_000_000))
    }

    /// Bits per second.
    #[must_use]
    pub const fn as_bits_per_second(self) -> u64 {
        self.0
    }

    /// Time to send `bytes`, rounded down to a nanosecond.
    #[must_use]
    pub fn transmission_time(self, bytes: u64) -> Nanos {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.0);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Bytes sent in `time`, rounded down: the queue that takes that long to drain.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = u128::from(self.0) * time.as_nanos() / 8 / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Mbit/s", self.0 as f64 / 1e6)
    }
}

/// What one direction of a link does to frames.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct LinkSpec {
    /// Sending rate, counted over IP packet plus [`ETHERNET_HEADER`]; `None` sends at once.
    pub rate: Option<Rate>,
    /// Propagation delay, one way.
    pub delay: Duration,
    /// Bytes of frames that may wait behind the one being sent. A frame that does not fit is dropped.
    pub queue: u64,
    /// Drops before that, where there is an active queue management.
    pub red: Option<Red>,
    /// Probability that a frame is lost after it was sent, 0 to 1, independent for each frame.
    pub loss: f64,
}

/// Packets and the bytes of IP in them (without Ethernet headers, as interface counters count on a TUN).
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }

    /// Bytes with the Ethernet header of each packet: what the rate is counted over.
    #[must_use]
    pub const fn frame_bytes(self) -> u64 {
        self.bytes + self.packets * ETHERNET_HEADER as u64
    }
}

/// What became of the frames of one direction. Every frame that arrived is in exactly one of the other counts, or
/// still on its way.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct LinkCounters {
    /// Arrived at the link.
    pub arrived: Count,
    /// Came out at the far end.
    pub delivered: Count,
    /// Dropped because the queue was full, or long where it drops early.
    pub dropped_by_queue: Count,
    /// Lost at random.
    pub lost: Count,
    /// Dropped because the link was cut, on arrival or on the way.
    pub dropped_by_cut: Count,
}

struct Frame<T> {
    starts: Nanos,
    delivers: Nanos,
    len: usize,
    /// `None` once the frame is known to be lost: it still takes its time on the link.
    item: Option<T>,
}

/// One direction of a link with the frames on it; `T` is whatever stands for a frame.
pub struct Link<T> {
    spec: LinkSpec,
    loss: ChaCha8Rng,
    red: RedState,
    up: bool,
    /// When the sender is free again.
    free_at: Nanos,
    frames: VecDeque<Frame<T>>,
    /// How many of `frames`, from the front, have begun to be sent and so no longer wait in the queue.
    begun: usize,
    waiting_bytes: u64,
    counters: LinkCounters,
}

impl<T> Link<T> {
    /// A link that is up and empty. `seed` decides which frames are lost.
    #[must_use]
    pub fn new(spec: LinkSpec, seed: [u8; 32]) -> Self {
        Self {
            spec,
            loss: ChaCha8Rng::from_seed(seed),
            red: RedState::default(),
            up: true,
            free_at: 0,
            frames: VecDeque::new(),
            begun: 0,
            waiting_bytes: 0,
            counters: LinkCounters::default(),
        }
    }

    /// A frame with `len` bytes of IP arrives at time `now`, which must not lie before that of an earlier call.
    /// Returns whether the link took it.
    pub fn arrive(&mut self, now: Nanos, len: usize, item: T) -> bool {
        self.counters.arrived.add(len);
        if !self.up {
            self.counters.dropped_by_cut.add(len);
            return false;
        }
        let frame_bytes = (len + ETHERNET_HEADER) as u64;
        let starts = self.free_at.max(now);
        let full = starts > now && self.waiting_bytes(now) + frame_bytes > self.spec.queue;
        // Early detection sees every frame: its mean grows while the queue is full, too.
        if self.drops_early(now, frame_bytes) || full {
            self.counters.dropped_by_queue.add(len);
            return false;
        }
        let sending = self.spec.rate.map_or(0, |rate| rate.transmission_time(frame_bytes));
        self.free_at = starts + sending;
        self.waiting_bytes += frame_bytes;
        let item = if self.loses() { None } else { Some(item) };
        let delay = u64::try_from(self.spec.delay.as_nanos()).unwrap_or(u64::MAX);
        self.frames.push_back(Frame { starts, delivers: self.free_at.saturating_add(delay), len, item });
        true
    }

    /// When the next frame is due at the far end.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Nanos> {
        self.frames.front().map(|frame| frame.delivers)
    }

    /// The next frame due at or before `now`, with the time it was due; lost frames are passed over.
    pub fn deliver(&mut self, now: Nanos) -> Option<(Nanos, T)> {
        while self.next_delivery()? <= now {
            let frame = self.pop()?;
            match frame.item {
                Some(item) => {
                    self.counters.delivered.add(frame.len);
                    return Some((frame.delivers, item));
                }
                None => self.counters.lost.add(frame.len),
            }
        }
        None
    }

    /// Cuts the link or brings it back. A cut is silent and takes everything with it: what waits, what is on the
    /// way, and what arrives until the link is up again.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        if up {
            return;
        }
        while let Some(frame) = self.pop() {
            self.counters.dropped_by_cut.add(frame.len);
        }
        self.free_at = 0;
    }

    /// What it does to frames.
    #[must_use]
    pub const fn spec(&self) -> &LinkSpec {
        &self.spec
    }

    /// Whether the link is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// What has become of the frames so far.
    #[must_use]
    pub const fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Bytes of frames that wait to be sent at `now`, without the one being sent.
    pub fn waiting_bytes(&mut self, now: Nanos) -> u64 {
        while let Some(frame) = self.frames.get(self.begun)
            && frame.starts <= now
        {
            self.waiting_bytes -= (frame.len + ETHERNET_HEADER) as u64;
            self.begun += 1;
        }
        self.waiting_bytes
    }

    /// How long a frame that arrives at `now` would wait before it is sent: for those in the queue, and for the rest of
    /// the one being sent.
    #[must_use]
    pub const fn queueing_delay(&self, now: Nanos) -> Nanos {
        self.free_at.saturating_sub(now)
    }

    /// When all that has arrived will have been sent.
    pub(crate) const fn free_at(&self) -> Nanos {
        self.free_at
    }

    fn pop(&mut self) -> Option<Frame<T>> {
        let frame = self.frames.pop_front()?;
        if self.begun > 0 {
            self.begun -= 1;
        } else {
            self.waiting_bytes -= (frame.len + ETHERNET_HEADER) as u64;
        }
        Some(frame)
    }

    fn drops_early(&mut self, now: Nanos, frame_bytes: u64) -> bool {
        let (Some(red), Some(rate)) = (self.spec.red, self.spec.rate) else { return false };
        let idle = now.saturating_sub(self.free_at) as f64 / rate.transmission_time(frame_bytes).max(1) as f64;
        let queued = self.waiting_bytes(now);
        let probability = self.red.probability(&red, queued, idle);
        let drops = self.happens(probability);
        if drops {
            self.red.dropped();
        }
        drops
    }

    fn loses(&mut self) -> bool {
        self.happens(self.spec.loss)
    }

    /// One draw, and none for a probability of zero: a clean link costs no randomness.
    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && f64::from(self.loss.next_u32()) < probability * 4_294_967_296.0
    }
}
