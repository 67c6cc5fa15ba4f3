//! Whose turn it is to receive calls: one thread's, until a program holds it up.
//!
//! Reading a program's memory may take as long as the program likes: behind the page may be a file system of its own, or
//! its own handler of page faults (userfaultfd). So whoever answers calls is watched. If a call takes too long, another
//! thread takes over, and the first ends when it comes back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is longer is not our own work.
const PATIENCE: Duration = Duration::from_millis(100);
/// More threads than this are not sacrificed to programs that misbehave.
const THREADS_MAX: u32 = 256;

#[derive(Debug)]
pub(crate) struct Turn {
    begun: Instant,
    /// The thread that receives calls, counted from 0.
    current: AtomicU32,
    /// When its call was received, in nanoseconds since `begun`; 0: it waits for one.
    busy_since: AtomicU64,
}

impl Turn {
    pub(crate) fn new() -> Turn {
        Turn { begun: Instant::now(), current: AtomicU32::new(0), busy_since: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        (self.begun.elapsed().as_nanos() as u64).max(1)
    }

    /// A call is being handled.
    pub(crate) fn begin(&self) {
        self.busy_since.store(self.now(), Ordering::Release);
    }

    /// It has been. Whether it is still the turn of `thread`.
    pub(crate) fn end(&self, thread: u32) -> bool {
        if self.current.load(Ordering::Acquire) != thread {
            return false;
        }
        self.busy_since.store(0, Ordering::Release);
        true
    }

    /// Completes when another thread has to take over; which.
    pub(crate) async fn passes(&self) -> u32 {
        let mut ticks = tokio::time::interval(PATIENCE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let since = self.busy_since.load(Ordering::Acquire);
            let current = self.current.load(Ordering::Acquire);
            if since != 0 && self.now() - since > PATIENCE.as_nanos() as u64 && current < THREADS_MAX {
                self.busy_since.store(0, Ordering::Release);
                self.current.store(current + 1, Ordering::Release);
                return current + 1;
            }
        }
    }
}
