//! What a process holds, over time, and whether it grows.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// What a process holds at one moment.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct Holding {
    /// Seconds since the beginning.
    pub at: f64,
    /// Resident memory in bytes (VmRSS).
    pub rss: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Holding {
    /// Looks at a live process.
    pub(super) fn of(pid: u32, at: f64) -> anyhow::Result<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(folder.join("status")).context("reading a process's status")?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has no VmRSS")?;
        let kilobytes: u64 = kilobytes.trim().trim_end_matches(" kB").parse().context("reading VmRSS")?;
        let descriptors = fs::read_dir(folder.join("fd")).context("counting descriptors")?.count() as u64;
        Ok(Self { at, rss: kilobytes * 1024, descriptors })
    }
}

/// How much more is held in the last quarter of the time than in the second one, in the mean: 1 is flat. The first quarter
/// is for warming up. Nothing where there are too few to tell.
pub(super) fn growth(held: &[Holding], what: impl Fn(&Holding) -> u64) -> Option<f64> {
    let quarter = held.len() / 4;
    let mean = |part: &[Holding]| part.iter().map(&what).sum::<u64>() as f64 / part.len() as f64;
    (quarter > 0).then(|| mean(&held[held.len() - quarter..]) / mean(&held[quarter..2 * quarter]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(rss: impl IntoIterator<Item = u64>) -> Vec<Holding> {
        let at = (0..).map(f64::from);
        at.zip(rss).map(|(at, rss)| Holding { at, rss, descriptors: 1 }).collect()
    }

    #[test]
    fn warming_up_is_no_growth_and_a_leak_is() {
        assert_eq!(growth(&held([1, 50, 100, 100, 100, 100, 100, 100]), |h| h.rss), Some(1.0));
        assert_eq!(growth(&held((1..=8).map(|n| n * 100)), |h| h.rss), Some(750.0 / 350.0));
        assert_eq!(growth(&held([1, 2, 3]), |h| h.rss), None);
    }

    #[test]
    fn a_process_holds_something() {
        let own = Holding::of(std::process::id(), 0.0).unwrap();
        assert!(own.rss > 100_000 && own.descriptors >= 3, "{own:?}");
    }
}
