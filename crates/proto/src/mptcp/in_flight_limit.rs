//! How much a subflow may have in flight besides what its congestion window says: no standing queue deeper than it needs,
//! and half as much after it has kept the others waiting.
//!
//! Raiciu et al., "How hard can it be? Designing and implementing a deployable multipath TCP", NSDI 2012, section 4.2,
//! mechanisms 2 (penalising) and 4 (capping the window).

use crate::time::{Duration, Instant};

/// Never less than so many full segments.
const MIN_SEGMENTS: u64 = 4;
/// Round trips whose queue did not shrink with what we have in flight: it is somebody else's...
const PATIENCE: u32 = 5;
/// ...and our share of it is not given up, for so long.
const CONCEDED: Duration = Duration::from_secs(5);
/// Samples looked at together.
const RECENT: usize = 4;

/// The limit of one subflow.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct InFlightLimit {
    /// In bytes; none while the congestion window is all there is.
    bytes: Option<u64>,
    /// What was delivered since the round trip began.
    round: Option<(Instant, u64)>,
    /// The latest round trips measured: the shortest of a few, since delayed acknowledgements say nothing of queues.
    latest: [Option<Duration>; RECENT],
    /// Round trips in a row that took too long although the limit held.
    in_vain: u32,
    conceded_until: Option<Instant>,
    penalised: Option<Instant>,
}

/// What is known of the path when something arrives.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Path {
    pub(crate) now: Instant,
    pub(crate) min_rtt: Duration,
    /// How long packets may wait in queues.
    pub(crate) queue: Duration,
    pub(crate) cwnd: u64,
    /// What was in flight when it arrived.
    pub(crate) in_flight: u64,
    pub(crate) mss: u64,
}

impl InFlightLimit {
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
    pub(crate) fn on_delivered(&mut self, path: &Path, bytes: u64, rtt: Option<Duration>) {
        if let Some((_, delivered)) = &mut self.round {
            *delivered += bytes;
        }
        if let Some(rtt) = rtt {
            self.latest.rotate_right(1);
            self.latest[0] = Some(rtt);
        }
        let (Some((since, delivered)), Some(rtt)) = (self.round, self.recent()) else { return };
        let elapsed = path.now - since;
        if elapsed < path.min_rtt / 2 || self.conceded_until.is_some_and(|until| path.now < until) {
            return;
        }
        // With less in flight it is not we who fill the queue, and the path could deliver more.
        let busy = path.in_flight * 2 >= self.of(path.cwnd);
        if busy && rtt > path.min_rtt + path.queue / 4 {
            let rate = delivered as f64 / elapsed.as_secs_f64();
            let limit = rate * (path.min_rtt + path.queue).as_secs_f64();
            self.bytes = Some((limit as u64).max(MIN_SEGMENTS * path.mss));
        }
    }

    /// A round trip is over. Where packets did not wait, the limit grows by an eighth, and is gone in the end.
    pub(crate) fn on_round(&mut self, path: &Path) {
        self.round = Some((path.now, 0));
        let (Some(limit), Some(rtt)) = (self.bytes, self.recent()) else { return };
        let idle = path.in_flight * 2 < self.of(path.cwnd);
        if idle || rtt <= path.min_rtt + path.queue / 4 {
            let limit = limit + (limit / 8).max(path.mss);
            self.bytes = (limit < 2 * path.cwnd).then_some(limit);
        }
        let over = rtt > path.min_rtt + path.queue && self.binds(path.cwnd);
        self.in_vain = if over { self.in_vain + 1 } else { 0 };
        if self.in_vain >= PATIENCE {
            (self.bytes, self.in_vain, self.conceded_until) = (None, 0, Some(path.now + CONCEDED));
        }
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
