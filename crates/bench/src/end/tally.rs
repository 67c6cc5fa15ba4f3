//! What an end counts while it works, and tells whoever asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// An end's account, up to now.
#[derive(Copy, Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Nanoseconds since the end began.
    pub(crate) at: u64,
    /// Bytes received, requests answered, connections closed, or connections held.
    pub(crate) units: u64,
    /// Half of the answers since the last mark came within so many microseconds, and 99 of 100.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Of polypath's device; zeros where there is none.
    pub(crate) device: Device,
}

/// Packets and bytes through a TUN device.
#[derive(Copy, Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) read: (u64, u64),
    pub(crate) written: (u64, u64),
}

/// Counts.
pub(crate) struct Tally {
    begun: Instant,
    units: AtomicU64,
    /// Since the last mark, in nanoseconds.
    latencies: Mutex<Vec<u32>>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), units: AtomicU64::new(0), latencies: Mutex::new(Vec::with_capacity(1 << 20)) }
    }

    pub(crate) fn add(&self, units: u64) {
        self.units.fetch_add(units, Relaxed);
    }

    /// One answer, after so long.
    pub(crate) fn answered(&self, after: Duration) {
        self.add(1);
        let nanos = u32::try_from(after.as_nanos()).unwrap_or(u32::MAX);
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(nanos);
    }

    pub(crate) fn units(&self) -> u64 {
        self.units.load(Relaxed)
    }

    /// How things stand; latencies are counted from here on.
    pub(crate) fn mark(&self) -> Mark {
        let (at, units) = (self.begun.elapsed().as_nanos() as u64, self.units());
        let mut seen = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies = std::mem::replace(&mut *seen, Vec::with_capacity(1 << 20));
        drop(seen);
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let at = (share * latencies.len() as f64) as usize;
            latencies.get(at.min(latencies.len().saturating_sub(1))).map(|nanos| f64::from(*nanos) / 1e3)
        };
        Mark { at, units, p50_us: quantile(0.5), p99_us: quantile(0.99), device: Device::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_since_the_last_mark() {
        let tally = Tally::new();
        assert_eq!(tally.mark().p50_us, None);
        (1..=100).for_each(|us| tally.answered(Duration::from_micros(us)));
        let mark = tally.mark();
        assert_eq!((mark.units, mark.p50_us, mark.p99_us), (100, Some(51.0), Some(100.0)));
        tally.answered(Duration::from_micros(7));
        let mark = tally.mark();
        assert_eq!((mark.units, mark.p50_us, mark.p99_us), (101, Some(7.0), Some(7.0)));
    }
}
