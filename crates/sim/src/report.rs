//! What a transfer came to.

use std::fmt;
use std::time::Duration;

use polypath_proto::{ConnectionInfo, Instant};

use crate::link::LinkStats;
use crate::oracle::Failure;

/// The outcome of a transfer.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed that repeats it.
    pub seed: u64,
    /// Virtual time until both ends were done.
    pub elapsed: Duration,
    /// Frames that left a host or a switch.
    pub frames: u64,
    /// The end that connected.
    pub client: EndReport,
    /// The end that listened.
    pub server: EndReport,
    /// The paths' links, in order.
    pub links: Vec<LinkReport>,
    /// The digest of the run, if the trace keeps one.
    pub digest: Option<u64>,
}

/// One end's side of it.
#[derive(Clone, Debug)]
pub struct EndReport {
    /// Bytes its stack took from the application.
    pub written: u64,
    /// Bytes the application received and found right.
    pub received: u64,
    /// Whether it has sent, received and closed all.
    pub done: bool,
    /// The connection just before it was closed, or as it is now.
    pub info: Option<ConnectionInfo>,
    /// What the stack reported of subflows and of the connection's end.
    pub events: Vec<(Instant, String)>,
}

/// What a path carried.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Its name.
    pub name: String,
    /// From the client.
    pub up: LinkStats,
    /// To the client.
    pub down: LinkStats,
}

/// A transfer that went wrong.
#[derive(Clone, Debug)]
pub struct Failed {
    /// How.
    pub failure: Failure,
    /// What it had come to.
    pub report: Report,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (up, down) = (self.server.received, self.client.received);
        let (time, frames) = (self.elapsed.as_secs_f64(), self.frames);
        writeln!(f, "seed {}: {up} bytes up, {down} bytes down in {time:.3} s with {frames} frames", self.seed)?;
        for link in &self.links {
            writeln!(f, "  {} up:   {}", link.name, link.up)?;
            writeln!(f, "  {} down: {}", link.name, link.down)?;
        }
        for (name, end) in [("client", &self.client), ("server", &self.server)] {
            writeln!(f, "  {name}: wrote {}, received {}, done {}", end.written, end.received, end.done)?;
            if let Some(info) = &end.info {
                writeln!(f, "    {info:?}")?;
            }
            for (at, event) in &end.events {
                writeln!(f, "    {:.6} {event}", (*at - Instant::ZERO).as_secs_f64())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for LinkStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offered,
            delivered,
            delivered_bytes,
            queue_full,
            early,
            lost,
            down,
            too_big,
            duplicated,
            reordered,
            longest_wait,
        } = self;
        write!(
            f,
            "{delivered} of {offered} frames, {delivered_bytes} bytes; lost {lost}, queue full {queue_full}, dropped early {early}, "
        )?;
        write!(f, "in cuts {down}, too big {too_big}; {duplicated} twice, {reordered} late; ")?;
        write!(f, "waited {:.1} ms at most", longest_wait.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:.6} s\n{}", self.failure, self.report.elapsed.as_secs_f64(), self.report)
    }
}

impl std::error::Error for Failed {}
