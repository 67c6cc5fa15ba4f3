//! Finished runs, a JSON line for each, so that a grid that was interrupted goes on where it was.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::network::Case;
use super::options::GridOptions;
use super::record::Kept;

/// What tells one run from all others.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    row: String,
    contender: Contender,
    congestion: Option<String>,
    seed: u64,
    /// Of the table's time.
    share: f64,
    /// Both are polypath's only: the kernel's runs do not depend on them.
    scheduler: Option<String>,
    default_congestion: Option<String>,
}

impl Key {
    pub(super) fn new(case: &Case<'_>, options: &GridOptions) -> Self {
        let ours = |setting: &Option<String>| setting.clone().filter(|_| !case.contender.is_kernel());
        Self {
            row: case.row.name.into(),
            contender: case.contender,
            congestion: case.congestion.map(Into::into),
            seed: case.seed,
            share: options.share,
            scheduler: ours(&options.scheduler),
            default_congestion: ours(&options.congestion).filter(|_| case.congestion.is_none()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: Key,
    outcome: Kept,
}

/// What is finished, and the file that it is in.
#[derive(Default)]
pub(super) struct Store {
    finished: Vec<(Key, Kept)>,
    file: Option<File>,
}

impl Store {
    /// Opens the file that the options name. Lines that are not understood (the last one of a grid that was killed) are
    /// passed over.
    pub(super) fn open(options: &GridOptions) -> anyhow::Result<Self> {
        let Some(path) = &options.resume else { return Ok(Self::default()) };
        let open = || -> io::Result<Self> {
            let old = if options.fresh { String::new() } else { read(path)? };
            let mut file = File::options().create(true).append(true).open(path)?;
            if options.fresh {
                file.set_len(0)?;
            }
            if !old.is_empty() && !old.ends_with('\n') {
                file.write_all(b"\n")?;
            }
            let lines = old.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
            Ok(Self { finished: lines.map(|line| (line.key, line.outcome)).collect(), file: Some(file) })
        };
        open().with_context(|| format!("opening {}", path.display()))
    }

    /// What came of a run before, if it is finished.
    pub(super) fn get(&self, key: &Key) -> Option<&Kept> {
        self.finished.iter().find(|(known, _)| known == key).map(|(_, outcome)| outcome)
    }

    /// Keeps a finished run.
    pub(super) fn add(&mut self, key: Key, outcome: Kept) -> anyhow::Result<()> {
        let line = Line { key, outcome };
        if let Some(file) = &mut self.file {
            let mut text = serde_json::to_string(&line)?;
            text.push('\n');
            file.write_all(text.as_bytes()).context("keeping a finished run")?;
        }
        self.finished.push((line.key, line.outcome));
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polypath_sim::grid::scenario;

    #[test]
    fn finished_runs_are_found_again_with_the_same_settings_only() {
        let folder = std::env::temp_dir().join(format!("polypath-grid-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("grid.jsonl");
        let rows = scenario::all();
        let case = Case { row: &rows[0], contender: Contender::Polypath, congestion: Some("cubic"), seed: 2 };
        let options = GridOptions { resume: Some(path.clone()), ..GridOptions::default() };
        let key = Key::new(&case, &options);
        let mut outcome = Kept { bytes: 7, ..Kept::default() };
        outcome.measures.insert("again_ms".into(), None);
        Store::open(&options).unwrap().add(key.clone(), outcome.clone()).unwrap();
        // Killed in the middle of a line.
        File::options().append(true).open(&path).unwrap().write_all(b"{\"row\":\"a\"").unwrap();

        let mut store = Store::open(&options).unwrap();
        assert_eq!(store.get(&key), Some(&outcome));
        let other = |options: &GridOptions, case: &Case<'_>| Key::new(case, options);
        let scheduled = GridOptions { scheduler: Some("minrtt".into()), ..options.clone() };
        assert_eq!(store.get(&other(&scheduled, &case)), None);
        assert_eq!(store.get(&other(&options, &Case { seed: 3, ..case })), None);
        let kernel = Case { contender: Contender::KernelTcp(1), ..case };
        assert_eq!(other(&scheduled, &kernel), other(&options, &kernel), "it is the same for the kernel");
        store.add(other(&options, &kernel), Kept::default()).unwrap();
        assert!(
            Store::open(&options).unwrap().get(&other(&options, &kernel)).is_some(),
            "the broken line is passed over"
        );

        let fresh = GridOptions { fresh: true, ..options };
        assert_eq!(Store::open(&fresh).unwrap().get(&key), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
