//! Path managers: which subflows exist, and which addresses are announced. Events in, commands out.

mod backup;
mod external;
mod fullmesh;
mod kind;
mod laminar;
mod ndiffports;
mod retries;
mod signal;
mod single_path;
mod subflow;

pub use backup::BackupManager;
pub use external::External;
pub use fullmesh::Fullmesh;
pub use kind::{PathManagerFactory, PathManagerKind};
pub use laminar::Laminar;
pub use ndiffports::Ndiffports;
pub use signal::SignalManager;
pub use single_path::SinglePath;
pub use subflow::SubflowManager;

use crate::mptcp::CloseReason;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// Something a path manager may want to react to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// The connection is Multipath TCP, and the peer has confirmed it: subflows may be opened.
    Established,
    /// This host's addresses changed.
    LocalAddresses,
    /// The peer announced an address, whether for the first time or again.
    Announced(SocketAddr),
    /// The peer took addresses back.
    RemoteAddresses,
    /// A subflow is gone.
    SubflowClosed {
        /// Its local end.
        local: SocketAddr,
        /// Its remote end.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
        /// The peer had answered its SYN, and shown that it is the peer.
        answered: bool,
        /// What the peer's reset says of why: it may pass (RFC 8684, section 3.6, flag T).
        transient: Option<bool>,
        /// It broke, as another had before it, and nothing got through in between.
        again: bool,
    },
    /// A subflow's retransmission timer expired: nothing is acknowledged on it, or no SYN answered so far.
    SubflowStalled {
        /// Its local end.
        local: SocketAddr,
        /// Its remote end.
        remote: SocketAddr,
    },
    /// The time asked for has come.
    Timer,
}

impl core::fmt::Display for PathEvent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PathEvent::Established => f.write_str("the connection is established"),
            PathEvent::LocalAddresses => f.write_str("local addresses changed"),
            PathEvent::Announced(remote) => write!(f, "the peer announced {remote}"),
            PathEvent::RemoteAddresses => f.write_str("the peer's addresses changed"),
            PathEvent::SubflowClosed { local, remote, reason, .. } => {
                write!(f, "subflow {local} > {remote} closed: {reason:?}")
            }
            PathEvent::SubflowStalled { local, remote } => write!(f, "subflow {local} > {remote} does not answer"),
            PathEvent::Timer => f.write_str("it is time"),
        }
    }
}

/// An address of this host.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LocalView {
    /// The address.
    pub addr: IpAddr,
    /// To be used only as a backup.
    pub backup: bool,
    /// Its address ID in this connection (RFC 8684, section 3.4.1).
    pub id: u8,
    /// Already announced to the peer.
    pub announced: bool,
    /// The connection's port, or the one that is announced, is reached there from other hosts.
    pub reached: bool,
}

/// A subflow, in whatever state.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SubflowView {
    /// The local end.
    pub local: SocketAddr,
    /// The remote end.
    pub remote: SocketAddr,
    /// Its handshake is over.
    pub established: bool,
    /// Nothing sent on it is acknowledged now, nor are its SYNs answered.
    pub stalled: bool,
}

/// A connection as a path manager sees it.
#[derive(Copy, Clone, Debug)]
pub struct PathManagerView<'a> {
    /// This end opened the connection.
    pub is_client: bool,
    /// The remote end of the first subflow.
    pub initial_remote: SocketAddr,
    /// The peer does not want joins to `initial_remote` (RFC 8684, section 3.1, flag C).
    pub deny_join_initial: bool,
    /// This host's addresses.
    pub locals: &'a [LocalView],
    /// What the peer announced.
    pub remotes: &'a [SocketAddr],
    /// All subflows.
    pub subflows: &'a [SubflowView],
    /// At most this many subflows, besides those that are stalled. One more that comes to work takes the place of one of
    /// these.
    pub max_subflows: usize,
    /// Servers announce their further addresses.
    pub announce: bool,
}

/// What a path manager wants done.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PathCommand {
    /// Join a subflow.
    Open {
        /// From this address.
        local: IpAddr,
        /// To there.
        remote: SocketAddr,
        /// Ask the peer to use it only where nothing else works (RFC 8684, section 3.2).
        backup: bool,
    },
    /// Close the subflow between these ends; what is not acknowledged on it goes elsewhere, or waits.
    Close {
        /// The local end.
        local: SocketAddr,
        /// The remote end.
        remote: SocketAddr,
    },
    /// Tell the peer of this address (ADD_ADDR).
    Announce(IpAddr),
    /// Call again at this time, whatever happens before.
    WakeAt(Instant),
}

/// Decides about subflows and announcements of one connection.
pub trait PathManager: Send + core::fmt::Debug {
    /// The name users know it by.
    fn name(&self) -> &'static str;
    /// Something happened: push what shall be done.
    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>);
}
