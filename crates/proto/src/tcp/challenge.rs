//! How often strangers, and ends that disagree, are answered (RFC 5961, section 7).

use crate::time::{Duration, Instant};

/// At most so many answers...
const LIMIT: u32 = 10;
/// ...in so long: the RFC's example.
const PERIOD: Duration = Duration::from_secs(5);

/// Counts challenge ACKs: nobody can make us send many, and two ends that disagree do not talk for ever.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Challenges {
    period_began: Option<Instant>,
    sent: u32,
}

impl Challenges {
    /// Whether one more may be sent.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.period_began.is_none_or(|began| now - began >= PERIOD) {
            *self = Challenges { period_began: Some(now), sent: 0 };
        }
        self.sent += 1;
        self.sent <= LIMIT
    }
}
