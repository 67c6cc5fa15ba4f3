//! A connection's settings and what it tells of itself, apart from its data.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{
    Connection, ConnectionId, ConnectionInfo, Duration, Instant, Keepalive, SteeringError, SubflowId,
};

use crate::error;
use crate::host::Host;

/// A handle to a connection for its settings, and for what it tells of itself: for use while its
/// [stream](crate::MptcpStream) is somewhere else. It does not keep the connection open, but it keeps its host running.
///
/// Every method fails once the connection is gone ([`NotConnected`](io::ErrorKind::NotConnected)) or the host has
/// stopped ([`NetworkDown`](io::ErrorKind::NetworkDown)).
#[derive(Clone)]
pub struct ConnectionHandle {
    host: Host,
    id: ConnectionId,
}

impl ConnectionHandle {
    pub(crate) fn new(host: &Host, id: ConnectionId) -> Self {
        Self { host: host.clone(), id }
    }

    /// The host that it belongs to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Subflows, fallback and traffic of the connection.
    ///
    /// # Errors
    /// As said above.
    pub fn info(&self) -> io::Result<ConnectionInfo> {
        self.info_now().map(|(_, info)| info)
    }

    /// The same, with the stack's time when it was so: what [`TcpInfo`](polypath_proto::TcpInfo) says by the clock counts
    /// from there.
    ///
    /// # Errors
    /// As said above.
    pub fn info_now(&self) -> io::Result<(Instant, ConnectionInfo)> {
        self.look(|connection, now| (now, connection.info()))
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// As said above.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.look(|connection, _| connection.nodelay())
    }

    /// Name of the congestion control in use.
    ///
    /// # Errors
    /// As said above.
    pub fn congestion(&self) -> io::Result<&'static str> {
        self.look(|connection, _| connection.congestion())
    }

    /// See [`MptcpStream::set_nodelay`](crate::MptcpStream::set_nodelay).
    ///
    /// # Errors
    /// As said above.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.change(|connection| connection.set_nodelay(nodelay))
    }

    /// See [`MptcpStream::set_scheduler`](crate::MptcpStream::set_scheduler).
    ///
    /// # Errors
    /// As said above.
    pub fn set_scheduler(&self, scheduler: &SchedulerKind) -> io::Result<()> {
        self.change(|connection| connection.set_scheduler(scheduler))
    }

    /// See [`MptcpStream::set_congestion`](crate::MptcpStream::set_congestion).
    ///
    /// # Errors
    /// As said above.
    pub fn set_congestion(&self, congestion: CongestionKind) -> io::Result<()> {
        self.change(|connection| connection.set_congestion(congestion))
    }

    /// See [`MptcpStream::set_keepalive`](crate::MptcpStream::set_keepalive).
    ///
    /// # Errors
    /// As said above.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.change(|connection| connection.set_keepalive(keepalive))
    }

    /// See [`MptcpStream::set_user_timeout`](crate::MptcpStream::set_user_timeout).
    ///
    /// # Errors
    /// As said above.
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.change(|connection| connection.set_user_timeout(timeout))
    }

    /// See [`MptcpStream::set_hop_limit`](crate::MptcpStream::set_hop_limit).
    ///
    /// # Errors
    /// As said above.
    pub fn set_hop_limit(&self, hop_limit: u8) -> io::Result<()> {
        self.change(|connection| connection.set_hop_limit(hop_limit))
    }

    /// See [`MptcpStream::set_dscp`](crate::MptcpStream::set_dscp).
    ///
    /// # Errors
    /// As said above.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        self.change(|connection| connection.set_dscp(dscp))
    }

    /// Joins a subflow from one of the host's addresses to one of the peer's, whatever the path manager thinks; `backup`: to
    /// be used only where nothing else works. What becomes of it is told by the host's [events](Host::events).
    ///
    /// # Errors
    /// As said above; [`InvalidInput`](io::ErrorKind::InvalidInput) where it is not even tried, with the
    /// [`SteeringError`](polypath_proto::SteeringError) as the reason.
    pub fn open_subflow(&self, local: IpAddr, remote: SocketAddr, backup: bool) -> io::Result<()> {
        self.change(|connection| connection.open_subflow(local, remote, backup))?.map_err(refused)
    }

    /// Closes a subflow; the path manager does not open it again.
    ///
    /// # Errors
    /// As for [`open_subflow`](Self::open_subflow).
    pub fn close_subflow(&self, subflow: SubflowId) -> io::Result<()> {
        self.change(|connection| connection.close_subflow(subflow))?.map_err(refused)
    }

    /// Makes a subflow a backup at both ends, or no longer (MP_PRIO, RFC 8684, section 3.3.8).
    ///
    /// # Errors
    /// As for [`open_subflow`](Self::open_subflow).
    pub fn set_subflow_backup(&self, subflow: SubflowId, backup: bool) -> io::Result<()> {
        self.change(|connection| connection.set_subflow_backup(subflow, backup))?.map_err(refused)
    }

    fn look<R>(&self, look: impl FnOnce(&Connection<'_>, Instant) -> R) -> io::Result<R> {
        self.host.shared().look(|core, now| {
            core.connection(now, self.id).map(|connection| look(&connection, now)).ok_or_else(error::not_connected)
        })?
    }

    fn change<R>(&self, change: impl FnOnce(&mut Connection<'_>) -> R) -> io::Result<R> {
        self.host.shared().call(|core, now| {
            let mut connection = core.connection(now, self.id).ok_or_else(error::not_connected)?;
            Ok(change(&mut connection))
        })?
    }
}

fn refused(error: SteeringError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle").field("id", &self.id).field("host", &self.host).finish()
    }
}
