//! What a connection tells about itself.

use super::{CloseReason, Connection, FallbackReason, Multipath, Role};
use crate::stack::DataHoldings;
use crate::tcp::{Counters, State, TcpInfo};
use crate::time::Duration;
use crate::{SubflowId, seq::Dsn};
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a connection ended other than in order.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ConnectionError {
    /// The peer answered the SYN with a reset.
    #[error("connection refused by the peer")]
    Refused,
    /// The peer reset the connection.
    #[error("connection reset by the peer")]
    Reset,
    /// A router on the way knows no way to the host.
    #[error("no route to host")]
    HostUnreachable,
    /// A router on the way knows no way to the network.
    #[error("network is unreachable")]
    NetworkUnreachable,
    /// Nobody answered for too long.
    #[error("connection timed out: the peer did not answer on any path")]
    TimedOut,
    /// The application, or its host, aborted it.
    #[error("connection aborted locally")]
    Aborted,
    /// No local address is left to use.
    #[error("the local address of the connection was removed")]
    AddressRemoved,
    /// Written to, or read from, after it was closed here.
    #[error("the connection is closed for this operation")]
    Closed,
}

/// Whether a connection is Multipath TCP.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum MultipathState {
    /// The handshake is under way.
    Negotiating,
    /// It is.
    Active,
    /// It is plain TCP.
    Fallback(FallbackReason),
}

/// A connection at one moment.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Which end this is.
    pub role: Role,
    /// The application has let go of it.
    pub orphaned: bool,
    /// The local end of the first subflow.
    pub local: SocketAddr,
    /// The remote end of the first subflow.
    pub remote: SocketAddr,
    /// Whether it is Multipath TCP.
    pub multipath: MultipathState,
    /// Its subflows that exist now.
    pub subflows: Vec<SubflowInfo>,
    /// Bytes of the application that the peer has acknowledged.
    pub bytes_acked: u64,
    /// Bytes of the application sent, each once.
    pub bytes_sent: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes sent again on another subflow.
    pub bytes_reinjected: u64,
    /// What all its subflows counted, with those that are gone.
    pub counters: Counters,
    /// Bytes written and not yet acknowledged.
    pub send_queue: usize,
    /// Bytes received in order and not yet read.
    pub recv_queue: usize,
    /// The receive buffer, in bytes.
    pub recv_buffer: usize,
    /// Name of the congestion control.
    pub congestion: &'static str,
    /// Name of the packet scheduler.
    pub scheduler: &'static str,
    /// At most this many subflows.
    pub max_subflows: usize,
    /// Keys and numbers of Multipath TCP; none before it is agreed on, and in plain TCP.
    pub session: Option<SessionInfo>,
    /// What a router, or the peer's host, last said of packets that did not arrive, unless the peer was heard of since:
    /// the connection goes on trying (RFC 9293, section 3.9.2.2).
    pub soft_error: Option<ConnectionError>,
}

/// What the ends of a Multipath TCP connection agreed on, and how far its numbers are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// By which the peer's joins name the connection.
    pub local_token: u32,
    /// By which ours do.
    pub remote_token: u32,
    /// The peer has shown that it knows both keys (RFC 8684, section 3.1: fully established).
    pub confirmed: bool,
    /// Mappings carry checksums.
    pub checksum: bool,
    /// The next data sequence number that is sent.
    pub snd_nxt: u64,
    /// The first that is not acknowledged.
    pub snd_una: u64,
    /// The next that is expected of the peer.
    pub rcv_nxt: u64,
    /// How many addresses we announced, and how many the peer did.
    pub announced: (usize, usize),
}

/// A subflow at one moment.
#[derive(Clone, Debug)]
pub struct SubflowInfo {
    /// Which one.
    pub id: SubflowId,
    /// Its local end.
    pub local: SocketAddr,
    /// Its remote end.
    pub remote: SocketAddr,
    /// The name of the local address's path.
    pub name: Option<Arc<str>>,
    /// TCP's state.
    pub state: State,
    /// The address ID of its local end, and of its remote end.
    pub address_ids: (u8, u8),
    /// Either end wants it only as a backup.
    pub backup: bool,
    /// Timed out, and not heard of since.
    pub stalled: bool,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Its packets may be marked instead of dropped (ECN, RFC 3168): both ends agreed.
    pub ecn: bool,
    /// Largest IP packet that is sent on it, in bytes: what the link and the path, as far as is known, carry.
    pub path_mtu: u32,
    /// Congestion window, in bytes.
    pub cwnd: u64,
    /// Slow-start threshold, in bytes; none while there is none.
    pub ssthresh: Option<u64>,
    /// Bytes in flight.
    pub in_flight: u64,
    /// How fast data sent on it arrives, in bytes per second: the most of the last two round trips in which there was
    /// enough to send.
    pub delivery_rate: Option<u64>,
    /// Payload bytes sent, each once.
    pub bytes_sent: u64,
    /// Payload bytes received, each once.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// All that was counted.
    pub counters: Counters,
    /// What else TCP's engine knows.
    pub tcp: TcpInfo,
}

/// Something happened to a subflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubflowNews {
    pub(crate) id: SubflowId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) counters: Box<Counters>,
    pub(crate) what: SubflowChange,
}

/// What happened to it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubflowChange {
    Established,
    Stalled,
    Recovered,
    Closed(CloseReason),
}

impl Connection {
    pub(crate) fn multipath_state(&self) -> MultipathState {
        match self.multipath {
            Multipath::Negotiating { .. } => MultipathState::Negotiating,
            Multipath::Active(_) => MultipathState::Active,
            Multipath::Fallback(reason) => MultipathState::Fallback(reason),
        }
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            // [8684-4-6]
            role: self.role,
            orphaned: self.orphaned,
            local: self.initial.local(),
            remote: self.initial.remote(),
            multipath: self.multipath_state(),
            subflows: self.iter().map(|(id, _)| self.subflow_info(id)).collect::<Option<_>>().unwrap_or_default(),
            bytes_acked: self.data_una.min(self.send.end()).since(Dsn::FIRST),
            bytes_sent: self.data_nxt.min(self.send.end()).since(Dsn::FIRST),
            bytes_received: Dsn(self.assembler.next()).since(Dsn::FIRST) - u64::from(self.eof && self.is_active()),
            bytes_reinjected: self.bytes_reinjected,
            counters: self.iter().fold(self.retired.as_deref().copied().unwrap_or_default(), |mut all, (_, s)| {
                all += s.tcp.counters.counters();
                all
            }),
            send_queue: self.send.len(),
            recv_queue: self.inbox.len(),
            recv_buffer: self.window.capacity(),
            congestion: self.congestion.name(),
            scheduler: self.scheduler.name(),
            max_subflows: self.max_subflows,
            session: self.session_info(),
            // Only who asks is told. [9293-MUST-47, 9293-SHLD-20]
            soft_error: self.soft_error,
        }
    }

    pub(crate) fn holdings(&self) -> DataHoldings {
        let mut holdings = DataHoldings {
            subflows: self.subflow_count(),
            unacknowledged: self.send.len(),
            outstanding: 0,
            unread: self.inbox.len(),
            out_of_order: self.assembler.waiting_bytes(),
            pieces: self.assembler.pieces(),
        };
        for (_, s) in self.iter() {
            let (bytes, pieces) = s.tcp.waiting();
            holdings.outstanding += s.tcp.outstanding_bytes() as usize;
            holdings.out_of_order += bytes + s.rx.held_bytes();
            holdings.pieces += pieces;
        }
        holdings
    }

    fn session_info(&self) -> Option<SessionInfo> {
        let session = self.multipath.session()?;
        Some(SessionInfo {
            local_token: session.local_key.token().0,
            remote_token: session.remote_token.0,
            confirmed: session.confirmed,
            checksum: session.checksum,
            snd_nxt: session.local_dsn.wrap(self.data_nxt),
            snd_una: session.local_dsn.wrap(self.data_una),
            rcv_nxt: session.remote_dsn.wrap(Dsn(self.assembler.next())),
            announced: (self.announced.len(), self.remote_addresses.len()),
        })
    }

    fn subflow_info(&self, id: SubflowId) -> Option<SubflowInfo> {
        let s = self.get(id)?;
        Some(SubflowInfo {
            id,
            local: s.tcp.local(),
            remote: s.tcp.remote(),
            name: s.name.clone(),
            state: s.tcp.state,
            address_ids: (s.local_id, s.remote_id),
            backup: s.is_backup(),
            stalled: s.stalled.is_some(),
            srtt: s.tcp.rtt.srtt(),
            ecn: s.tcp.uses_ecn(),
            path_mtu: s.tcp.path_mtu(),
            cwnd: self.congestion.window(id),
            ssthresh: Some(self.congestion.ssthresh(id)).filter(|ssthresh| *ssthresh != u64::MAX),
            in_flight: s.tcp.in_flight(),
            delivery_rate: s.tcp.delivery_rate(),
            bytes_sent: s.tcp.counters.bytes_sent,
            bytes_received: s.tcp.counters.bytes_received,
            retransmits: s.tcp.counters.counters().retransmits,
            counters: s.tcp.counters.counters(),
            tcp: s.tcp.info(),
        })
    }

    pub(super) fn subflow_news(&mut self, id: SubflowId, what: SubflowChange) {
        if let Some(s) = self.get(id) {
            let news = SubflowNews {
                id,
                local: s.tcp.local(),
                remote: s.tcp.remote(),
                name: s.name.clone(),
                counters: Box::new(s.tcp.counters.counters()),
                what,
            };
            self.news.push_back(super::News::Subflow(Box::new(news)));
        }
        self.note_subflow(id, what);
    }
}
