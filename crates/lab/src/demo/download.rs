//! The download itself: the program as a child, its output timed and hashed, the cut and the return at their marks.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::options::{DemoOptions, SERVER_PORT};
use super::report::rounded;
use super::trace::{EventRecord, RunnerLine, Sample, Summary};
use super::view::{Snapshot, View};
use crate::emulator::Direction;
use crate::payload::{Hasher, Sha256Digest};
use crate::scenario::{SERVER_V4, Scenario};
use crate::sys;

/// How often the links' counters are read.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// How often the view is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How long the runner may take to end after the program's output has ended.
const LINGER: Duration = Duration::from_secs(10);

/// Everything seen during the download; times are since the program was started.
pub(super) struct Download {
    pub(super) command_line: Vec<OsString>,
    pub(super) status: ExitStatus,
    /// What the program and its runner complained about.
    pub(super) complaints: String,
    pub(super) received: u64,
    pub(super) sha256: Sha256Digest,
    /// When something came from the program.
    pub(super) reads: Vec<Duration>,
    pub(super) samples: Vec<Sample>,
    pub(super) cut_at: Option<Duration>,
    pub(super) return_at: Option<Duration>,
    pub(super) events: Vec<EventRecord>,
    pub(super) summary: Option<Summary>,
}

/// What the threads of a download share.
struct Shared {
    start: Instant,
    received: AtomicU64,
    ended: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    cut_at: Option<Duration>,
    return_at: Option<Duration>,
    events: Vec<EventRecord>,
    summary: Option<Summary>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the download in `scenario` and watches it.
pub(super) fn run(scenario: &Scenario, options: &DemoOptions, view: &mut View) -> anyhow::Result<Download> {
    let (events, events_writer) = sys::pipe()?;
    // The runner inherits the pipe and opens it by this name: no file is left behind, whatever happens.
    let events_name = PathBuf::from(format!("/dev/fd/{}", events_writer.as_raw_fd()));
    let mut program = options.program.clone();
    program.push(format!("http://{SERVER_V4}:{SERVER_PORT}/bytes/{}", options.bytes).into());
    let command_line = options.runner.command_line(&options.paths, &events_name, &program);
    let (executable, arguments) = command_line.split_first().context("an empty command line")?;
    let mut command = scenario.client().command_keeping(executable, events_writer.as_fd());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());

    let shared = Arc::new(Shared {
        start: Instant::now(),
        received: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        log: Mutex::default(),
    });
    let mut child = command.spawn().with_context(|| format!("cannot start {}", executable.to_string_lossy()))?;
    drop(events_writer);
    let listener = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || listen(events, &shared))
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else { bail!("the program has no output") };
    let (reads, sha256, complaints, samples) = thread::scope(|scope| {
        let reading = scope.spawn(|| read(stdout, scenario, options, &shared));
        let complaining = scope.spawn(|| read_complaints(stderr));
        let samples = watch(scenario, options, view, &shared, &mut child);
        let (reads, sha256) = reading.join().map_err(|_| io::Error::other("reading the program's output"))??;
        let complaints = complaining.join().unwrap_or_default();
        anyhow::Ok((reads, sha256, complaints, samples?))
    })?;
    let status = end(&mut child)?;
    // A process that outlives the runner may hold the pipe open: do not wait for ever.
    let deadline = Instant::now() + Duration::from_secs(1);
    while !listener.is_finished() && Instant::now() < deadline {
        thread::sleep(SAMPLE_EVERY);
    }
    let log = std::mem::take(&mut *shared.log());
    Ok(Download {
        command_line,
        status,
        complaints,
        received: shared.received.load(Relaxed),
        sha256,
        reads,
        samples,
        cut_at: log.cut_at,
        return_at: log.return_at,
        events: log.events,
        summary: log.summary,
    })
}

/// Reads the program's output to its end; cuts the first path and brings it back at the marks.
fn read(
    mut stdout: ChildStdout,
    scenario: &Scenario,
    options: &DemoOptions,
    shared: &Shared,
) -> io::Result<(Vec<Duration>, Sha256Digest)> {
    let (cut_mark, return_mark) = options.marks();
    let (mut reads, mut hasher, mut buf) = (Vec::new(), Hasher::default(), vec![0; 256 * 1024]);
    let result = loop {
        let len = match stdout.read(&mut buf) {
            Ok(0) => break Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Err(error),
        };
        let at = shared.start.elapsed();
        let before = hasher.len();
        hasher.update(&buf[..len]);
        let total = hasher.len();
        reads.push(at);
        shared.received.store(total, Relaxed);
        if before < cut_mark && total >= cut_mark {
            scenario.set_up(0, false);
            mark(shared, &options.paths[0].name, "cut", at);
        }
        if before < return_mark && total >= return_mark {
            scenario.set_up(0, true);
            mark(shared, &options.paths[0].name, "return", at);
        }
    };
    shared.ended.store(true, Relaxed);
    result.map(|()| (reads, hasher.finish()))
}

fn mark(shared: &Shared, name: &str, event: &str, at: Duration) {
    let mut log = shared.log();
    let slot = if event == "cut" { &mut log.cut_at } else { &mut log.return_at };
    *slot = Some(at);
    log.events.push(EventRecord {
        seconds: rounded(at.as_secs_f64()),
        event: event.into(),
        name: Some(name.into()),
        reason: None,
    });
}

/// The last lines of what the program says on standard error.
fn read_complaints(stderr: ChildStderr) -> String {
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut last: Vec<String> = Vec::new();
    for line in lines {
        if last.len() == 20 {
            last.remove(0);
        }
        last.push(line);
    }
    last.join("\n")
}

/// Reads the runner's events until the pipe is closed.
fn listen(events: File, shared: &Shared) {
    for line in BufReader::new(events).lines().map_while(Result::ok) {
        match RunnerLine::parse(&line, shared.start.elapsed()) {
            Some(RunnerLine::Event(event)) => shared.log().events.push(event),
            Some(RunnerLine::Summary(summary)) => shared.log().summary = Some(summary),
            None => {}
        }
    }
}

/// Samples the links and draws until the program's output has ended. Kills the program when nothing comes any more.
fn watch(
    scenario: &Scenario,
    options: &DemoOptions,
    view: &mut View,
    shared: &Shared,
    child: &mut Child,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut next_draw = Duration::ZERO;
    let mut progress = (0, Duration::ZERO);
    loop {
        let ended = shared.ended.load(Relaxed);
        let at = shared.start.elapsed();
        let count = |index| scenario.counters(index, Direction::Down).delivered;
        samples.push(Sample { at, delivered: (0..options.paths.len()).map(count).collect() });
        let received = shared.received.load(Relaxed);
        if at >= next_draw || ended {
            next_draw = at + DRAW_EVERY;
            let up: Vec<bool> = (0..options.paths.len()).map(|index| scenario.is_up(index)).collect();
            let log = shared.log();
            let events = &log.events;
            view.draw(&Snapshot { at, received, samples: &samples, up: &up, events });
        }
        if ended {
            return Ok(samples);
        }
        if received > progress.0 {
            progress = (received, at);
        } else if at > progress.1 + options.patience {
            child.kill().context("ending the program")?;
            child.wait()?;
            bail!(
                "nothing arrived for {:?}: {received} of {} bytes came; the program was ended",
                options.patience,
                options.bytes
            );
        }
        thread::sleep(SAMPLE_EVERY);
    }
}

/// Waits for the child, and ends it if it stays.
fn end(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + LINGER;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(SAMPLE_EVERY);
    }
    child.kill().context("ending the runner")?;
    Ok(child.wait()?)
}
