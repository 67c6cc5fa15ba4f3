//! Paths that drop SYNs with MP_CAPABLE (RFC 8684, section 3.7): connections over them are plain TCP from the start for
//! a while, so that only the first one has to wait.

use crate::time::{Duration, Instant};
use std::collections::HashMap;
use std::net::IpAddr;

/// How long it is believed at first (Linux: net.mptcp.blackhole_timeout). Doubled each time that it is found true again.
const FIRST: Duration = Duration::from_secs(3600);
/// No longer than this.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Paths remembered.
const MAX_PATHS: usize = 256;

/// From a local address to a remote one.
type Path = (IpAddr, IpAddr);

#[derive(Copy, Clone, Debug)]
struct Blackhole {
    since: Instant,
    believed_for: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Blackholes {
    by_path: HashMap<Path, Blackhole>,
}

impl Blackholes {
    /// Whether Multipath TCP is not worth a try.
    pub(super) fn contains(&self, now: Instant, path: Path) -> bool {
        self.by_path.get(&path).is_some_and(|b| now - b.since < b.believed_for)
    }

    /// A SYN without MP_CAPABLE was answered after several with it were not.
    pub(super) fn found(&mut self, now: Instant, path: Path) {
        let before = self.by_path.get(&path).map(|b| b.believed_for);
        let believed_for = before.map_or(FIRST, |before| (before * 2).min(LONGEST));
        if before.is_none() && self.by_path.len() >= MAX_PATHS {
            let oldest = self.by_path.iter().min_by_key(|(path, b)| (b.since, **path)).map(|(path, _)| *path);
            oldest.map(|path| self.by_path.remove(&path));
        }
        self.by_path.insert(path, Blackhole { since: now, believed_for });
    }

    /// Multipath TCP got through.
    pub(super) fn disproved(&mut self, path: Path) {
        self.by_path.remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_and_the_oldest_is_forgotten() {
        let path = |n: u8| (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, n]));
        let mut holes = Blackholes::default();
        for n in 0..=255 {
            holes.found(Instant::from_millis(u64::from(n)), path(n));
        }
        let other = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([192, 0, 2, 0]));
        let now = Instant::from_millis(300);
        holes.found(now, other);
        assert!(holes.contains(now, other) && holes.contains(now, path(1)) && !holes.contains(now, path(0)));
    }
}
