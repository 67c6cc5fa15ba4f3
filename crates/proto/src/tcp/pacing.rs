//! Pacing: a congestion control that asks for a rate gets its packets spread over time, without a queueing discipline
//! below that would do it.
//!
//! Time goes in quanta ([`pacing_quantum`]): what a millisecond carries at that rate, but at least two segments and at
//! most 64 KB. A quantum may leave at once, as one super-segment; the next one when the first would have gone at the
//! rate. So the granularity asked of the timer is a millisecond, coarser below 24 Mbit/s (two segments), and finer above
//! 500 Mbit/s. A timer that is late is made up for, by at most half a quantum each time; a pause is not.

use super::{Tcp, Timer};
use crate::congestion::pacing_quantum;
use crate::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Bytes per second.
    rate: Option<u64>,
    /// Left of the present quantum.
    left: u64,
    /// When what has left would have gone at the rate: the next quantum begins (the earliest departure time).
    next: Instant,
}

impl Pacer {
    /// Begins the next quantum, if it is time.
    fn refill(&mut self, now: Instant, mss: u64) {
        if let Some(rate) = self.rate
            && now >= self.next
        {
            self.left = pacing_quantum(rate, mss);
        }
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
        let late = now - self.next;
        self.next = self.next.max(now) + (takes - late.min(takes / 2));
        self.left = self.left.saturating_sub(bytes);
        (self.left < mss).then_some(self.next)
    }
}

impl Tcp {
    /// How fast to send from now on, in bytes per second; none: as fast as the window allows.
    pub(crate) fn set_pacing_rate(&mut self, rate: Option<u64>) {
        // A segment in a second is next to nothing already.
        self.pacer.rate = rate.map(|rate| rate.max(self.mss_with(0)));
    }

    /// It is `now`: another quantum may leave, if it is time for one.
    pub(crate) fn pace(&mut self, now: Instant) {
        if self.pacer.rate.is_some() {
            let mss = self.mss_with(0);
            self.pacer.refill(now, mss);
        }
    }

    /// Data leaves, again or for the first time.
    pub(super) fn note_paced(&mut self, now: Instant, bytes: u64) {
        if self.pacer.rate.is_some()
            && let Some(next) = self.pacer.on_sent(now, bytes, self.mss_with(0))
        {
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

    /// Sends segment after segment when it may, with a timer that is late by `late`; returns when each left.
    fn departures(mut pacer: Pacer, from: Instant, late: Duration, segments: usize) -> Vec<Instant> {
        let (mut now, mut left) = (from, Vec::new());
        while left.len() < segments {
            pacer.refill(now, MSS);
            assert!(pacer.room(MSS) >= MSS, "nothing may leave at {now:?}");
            while pacer.room(MSS) >= MSS {
                left.push(now);
                if let Some(next) = pacer.on_sent(now, MSS, MSS) {
                    assert_eq!(pacer.room(MSS), 0);
                    now = next + late;
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
        let at = departures(pacer(), Instant::ZERO, Duration::ZERO, 100);
        for (i, at) in at.iter().enumerate() {
            assert_eq!(at.as_nanos(), i as u64 / 2 * 2_000_000);
        }
    }

    #[test]
    fn a_late_timer_is_made_up_for() {
        let late = Duration::from_micros(300);
        let at = departures(pacer(), Instant::ZERO, late, 1_000);
        let took = *at.last().unwrap() - at[0];
        assert!(took <= Duration::from_millis(1_000), "{took:?}");
        assert!(took >= Duration::from_millis(990), "{took:?}");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let at = departures(pacer(), Instant::from_millis(10_000), Duration::ZERO, 10);
        // Half a quantum at most.
        assert_eq!(at.iter().filter(|at| at.as_millis() == 10_000).count(), 2);
        assert!(at[9] - at[0] >= Duration::from_millis(7), "{at:?}");
    }
}
