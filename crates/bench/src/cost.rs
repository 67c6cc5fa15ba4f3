//! Processor time and memory of a tree of processes, and what the kernel needs besides.
//!
//! Without `CONFIG_IRQ_TIME_ACCOUNTING` a softirq is charged to the process that it interrupts: in these runs nearly all
//! of them run in the call that sends, so they are in its system time. Those that are put off run in `ksoftirqd`,
//! which is counted here; those that interrupt an idle processor are charged to nobody.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::Sub;

/// `USER_HZ`: what `/proc` counts in, on every architecture that Linux has today.
const TICKS_A_SECOND: f64 = 100.0;
const PAGE: u64 = 4096;

/// Seconds of processor time.
#[derive(Copy, Clone, Default, Debug, PartialEq)]
pub struct Cpu {
    /// Of the processes, in their own code.
    pub user: f64,
    /// Of the processes, in the kernel.
    pub system: f64,
    /// Of `ksoftirqd`.
    pub softirq: f64,
}

impl Cpu {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.user + self.system + self.softirq
    }

    /// The kernel's part of it, 0 to 1.
    #[must_use]
    pub fn kernel_share(&self) -> f64 {
        (self.system + self.softirq) / self.total()
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
            softirq: self.softirq - earlier.softirq,
        }
    }
}

/// What of `/proc/PID/stat` matters here.
#[derive(Clone, Debug, PartialEq)]
struct Stat {
    parent: u32,
    user: u64,
    system: u64,
    resident: u64,
}

/// Some processes and all that they have started, as they are now.
pub(crate) struct Tree(HashMap<u32, Stat>);

impl Tree {
    pub(crate) fn of(roots: &[u32]) -> io::Result<Self> {
        let mut all = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // One that has ended meanwhile is none of ours.
            if let Some(stat) = fs::read_to_string(format!("/proc/{id}/stat")).ok().as_deref().and_then(parse) {
                all.insert(id, stat);
            }
        }
        let mut ours: HashSet<u32> = roots.iter().copied().collect();
        loop {
            let more: Vec<u32> = all
                .iter()
                .filter(|(id, stat)| ours.contains(&stat.parent) && !ours.contains(*id))
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                break;
            }
            ours.extend(more);
        }
        all.retain(|id, _| ours.contains(id));
        Ok(Self(all))
    }

    pub(crate) fn cpu(&self) -> Cpu {
        let seconds = |ticks: u64| ticks as f64 / TICKS_A_SECOND;
        Cpu {
            user: seconds(self.0.values().map(|stat| stat.user).sum()),
            system: seconds(self.0.values().map(|stat| stat.system).sum()),
            softirq: softirq_seconds(),
        }
    }

    /// Bytes in memory.
    pub(crate) fn resident(&self) -> u64 {
        self.0.values().map(|stat| stat.resident * PAGE).sum()
    }
}

/// Of the kernel's threads for softirqs; 0 in a container that does not see them.
fn softirq_seconds() -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut nanos = 0;
    let mut found = 0;
    // They were started with the system: their numbers are small.
    for id in 2..2_000 {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            let times = fs::read_to_string(format!("/proc/{id}/schedstat")).unwrap_or_default();
            nanos += times.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            found += 1;
        }
        if found == processors {
            break;
        }
    }
    nanos as f64 / 1e9
}

/// Seconds that all processors together were not idle, whoever used them.
pub(crate) fn busy() -> io::Result<f64> {
    let table = fs::read_to_string("/proc/stat")?;
    let fields = table.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in the first two.
    let ticks = fields.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    Ok(ticks.filter_map(|(_, field)| field.parse::<u64>().ok()).sum::<u64>() as f64 / TICKS_A_SECOND)
}

/// Bytes of the kernel's slab.
pub(crate) fn slab() -> io::Result<u64> {
    let table = fs::read_to_string("/proc/meminfo")?;
    let line = table.lines().find_map(|line| line.strip_prefix("Slab:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Slab in /proc/meminfo"))
}

fn parse(stat: &str) -> Option<Stat> {
    // The name stands in brackets and may hold anything, brackets included.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        user: number(11)?,
        system: number(12)?,
        resident: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_what_looks_like_fields() {
        let line =
            "17 (a) S 9) R 5 17 17 0 -1 4194304 1 2 3 4 250 1250 7 8 20 0 1 0 99 4096000 321 18446744073709551615 1";
        let expected = Stat { parent: 5, user: 250, system: 1250, resident: 321 };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("17 (a"), None);
    }

    #[test]
    fn work_of_a_child_is_the_tree_s() {
        let own = std::process::id();
        let before = Tree::of(&[own]).unwrap();
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let worked = (0..2_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            (Tree::of(&[child.id()]).unwrap().cpu()).user > 0.02
        });
        let after = Tree::of(&[own]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(worked && (after.cpu() - before.cpu()).total() >= 0.02);
        assert!(after.0.len() > before.0.len() && after.resident() > 0 && slab().unwrap() > 0);
    }
}
