//! The packet log, and a digest of everything that passed.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, BufWriter, Write as _};

use polypath_proto::Instant;

use crate::link::Verdict;
use crate::packet::{Digest, Packet};
use crate::packet_text::Conversations;

/// Where the log lines go.
type Sink = Box<dyn FnMut(&str)>;

/// Follows a simulation: writes a line for each packet that is sent, arrives or is dropped and for what hosts report,
/// and sums it all up in a number that is the same for two runs only if they went the same way.
///
/// Off, it costs one branch for each packet.
#[derive(Default)]
pub struct Trace {
    sink: Option<Sink>,
    digest: Option<Digest>,
    conversations: Conversations,
    line: String,
}

/// One passage of a packet.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Passage<'a> {
    pub(crate) at: Instant,
    pub(crate) node: &'a str,
    pub(crate) link: &'a str,
    pub(crate) packet: &'a Packet,
    pub(crate) what: What,
}

/// What a packet does.
#[derive(Copy, Clone, Debug)]
pub(crate) enum What {
    /// It leaves the node, and this is what the link makes of it.
    Sent { verdict: Verdict, queued: u64, quiet: bool },
    /// It has come to the node.
    Arrived,
    /// It was under way when the link went down.
    Cut,
    /// It went into a middlebox, and nothing came out.
    Swallowed,
    /// There is no route for it.
    NoRoute,
}

impl Trace {
    /// No log, no digest.
    pub fn off() -> Self {
        Self::default()
    }

    /// A log to standard error.
    pub fn stderr() -> Self {
        let mut out = BufWriter::new(io::stderr());
        Self::to(move |line| {
            // A log that nobody reads any more is no reason to stop.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        })
    }

    /// A log into a function, one line at a time.
    pub fn to(sink: impl FnMut(&str) + 'static) -> Self {
        Self { sink: Some(Box::new(sink)), ..Self::default() }
    }

    /// What the environment asks for: `POLYPATH_TRACE=1` logs to standard error, any other value but `0` into the
    /// file of that name.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn from_env() -> io::Result<Self> {
        match std::env::var("POLYPATH_TRACE") {
            Err(_) => Ok(Self::off()),
            Ok(value) if value.is_empty() || value == "0" => Ok(Self::off()),
            Ok(value) if value == "1" => Ok(Self::stderr()),
            Ok(path) => {
                let mut out = BufWriter::new(std::fs::File::create(path)?);
                Ok(Self::to(move |line| {
                    let _ = writeln!(out, "{line}");
                }))
            }
        }
    }

    /// The same with a digest.
    #[must_use]
    pub fn with_digest(mut self) -> Self {
        self.digest = Some(Digest::default());
        self
    }

    /// The digest of everything so far, if one is kept.
    pub fn digest(&self) -> Option<u64> {
        self.digest.map(Digest::value)
    }

    /// Whether lines are written.
    pub fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    pub(crate) fn packet(&mut self, passage: &Passage<'_>) {
        if let Some(digest) = &mut self.digest {
            digest.add_u64(passage.at.as_nanos());
            digest.add_u64(passage.what.number());
            digest.add(&passage.packet.headers);
            digest.add_u64(passage.packet.payload.len() as u64);
        }
        if self.sink.is_some() {
            self.log_packet(passage);
        }
    }

    fn log_packet(&mut self, passage: &Passage<'_>) {
        let Passage { at, node, link, packet, what } = *passage;
        if matches!(what, What::Sent { verdict: Verdict::Deliver { .. }, quiet: true, .. }) {
            return;
        }
        let arrow = if matches!(what, What::Sent { .. }) { '>' } else { '<' };
        let text = self.conversations.describe(packet);
        self.line(at, node, format_args!("{arrow} {link:<6} {text}{what}"));
    }

    /// Logs what an application or a host does. The text is made only if somebody reads it.
    pub(crate) fn note(&mut self, at: Instant, host: &str, text: impl FnOnce() -> String) {
        if let Some(digest) = &mut self.digest {
            digest.add_u64(at.as_nanos());
            digest.add(host.as_bytes());
        }
        if self.sink.is_some() {
            self.line(at, host, format_args!("  * {}", text()));
        }
    }

    pub(crate) fn event(&mut self, at: Instant, host: &str, event: &impl Debug) {
        self.note(at, host, || format!("{event:?}"));
    }

    fn line(&mut self, at: Instant, node: &str, text: fmt::Arguments<'_>) {
        let Some(sink) = &mut self.sink else { return };
        self.line.clear();
        let nanos = at.as_nanos();
        let (seconds, micros, rest) = (nanos / 1_000_000_000, nanos / 1_000 % 1_000_000, nanos % 1_000);
        let _ = write!(self.line, "{seconds:>4}.{micros:06}'{rest:03} {node:<7} {text}");
        sink(&self.line);
    }
}

impl Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("on", &self.is_on()).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl What {
    fn number(self) -> u64 {
        match self {
            Self::Sent { verdict: Verdict::Deliver { at, copy }, .. } => {
                at.as_nanos() ^ copy.map_or(0, |copy| copy.as_nanos().rotate_left(32))
            }
            Self::Sent { verdict: Verdict::Dropped(reason), .. } => 1 + reason as u64,
            Self::Arrived => 11,
            Self::Cut => 12,
            Self::Swallowed => 13,
            Self::NoRoute => 14,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { verdict: Verdict::Dropped(reason), .. } => write!(f, "  DROPPED {reason:?}"),
            Self::Sent { verdict: Verdict::Deliver { at, copy }, queued, .. } => {
                let nanos = at.as_nanos();
                write!(f, "  arrives {}.{:06}", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000)?;
                if copy.is_some() {
                    f.write_str(" TWICE")?;
                }
                if *queued > 0 {
                    write!(f, " queue {queued}")?;
                }
                Ok(())
            }
            Self::Arrived => Ok(()),
            Self::Cut => f.write_str("  DROPPED in the cut"),
            Self::Swallowed => f.write_str("  DROPPED by a middlebox"),
            Self::NoRoute => f.write_str("  DROPPED without a route"),
        }
    }
}
