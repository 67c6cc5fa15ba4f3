//! One connection in the application's hands.

use super::{ConnectionId, Stack};
use crate::Keepalive;
use crate::congestion::CongestionKind;
use crate::mptcp::{ConnectionError, ConnectionInfo};
use crate::scheduler::SchedulerKind;
use crate::time::{Duration, Instant};
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
        let max = self.stack.send_limit(self.id);
        self.inner()?.write(max, data)
    }

    /// As [`write`](Self::write), sharing the memory of `data`, which is advanced past what was taken.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_bytes(&mut self, data: &mut Bytes) -> Result<usize, ConnectionError> {
        let max = self.stack.send_limit(self.id);
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

    /// Whether small pieces are sent at once, also while earlier ones are unacknowledged. Off, they wait for that
    /// (Nagle's algorithm as Minshall changed it; RFC 9293, section 3.7.4), whatever subflow carries those. The default is [`Config::nodelay`](crate::Config::nodelay).
    pub fn set_nodelay(&mut self, nodelay: bool) {
        if let Ok(c) = self.inner() {
            c.set_nodelay(nodelay);
        }
    }

    /// Whether small pieces are sent at once.
    pub fn nodelay(&self) -> bool {
        self.stack.connections.get(self.id.0).is_some_and(|slot| slot.connection.nodelay())
    }

    /// Another packet scheduler from here on, for this connection alone. The default is
    /// [`Config::scheduler`](crate::Config::scheduler).
    pub fn set_scheduler(&mut self, scheduler: &SchedulerKind) {
        if let Ok(c) = self.inner() {
            c.set_scheduler(scheduler.build());
        }
    }

    /// Another congestion control from here on, for this connection alone: for its subflows, which go on from the windows
    /// that they have, and for those to come. The default is [`Config::congestion`](crate::Config::congestion).
    pub fn set_congestion(&mut self, congestion: CongestionKind) {
        let now = self.now;
        if let Ok(c) = self.inner() {
            c.set_congestion(now, congestion.build());
        }
    }

    /// Name of the congestion control in use.
    pub fn congestion(&self) -> &'static str {
        self.stack.connections.get(self.id.0).map_or("", |slot| slot.connection.congestion_name())
    }

    /// Asks the peer on each subflow that was silent for long whether it lives (RFC 9293, section 3.8.4); none: never.
    /// A subflow without an answer is closed, and with the last one the connection fails with
    /// [`TimedOut`](ConnectionError::TimedOut). The default is [`Config::keepalive`](crate::Config::keepalive).
    pub fn set_keepalive(&mut self, keepalive: Option<Keepalive>) {
        let now = self.now;
        if let Ok(c) = self.inner() {
            c.set_keepalive(now, keepalive);
        }
    }

    /// How long the SYN, or data that was sent, may stay unacknowledged before the connection fails with
    /// [`TimedOut`](ConnectionError::TimedOut) (RFC 9293, section 3.8.3; the local meaning of RFC 5482). The same holds
    /// for questions to a peer whose window is shut. None: 15 minutes of retransmissions. The default is
    /// [`Config::user_timeout`](crate::Config::user_timeout).
    pub fn set_user_timeout(&mut self, timeout: Option<Duration>) {
        let now = self.now;
        if let Ok(c) = self.inner() {
            c.set_user_timeout(now, timeout);
        }
    }

    /// Hop limit (IPv4: TTL) of every packet from now on, 1 to 255; 0 counts as 1 (RFC 9293, section 3.9.2).
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        if let Ok(c) = self.inner() {
            c.set_hop_limit(hop_limit);
        }
    }

    /// Differentiated services code point of every packet from now on, 0 to 63; more counts as 63 (RFC 2474; RFC 9293,
    /// section 3.9.2).
    pub fn set_dscp(&mut self, dscp: u8) {
        if let Ok(c) = self.inner() {
            c.set_dscp(dscp);
        }
    }

    /// Everything there is to know of it.
    pub fn info(&self) -> ConnectionInfo {
        let slot = self.stack.connections.get(self.id.0);
        slot.expect("a connection in hand exists").connection.info()
    }

    /// Bytes that [`write`](Self::write) would take now.
    pub fn write_room(&self) -> usize {
        let max = self.stack.send_limit(self.id);
        self.stack.connections.get(self.id.0).map_or(0, |slot| slot.connection.write_room(max))
    }
}
