//! One connection as an application uses it: writes a pattern, reads and checks another, and closes.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use polypath_proto::{ConnectionError, ConnectionId, ConnectionInfo, Instant};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::app::Context;
use crate::pattern::{Mismatch, Pattern};

/// How a stream is written, read and closed.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// Bytes to send.
    pub send: u64,
    /// What they are.
    pub send_pattern: Pattern,
    /// Bytes to receive.
    pub receive: u64,
    /// What they are.
    pub receive_pattern: Pattern,
    /// Length of each write in bytes, at least 1.
    pub write_sizes: RangeInclusive<usize>,
    /// Probability that a write hands over its buffer instead of having it copied. 0 to 1.
    pub zero_copy: f64,
    /// Rests of the writer.
    pub write_pace: Option<Pace>,
    /// Most bytes that one read takes, at least 1.
    pub read_sizes: RangeInclusive<usize>,
    /// Rests of the reader.
    pub read_pace: Option<Pace>,
    /// What happens after the last write.
    pub finish: Finish,
}

/// After so many bytes, a rest.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Bytes between two rests, at least 1.
    pub bytes: u64,
    /// Length of a rest.
    pub rest: Duration,
}

/// How a stream ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Finish {
    /// Shut down the write side after the last write, go on reading, close after the peer's end.
    HalfClose,
    /// Shut down the write side only after the peer has. At most one of the two ends may do so.
    AfterPeer,
    /// Close right after the last write, as a program that exits: the stack delivers in the background. Only for an
    /// end that receives nothing.
    CloseWhenWritten,
}

/// What went wrong with a stream.
#[derive(Clone, Debug)]
pub enum StreamError {
    /// A byte is not what was sent.
    Wrong {
        /// Which byte.
        mismatch: Mismatch,
        /// The position in the stream at which the bytes received belong, if they are of the stream.
        belongs_at: Option<u64>,
    },
    /// More bytes than were sent.
    TooMany {
        /// How many were sent.
        sent: u64,
    },
    /// The stream ended early.
    EndedEarly {
        /// How many bytes were received.
        received: u64,
        /// How many were sent.
        sent: u64,
    },
    /// The connection failed.
    Connection(ConnectionError),
    /// The stack does not know the connection any more, though nobody closed it.
    Vanished,
}

/// One connection in use.
#[derive(Debug)]
pub struct Stream {
    plan: StreamPlan,
    rng: ChaCha8Rng,
    id: Option<ConnectionId>,
    written: u64,
    pending: Option<Pending>,
    can_write: bool,
    write_rest: Rest,
    shut_down: bool,
    received: u64,
    can_read: bool,
    read_rest: Rest,
    ended: bool,
    closed: bool,
    writes: u64,
    reads: u64,
    error: Option<StreamError>,
    info: Option<ConnectionInfo>,
}

/// A write that the stack has not taken in full.
#[derive(Debug)]
struct Pending {
    bytes: Bytes,
    zero_copy: bool,
}

/// Where a paced reader or writer stands.
#[derive(Debug, Default)]
struct Rest {
    since_last: u64,
    until: Option<Instant>,
}

impl Rest {
    fn is_over(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
        self.until.is_none()
    }

    fn after(&mut self, now: Instant, bytes: u64, pace: Option<Pace>) {
        let Some(pace) = pace else { return };
        self.since_last += bytes;
        if self.since_last >= pace.bytes {
            self.since_last = 0;
            self.until = Some(now + pace.rest);
        }
    }
}

impl Stream {
    /// A stream that waits for its connection.
    pub fn new(plan: StreamPlan, rng: ChaCha8Rng) -> Self {
        Self {
            plan,
            rng,
            id: None,
            written: 0,
            pending: None,
            can_write: false,
            write_rest: Rest::default(),
            shut_down: false,
            received: 0,
            can_read: false,
            read_rest: Rest::default(),
            ended: false,
            closed: false,
            writes: 0,
            reads: 0,
            error: None,
            info: None,
        }
    }

    /// The connection is there: reads and writes may begin.
    pub fn attach(&mut self, cx: &mut Context<'_>, id: ConnectionId) {
        self.id = Some(id);
        self.can_write = true;
        self.can_read = true;
        self.pump(cx);
    }

    /// The stack has room again.
    pub fn writable(&mut self, cx: &mut Context<'_>) {
        self.can_write = true;
        self.pump(cx);
    }

    /// The stack has something to read.
    pub fn readable(&mut self, cx: &mut Context<'_>) {
        self.can_read = true;
        self.pump(cx);
    }

    /// The connection is over.
    pub fn connection_closed(&mut self, error: Option<&ConnectionError>) {
        if self.closed || self.is_done() {
            return;
        }
        if let Some(error) = error {
            self.fail(StreamError::Connection(*error));
        }
    }

    /// Does what can be done now.
    pub fn pump(&mut self, cx: &mut Context<'_>) {
        if self.id.is_none() || self.closed || self.error.is_some() {
            return;
        }
        let result = self.write(cx).and_then(|()| self.read(cx)).and_then(|()| self.finish(cx));
        if let Err(error) = result {
            cx.note(|| format!("stream failed: {error:?}"));
            self.fail(error);
        }
        self.ask_for_wake(cx);
    }

    /// Every time anew: the host keeps only the earliest wish.
    fn ask_for_wake(&self, cx: &mut Context<'_>) {
        for until in [self.read_rest.until, self.write_rest.until].into_iter().flatten() {
            if until > cx.now {
                cx.wake_at(until);
            }
        }
    }

    fn fail(&mut self, error: StreamError) {
        self.error.get_or_insert(error);
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        while self.can_write && !self.shut_down && self.write_rest.is_over(cx.now) {
            let Some(mut pending) = self.pending.take().or_else(|| self.next_write()) else {
                break;
            };
            let before = pending.bytes.len();
            let taken = self.write_once(cx, &mut pending)?;
            cx.note(|| format!("write {before} at {} -> {taken}", self.written));
            self.writes += 1;
            self.written += taken as u64;
            self.can_write = taken > 0;
            if !pending.bytes.is_empty() {
                self.pending = Some(pending);
            }
            self.write_rest.after(cx.now, taken as u64, self.plan.write_pace);
        }
        Ok(())
    }

    fn next_write(&mut self) -> Option<Pending> {
        let left = self.plan.send - self.written;
        if left == 0 {
            return None;
        }
        let size = self.rng.random_range(self.plan.write_sizes.clone());
        let size = usize::try_from(left).map_or(size, |left| left.min(size));
        let bytes = self.plan.send_pattern.bytes(self.written, size);
        Some(Pending { bytes, zero_copy: self.rng.random_bool(self.plan.zero_copy) })
    }

    fn write_once(&self, cx: &mut Context<'_>, pending: &mut Pending) -> Result<usize, StreamError> {
        let mut connection = self.id.and_then(|id| cx.stack.connection(cx.now, id)).ok_or(StreamError::Vanished)?;
        if pending.zero_copy {
            return connection.write_bytes(&mut pending.bytes).map_err(StreamError::Connection);
        }
        let taken = connection.write(&pending.bytes).map_err(StreamError::Connection)?;
        bytes::Buf::advance(&mut pending.bytes, taken);
        Ok(taken)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        while self.can_read && !self.ended && self.read_rest.is_over(cx.now) {
            let max = self.rng.random_range(self.plan.read_sizes.clone());
            let mut connection = self.id.and_then(|id| cx.stack.connection(cx.now, id)).ok_or(StreamError::Vanished)?;
            let Some(bytes) = connection.read(max).map_err(StreamError::Connection)? else {
                self.can_read = false;
                break;
            };
            self.reads += 1;
            cx.note(|| format!("read {max} at {} -> {}", self.received, bytes.len()));
            if bytes.is_empty() {
                self.end()?;
                break;
            }
            self.check(&bytes)?;
            self.read_rest.after(cx.now, bytes.len() as u64, self.plan.read_pace);
        }
        Ok(())
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let pattern = self.plan.receive_pattern;
        pattern.verify(self.received, bytes).map_err(|mismatch| {
            let wrong = &bytes[(mismatch.at - self.received) as usize..];
            StreamError::Wrong { mismatch, belongs_at: pattern.find(wrong, self.plan.receive) }
        })?;
        self.received += bytes.len() as u64;
        if self.received > self.plan.receive {
            return Err(StreamError::TooMany { sent: self.plan.receive });
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StreamError> {
        self.ended = true;
        if self.received < self.plan.receive {
            return Err(StreamError::EndedEarly { received: self.received, sent: self.plan.receive });
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        if self.written < self.plan.send {
            return Ok(());
        }
        let may_shut_down = self.plan.finish != Finish::AfterPeer || self.ended;
        let close = self.plan.finish == Finish::CloseWhenWritten || (may_shut_down && self.ended);
        let mut connection = self.id.and_then(|id| cx.stack.connection(cx.now, id)).ok_or(StreamError::Vanished)?;
        if may_shut_down && !self.shut_down && !close {
            connection.shutdown();
            self.shut_down = true;
            cx.note(|| "shutdown".to_owned());
        } else if close {
            self.info = Some(connection.info());
            connection.close();
            self.shut_down = true;
            self.closed = true;
            cx.note(|| "close".to_owned());
        }
        Ok(())
    }

    /// Lets go of the connection here and now, whatever is still to be sent or read: with a reset, or with a close, which
    /// delivers what was written unless something was left unread.
    pub fn quit(&mut self, cx: &mut Context<'_>, reset: bool) {
        if let Some(mut connection) = self.id.and_then(|id| cx.stack.connection(cx.now, id)) {
            self.info = Some(connection.info());
            if reset {
                connection.abort();
            }
            connection.close();
            cx.note(|| if reset { "abort".to_owned() } else { "close early".to_owned() });
        }
        self.shut_down = true;
        self.closed = true;
    }

    /// Whether everything is sent, received and closed at this end.
    pub fn is_done(&self) -> bool {
        self.closed
    }

    /// Whether the reader or the writer rests on purpose: then no progress is no stall.
    pub fn rests(&self, now: Instant) -> bool {
        let resting = |rest: &Rest| rest.until.is_some_and(|until| until > now);
        !self.closed && (resting(&self.read_rest) || resting(&self.write_rest))
    }

    /// Bytes the stack has taken.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes received and found right.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Calls of read and write that the stack has seen.
    pub fn calls(&self) -> u64 {
        self.reads + self.writes
    }

    /// A number that grows whenever this end gets anywhere.
    pub fn progress(&self) -> u64 {
        self.received + u64::from(self.id.is_some()) + u64::from(self.ended) + u64::from(self.closed)
    }

    /// What went wrong.
    pub fn error(&self) -> Option<&StreamError> {
        self.error.as_ref()
    }

    /// The connection, once there is one.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.id
    }

    /// What the stack said of the connection just before it was closed.
    pub fn info(&self) -> Option<&ConnectionInfo> {
        self.info.as_ref()
    }
}
