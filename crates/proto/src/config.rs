//! What a stack is told about its host and its taste.

use crate::LinkId;
use crate::congestion::CongestionKind;
use crate::scheduler::SchedulerKind;
use polypath_wire::ChecksumMode;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How a link takes packets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Largest IP packet on the wire, in bytes; at least 576 for IPv4 and 1,280 for IPv6 (RFC 791, RFC 8200).
    pub mtu: u32,
    /// Largest IP packet handed out for segmentation offload, at most 65,535; up to `mtu`: no offload.
    pub max_segment: u32,
    /// What stands in the TCP checksum field.
    pub checksum: ChecksumMode,
}

/// An address of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub addr: IpAddr,
    /// The link that its packets leave on.
    pub link: LinkId,
    /// Ask peers to use it only when nothing else works (RFC 8684, section 3.3.8).
    pub backup: bool,
    /// What people call the path.
    pub name: Option<Arc<str>>,
}

/// Whether connections use explicit congestion notification (RFC 3168). Each subflow negotiates by itself.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum EcnMode {
    /// Never.
    Off,
    /// Where the peer asks for it; as Linux by default (tcp_ecn=2).
    #[default]
    Accept,
    /// Ask for it too. A SYN that goes unanswered is followed by one that does not ask.
    Request,
}

/// Settings of a stack, for all its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Offer and accept Multipath TCP; otherwise plain TCP only.
    pub multipath: bool,
    /// Ask for checksums over the data (RFC 8684, section 3.3.1), which show where a middlebox changes it. They are
    /// used where either end asks.
    pub dss_checksum: bool,
    /// Peers may join subflows to the address and port of the first one; otherwise only to announced ones (RFC 8684,
    /// section 3.1: flag C).
    pub allow_join_initial: bool,
    /// The send buffer grows up to this, in bytes.
    pub send_buffer_max: usize,
    /// The receive buffer, and so the advertised window, grows up to this, in bytes.
    pub recv_buffer_max: usize,
    /// How much may be in flight.
    pub congestion: CongestionKind,
    /// Whether routers may mark packets instead of dropping them.
    pub ecn: EcnMode,
    /// On which subflow data goes.
    pub scheduler: SchedulerKind,
    /// At most this many subflows for a connection, 1 to 64.
    pub max_subflows: usize,
    /// Servers tell clients of their further addresses (ADD_ADDR).
    pub announce_addresses: bool,
    /// Announced addresses carry this port, on which subflows may be joined besides that of the first one (RFC 8684,
    /// section 3.4.1).
    pub announce_port: Option<u16>,
    /// Local ports of outgoing subflows; never empty (RFC 6056 asks for as many as possible).
    pub client_ports: RangeInclusive<u16>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            multipath: true,
            dss_checksum: false,
            allow_join_initial: true,
            send_buffer_max: 16 << 20,
            recv_buffer_max: 16 << 20,
            congestion: CongestionKind::default(),
            ecn: EcnMode::default(),
            scheduler: SchedulerKind::default(),
            max_subflows: 8,
            announce_addresses: true,
            announce_port: None,
            client_ports: 10_000..=u16::MAX,
        }
    }
}

/// How one connection is opened.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The local end of the first subflow: an address of the stack (or unspecified), and a port (or 0).
    pub local: Option<SocketAddr>,
    /// Plain TCP for this one.
    pub no_multipath: bool,
}
