//! One connection in the application's hands.

use super::{ConnectionId, Stack};
use crate::mptcp::{ConnectionError, ConnectionInfo};
use crate::time::Instant;
use bytes::Bytes;

/// A connection, borrowed from its stack for one mutation. Drain the stack afterwards.
#[derive(Debug)]
pub struct Connection<'a> {
    pub(super) stack: &'a mut Stack,
    pub(super) id: ConnectionId,
    pub(super) now: Instant,
}

impl Connection<'_> {
    fn inner(&mut self) -> Result<&mut crate::mptcp::Connection, ConnectionError> {
        let slot = self.stack.connections.get_mut(self.id.0).ok_or(ConnectionError::Closed)?;
        Ok(&mut slot.connection)
    }

    /// At most `max` bytes that have arrived in order, without copying them. `Ok(None)`: nothing yet, wait for
    /// [`Readable`](crate::Event::Readable). An empty piece is the end of the stream.
    ///
    /// # Errors
    /// Why the connection ended, once everything that arrived before has been read.
    pub fn read(&mut self, max: usize) -> Result<Option<Bytes>, ConnectionError> {
        self.inner()?.read(max)
    }

    /// Copies what has arrived in order into `buf`. `Ok(None)`: nothing yet; `Ok(Some(0))`: the end of the stream.
    ///
    /// # Errors
    /// Why the connection ended, once everything that arrived before has been read.
    pub fn read_into(&mut self, buf: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        self.inner()?.read_into(buf)
    }

    /// Copies as much of `data` into the send buffer as there is room for, and says how much; less than all:
    /// wait for [`Writable`](crate::Event::Writable).
    ///
    /// # Errors
    /// Why the connection ended, or [`ConnectionError::Closed`] after [`shutdown`](Self::shutdown).
    pub fn write(&mut self, data: &[u8]) -> Result<usize, ConnectionError> {
        let max = self.stack.config.send_buffer_max;
        self.inner()?.write(max, data)
    }

    /// As [`write`](Self::write), sharing the memory of `data`, which is advanced past what was taken.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_bytes(&mut self, data: &mut Bytes) -> Result<usize, ConnectionError> {
        let max = self.stack.config.send_buffer_max;
        self.inner()?.write_bytes(max, data)
    }

    /// Ends our stream after everything written (DATA_FIN, or FIN in plain TCP).
    pub fn shutdown(&mut self) {
        let now = self.now;
        if let Ok(c) = self.inner() {
            c.shutdown(now);
        }
    }

    /// The application is done with it: this handle finds nothing any more. What was written is still
    /// delivered; what was not read resets the connection.
    pub fn close(&mut self) {
        let now = self.now;
        if let Ok(c) = self.inner() {
            c.close(now);
        }
    }

    /// Ends it at once for both ends (MP_FASTCLOSE, or RST in plain TCP).
    pub fn abort(&mut self) {
        let now = self.now;
        if let Ok(c) = self.inner() {
            c.abort(now);
        }
    }

    /// Everything there is to know of it.
    pub fn info(&self) -> ConnectionInfo {
        let slot = self.stack.connections.get(self.id.0);
        slot.expect("a connection in hand exists").connection.info()
    }

    /// Bytes that [`write`](Self::write) would take now.
    pub fn write_room(&self) -> usize {
        let max = self.stack.config.send_buffer_max;
        self.stack.connections.get(self.id.0).map_or(0, |slot| slot.connection.write_room(max))
    }
}
