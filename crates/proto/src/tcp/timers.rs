//! The timers of one subflow, as a table: the next expiry cannot forget one.

use crate::time::Instant;

/// What a subflow can be waiting for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// SYN, SYN/ACK, a join's third ACK, or data not acknowledged (RFC 6298).
    Retransmit,
    /// Tail loss probe (RFC 8985, section 7).
    LossProbe,
    /// RACK's reordering window (RFC 8985, section 6.2).
    Reorder,
    /// A delayed acknowledgement (RFC 9293, section 3.8.6.3).
    DelayedAck,
    /// Zero-window probe (RFC 9293, section 3.8.6.1).
    Persist,
    /// Is the peer still there (RFC 9293, section 3.8.4)?
    Keepalive,
    /// The next quantum of a subflow that is paced.
    Pacing,
}

impl Timer {
    pub(crate) const ALL: [Timer; 7] = [
        Timer::Retransmit,
        Timer::LossProbe,
        Timer::Reorder,
        Timer::DelayedAck,
        Timer::Persist,
        Timer::Keepalive,
        Timer::Pacing,
    ];
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Instant> {
        self.at[timer as usize]
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.at.iter().copied().flatten().min()
    }

    /// Takes one timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL.into_iter().find(|t| self.get(*t).is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }

    pub(crate) fn clear(&mut self) {
        self.at = Default::default();
    }
}
