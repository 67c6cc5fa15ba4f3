//! The host's monotonic clock, as the stack's time.

use polypath_proto::Instant;

/// Counts from the moment it was made, which is the stack's epoch.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { epoch: std::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        // 584 years fit.
        Instant::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
