//! The programs of the grid: one end of a connection that sends without end, asks, or answers, and checks every byte.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use polypath_proto::{ConnectOptions, ConnectionId, ConnectionInfo, Event, Instant};

use super::series::Series;
use crate::app::{Application, Context};
use crate::pattern::Pattern;

/// Bytes of one write.
const WRITE: usize = 64 * 1024;
/// Most bytes of one read.
const READ: usize = 1 << 20;

/// Which side of the connection it is.
#[derive(Clone, Debug)]
pub(super) enum Side {
    /// Connects when the run starts.
    Client { local: SocketAddr, remote: SocketAddr },
    /// Listens.
    Server { local: SocketAddr },
}

/// What it does once connected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Writes as fast as the stack takes.
    Send,
    /// Only reads.
    Receive,
    /// Sends a request, waits for the whole answer, and sends the next one.
    Ask { count: u32, request: u32, answer: u32 },
    /// Answers each request.
    Answer { request: u32, answer: u32 },
}

/// One end.
pub(super) struct End {
    side: Side,
    work: Work,
    id: Option<ConnectionId>,
    sent_pattern: Pattern,
    received_pattern: Pattern,
    /// How many bytes there are to write so far.
    goal: u64,
    written: u64,
    pending: Bytes,
    received: u64,
    arrivals: Series,
    asked_at: Option<Instant>,
    latencies: Vec<Duration>,
    error: Option<String>,
}

impl End {
    /// An end that sends the bytes of one seed and expects those of another.
    pub(super) fn new(side: Side, work: Work, sends: u64, receives: u64) -> Self {
        Self {
            side,
            work,
            id: None,
            sent_pattern: Pattern::Seeded(sends),
            received_pattern: Pattern::Seeded(receives),
            goal: if work == Work::Send { u64::MAX } else { 0 },
            written: 0,
            pending: Bytes::new(),
            received: 0,
            arrivals: Series::default(),
            asked_at: None,
            latencies: Vec::new(),
            error: None,
        }
    }

    /// When bytes reached it, in order.
    pub(super) fn arrivals(&self) -> &Series {
        &self.arrivals
    }

    /// How long each request took, from its write to the last byte of the answer.
    pub(super) fn latencies(&self) -> &[Duration] {
        &self.latencies
    }

    /// Bytes received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether it has nothing more to do. One that sends, receives or answers never has.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.work, Work::Ask { count, .. } if self.latencies.len() >= count as usize)
    }

    /// What went wrong.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The connection as its stack sees it.
    pub(super) fn info(&self, stack: &polypath_proto::Stack) -> Option<ConnectionInfo> {
        stack.connection_info(self.id?)
    }

    fn fail(&mut self, error: impl Into<String>) {
        self.error.get_or_insert_with(|| error.into());
    }

    fn begin(&mut self, cx: &mut Context<'_>, id: ConnectionId) {
        self.id = Some(id);
        if let Work::Ask { .. } = self.work {
            self.ask(cx.now);
        }
        self.pump(cx);
    }

    /// Reads, then writes: an answer goes out in the same moment as its request was read.
    fn pump(&mut self, cx: &mut Context<'_>) {
        if self.id.is_none() || self.error.is_some() {
            return;
        }
        if let Err(error) = self.read(cx).and_then(|()| self.write(cx)) {
            self.fail(error);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let before = self.received;
        while let Some(mut connection) = self.id.and_then(|id| cx.stack.connection(cx.now, id)) {
            match connection.read(READ) {
                Ok(Some(bytes)) if bytes.is_empty() => return Err("the stream ended".into()),
                Ok(Some(bytes)) => self.check(&bytes)?,
                Ok(None) => break,
                Err(error) => return Err(format!("the connection failed: {error}")),
            }
        }
        if self.received > before {
            self.arrivals.push(cx.now - Instant::ZERO, self.received - before);
            self.react(cx.now);
        }
        Ok(())
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), String> {
        let wrong = |mismatch| format!("wrong byte: {mismatch:?}");
        self.received_pattern.verify(self.received, bytes).map_err(wrong)?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// What follows from what has been read so far.
    fn react(&mut self, now: Instant) {
        match self.work {
            Work::Send | Work::Receive => {}
            Work::Answer { request, answer } => {
                self.goal = self.received / u64::from(request) * u64::from(answer);
            }
            Work::Ask { count, answer, .. } => {
                let answered = (self.latencies.len() as u64 + 1) * u64::from(answer);
                let Some(asked_at) = self.asked_at.filter(|_| self.received >= answered) else { return };
                self.latencies.push(now - asked_at);
                self.asked_at = None;
                if self.latencies.len() < count as usize {
                    self.ask(now);
                }
            }
        }
    }

    fn ask(&mut self, now: Instant) {
        if let Work::Ask { request, .. } = self.work {
            self.goal += u64::from(request);
            self.asked_at = Some(now);
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while let Some(mut connection) = self.id.and_then(|id| cx.stack.connection(cx.now, id)) {
            if self.pending.is_empty() {
                let left = usize::try_from(self.goal - self.written).unwrap_or(usize::MAX);
                if left == 0 {
                    break;
                }
                self.pending = self.sent_pattern.bytes(self.written, left.min(WRITE));
            }
            let taken = connection.write_bytes(&mut self.pending).map_err(|error| format!("write: {error}"))?;
            self.written += taken as u64;
            if !self.pending.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Application for End {
    fn start(&mut self, cx: &mut Context<'_>) {
        let error = match &self.side {
            Side::Client { local, remote } => {
                let options = ConnectOptions { local: Some(*local), ..ConnectOptions::default() };
                cx.stack.connect(cx.now, *remote, options).err().map(|error| format!("connect: {error}"))
            }
            Side::Server { local } => cx.stack.listen(*local, 16).err().map(|error| format!("listen: {error}")),
        };
        if let Some(error) = error {
            self.fail(error);
        }
    }

    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event) {
        match event {
            Event::Acceptable(listener) => {
                if let Some(id) = cx.stack.accept(*listener).filter(|_| self.id.is_none()) {
                    self.begin(cx, id);
                }
            }
            Event::Connected(id) if self.id.is_none() => self.begin(cx, *id),
            Event::Readable(_) | Event::Writable(_) => self.pump(cx),
            Event::Closed { error, .. } => {
                let why = error.map_or_else(|| "in order".to_owned(), |error| error.to_string());
                self.fail(format!("the connection ended: {why}"));
            }
            _ => {}
        }
    }

    fn handle_wake(&mut self, _: &mut Context<'_>) {}
}
