//! What acknowledgements tell congestion control, and what it makes of them.

use super::Connection;
use super::in_flight_limit::Path;
use crate::SubflowId;
use crate::congestion::{AckSample, Congestion};
use crate::tcp::AckOutcome;
use crate::time::{Duration, Instant};
use crate::trace::{CongestionReason, TraceEvent};

impl Connection {
    /// What round trips say of queues on the way.
    fn measure_queue(&mut self, now: Instant, id: SubflowId, cwnd: u64, out: &AckOutcome) {
        let several = self.has_several_paths();
        let queue = self.config.mechanisms.queue_limit;
        let Some(s) = self.get_mut(id) else { return };
        if !several {
            // There is nobody to be held up.
            s.limit = None;
            return;
        }
        let (min_rtt, mss, in_flight) = (s.tcp.rtt.min().unwrap_or_default(), s.tcp.mss_with(0), out.prior_in_flight);
        let path = Path { now, min_rtt, rate: s.tcp.delivery_rate().unwrap_or_default(), queue, cwnd, in_flight, mss };
        let limit = s.limit.get_or_insert_default();
        limit.on_delivered(&path, out.rtt);
        if out.round_start {
            limit.on_round(&path);
        }
    }

    /// More than one subflow carries the connection: one can hold up another.
    pub(super) fn has_several_paths(&self) -> bool {
        self.is_active() && self.iter().filter(|(_, s)| s.is_usable()).nth(1).is_some()
    }

    pub(super) fn feed_congestion(&mut self, now: Instant, id: SubflowId, cwnd: u64, srtt: Duration, out: &AckOutcome) {
        self.measure_queue(now, id, cwnd, out);
        let limited = self.get(id).and_then(|s| s.limit.as_ref()).is_some_and(|limit| limit.binds(cwnd));
        if out.spurious {
            self.congestion.on_spurious(id, now);
            self.journal.trace(|| TraceEvent::Spurious { subflow: id });
            self.trace_congestion(id, CongestionReason::Spurious);
        }
        let begins = out.congestion || out.recovery_entered;
        if begins {
            self.begin_recovery(now, id, out);
        } else if out.marked {
            // Nothing is sent again for it. [3168-6.1.2-3]
            self.reduce_window(now, id, Congestion::Ecn, out.prior_in_flight);
        }
        let may_grow = out.delivered > 0 && !begins && !out.in_recovery && !out.ece;
        let Some(s) = self.get(id).filter(|_| may_grow || self.congestion.owns_recovery()) else { return };
        let sample = AckSample {
            now,
            delivered: out.delivered,
            in_flight: out.prior_in_flight,
            rtt: out.rtt,
            srtt,
            // In slow start half the window in use is enough to call it limiting (Linux: tcp_is_cwnd_limited).
            cwnd_limited: out.prior_in_flight * 2 >= cwnd && !limited,
            round_start: out.round_start,
            rate: out.rate,
            total_delivered: s.tcp.delivered(),
            in_flight_now: s.tcp.in_flight(),
            lost: out.newly_lost,
            loss_state: s.tcp.loss_state(),
        };
        self.congestion.on_ack(id, &sample);
        self.set_pacing_rate(id);
        if self.congestion.window(id) != cwnd {
            self.trace_congestion(id, CongestionReason::Ack);
        }
    }

    /// Loss was found: the window is reduced, unless it was for this window of data, and PRR spreads that, unless
    /// congestion control sees to it.
    pub(super) fn begin_recovery(&mut self, now: Instant, id: SubflowId, out: &AckOutcome) {
        if out.congestion {
            self.reduce_window(now, id, Congestion::Loss, out.prior_in_flight);
        }
        let (ssthresh, owned) = (self.congestion.ssthresh(id), self.congestion.owns_recovery());
        if let Some(s) = self.get_mut(id).filter(|_| !owned) {
            s.tcp.begin_reduction(ssthresh, out);
        }
    }

    pub(super) fn reduce_window(&mut self, now: Instant, id: SubflowId, what: Congestion, in_flight: u64) {
        self.congestion.on_congestion(id, now, what, in_flight);
        self.trace_congestion(id, what.into());
        if let Some(s) = self.get_mut(id) {
            s.tcp.on_window_reduced();
        }
    }
}
