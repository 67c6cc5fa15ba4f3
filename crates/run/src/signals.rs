//! Signals sent to `run` are meant for the program.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runner::Options;

/// The signals that are meant for the program.
const MEANT: [i32; 6] = [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGINT, libc::SIGQUIT];

/// Catches signals and passes them on.
pub(crate) struct Forwarder(Vec<(i32, Signal)>);

impl Forwarder {
    /// Catches from now on. A signal that this process was started to ignore (as by `nohup`) stays
    /// ignored, here and in the program.
    pub(crate) fn new(options: &Options) -> io::Result<Forwarder> {
        let wanted = MEANT.into_iter().filter(|number| options.forward_signals && !is_ignored(*number));
        let caught = wanted.map(|number| Ok((number, signal(SignalKind::from_raw(number))?)));
        caught.collect::<io::Result<_>>().map(Forwarder)
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, caught) in &mut self.0 {
                if caught.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
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

fn is_ignored(number: i32) -> bool {
    // SAFETY: an all-zero sigaction is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer changes nothing; the other is to a live sigaction.
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Whether the terminal's keys reach our process group.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    // SAFETY: no pointers.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}
