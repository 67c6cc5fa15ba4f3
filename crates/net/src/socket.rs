//! One connection as the application holds it: what streams and their halves are made of.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use polypath_proto::{Connection, ConnectionError, ConnectionId, Ends, Instant};
use tokio::io::{Interest, ReadBuf, Ready};

use crate::error;
use crate::handle::ConnectionHandle;
use crate::host::Host;
use crate::shared::Core;
use crate::waiting::{Phase, Way};

/// Most bytes one `poll_read` may copy: beyond it the lock would be held for long.
const READ_MAX: usize = 1024 * 1024;

/// Writes of at least this many bytes are copied before taking the lock, so that the driver does
/// not wait for the copy, and into buffers that go round. Measured against a copy by the stack:
/// 25 instead of 16 Gbit/s. Shorter ones the stack gathers into longer pieces.
const COPY_OUTSIDE: usize = 16 * 1024;

/// Most bytes of one write that are copied ahead.
const WRITE_MAX: usize = 256 * 1024;

/// What a pending call does: a poll leaves its waker, a try does not.
#[derive(Copy, Clone)]
enum Otherwise<'a, 'b> {
    Register(&'a Context<'b>),
    GiveUp,
}

/// A connection that is closed when this is dropped.
pub(crate) struct Socket {
    host: Host,
    id: ConnectionId,
    ends: Ends,
    linger: Mutex<Option<Duration>>,
}

impl Socket {
    /// Takes `id` over from the stack.
    pub(crate) fn adopt(
        host: &Host,
        core: &mut Core,
        now: Instant,
        id: ConnectionId,
        phase: Phase,
    ) -> io::Result<Self> {
        let info = core.connection(now, id).map(|connection| connection.info()).ok_or_else(error::not_connected)?;
        core.waiting.add_connection(id, phase);
        Ok(Self { host: host.clone(), id, ends: Ends::new(info.local, info.remote), linger: Mutex::new(None) })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.ends.local()
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.ends.remote()
    }

    /// Waits for the handshake to end.
    pub(crate) fn poll_connected(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.host.shared().look(|core, _| {
            let Some(wait) = core.waiting.connection(self.id) else {
                return Poll::Ready(Err(error::not_connected()));
            };
            match wait.phase {
                Phase::Connecting => wait.write.register(cx),
                Phase::Connected => Poll::Ready(Ok(())),
                Phase::Closed(reason) => Poll::Ready(Err(ended(reason))),
            }
        })?
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let space = buf.initialize_unfilled_to(buf.remaining().min(READ_MAX));
        let read = ready!(self.read_into(space, Otherwise::Register(cx)))?;
        buf.advance(read);
        coop.made_progress();
        Poll::Ready(Ok(()))
    }

    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        or_would_block(self.read_into(buf, Otherwise::GiveUp))
    }

    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let otherwise = Otherwise::Register(cx);
        let peeked = ready!(self.attempt(Way::Read, otherwise, |connection, peeked| {
            // All that is there, as from a kernel socket: what was seen before and what is new.
            let mut ended = false;
            while peeked.len() < buf.len() && !ended {
                match connection.read(buf.len() - peeked.len())? {
                    Some(more) if more.is_empty() => ended = true,
                    Some(more) if peeked.is_empty() => *peeked = more,
                    Some(more) => *peeked = [&peeked[..], &more[..]].concat().into(),
                    None => break,
                }
            }
            if peeked.is_empty() && !ended && !buf.is_empty() {
                return Ok(None);
            }
            let len = peeked.len().min(buf.len());
            buf[..len].copy_from_slice(&peeked[..len]);
            Ok(Some(len))
        }))?;
        coop.made_progress();
        Poll::Ready(Ok(peeked))
    }

    pub(crate) fn poll_read_bytes(&self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let bytes = ready!(self.attempt(Way::Read, Otherwise::Register(cx), |connection, peeked| {
            if peeked.is_empty() {
                return connection.read(max);
            }
            Ok(Some(peeked.split_to(peeked.len().min(max))))
        }))?;
        coop.made_progress();
        Poll::Ready(Ok(bytes))
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let written = ready!(self.write(pieces, Otherwise::Register(cx)))?;
        coop.made_progress();
        Poll::Ready(Ok(written))
    }

    pub(crate) fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.write(pieces, Otherwise::GiveUp))
    }

    pub(crate) fn poll_write_bytes(&self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let written = ready!(self.attempt(Way::Write, Otherwise::Register(cx), |connection, _| {
            let empty = data.is_empty();
            let written = connection.write_bytes(data)?;
            Ok((written > 0 || empty).then_some(written))
        }))?;
        coop.made_progress();
        Poll::Ready(Ok(written))
    }

    /// Ends our direction after what is buffered.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.host.shared().call(|core, now| {
            if let Some(mut connection) = core.connection(now, self.id) {
                connection.shutdown();
            }
        })
    }

    /// Tears the connection down; the peer sees a reset.
    pub(crate) fn abort(&self) -> io::Result<()> {
        self.host.shared().call(|core, now| {
            if let Some(mut connection) = core.connection(now, self.id) {
                connection.abort();
            }
        })
    }

    /// The error that ended the connection, if one did.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.host.shared().look(|core, _| match core.waiting.connection(self.id)?.phase {
            Phase::Closed(Some(reason)) => Some(error::connection(reason)),
            _ => None,
        })
    }

    /// Waits until a call in one of the directions of `interest` may succeed.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        if !interest.is_readable() && !interest.is_writable() {
            let message = "a Multipath TCP stream can be waited for to be readable or writable, and nothing else";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (reading, writing) = self.host.shared().look(|core, _| {
            let wait = core.waiting.connection(self.id).ok_or_else(error::not_connected)?;
            io::Result::Ok((wait.read.waiters(), wait.write.waiters()))
        })??;
        loop {
            let read = reading.notified();
            let write = writing.notified();
            tokio::pin!(read, write);
            // Enlisted before looking, so that nothing falls between.
            read.as_mut().enable();
            write.as_mut().enable();
            let ready = self.look_ready(interest)?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            tokio::select! {
                () = read, if interest.is_readable() => {}
                () = write, if interest.is_writable() => {}
            }
        }
    }

    /// [`ready`](Self::ready) for one direction and one task.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, way: Way) -> Poll<io::Result<()>> {
        self.host.shared().look(|core, _| match core.waiting.connection(self.id) {
            Some(wait) => {
                let direction = wait.direction(way);
                if direction.is_ready() {
                    return Poll::Ready(Ok(()));
                }
                direction.register(cx)
            }
            None => Poll::Ready(Err(error::not_connected())),
        })?
    }

    /// For settings and questions.
    pub(crate) fn handle(&self) -> ConnectionHandle {
        ConnectionHandle::new(&self.host, self.id)
    }

    pub(crate) fn linger(&self) -> Option<Duration> {
        *self.linger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) {
        *self.linger.lock().unwrap_or_else(PoisonError::into_inner) = linger;
    }

    fn look_ready(&self, interest: Interest) -> io::Result<Ready> {
        self.host.shared().look(|core, _| {
            let mut ready = Ready::EMPTY;
            let Some(wait) = core.waiting.connection(self.id) else {
                return ready;
            };
            if interest.is_readable() && wait.read.is_ready() {
                ready |= Ready::READABLE;
            }
            if interest.is_writable() && wait.write.is_ready() {
                ready |= Ready::WRITABLE;
            }
            ready
        })
    }

    fn read_into(&self, buf: &mut [u8], otherwise: Otherwise<'_, '_>) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.attempt(Way::Read, otherwise, |connection, peeked| {
            if peeked.is_empty() {
                return connection.read_into(buf);
            }
            let bytes = peeked.split_to(peeked.len().min(buf.len()));
            buf[..bytes.len()].copy_from_slice(&bytes);
            Ok(Some(bytes.len()))
        })
    }

    fn write(&self, pieces: &[IoSlice<'_>], otherwise: Otherwise<'_, '_>) -> Poll<io::Result<usize>> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        if total >= COPY_OUTSIDE {
            let copies = self.copy_what_fits(pieces)?;
            if !copies.is_empty() {
                return self.write_copies(copies, otherwise);
            }
        }
        self.attempt(Way::Write, otherwise, |connection, _| {
            let mut written = 0;
            for piece in pieces {
                let taken = connection.write(piece)?;
                written += taken;
                if taken < piece.len() {
                    break;
                }
            }
            Ok((written > 0 || total == 0).then_some(written))
        })
    }

    /// Copies what the stack has room for into buffers of ours, without holding its lock.
    fn copy_what_fits(&self, pieces: &[IoSlice<'_>]) -> io::Result<Vec<Bytes>> {
        let room = self
            .host
            .shared()
            .look(|core, now| core.connection(now, self.id).map_or(0, |connection| connection.write_room()))?;
        Ok(self.host.shared().pool.copy(pieces, room.min(WRITE_MAX)))
    }

    fn write_copies(&self, copies: Vec<Bytes>, otherwise: Otherwise<'_, '_>) -> Poll<io::Result<usize>> {
        self.attempt(Way::Write, otherwise, |connection, _| {
            let mut written = 0;
            for mut copy in copies {
                written += connection.write_bytes(&mut copy)?;
                // Somebody else has taken the room.
                if !copy.is_empty() {
                    break;
                }
            }
            Ok((written > 0).then_some(written))
        })
    }

    /// One call on the stack's connection; `Ok(None)` from it means not now.
    fn attempt<R>(
        &self,
        way: Way,
        otherwise: Otherwise<'_, '_>,
        call: impl FnOnce(&mut Connection<'_>, &mut Bytes) -> Result<Option<R>, ConnectionError>,
    ) -> Poll<io::Result<R>> {
        self.host.shared().call(|core, now| {
            let Some((mut connection, wait)) = core.connection_and_wait(now, self.id) else {
                return Poll::Ready(Err(error::not_connected()));
            };
            match call(&mut connection, &mut wait.peeked) {
                Ok(Some(result)) => Poll::Ready(Ok(result)),
                Err(reason) => Poll::Ready(Err(error::connection(reason))),
                Ok(None) => {
                    let direction = wait.direction(way);
                    direction.clear_ready();
                    match otherwise {
                        Otherwise::Register(cx) => direction.register(cx),
                        Otherwise::GiveUp => Poll::Pending,
                    }
                }
            }
        })?
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let at_once = self.linger() == Some(Duration::ZERO);
        // Where the host has stopped there is nothing left to close.
        let _ = self.host.shared().call(|core, now| {
            core.let_go(now, self.id, at_once);
        });
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("local", &self.ends.local())
            .field("remote", &self.ends.remote())
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(error::would_block()),
    }
}

/// Why a handshake ended without a connection.
fn ended(reason: Option<ConnectionError>) -> io::Error {
    reason.map_or_else(error::not_connected, error::connection)
}
