//! A stopped call that cannot be answered yet: what may disturb it meanwhile.
//!
//! The kernel keeps signals from a call that we have received
//! (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`), so that a parked call has to look for them. It then
//! returns as the kernel's own would: with a restart if the call knows no timeout, else with
//! `EINTR`.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::network::Network;
use crate::notify::{Call, RESTART};
use crate::supervisor::Shared;
use crate::sys::Errno;

/// How often a parked call looks for signals: this bounds how late a handler runs.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Why a call cannot stay parked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// Its thread is dead, or its notification void.
    Dead,
    /// A signal waits to be handled: the errno to return with.
    Signal(Errno),
    /// Its time is up.
    TimedOut,
}

/// Watches over one parked call.
#[derive(Debug)]
pub(crate) struct Patrol {
    call: Call,
    deadline: Option<Instant>,
    checks: Interval,
    suspected: bool,
}

impl Patrol {
    /// For a call that waits for at most `timeout`, or for ever.
    pub(crate) fn new(call: Call, timeout: Option<Duration>) -> Patrol {
        let now = Instant::now();
        let mut checks = tokio::time::interval_at(now + CHECK_EVERY, CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Patrol { call, deadline: timeout.map(|timeout| now + timeout), checks, suspected: false }
    }

    /// Completes when the call has to end. May be dropped and called again.
    pub(crate) async fn disturbed<N: Network>(&mut self, shared: &Shared<N>) -> Disturbance {
        loop {
            let tick = async {
                tokio::select! {
                    _ = self.checks.tick() => {}
                    () = shared.patrols.notified() => {}
                }
            };
            match self.deadline {
                None => tick.await,
                Some(deadline) => tokio::select! {
                    () = tick => {}
                    () = tokio::time::sleep_until(deadline) => return Disturbance::TimedOut,
                },
            }
            if !shared.listener.is_valid(self.call.id) {
                return Disturbance::Dead;
            }
            if let Some(errno) = self.signalled() {
                return Disturbance::Signal(errno);
            }
        }
    }

    fn signalled(&mut self) -> Option<Errno> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.call.tid)).ok()?;
        match pending(&status, self.call.tid) {
            Pending::Nothing => {
                self.suspected = false;
                None
            }
            Pending::Own if self.deadline.is_none() => Some(RESTART),
            Pending::Own => Some(libc::EINTR),
            // Some thread is about to take it. If it is still there at the next check, that thread
            // is parked, and may be this one.
            Pending::Somebodys if !self.suspected => {
                self.suspected = true;
                None
            }
            // A restart without a signal in this very thread would show it the kernel's own errno.
            Pending::Somebodys => Some(libc::EINTR),
        }
    }
}

/// Whose a pending signal is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// The thread handles it as soon as its call returns.
    Own,
    /// It was sent to the process, and any thread may be the one that the kernel has woken for it.
    Somebodys,
}

/// Reads `/proc/TID/status`.
fn pending(status: &str, tid: u32) -> Pending {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(0);
    let blocked = mask("SigBlk:");
    if mask("SigPnd:") & !blocked != 0 {
        return Pending::Own;
    }
    if mask("ShdPnd:") & !blocked == 0 {
        return Pending::Nothing;
    }
    // The kernel prefers the main thread, unless that blocks the signal (signal(7)).
    let main = field("Tgid:").parse() == Ok(tid);
    if main || field("Threads:") == "1" { Pending::Own } else { Pending::Somebodys }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(threads: u32, own: u64, shared: u64, blocked: u64) -> String {
        format!(
            "Name:\tx\nTgid:\t7\nPid:\t8\nThreads:\t{threads}\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n"
        )
    }

    #[test]
    fn a_signal_is_the_threads_own_only_if_no_other_can_take_it() {
        assert_eq!(pending(&status(1, 0, 0, 0), 8), Pending::Nothing);
        assert_eq!(pending(&status(3, 2, 0, 0), 8), Pending::Own);
        assert_eq!(pending(&status(1, 0, 2, 0), 8), Pending::Own, "the only thread");
        assert_eq!(pending(&status(3, 0, 2, 0), 7), Pending::Own, "the main thread");
        assert_eq!(pending(&status(3, 0, 2, 0), 8), Pending::Somebodys);
    }

    #[test]
    fn a_blocked_signal_does_not_count() {
        assert_eq!(pending(&status(1, 2, 4, 6), 8), Pending::Nothing);
        assert_eq!(pending(&status(1, 2, 4, 2), 8), Pending::Own);
    }
}
