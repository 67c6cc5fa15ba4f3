//! Watches a run from outside and says when it has gone wrong.

use std::fmt;
use std::time::Duration;

use polypath_proto::Instant;

use crate::host::Fault;

/// What a run may use up before it counts as failed.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Longest time without progress while work remains, some path is up and nobody rests on purpose. Must leave room
    /// for a few retransmissions with exponential backoff that are lost.
    pub stall: Duration,
    /// Longest run.
    pub time: Duration,
    /// Frames that any run may send.
    pub frames: u64,
    /// Frames for each thousand bytes written or received, and for each call that writes or reads.
    pub frames_per_unit: u64,
    /// Frames for each second of virtual time.
    pub frames_per_second: u64,
    /// How long the run is watched after both ends are done.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(60),
            time: Duration::from_secs(3_600),
            frames: 2_000,
            frames_per_unit: 20,
            frames_per_second: 200,
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a run failed.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// An application received something else than was sent, or an error.
    Stream {
        /// At which host.
        host: String,
        /// What happened.
        error: String,
    },
    /// No progress for too long.
    Stall {
        /// Since when.
        since: Instant,
    },
    /// Work remains, but nothing will ever happen again: no packet is under way, no timer is set.
    Deadlock,
    /// More frames than such a run can need.
    Storm {
        /// How many there were.
        frames: u64,
    },
    /// The run takes too long.
    TimeLimit,
    /// A stack does not come to rest.
    Fault(Fault),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { host, error } => write!(f, "{host}: {error}"),
            Self::Stall { since } => write!(f, "stall: no progress since {}", seconds(*since)),
            Self::Deadlock => f.write_str("deadlock: work remains, but no packet is under way and no timer is set"),
            Self::Storm { frames } => write!(f, "packet storm: {frames} frames are too many for so little"),
            Self::TimeLimit => f.write_str("the run takes too long"),
            Self::Fault(Fault::EndlessTransmit { host, at }) => {
                write!(f, "{host}: poll_transmit gives packets without end at {}", seconds(*at))
            }
            Self::Fault(Fault::StuckTimer { host, at }) => {
                write!(f, "{host}: poll_timeout stays at or before {} after handle_timeout", seconds(*at))
            }
        }
    }
}

fn seconds(at: Instant) -> String {
    let nanos = at.as_nanos();
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000)
}

/// What the oracle looks at after each event.
#[derive(Copy, Clone, Debug)]
pub struct Observation {
    /// The virtual time.
    pub now: Instant,
    /// A number that changes whenever anything gets on.
    pub progress: u64,
    /// Nothing can get on: no path is up, or an application rests.
    pub excused: bool,
    /// Frames sent so far.
    pub frames: u64,
    /// Bytes received by applications so far.
    pub received: u64,
    /// Bytes that stacks took from applications so far.
    pub written: u64,
    /// Reads and writes so far.
    pub calls: u64,
}

/// Finds stalls, packet storms and endless runs.
#[derive(Clone, Debug)]
pub struct Oracle {
    limits: Limits,
    progress: u64,
    since: Instant,
    was_excused: bool,
}

impl Oracle {
    /// An oracle for a run that begins at [`Instant::ZERO`].
    pub fn new(limits: Limits) -> Self {
        Self { limits, progress: 0, since: Instant::ZERO, was_excused: false }
    }

    /// Looks at the run after one event.
    ///
    /// # Errors
    /// A limit is passed.
    pub fn observe(&mut self, seen: &Observation) -> Result<(), Failure> {
        // The time up to this event belongs to the state after the last one.
        if self.was_excused {
            self.since = seen.now;
        }
        self.was_excused = seen.excused;
        if seen.now - self.since > self.limits.stall {
            return Err(Failure::Stall { since: self.since });
        }
        if seen.progress != self.progress {
            self.progress = seen.progress;
            self.since = seen.now;
        }
        self.check_totals(seen)
    }

    fn check_totals(&self, seen: &Observation) -> Result<(), Failure> {
        let elapsed = seen.now - Instant::ZERO;
        if elapsed > self.limits.time {
            return Err(Failure::TimeLimit);
        }
        let units = (seen.written + seen.received) / 1_000 + seen.calls;
        let allowed = self.limits.frames
            + self.limits.frames_per_unit * units
            + self.limits.frames_per_second * elapsed.as_secs();
        if seen.frames > allowed {
            return Err(Failure::Storm { frames: seen.frames });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, progress: u64, excused: bool) -> Observation {
        let now = Instant::from_nanos(seconds * 1_000_000_000);
        Observation { now, progress, excused, frames: 0, received: 0, written: 0, calls: 0 }
    }

    #[test]
    fn a_minute_without_progress_is_a_stall_even_if_it_ends_with_progress() {
        let mut oracle = Oracle::new(Limits::default());
        assert_eq!(oracle.observe(&at(50, 1, false)), Ok(()));
        assert_eq!(oracle.observe(&at(110, 2, false)), Ok(()));
        let since = Instant::from_nanos(110_000_000_000);
        assert_eq!(oracle.observe(&at(171, 3, false)), Err(Failure::Stall { since }));
    }

    #[test]
    fn time_without_any_path_does_not_count() {
        let mut oracle = Oracle::new(Limits::default());
        assert_eq!(oracle.observe(&at(50, 1, true)), Ok(()));
        assert_eq!(oracle.observe(&at(250, 1, false)), Ok(()));
        assert_eq!(oracle.observe(&at(310, 1, false)), Ok(()));
        assert!(oracle.observe(&at(311, 1, false)).is_err());
    }

    #[test]
    fn frames_are_bounded_by_what_was_achieved() {
        let mut oracle = Oracle::new(Limits::default());
        let calm = Observation { frames: 2_000 + 20 * 20, received: 10_000, calls: 10, ..at(0, 1, false) };
        assert_eq!(oracle.observe(&calm), Ok(()));
        let storm = Observation { frames: calm.frames + 1, ..calm };
        assert_eq!(oracle.observe(&storm), Err(Failure::Storm { frames: 2_401 }));
    }
}
