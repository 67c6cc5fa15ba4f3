//! The driver as a task of the application's runtime: packets are read by the thread that waits for them, without a hop.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::driver::{Driver, Next};
use crate::poller::Ready;
use crate::shared::Shared;

/// Sleeps in tokio's poller, with the resolution of the kernel's timers: tokio's own have one of a millisecond, and pacing
/// lives on less.
struct Sleeper {
    shared: Arc<Shared>,
    events: AsyncFd<Events>,
    alarm: OwnedFd,
    /// When the alarm goes off, unless it has.
    armed: Option<Instant>,
}

/// The host's poller, as tokio's waits for it.
struct Events(Arc<Shared>);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.poller.as_raw_fd()
    }
}

/// Runs until the host is stopped, the device fails, or the runtime ends; each of these ends the host.
///
/// # Errors
/// There is no runtime here, or it has no I/O driver.
pub(crate) fn prepare(shared: &Arc<Shared>, driver: Driver) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let stop = driver.stop_on_drop();
    let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    shared.poller.watch(&alarm)?;
    // SAFETY: the descriptor is the poller's, which never changes it and lives as long as `Events` does.
    let events = unsafe { AsyncFd::register_with_interest(Events(Arc::clone(shared)), Interest::READABLE)? };
    let sleeper = Sleeper { shared: Arc::clone(shared), events, alarm, armed: None };
    Ok(async move {
        if let Err(error) = run(driver, sleeper).await {
            stop.device_failed(&error);
        }
    })
}

async fn run(mut driver: Driver, mut sleeper: Sleeper) -> io::Result<()> {
    let mut ready = Ready { readable: true, writable: false };
    loop {
        match driver.round(ready)? {
            Next::Stopped => return Ok(()),
            Next::Again => {
                tokio::task::yield_now().await;
                ready = Ready { readable: true, writable: false };
            }
            Next::Sleep(timeout) => {
                ready = sleeper.sleep(timeout).await?;
                driver.awake();
            }
        }
    }
}

impl Sleeper {
    async fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        self.arm(timeout)?;
        loop {
            let mut guard = self.events.readable().await?;
            match self.shared.poller.poll()? {
                // It may be that there is more: the next time shows.
                Some(ready) => return Ok(ready),
                None => guard.clear_ready(),
            }
        }
    }

    /// An alarm that goes off too early does no harm, and setting it costs a system call.
    fn arm(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(timeout) = timeout else { return Ok(()) };
        let now = Instant::now();
        let at = now + timeout;
        if self.armed.is_some_and(|armed| armed > now && armed <= at) {
            return Ok(());
        }
        // Zero would take the alarm back.
        let timeout = timeout.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            &self.alarm,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never_again, it_value: value },
        )?;
        self.armed = Some(at);
        Ok(())
    }
}
