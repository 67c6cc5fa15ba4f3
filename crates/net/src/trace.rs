//! [`TraceFile`]: every decision of a host's stack, as JSON lines.
//!
//! `docs/trace.md` has the schema. A line is made by the thread that writes, not under the stack's lock.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polypath_proto::trace::{Trace, TraceEvent};
use serde::Serialize;

use crate::host::Host;
use crate::spool::{Feed, Sink, Spool};

/// The version of the schema: a line may gain fields within one.
const VERSION: u32 = 1;
/// What an event takes while it waits to be written: a lower bound, most own nothing more.
const COST: usize = size_of::<Item>();
const FILE_BUFFER: usize = 256 * 1024;

/// Writes every decision of a [`Host`]'s stack to a file, until it is finished or dropped.
///
/// Whenever the writer has caught up, the file is complete so far.
#[derive(Debug)]
pub struct TraceFile {
    host: Host,
    spool: Spool<Item>,
}

impl TraceFile {
    /// Begins to write to a new file at `path`; what was there is overwritten. `program` is for people: what this
    /// process runs.
    ///
    /// # Errors
    /// The file cannot be created, or the host is traced already.
    pub fn start(host: &Host, path: &Path, program: &str) -> io::Result<TraceFile> {
        // Asked first, so that a trace that is being written is not emptied.
        host.shared().configure(|core| if core.trace.is_some() { Err(traced_already()) } else { Ok(()) })?;
        let mut out = BufWriter::with_capacity(FILE_BUFFER, File::create(path)?);
        // The stack's time is relative to its start.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let uptime = Duration::from_nanos(host.shared().now().as_nanos());
        let start = since_1970.saturating_sub(uptime).as_millis() as f64 / 1000.0;
        let version = env!("CARGO_PKG_VERSION");
        line(&mut out, &Header { polypath_trace: VERSION, version, program, pid: std::process::id(), start })?;
        out.flush()?;
        let (spool, feed) = Spool::start("polypath trace", LineFile(out))?;
        host.shared().configure(|core| {
            if core.trace.is_some() {
                return Err(traced_already());
            }
            core.trace = Some(TraceFeed(feed));
            core.stack.set_tracing(true);
            Ok(())
        })?;
        Ok(TraceFile { host: host.clone(), spool })
    }

    /// Ends the trace and waits until all of it is in the file. Returns how many events were left out because the file
    /// could not be written fast enough; lines named `trace:dropped` say where.
    ///
    /// # Errors
    /// The file could not be written; it ends there.
    pub fn finish(mut self) -> io::Result<u64> {
        self.end()
    }

    fn end(&mut self) -> io::Result<u64> {
        self.host.shared().configure(|core| {
            core.trace = None;
            core.stack.set_tracing(false);
        });
        self.spool.finish()
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        // Who wants to know calls `finish`.
        let _ = self.end();
    }
}

fn traced_already() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the host is being traced already")
}

/// The stack's end of it.
#[derive(Debug)]
pub(crate) struct TraceFeed(Feed<Item>);

impl TraceFeed {
    pub(crate) fn push(&mut self, trace: Trace) {
        self.0.push(COST, |dropped| Item { trace, dropped });
    }
}

#[derive(Debug)]
struct Item {
    trace: Trace,
    /// Events left out just before this one.
    dropped: u64,
}

#[derive(Serialize)]
struct Header<'a> {
    polypath_trace: u32,
    version: &'static str,
    program: &'a str,
    pid: u32,
    /// Time 0, in seconds since 1970.
    start: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds.
    time: f64,
    connection: u32,
    #[serde(flatten)]
    event: &'a TraceEvent,
}

#[derive(Serialize)]
struct Dropped {
    time: f64,
    name: &'static str,
    data: DroppedData,
}

#[derive(Serialize)]
struct DroppedData {
    events: u64,
}

struct LineFile(BufWriter<File>);

impl Sink for LineFile {
    type Item = Item;

    fn write(&mut self, Item { trace, dropped }: Item) -> io::Result<()> {
        let time = (trace.at.as_nanos() / 1000) as f64 / 1000.0;
        if dropped > 0 {
            line(&mut self.0, &Dropped { time, name: "trace:dropped", data: DroppedData { events: dropped } })?;
        }
        line(&mut self.0, &Line { time, connection: trace.connection.number(), event: &trace.event })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn line(out: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, what)?;
    out.write_all(b"\n")
}
