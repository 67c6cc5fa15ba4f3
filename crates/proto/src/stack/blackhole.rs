//! Paths that drop SYNs with MP_CAPABLE (RFC 8684, section 3.7): connections over them are plain TCP from the start for
//! a while, so that not each of them has to wait.
//!
//! A path that was only down looks the same when it comes back just before the SYN without the option. So it is held
//! against a path only once for each time of trouble; one that let the option through lately has to be found twice; and
//! what was found once is believed for a minute only.

use super::Stack;
use crate::mib::Counter;
use crate::mptcp::CapableSyns;
use crate::time::{Duration, Instant};
use std::collections::HashMap;
use std::net::IpAddr;

/// How long it is believed when it was found once.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// And when it was found again (Linux: net.mptcp.blackhole_timeout). Doubled with each further time.
const CONFIRMED: Duration = Duration::from_secs(3600);
/// No longer than this.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// A path that has let the option through is trusted for so long.
const TRUSTED: Duration = Duration::from_secs(3600);
/// Paths remembered.
const MAX_PATHS: usize = 256;

/// From a local address to a remote one.
type Path = (IpAddr, IpAddr);

/// What is known of a path.
#[derive(Copy, Clone, Debug, Default)]
struct Known {
    /// When a SYN with MP_CAPABLE was last answered.
    answered: Option<Instant>,
    /// How often such SYNs were found to be dropped since.
    found: u32,
    /// The last of these.
    found_at: Instant,
    /// Whether a first one counts for nothing.
    trusted: bool,
}

impl Known {
    fn believed_for(&self) -> Duration {
        match self.found - u32::from(self.trusted && self.found > 0) {
            0 => Duration::ZERO,
            1 => UNCONFIRMED,
            again => CONFIRMED.saturating_mul(1 << (again - 2).min(16)).min(LONGEST),
        }
    }

    fn is_blackhole(&self, now: Instant) -> bool {
        now - self.found_at < self.believed_for()
    }
}

#[derive(Debug, Default)]
pub(super) struct Blackholes {
    by_path: HashMap<Path, Known>,
}

impl Blackholes {
    /// Whether Multipath TCP is not worth a try.
    pub(super) fn contains(&self, now: Instant, path: Path) -> bool {
        self.by_path.get(&path).is_some_and(|known| known.is_blackhole(now))
    }

    /// SYNs with MP_CAPABLE went unanswered, the first of them sent at `since`, and one without was answered. True: the path
    /// is avoided for it.
    fn found(&mut self, now: Instant, path: Path, since: Instant) -> bool {
        let known = self.entry(path);
        if known.found > 0 && known.found_at > since {
            return false;
        }
        if known.found == 0 {
            known.trusted = known.answered.is_some_and(|at| now - at < TRUSTED);
        }
        (known.found, known.found_at) = (known.found.saturating_add(1), now);
        known.is_blackhole(now)
    }

    /// A SYN with MP_CAPABLE was answered.
    fn disproved(&mut self, now: Instant, path: Path) {
        *self.entry(path) = Known { answered: Some(now), ..Known::default() };
    }

    fn entry(&mut self, path: Path) -> &mut Known {
        if !self.by_path.contains_key(&path) && self.by_path.len() >= MAX_PATHS {
            // Those that have cost somebody time are kept longer.
            let worth = |known: &Known| (known.found > 0, known.answered.max(Some(known.found_at)));
            let least = self.by_path.iter().min_by_key(|(path, known)| (worth(known), **path)).map(|(path, _)| *path);
            least.map(|path| self.by_path.remove(&path));
        }
        self.by_path.entry(path).or_default()
    }
}

impl Stack {
    /// A connection's first SYN was answered: what does that say of its path?
    pub(super) fn learn_of_blackholes(&mut self, now: Instant, path: Path, outcome: CapableSyns) {
        match outcome {
            CapableSyns::Answered => self.blackholes.disproved(now, path),
            CapableSyns::Dropped { since } => {
                if self.blackholes.found(now, path, since) {
                    self.mib.count(Counter::MPTcpExtBlackhole);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: u8) -> Path {
        (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, n]))
    }

    /// The path's SYNs with MP_CAPABLE were dropped for the seven seconds before.
    fn dropped(holes: &mut Blackholes, now: Instant, path: Path) -> bool {
        holes.found(now, path, Instant::from_millis(now.as_millis() - 7_000))
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_is_forgotten() {
        let mut holes = Blackholes::default();
        let at = |n: u64| Instant::from_millis(10_000 + n);
        for n in 0..=255 {
            assert!(dropped(&mut holes, at(n.into()), path(n)));
        }
        let other = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([192, 0, 2, 0]));
        let now = at(300);
        assert!(dropped(&mut holes, now, other));
        assert!(holes.contains(now, other) && holes.contains(now, path(1)) && !holes.contains(now, path(0)));
    }

    #[test]
    fn paths_that_work_push_out_none_that_do_not() {
        let mut holes = Blackholes::default();
        let at = Instant::from_millis;
        assert!(dropped(&mut holes, at(10_000), path(0)));
        for n in 0..1_000_u32 {
            let [.., third, last] = n.to_be_bytes();
            holes.disproved(at(10_001 + u64::from(n)), (IpAddr::from([10, 0, third, last]), path(1).1));
        }
        assert!(holes.contains(at(20_000), path(0)));
        assert_eq!(holes.by_path.len(), MAX_PATHS);
    }
}
