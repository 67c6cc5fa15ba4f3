//! Pacing: a congestion control that asks for a rate gets its packets spread over time, without a queueing discipline
//! below that would do it.
//!
//! Time goes in quanta ([`pacing_quantum`]): what a millisecond carries at that rate, but at least two segments and at
//! most 64 KB. A quantum may leave at once, as one super-segment; the next one when the first would have gone at the
//! rate. So the granularity asked of the timer is a millisecond, coarser below 24 Mbit/s (two segments), and finer above
//! 500 Mbit/s. A timer that is late, as in a busy process it often is, is made up for: what follows goes at up to twice the
//! rate, for at most [`MOST_LATE`]. A pause of the application is not.

use super::{Tcp, Timer};
use crate::congestion::pacing_quantum;
use crate::time::{Duration, Instant};

/// A host that is away for longer has an outage, and nothing to catch up with.
const MOST_LATE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Bytes per second.
    rate: Option<u64>,
    /// Left of the present quantum.
    left: u64,
    /// When what has left would have gone at the rate: the next quantum begins (the earliest departure time).
    next: Instant,
    /// How far this is behind, for want of a punctual timer.
    late: Duration,
}

impl Pacer {
    /// Begins the next quantum, if it is time.
    fn refill(&mut self, now: Instant, mss: u64) {
        if let Some(rate) = self.rate
            && now >= self.next
        {
            let waited = self.left < mss;
            self.late = if waited { (self.late + (now - self.next)).min(MOST_LATE) } else { Duration::ZERO };
            self.left = pacing_quantum(rate, mss);
        }
    }

    /// Bytes per second, where there is a limit.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Bytes that may leave now.
    pub(super) fn room(&self, mss: u64) -> u64 {
        match self.rate {
            None => u64::MAX,
            // No slivers.
            Some(_) if self.left < mss => 0,
            Some(_) => self.left,
        }
    }

    /// `bytes` leave. Returns when the next quantum begins, if this one is used up.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, mss: u64) -> Option<Instant> {
        let rate = self.rate?;
        let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
        let made_up = self.late.min(takes / 2);
        self.late -= made_up;
        self.next = self.next.max(now) + (takes - made_up);
        self.left = self.left.saturating_sub(bytes);
        (self.left < mss).then_some(self.next)
    }
}

impl Tcp {
    /// How fast to send from now on, in bytes per second; none: as fast as the window allows.
    pub(crate) fn set_pacing_rate(&mut self, rate: Option<u64>) {
        // A segment in a second is next to nothing already.
        let Some(rate) = rate.map(|rate| rate.max(self.mss_with(0))) else { return self.pacer = None };
        // Nothing has waited for the first quantum.
        let pacer = self.pacer.get_or_insert_with(|| Box::new(Pacer { left: u64::MAX, ..Pacer::default() }));
        pacer.rate = Some(rate);
    }

    /// It is `now`: another quantum may leave, if it is time for one.
    pub(crate) fn pace(&mut self, now: Instant) {
        let mss = self.mss_with(0);
        if let Some(pacer) = &mut self.pacer {
            pacer.refill(now, mss);
        }
    }

    /// Data leaves, again or for the first time.
    pub(super) fn note_paced(&mut self, now: Instant, bytes: u64) {
        let mss = self.mss_with(0);
        if let Some(next) = self.pacer.as_mut().and_then(|pacer| pacer.on_sent(now, bytes, mss)) {
            self.timers.set(Timer::Pacing, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1_000;
    /// 8 Mbit/s: a quantum of two segments takes two milliseconds.
    const RATE: u64 = 1_000_000;

    /// Sends segment after segment when it may, with a timer that is as late as it is said; returns when each left.
    fn departures(mut pacer: Pacer, from: Instant, late: impl Fn(usize) -> Duration, segments: usize) -> Vec<Instant> {
        let (mut now, mut left) = (from, Vec::new());
        while left.len() < segments {
            pacer.refill(now, MSS);
            assert!(pacer.room(MSS) >= MSS, "nothing may leave at {now:?}");
            while pacer.room(MSS) >= MSS {
                left.push(now);
                if let Some(next) = pacer.on_sent(now, MSS, MSS) {
                    assert_eq!(pacer.room(MSS), 0);
                    now = next + late(left.len());
                }
            }
        }
        left
    }

    fn pacer() -> Pacer {
        Pacer { rate: Some(RATE), ..Pacer::default() }
    }

    #[test]
    fn two_segments_leave_in_two_milliseconds() {
        let at = departures(pacer(), Instant::ZERO, |_| Duration::ZERO, 100);
        for (i, at) in at.iter().enumerate() {
            assert_eq!(at.as_nanos(), i as u64 / 2 * 2_000_000);
        }
    }

    #[test]
    fn a_late_timer_is_made_up_for() {
        for late in [300, 900] {
            let at = departures(pacer(), Instant::ZERO, |_| Duration::from_micros(late), 1_000);
            let took = *at.last().unwrap() - at[0];
            assert!((990..=1_000).contains(&took.as_millis()), "{took:?}");
        }
        // Once by five quanta: never more than one at a time.
        let once = |i| Duration::from_millis(if i == 100 { 10 } else { 0 });
        let at = departures(pacer(), Instant::ZERO, once, 1_000);
        assert_eq!(*at.last().unwrap() - at[0], Duration::from_millis(998));
        assert!(at.windows(3).all(|three| three[2] - three[0] >= Duration::from_millis(1)));
        // A minute is an outage.
        let once = |i| Duration::from_secs(if i == 100 { 60 } else { 0 });
        let at = departures(pacer(), Instant::ZERO, once, 1_000);
        assert_eq!(*at.last().unwrap() - at[0], Duration::from_millis(60_998 - 10));
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut pacer = pacer();
        pacer.refill(Instant::ZERO, MSS);
        let at = departures(pacer, Instant::from_millis(10_000), |_| Duration::ZERO, 10);
        assert_eq!(at.iter().filter(|at| at.as_millis() == 10_000).count(), 2);
        assert_eq!(at[9] - at[0], Duration::from_millis(8));
    }
}
