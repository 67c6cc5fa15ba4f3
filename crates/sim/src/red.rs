//! Random early detection (Floyd and Jacobson, "Random early detection gateways for congestion avoidance", IEEE/ACM
//! Transactions on Networking 1(4), 1993; gentle, as Floyd recommended in 2000).

use std::time::Duration;

use crate::link::Rate;

/// How a queue drops before it is full. Bytes are of frames.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Red {
    /// A mean queue below this drops nothing...
    pub min_bytes: f64,
    /// ...at this it drops `max_probability`, and at twice as much everything.
    pub max_bytes: f64,
    /// 0 to 1.
    pub max_probability: f64,
    /// What each frame counts in the mean queue, 0 to 1.
    pub weight: f64,
}

impl Red {
    /// Between mean waits of `min` and `max` at this rate a tenth of the frames at most is dropped, and all at twice `max`.
    /// The mean is over about a tenth of a second.
    pub fn new(rate: Rate, min: Duration, max: Duration) -> Self {
        let bytes = |time: Duration| rate.bytes_in(time) as f64;
        let frames = (bytes(Duration::from_millis(100)) / 1514.0).max(1.0);
        let weight = 1.0 - (-1.0 / frames).exp();
        Self { min_bytes: bytes(min), max_bytes: bytes(max), max_probability: 0.1, weight }
    }

    /// The probability at this mean queue.
    fn probability(&self, mean: f64) -> f64 {
        let Self { min_bytes: min, max_bytes: max, max_probability: most, .. } = *self;
        if mean < min {
            0.0
        } else if mean < max {
            most * (mean - min) / (max - min)
        } else {
            (most + (1.0 - most) * (mean - max) / max).min(1.0)
        }
    }
}

/// The state of one queue.
#[derive(Clone, Debug, Default)]
pub struct RedState {
    mean: f64,
    /// Frames let through since the last one dropped.
    passed: u32,
}

impl RedState {
    /// A frame comes; `queued` bytes wait, or it has been idle for as long as so many frames take. The probability that it
    /// is to be dropped.
    pub fn probability(&mut self, red: &Red, queued: u64, idle_frames: f64) -> f64 {
        if queued == 0 {
            self.mean *= (1.0 - red.weight).powf(idle_frames.max(1.0));
        } else {
            self.mean += red.weight * (queued as f64 - self.mean);
        }
        let base = red.probability(self.mean);
        if base == 0.0 {
            self.passed = 0;
            return 0.0;
        }
        // Evenly spread: the time between two drops is uniform, not geometric.
        self.passed += 1;
        let left = 1.0 - f64::from(self.passed) * base;
        if left <= base { 1.0 } else { base / left }
    }

    /// It was dropped.
    pub fn dropped(&mut self) {
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn short_queues_pass_long_ones_are_thinned_and_the_longest_cut_off() {
        let red = Red::new(Rate::mbit(10), MS * 30, MS * 60);
        let at = |ms: u32| red.probability(Rate::mbit(10).bytes_in(MS * ms) as f64);
        assert_eq!([at(0), at(29), at(30)], [0.0; 3]);
        assert!((at(45) - 0.05).abs() < 1e-6 && (at(60) - 0.1).abs() < 1e-6 && (at(90) - 0.55).abs() < 1e-6);
        assert_eq!([at(120), at(500)], [1.0; 2]);
    }

    #[test]
    fn drops_are_spread_evenly_and_a_burst_counts_little() {
        let red = Red::new(Rate::mbit(10), MS * 30, MS * 60);
        let mut state = RedState::default();
        // 50 ms worth of frames, for an instant.
        let long = Rate::mbit(10).bytes_in(MS * 50);
        assert_eq!(state.probability(&red, long, 0.0), 0.0);
        // And for good: 6.7 per cent, the first within 15 frames or so.
        for _ in 0..2_000 {
            if state.probability(&red, long, 0.0) >= 1.0 {
                state.dropped();
            }
        }
        state.dropped();
        let until_sure = (1..100).find(|_| state.probability(&red, long, 0.0) >= 1.0);
        assert_eq!(until_sure, Some(15));
    }
}
