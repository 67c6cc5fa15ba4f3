//! Programs at work: their output goes to files, none outstays its time, and none outlives its stage.

use anyhow::{Context as _, anyhow, bail};
use polypath_lab::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How often is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(10);
/// What a program gets to end in, once it has been asked to.
const FAREWELL: Duration = Duration::from_secs(10);
/// Lines of a program's last words that are told.
const LAST_WORDS: usize = 4;

/// A program in the background.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; all that it says on standard error, and on standard output unless `output` is to take that,
    /// goes to the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path, output: Option<&Path>) -> anyhow::Result<Self> {
        let name = name(&command);
        let said = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let output = match output {
            Some(path) => File::create(path).with_context(|| format!("writing {}", path.display()))?,
            None => said.try_clone()?,
        };
        command.stdout(output).stderr(said);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, log: log.into() })
    }

    /// Waits until it has ended by itself, well.
    pub(crate) fn finish(&mut self, most: Duration) -> anyhow::Result<()> {
        match self.wait(most)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.complain(&format!("{status}"))),
            None => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Err(self.complain(&format!("still at work after {} s", most.as_secs())))
            }
        }
    }

    /// Fails if it has ended, which it was not to.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(self.complain(&format!("has ended: {status}"))),
            None => Ok(()),
        }
    }

    /// Asks it to end, and makes sure that it does.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(self.child.id(), Signal::TERM);
            if self.wait(FAREWELL)?.is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
                bail!("{} does not end when it is asked to (SIGTERM)", self.name);
            }
        }
        Ok(())
    }

    fn wait(&mut self, most: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let begun = Instant::now();
        while begun.elapsed() < most {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(LOOK);
        }
        Ok(None)
    }

    fn complain(&self, what: &str) -> anyhow::Error {
        anyhow!("{}: {what}{}", self.name, last_words(&self.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits until `done`, at most this long.
pub(crate) fn until(
    otherwise: &str,
    most: Duration,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > most {
            bail!("{otherwise} within {} s", most.as_secs());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Ends all that is left in the namespaces of a stage: what a server has started may have outlived it.
pub(crate) fn sweep(namespaces: &[&Namespace]) {
    let here: Vec<u64> = namespaces.iter().filter_map(|namespace| inode(&own_path(namespace))).collect();
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for entry in processes.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        // Ours have threads in these namespaces, but not the first one, which this link is about.
        if let Some(pid) = pid.filter(|pid| *pid != std::process::id())
            && inode(&entry.path().join("ns/net")).is_some_and(|inode| here.contains(&inode))
        {
            kill(pid, Signal::KILL);
        }
    }
}

fn own_path(namespace: &Namespace) -> PathBuf {
    format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd()).into()
}

fn inode(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.ino())
}

fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// What a command is called by people: wrappers and their options are not its name.
fn name(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let all: Vec<String> = std::iter::once(command.get_program().to_string_lossy().into_owned()).chain(words).collect();
    let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    match all.iter().position(|word| word == "--") {
        Some(at) => all.get(at + 1).map_or_else(String::new, base),
        None => base(&all[0]),
    }
}

/// The end of what was said, on one line, with a dash in front.
fn last_words(log: &Path) -> String {
    let said = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join(" / ");
    if last.is_empty() { String::new() } else { format!(" - {last}") }
}
