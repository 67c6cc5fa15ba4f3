//! HyStart++ (RFC 9406): slow start ends when the round trip grows, before the queue overflows.

use crate::time::Duration;

/// RFC 9406, section 4.3, as all constants here: a round trip that grew by this much, at least and at most...
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
/// ...and in between by this part of itself.
const MIN_RTT_DIVISOR: u32 = 8;
/// Samples of a round that say enough of it.
const N_RTT_SAMPLE: u32 = 8;
/// Rounds of slower growth before slow start is over.
const CSS_ROUNDS: u32 = 5;

/// How slow start goes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// By all that was delivered.
    Full,
    /// By a quarter of it: conservative slow start.
    Quarter,
    /// It is over.
    Over,
}

/// Watches the shortest round trip of each round.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct HyStart {
    current: Option<Duration>,
    last: Option<Duration>,
    samples: u32,
    conservative: Option<Conservative>,
}

/// Conservative slow start: was it the queue, or chance?
#[derive(Copy, Clone, Debug)]
struct Conservative {
    baseline: Duration,
    rounds: u32,
}

impl HyStart {
    /// An acknowledgement in slow start; `round_start`: all that was out when the last round began has arrived.
    pub(super) fn on_ack(&mut self, round_start: bool, rtt: Option<Duration>) -> Growth {
        if round_start {
            self.last = self.current.take();
            self.samples = 0;
            if let Some(css) = &mut self.conservative {
                css.rounds += 1;
            }
        }
        if let Some(rtt) = rtt {
            self.current = Some(self.current.map_or(rtt, |min| min.min(rtt)));
            self.samples += 1;
        }
        self.decide();
        match self.conservative {
            None => Growth::Full,
            Some(css) if css.rounds < CSS_ROUNDS => Growth::Quarter,
            Some(_) => Growth::Over,
        }
    }

    fn decide(&mut self) {
        let Some(current) = self.current.filter(|_| self.samples >= N_RTT_SAMPLE) else { return };
        match (self.conservative, self.last) {
            (None, Some(last)) => {
                let threshold = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                if current >= last + threshold {
                    self.conservative = Some(Conservative { baseline: current, rounds: 0 });
                }
            }
            // The queue is gone: it was something else that made the way longer.
            (Some(css), _) if current < css.baseline => self.conservative = None,
            _ => {}
        }
    }
}
