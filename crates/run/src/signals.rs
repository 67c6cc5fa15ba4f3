//! Signals sent to `run` are meant for the program.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runner::Options;

/// Catches signals and passes them on.
pub(crate) struct Forwarder(Option<Caught>);

struct Caught {
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Forwarder {
    pub(crate) fn new(options: &Options) -> io::Result<Forwarder> {
        if !options.forward_signals {
            return Ok(Forwarder(None));
        }
        Ok(Forwarder(Some(Caught {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })))
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        let Some(caught) = &mut self.0 else { return std::future::pending().await };
        let Caught { terminate, hangup, user1, user2, interrupt, quit } = caught;
        tokio::select! {
            _ = terminate.recv() => libc::SIGTERM,
            _ = hangup.recv() => libc::SIGHUP,
            _ = user1.recv() => libc::SIGUSR1,
            _ = user2.recv() => libc::SIGUSR2,
            _ = interrupt.recv() => libc::SIGINT,
            _ = quit.recv() => libc::SIGQUIT,
        }
    }

    /// Passes `signal` on to a process. What the terminal sends, it sends to the whole foreground
    /// group: the program has it already.
    pub(crate) fn forward(&self, to: BorrowedFd<'_>, signal: i32) {
        if matches!(signal, libc::SIGINT | libc::SIGQUIT) && in_foreground() {
            return;
        }
        let (fd, none) = (to.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: a null siginfo makes it like kill(2). It fails if the process is gone.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
    }

    /// Waits for `work`, keeping signals from ending this process.
    pub(crate) async fn ignoring<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = self.next() => {}
            }
        }
    }

    /// Completes at a signal that asks to stop.
    pub(crate) async fn interrupted(&mut self) {
        while !matches!(self.next().await, libc::SIGINT | libc::SIGTERM | libc::SIGQUIT) {}
    }
}

/// Whether the terminal's keys reach our process group.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    // SAFETY: no pointers.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}
