//! The host's monotonic clock, as the stack's time.
//!
//! It stands still while the host sleeps (`CLOCK_MONOTONIC`; `CLOCK_BOOTTIME` would not), as the clock of the kernel's
//! own TCP does: nothing was sent or heard meanwhile, so no timeout, round trip or wait for a new path shall count it.
//! A connection goes on after a night if the peer has kept it; if not, the peer's reset ends it.

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
