//! What a link does to a frame: pure arithmetic, no events and no packets.
//!
//! One [`LinkDirection`] is one direction of a link: a tail-drop queue of bounded bytes in front of a wire of some
//! rate and delay. Each frame is asked about once, when it is offered; the answer says when it arrives or why it
//! never does.

use std::collections::VecDeque;
use std::time::Duration;

use polypath_proto::Instant;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::red::{Red, RedState};

/// Bytes that each frame takes on the wire and in the queue besides its IP packet: the Ethernet header, as Linux
/// counts it in its queueing disciplines.
pub const FRAME_OVERHEAD: u32 = 14;

/// How many bits go onto a wire in a second.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(Option<u64>);

impl Rate {
    /// A wire onto which any frame goes in no time.
    pub const UNLIMITED: Self = Self(None);

    /// Bits in a second. Zero counts as one: a link that carries nothing is a link that is down.
    pub const fn bits(bits: u64) -> Self {
        Self(Some(if bits == 0 { 1 } else { bits }))
    }

    /// Kilobits (1,000 bits) in a second.
    pub const fn kbit(kbit: u64) -> Self {
        Self::bits(kbit * 1_000)
    }

    /// Megabits (1,000,000 bits) in a second.
    pub const fn mbit(mbit: u64) -> Self {
        Self::bits(mbit * 1_000_000)
    }

    /// Bits in a second, `None` if unlimited.
    pub const fn as_bits(self) -> Option<u64> {
        self.0
    }

    /// How long so many bytes take to go onto the wire, rounded down to the nanosecond.
    pub fn time_for(self, bytes: u64) -> Duration {
        let Some(rate) = self.0 else {
            return Duration::ZERO;
        };
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many whole bytes go onto the wire in this time, `u64::MAX` if unlimited.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let Some(rate) = self.0 else { return u64::MAX };
        let bytes = time.as_nanos() * u128::from(rate) / 8 / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// The properties of one direction of a link. All may change while frames are under way.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkParams {
    /// How fast frames leave the queue. A change counts for frames offered after it.
    pub rate: Rate,
    /// Propagation delay, after the last bit has left.
    pub delay: Duration,
    /// Bytes that may wait behind the frame which is being sent, [`FRAME_OVERHEAD`] included. The frame that would
    /// go over is dropped (tail drop).
    pub queue_bytes: u64,
    /// Drops before that, where there is an active queue management.
    pub red: Option<Red>,
    /// Probability that a frame is lost on the wire, independent of all others. 0 to 1.
    pub loss: f64,
    /// Probability that a frame arrives twice. 0 to 1.
    pub duplicate: f64,
    /// Each frame is late by a random time up to this, but never overtaken for that reason.
    pub jitter: Duration,
    /// Probability that a frame is held up on its way while later ones pass. 0 to 1.
    pub reorder: f64,
    /// How long a frame that is held up is late, at most.
    pub reorder_delay: Duration,
}

impl LinkParams {
    /// A clean link whose queue holds what it sends in 100 ms, at least 32 full-sized frames.
    pub fn new(rate: Rate, delay: Duration) -> Self {
        let queue_bytes = match rate.as_bits() {
            Some(_) => rate.bytes_in(Duration::from_millis(100)).max(32 * 1514),
            None => u64::MAX,
        };
        Self {
            rate,
            delay,
            queue_bytes,
            red: None,
            loss: 0.0,
            duplicate: 0.0,
            jitter: Duration::ZERO,
            reorder: 0.0,
            reorder_delay: Duration::ZERO,
        }
    }

    /// The same with another queue limit in bytes.
    #[must_use]
    pub fn queue(mut self, bytes: u64) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// The same with a queue that drops early.
    #[must_use]
    pub fn red(mut self, red: Red) -> Self {
        self.red = Some(red);
        self
    }

    /// The same with another probability of loss, 0 to 1.
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }
}

/// Why a frame never arrives.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The link is down.
    Down,
    /// The queue is full.
    QueueFull,
    /// The queue is long, and drops early.
    Early,
    /// Lost on the wire.
    Lost,
    /// Longer than the link's MTU.
    TooBig,
}

/// What happens to one frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It arrives.
    Deliver {
        /// When its last bit is there.
        at: Instant,
        /// When a second copy of it is there.
        copy: Option<Instant>,
    },
    /// It does not arrive.
    Dropped(DropReason),
}

/// What one direction of a link has seen.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkStats {
    /// Frames offered.
    pub offered: u64,
    /// Frames that arrive, copies not counted.
    pub delivered: u64,
    /// Bytes of IP packets that arrive, copies not counted.
    pub delivered_bytes: u64,
    /// Frames dropped at a full queue.
    pub queue_full: u64,
    /// Frames dropped early.
    pub early: u64,
    /// Frames lost on the wire.
    pub lost: u64,
    /// Frames offered while the link was down, or under way when it went down.
    pub down: u64,
    /// Frames over the MTU.
    pub too_big: u64,
    /// Frames that arrive twice.
    pub duplicated: u64,
    /// Frames held up.
    pub reordered: u64,
    /// Longest time any frame waited before its first bit left.
    pub longest_wait: Duration,
}

/// One direction of a link.
#[derive(Debug)]
pub struct LinkDirection {
    params: LinkParams,
    mtu: u32,
    up: bool,
    /// Counts how often the link went down: frames from before a cut never arrive.
    cuts: u32,
    /// When the last bit of the last queued frame leaves.
    busy_until: Instant,
    /// Frames that have not begun to leave: when each does, and its length.
    waiting: VecDeque<(Instant, u32)>,
    waiting_bytes: u64,
    red: RedState,
    /// The arrival that later ones do not overtake by jitter alone.
    last_arrival: Instant,
    rng: ChaCha8Rng,
    stats: LinkStats,
    /// When payload arrives, and how many bytes, where somebody wants to know.
    passages: Option<Vec<(Instant, u32)>>,
}

impl LinkDirection {
    /// A link direction that is up and empty. `mtu` is the longest IP packet in bytes.
    pub fn new(params: LinkParams, mtu: u32, rng: ChaCha8Rng) -> Self {
        Self {
            params,
            mtu,
            up: true,
            cuts: 0,
            busy_until: Instant::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            red: RedState::default(),
            last_arrival: Instant::ZERO,
            rng,
            stats: LinkStats::default(),
            passages: None,
        }
    }

    /// From now on keeps account of when payload arrives: [`passages`](Self::passages).
    pub fn keep_passages(&mut self) {
        self.passages.get_or_insert_default();
    }

    /// When frames with payload arrive, and its bytes; in the order they were offered. Copies are not counted.
    pub fn passages(&self) -> &[(Instant, u32)] {
        self.passages.as_deref().unwrap_or_default()
    }

    /// A frame that was offered arrives then, with so many bytes of payload.
    pub(crate) fn note_passage(&mut self, at: Instant, payload: usize) {
        if let Some(passages) = self.passages.as_mut().filter(|_| payload > 0) {
            passages.push((at, payload as u32));
        }
    }

    /// Takes an IP packet of `len` bytes at `now`, which never runs backwards, and says what becomes of it.
    pub fn offer(&mut self, now: Instant, len: u32) -> Verdict {
        self.stats.offered += 1;
        match self.admit(now, len) {
            Ok(departed) => self.propagate(departed, len),
            Err(reason) => self.dropped(reason),
        }
    }

    /// Queues the frame: when its last bit leaves.
    fn admit(&mut self, now: Instant, len: u32) -> Result<Instant, DropReason> {
        if !self.up {
            return Err(DropReason::Down);
        }
        if len > self.mtu {
            return Err(DropReason::TooBig);
        }
        self.advance(now);
        let frame = len + FRAME_OVERHEAD;
        if self.drops_early(now, frame) {
            return Err(DropReason::Early);
        }
        let start = self.busy_until.max(now);
        if start > now {
            if self.waiting_bytes + u64::from(frame) > self.params.queue_bytes {
                return Err(DropReason::QueueFull);
            }
            self.waiting.push_back((start, frame));
            self.waiting_bytes += u64::from(frame);
            self.stats.longest_wait = self.stats.longest_wait.max(start - now);
        }
        self.busy_until = start + self.params.rate.time_for(u64::from(frame));
        Ok(self.busy_until)
    }

    fn drops_early(&mut self, now: Instant, frame: u32) -> bool {
        let Some(red) = self.params.red else { return false };
        let each = self.params.rate.time_for(u64::from(frame)).as_secs_f64().max(1e-9);
        let idle = (now - self.busy_until).as_secs_f64() / each;
        let probability = self.red.probability(&red, self.waiting_bytes, idle);
        let drops = self.happens(probability);
        if drops {
            self.red.dropped();
        }
        drops
    }

    /// Sends the frame over the wire.
    fn propagate(&mut self, departed: Instant, len: u32) -> Verdict {
        if self.happens(self.params.loss) {
            return self.dropped(DropReason::Lost);
        }
        let mut at = departed + self.params.delay;
        if self.happens(self.params.reorder) {
            at += self.up_to(self.params.reorder_delay);
            self.stats.reordered += 1;
        } else {
            at = (at + self.up_to(self.params.jitter)).max(self.last_arrival);
            self.last_arrival = at;
        }
        let copy = self.happens(self.params.duplicate).then(|| {
            self.stats.duplicated += 1;
            at + self.up_to(self.params.reorder_delay)
        });
        self.stats.delivered += 1;
        self.stats.delivered_bytes += u64::from(len);
        Verdict::Deliver { at, copy }
    }

    fn dropped(&mut self, reason: DropReason) -> Verdict {
        match reason {
            DropReason::Down => self.stats.down += 1,
            DropReason::Early => self.stats.early += 1,
            DropReason::QueueFull => self.stats.queue_full += 1,
            DropReason::Lost => self.stats.lost += 1,
            DropReason::TooBig => self.stats.too_big += 1,
        }
        Verdict::Dropped(reason)
    }

    /// A frame that was under way when the link went down did not arrive after all.
    pub fn lost_in_cut(&mut self, len: u32) {
        // Of a frame delivered twice, the copy was never counted.
        self.stats.delivered = self.stats.delivered.saturating_sub(1);
        self.stats.delivered_bytes = self.stats.delivered_bytes.saturating_sub(u64::from(len));
        self.stats.down += 1;
    }

    /// Bytes that wait at `now`, [`FRAME_OVERHEAD`] included.
    pub fn queued(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.waiting_bytes
    }

    /// How long a frame would wait before its first bit leaves, were it offered now.
    pub fn wait(&self, now: Instant) -> Duration {
        self.busy_until - now
    }

    fn advance(&mut self, now: Instant) {
        while let Some(&(start, len)) = self.waiting.front() {
            if start > now {
                break;
            }
            self.waiting.pop_front();
            self.waiting_bytes -= u64::from(len);
        }
    }

    /// Takes the link down or up. What is queued or under way when it goes down is lost.
    pub fn set_up(&mut self, now: Instant, up: bool) {
        if self.up && !up {
            self.cuts += 1;
            self.waiting.clear();
            self.waiting_bytes = 0;
            self.busy_until = now;
            self.last_arrival = now;
            if let Some(passages) = &mut self.passages {
                passages.retain(|(at, _)| *at <= now);
            }
        }
        self.up = up;
    }

    /// Whether frames pass.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// How often the link went down. A frame offered at another count than the present one is lost.
    pub fn cuts(&self) -> u32 {
        self.cuts
    }

    /// The present properties.
    pub fn params(&self) -> &LinkParams {
        &self.params
    }

    /// The properties, to change for frames offered from now on.
    pub fn params_mut(&mut self) -> &mut LinkParams {
        &mut self.params
    }

    /// What passed so far.
    pub fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// One draw, and none for a probability of zero: a clean link costs no randomness.
    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(self.rng.random_range(0..=nanos)) }
    }
}
