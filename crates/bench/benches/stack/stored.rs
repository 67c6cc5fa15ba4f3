//! Instruction counts that were accepted, and whether new ones are still as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// So much more is not accepted.
const MORE: f64 = 1.05;

/// Counts by workload.
pub(crate) type Counts = BTreeMap<String, f64>;

/// What was accepted: the first line says what compiled it and what it ran on, each other one has a workload and its count.
pub(crate) struct Stored {
    made_by: String,
    pub(crate) counts: Counts,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/stack/instructions.txt")
}

/// Another compiler makes other instructions, and the C library chooses its own by the processor.
fn here() -> anyhow::Result<String> {
    let rustc = Command::new("rustc").arg("--version").output().context("rustc cannot be started")?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(format!("{}, {}", String::from_utf8_lossy(&rustc.stdout).trim(), model.map_or("unknown", |model| model.1)))
}

impl Stored {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string(path()).with_context(|| path().display().to_string())?;
        let (made_by, lines) = text.split_once('\n').context("no line says what made the counts")?;
        let counts = lines.lines().map(|line| {
            let (name, count) = line.split_once(' ').with_context(|| format!("'{line}' is no workload and count"))?;
            Ok((name.to_owned(), count.trim().parse()?))
        });
        Ok(Stored { made_by: made_by.to_owned(), counts: counts.collect::<anyhow::Result<_>>()? })
    }

    /// Why these counts say nothing here, if that is so.
    pub(crate) fn of_another(&self) -> anyhow::Result<Option<String>> {
        let here = here()?;
        Ok((here != self.made_by).then(|| format!("the stored counts are those of {}; this is {here}", self.made_by)))
    }

    /// # Errors
    /// Names what has become dearer.
    pub(crate) fn compare(&self, new: &Counts) -> anyhow::Result<()> {
        let dearer = new.iter().filter_map(|(name, new)| {
            let old = self.counts.get(name).filter(|old| *new > *old * MORE)?;
            Some(format!("{name}: {old:.0} -> {new:.0} instructions ({:+.1} %)", (new / old - 1.0) * 100.0))
        });
        let dearer: Vec<_> = dearer.collect();
        ensure!(
            dearer.is_empty(),
            "more than {:.0} % dearer:\n{}\nIf it is worth that: cargo bench -p polypath-bench --bench stack -- --accept",
            (MORE - 1.0) * 100.0,
            dearer.join("\n")
        );
        Ok(())
    }
}

/// Keeps these beside those of other workloads that are stored.
pub(crate) fn accept(new: &Counts) -> anyhow::Result<()> {
    let here = here()?;
    let old = Stored::read().ok().filter(|stored| stored.made_by == here);
    let mut counts = old.map(|stored| stored.counts).unwrap_or_default();
    counts.extend(new.iter().map(|(name, count)| (name.clone(), *count)));
    let lines: String = counts.iter().map(|(name, count)| format!("{name} {count:.0}\n")).collect();
    fs::write(path(), format!("{here}\n{lines}")).with_context(|| path().display().to_string())
}
