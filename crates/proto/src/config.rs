//! What a stack is told about its host and its taste.

use crate::LinkId;
use crate::PathPolicy;
use crate::congestion::CongestionKind;
use crate::path_manager::PathManagerKind;
use crate::scheduler::SchedulerKind;
use crate::stack::SynCookies;
use crate::time::Duration;
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
    /// All connections together hold no more than this, in bytes: data in both directions with what it costs to keep it
    /// in pieces, and their own state. Beyond it SYNs and joins are not answered, and connections that hold more than 64 KiB
    /// in a direction take nothing more in it, from the network or from the application. Default: 512 MiB.
    pub memory_max: usize,
    /// How much may be in flight.
    pub congestion: CongestionKind,
    /// Whether routers may mark packets instead of dropping them.
    pub ecn: EcnMode,
    /// On which subflow data goes.
    pub scheduler: SchedulerKind,
    /// What keeps a slow subflow from holding up the others.
    pub mechanisms: Mechanisms,
    /// When handshakes are answered without keeping anything of them.
    pub syn_cookies: SynCookies,
    /// At most this many subflows for a connection, 1 to 64.
    pub max_subflows: usize,
    /// Which subflows there are, and what the peer is told.
    pub path_manager: PathManagerKind,
    /// At most this many addresses that a peer announced are remembered: a flood of ADD_ADDR costs no more.
    pub max_remote_addresses: usize,
    /// Servers tell clients of their further addresses (ADD_ADDR).
    pub announce_addresses: bool,
    /// Announced addresses carry this port, on which subflows may be joined besides that of the first one (RFC 8684,
    /// section 3.4.1).
    pub announce_port: Option<u16>,
    /// Local ports of outgoing subflows; never empty (RFC 6056 asks for as many as possible).
    pub client_ports: RangeInclusive<u16>,
    /// Small pieces are sent at once, also while earlier ones are unacknowledged: no Nagle algorithm (RFC 9293, section
    /// 3.7.4). [`set_nodelay`](crate::Connection::set_nodelay) changes it for one connection.
    pub nodelay: bool,
    /// Ask silent peers whether they live (RFC 9293, section 3.8.4); none: never.
    /// [`set_keepalive`](crate::Connection::set_keepalive) changes it for one connection.
    pub keepalive: Option<Keepalive>,
    /// How long data may stay unacknowledged before a connection is given up (RFC 9293, section 3.8.3: R2; RFC 5482);
    /// none: 15 minutes of retransmissions without an answer.
    /// [`set_user_timeout`](crate::Connection::set_user_timeout) changes it for one connection.
    pub user_timeout: Option<Duration>,
    /// Hop limit, or TTL, of what is sent: 1 to 255 (RFC 9293, section 3.9.2).
    /// [`set_hop_limit`](crate::Connection::set_hop_limit) changes it for one connection.
    pub hop_limit: u8,
    /// Differentiated services code point of what is sent: 0 to 63 (RFC 2474).
    /// [`set_dscp`](crate::Connection::set_dscp) changes it for one connection.
    pub dscp: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            multipath: true,
            dss_checksum: false,
            allow_join_initial: true,
            send_buffer_max: 16 << 20,
            recv_buffer_max: 16 << 20,
            memory_max: 512 << 20,
            congestion: CongestionKind::default(),
            ecn: EcnMode::default(),
            scheduler: SchedulerKind::default(),
            mechanisms: Mechanisms::default(),
            syn_cookies: SynCookies::default(),
            max_subflows: 8,
            path_manager: PathManagerKind::default(),
            max_remote_addresses: 8,
            announce_addresses: true,
            announce_port: None,
            client_ports: 10_000..=u16::MAX,
            nodelay: false,
            // [9293-MUST-25]
            keepalive: None,
            user_timeout: None,
            hop_limit: 64,
            dscp: 0,
        }
    }
}

/// What keeps a slow subflow from holding up the others, whatever the scheduler. All of it works in Multipath TCP only, and
/// with more than one subflow; all of it is on by default.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// Where the peer's window is used up and a fast subflow could send, it sends again what a slower one keeps the window
    /// shut with (Raiciu et al., NSDI 2012, section 4.2, mechanism 1).
    pub opportunistic_retransmission: bool,
    /// That slower one may have only half as much in flight then (the same, mechanism 2).
    pub penalisation: bool,
    /// No more in flight than makes packets wait so long in queues on the way (the same, mechanism 4). None: no limit.
    pub queue_limit: Option<Duration>,
    /// What a subflow has out goes to others as soon as its acknowledgements are overdue: well before its retransmission
    /// timeout.
    pub early_reinjection: bool,
    /// While other subflows carry data, one that waits as a backup is asked so often whether it works (a keep-alive of 40 to
    /// 60 bytes; RFC 9293, section 3.8.4): NATs keep it, and Linux opens its window at once when it is needed. It also
    /// keeps a radio awake. None: never.
    pub backup_probe: Option<Duration>,
}

impl Mechanisms {
    /// None of it.
    pub const OFF: Mechanisms = Mechanisms {
        opportunistic_retransmission: false,
        penalisation: false,
        queue_limit: None,
        early_reinjection: false,
        backup_probe: None,
    };
}

impl Default for Mechanisms {
    fn default() -> Self {
        Mechanisms {
            opportunistic_retransmission: true,
            penalisation: true,
            queue_limit: Some(Duration::from_millis(50)),
            early_reinjection: true,
            backup_probe: Some(Duration::from_millis(450)),
        }
    }
}

/// How a silent peer is asked whether it lives (RFC 9293, section 3.8.4). Times of less than a second count as one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long nothing was heard before the first question.
    pub idle: Duration,
    /// Between two questions.
    pub interval: Duration,
    /// After so many questions without an answer the subflow is given up.
    pub probes: u32,
}

impl Default for Keepalive {
    /// Two hours, 75 seconds and 9 questions: Linux's defaults.
    fn default() -> Self {
        // [9293-MUST-28]
        Keepalive { idle: Duration::from_secs(2 * 3600), interval: Duration::from_secs(75), probes: 9 }
    }
}

/// How one connection is opened, or [accepted](crate::AcceptPolicy).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The local end of the first subflow: an address of the stack (or unspecified), and a port (or 0).
    pub local: Option<SocketAddr>,
    /// Plain TCP for this one.
    pub no_multipath: bool,
    /// Data may go with the SYN (TCP Fast Open, RFC 7413): the SYN waits up to 10 ms for the first write where the
    /// server has given a cookie before, and asks for one where not. The server may see that data twice, so it has to be
    /// a request that may be repeated.
    pub fast_open: bool,
    /// Its congestion control. This and what follows: none is the stack's ([`Config`]).
    pub congestion: Option<CongestionKind>,
    /// On which subflow data goes.
    pub scheduler: Option<SchedulerKind>,
    /// Which subflows there are, and what the peer is told.
    pub path_manager: Option<PathManagerKind>,
    /// At most this many subflows, 1 to 64.
    pub max_subflows: Option<usize>,
    /// Which of the stack's addresses it uses, and how; none: all, as they are.
    pub paths: Option<PathPolicy>,
    /// How a silent peer is asked whether it lives.
    pub keepalive: Option<Keepalive>,
    /// How long the SYN, and data, may stay unacknowledged.
    pub user_timeout: Option<Duration>,
    /// Hop limit (TTL), 1 to 255.
    pub hop_limit: Option<u8>,
    /// Differentiated services code point, 0 to 63.
    pub dscp: Option<u8>,
}
