//! How much a subflow may have in flight besides what its congestion window says: no standing queue deeper than it needs,
//! and half as much after it has kept the others waiting.
//!
//! Raiciu et al., "How hard can it be? Designing and implementing a deployable multipath TCP", NSDI 2012, section 4.2,
//! mechanisms 2 (penalising) and 4 (capping the window).

use crate::time::{Duration, Instant};

/// Never less than so many full segments.
const MIN_SEGMENTS: u64 = 4;

/// The limit of one subflow.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct InFlightLimit {
    /// In bytes; none while the congestion window is all there is.
    bytes: Option<u64>,
    /// The shortest round trip since the last one began: delayed acknowledgements say nothing of queues.
    shortest: Option<Duration>,
    penalised: Option<Instant>,
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

    /// An acknowledgement measured the path.
    pub(crate) fn on_rtt(&mut self, rtt: Duration) {
        self.shortest = Some(self.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
    }

    /// A round trip is over: packets waited in queues for its time beyond `min_rtt`. What was in flight for it is cut to
    /// what makes them wait for `queue`; where they wait less, the limit grows by an eighth and is gone in the end.
    pub(crate) fn on_round(&mut self, min_rtt: Duration, queue: Duration, in_flight: u64, cwnd: u64, mss: u64) {
        let Some(rtt) = self.shortest.take() else { return };
        let target = min_rtt + queue;
        if rtt > target {
            let held = in_flight.min(self.of(cwnd)) as f64;
            let limit = held * target.as_secs_f64() / rtt.as_secs_f64();
            self.bytes = Some((limit as u64).max(MIN_SEGMENTS * mss));
        } else if let Some(limit) = self.bytes {
            let limit = limit + (limit / 8).max(mss);
            self.bytes = (limit < 2 * cwnd).then_some(limit);
        }
    }

    /// It kept the others waiting: half of what it has in flight, once in a round trip.
    pub(crate) fn penalise(&mut self, now: Instant, srtt: Duration, in_flight: u64, mss: u64) {
        if self.penalised.is_none_or(|at| now - at >= srtt) {
            self.penalised = Some(now);
            self.bytes = Some((in_flight / 2).max(MIN_SEGMENTS * mss));
        }
    }
}
