//! Tries entries, each undisturbed and with a path that is cut and comes back.

use crate::act::Act;
use crate::disturb::cut_and_return;
use crate::entries::{self, Entry, Role};
use crate::evidence::Evidence;
use crate::packages;
use crate::process;
use crate::programs::Workshop;
use crate::report::{Outcome, Report, Row};
use crate::stage::Stage;
use anyhow::{bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

/// What to try.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `polypath` command.
    pub polypath: PathBuf,
    /// For everything that is written.
    pub folder: PathBuf,
    /// Names of entries; all if there are none.
    pub only: Vec<String>,
    /// One role only.
    pub role: Option<Role>,
}

impl Options {
    /// The entries that are meant.
    ///
    /// # Errors
    /// Names an entry that there is not.
    pub fn entries(only: &[String], role: Option<Role>) -> anyhow::Result<Vec<Entry>> {
        let all = entries::all();
        for name in only {
            ensure!(all.iter().any(|entry| entry.name == name), "there is no entry '{name}': see --list");
        }
        let wanted = |entry: &Entry| {
            role.is_none_or(|role| role == entry.role)
                && (only.is_empty() || only.iter().any(|name| name == entry.name))
        };
        let chosen: Vec<Entry> = all.into_iter().filter(wanted).collect();
        ensure!(!chosen.is_empty(), "no entry is of both this name and this role");
        Ok(chosen)
    }
}

/// Tries them one after the other, and tells on standard error how far it is.
///
/// # Errors
/// When something is missing: the message has the command that installs it. What the programs do wrong is in the
/// report.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let entries = Options::entries(&options.only, options.role)?;
    let remedies = packages::remedies(entries.iter().flat_map(|entry| entry.needs));
    if !remedies.is_empty() {
        bail!("programs are missing: {} (or choose others with --only; --list shows them)", remedies.join(" && "));
    }
    let workshop = Workshop::new(options.folder.join("programs"))?;
    let mut rows = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let attempt = |cut| {
            let what = if cut { "a path is cut and comes back" } else { "undisturbed" };
            eprint!("[{} of {}] {} ({}), {what}: ", number + 1, entries.len(), entry.name, entry.role.name());
            let outcome = attempt(entry, cut, options, &workshop);
            eprintln!("{outcome}");
            outcome
        };
        let undisturbed = attempt(false);
        let cut = undisturbed.worked().then(|| attempt(true));
        rows.push(Row::new(entry, undisturbed, cut));
    }
    Ok(Report { rows })
}

fn attempt(entry: &Entry, cut: bool, options: &Options, workshop: &Workshop) -> Outcome {
    let began = Instant::now();
    let folder = options.folder.join(format!("{}-{}", entry.name, if cut { "cut" } else { "undisturbed" }));
    let result = stage_one(entry, cut, &options.polypath, &folder, workshop);
    let _ = fs::remove_dir_all(&folder);
    Outcome::new(result, began.elapsed())
}

fn stage_one(
    entry: &Entry,
    cut: bool,
    polypath: &Path,
    folder: &Path,
    workshop: &Workshop,
) -> anyhow::Result<Evidence> {
    let stage = Stage::new()?;
    let act = Act::new(&stage, workshop, entry.role, polypath, folder.into(), cut)?;
    let over = AtomicBool::new(false);
    let (worked, disturbed) = thread::scope(|scope| {
        let disturber = cut.then(|| scope.spawn(|| cut_and_return(&stage, &over)));
        let worked = (entry.work)(&act);
        over.store(true, Relaxed);
        let disturbed =
            disturber.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (worked, disturbed)
    });
    let ended = act.finish();
    process::sweep(&[stage.host(), stage.peer()]);
    worked?;
    // An instance that had to be killed has told no summary.
    ended?;
    let evidence = Evidence::gather(&stage, folder)?;
    evidence.judge()?;
    disturbed?;
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_chosen_by_name_and_role() {
        let names = |only: &[&str], role| {
            let only: Vec<String> = only.iter().map(ToString::to_string).collect();
            let entries = Options::entries(&only, role).map_err(|error| error.to_string())?;
            Ok::<_, String>(entries.iter().map(|entry| entry.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["nginx", "curl"], None).unwrap(), ["curl", "nginx"]);
        assert_eq!(names(&["nginx", "curl"], Some(Role::Server)).unwrap(), ["nginx"]);
        assert!(names(&["curl"], Some(Role::Server)).unwrap_err().contains("no entry"));
        assert!(names(&["curl", "frob"], None).unwrap_err().contains("'frob'"));
        assert!(names(&[], None).unwrap().len() > 30);
    }
}
