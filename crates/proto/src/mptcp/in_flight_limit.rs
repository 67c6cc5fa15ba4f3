//! How much a subflow may have in flight besides what its congestion window says: no standing queue deeper than it needs,
//! and half as much after it has kept the others waiting.
//!
//! Raiciu et al., "How hard can it be? Designing and implementing a deployable multipath TCP", NSDI 2012, section 4.2,
//! mechanisms 2 (penalising) and 4 (capping the window).

use crate::time::{Duration, Instant};

/// Never less than so many full segments.
const MIN_SEGMENTS: u64 = 4;
/// Round trips whose queue did not shrink with what we have in flight: it is somebody else's, or no queue at all...
const PATIENCE: u32 = 2;
/// ...and so long that round trip counts as the shortest. Twice as long each time.
const CONCEDED: Duration = Duration::from_secs(5);
const MAX_CONCEDED: Duration = Duration::from_secs(300);
/// Samples looked at together.
const RECENT: usize = 4;

/// The limit of one subflow.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct InFlightLimit {
    /// In bytes; none while the congestion window is all there is.
    bytes: Option<u64>,
    /// The latest round trips measured: the shortest of a few, since delayed acknowledgements say nothing of queues.
    latest: [Option<Duration>; RECENT],
    /// Round trips in a row that took too long although the limit held, and how long the last one took.
    in_vain: (u32, Duration),
    /// What counts as the shortest round trip, until when, and for how long that was.
    conceded: Option<(Duration, Instant, Duration)>,
    penalised: Option<Instant>,
}

/// What is known of the path when something arrives.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Path {
    pub(crate) now: Instant,
    pub(crate) min_rtt: Duration,
    /// What the path delivers, in bytes per second; zero: not known.
    pub(crate) rate: u64,
    /// How long packets may wait in queues. None: as long as they do.
    pub(crate) queue: Option<Duration>,
    pub(crate) cwnd: u64,
    /// What was in flight when it arrived.
    pub(crate) in_flight: u64,
    pub(crate) mss: u64,
}

impl InFlightLimit {
    /// It limits nothing, and never had to.
    pub(crate) fn is_none(&self) -> bool {
        self.bytes.is_none() && self.conceded.is_none() && self.penalised.is_none()
    }

    /// What is left of a congestion window.
    pub(crate) fn of(&self, cwnd: u64) -> u64 {
        self.bytes.map_or(cwnd, |limit| limit.min(cwnd))
    }

    /// What may be sent with so much in flight.
    pub(crate) fn room(&self, in_flight: u64) -> u64 {
        self.bytes.map_or(u64::MAX, |limit| limit.saturating_sub(in_flight))
    }

    /// It, and not the congestion window, is what limits sending.
    pub(crate) fn binds(&self, cwnd: u64) -> bool {
        self.bytes.is_some_and(|limit| limit < cwnd)
    }

    /// Something arrived, and took so long. Where packets wait in queues, what is delivered is what the path delivers: so
    /// much, for the shortest round trip and the wait allowed, may be in flight.
    pub(crate) fn on_delivered(&mut self, path: &Path, rtt: Option<Duration>) {
        if let Some(rtt) = rtt {
            self.latest.rotate_right(1);
            self.latest[0] = Some(rtt);
        }
        let (Some(queue), Some(rtt)) = (path.queue, self.recent()) else { return };
        // With less in flight it is not we who fill the queue, and the path could deliver more.
        let busy = path.in_flight * 2 >= self.of(path.cwnd) && path.rate > 0;
        let base = self.base(path);
        if busy && rtt > base + queue / 4 {
            let limit = path.rate as f64 * (base + queue).as_secs_f64();
            self.bytes = Some((limit as u64).max(MIN_SEGMENTS * path.mss));
        }
    }

    /// A round trip is over. Where packets did not wait, the limit grows by an eighth, and is gone in the end.
    pub(crate) fn on_round(&mut self, path: &Path) {
        let (Some(limit), Some(rtt)) = (self.bytes, self.recent()) else { return };
        let queue = path.queue.unwrap_or(Duration::MAX);
        let base = self.base(path);
        let idle = path.in_flight * 2 < self.of(path.cwnd);
        if idle || rtt.saturating_sub(base) <= queue / 4 {
            let limit = limit + (limit / 8).max(path.mss);
            self.bytes = (limit < 2 * path.cwnd).then_some(limit);
        }
        let over = rtt.saturating_sub(base) > queue && self.binds(path.cwnd);
        let (rounds, before) = self.in_vain;
        let no_better = over && rtt >= before.mul_f64(0.9);
        self.in_vain = (if no_better { rounds + 1 } else { 0 }, if over { rtt } else { Duration::ZERO });
        if self.in_vain.0 > PATIENCE {
            let lasting = self.conceded.map_or(CONCEDED, |(.., lasting)| (lasting * 2).min(MAX_CONCEDED));
            self.conceded = Some((rtt, path.now + lasting, lasting));
            (self.bytes, self.in_vain) = (None, (0, Duration::ZERO));
        }
    }

    /// The shortest round trip, as far as it is still true.
    fn base(&self, path: &Path) -> Duration {
        self.conceded
            .filter(|(_, until, _)| path.now < *until)
            .map_or(path.min_rtt, |(base, ..)| base.max(path.min_rtt))
    }

    /// The shortest of the latest round trips; none before there are enough.
    fn recent(&self) -> Option<Duration> {
        self.latest.iter().copied().min().flatten()
    }

    /// It kept the others waiting: half of what it has in flight, once in a round trip.
    pub(crate) fn penalise(&mut self, now: Instant, srtt: Duration, in_flight: u64, mss: u64) {
        if self.penalised.is_none_or(|at| now - at >= srtt) {
            self.penalised = Some(now);
            self.bytes = Some((in_flight / 2).max(MIN_SEGMENTS * mss));
        }
    }
}
