//! Round-trip time and retransmission timeout (RFC 6298).

use crate::time::{Duration, Instant};

/// RFC 6298 asks for a second (section 2.4, SHOULD); Linux has used 200 ms for two decades, and a handover
/// cannot wait longer.
// [6298-2.4-1]
pub(crate) const MIN_RTO: Duration = Duration::from_millis(200);
/// RFC 6298, section 2.5: at least 60 seconds.
// [6298-2.5-1]
pub(crate) const MAX_RTO: Duration = Duration::from_secs(60);
/// RFC 6298, section 2.1.
pub(crate) const INITIAL_RTO: Duration = Duration::from_secs(1);
/// RFC 6298, section 5.7: where a SYN timed out, and nothing was measured.
const RTO_AFTER_SYN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a minimum is believed (Linux: tcp_min_rtt_wlen).
const MIN_RTT_LIFE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct RttEstimator {
    srtt: Option<Duration>,
    rttvar: Duration,
    min: Option<(Duration, Instant)>,
    syn_timed_out: bool,
    /// Samples of this round trip, and of the one before.
    samples: u32,
    expected: u32,
}

impl RttEstimator {
    pub(crate) fn on_sample(&mut self, now: Instant, rtt: Duration) {
        match self.srtt {
            None => {
                // RFC 6298, section 2.2. [6298-2.2-1]
                self.srtt = Some(rtt);
                self.rttvar = rtt / 2;
            }
            Some(srtt) => {
                // A round trip has many samples, and together they weigh as one. [7323-4.2-1]
                let n = self.expected.max(1);
                // RFC 6298, section 2.3: alpha = 1/8, beta = 1/4. [6298-2.3-1, 6298-2.3-2]
                self.rttvar = (self.rttvar * (4 * n - 1) + srtt.abs_diff(rtt)) / (4 * n);
                self.srtt = Some((srtt * (8 * n - 1) + rtt) / (8 * n));
            }
        }
        self.samples += 1;
        if self.min.is_none_or(|(min, at)| rtt <= min || now - at > MIN_RTT_LIFE) {
            self.min = Some((rtt, now));
        }
    }

    /// A new round trip begins.
    pub(crate) fn on_round_start(&mut self) {
        self.expected = core::mem::take(&mut self.samples);
    }

    /// A SYN or SYN/ACK was sent again because of the timer.
    pub(crate) fn on_syn_timeout(&mut self) {
        self.syn_timed_out = true;
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    pub(crate) fn rttvar(&self) -> Duration {
        self.rttvar
    }

    pub(crate) fn min(&self) -> Option<Duration> {
        self.min.map(|(min, _)| min)
    }

    /// The timeout before any backoff.
    pub(crate) fn rto(&self) -> Duration {
        match self.srtt {
            // [6298-5-7]
            None if self.syn_timed_out => RTO_AFTER_SYN_TIMEOUT,
            // [6298-2.1-1]
            None => INITIAL_RTO,
            Some(srtt) => (srtt + self.rttvar * 4).clamp(MIN_RTO, MAX_RTO),
        }
    }
}
