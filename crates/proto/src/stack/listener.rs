//! Listening ports and the connections that wait to be accepted.

use super::{ConnectionId, FourTuple, ListenerId};
use crate::ConnectOptions;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Linux: the default of tcp_max_syn_backlog on a host with enough memory.
const MAX_HALF_OPEN: usize = 1024;
/// How long a handshake with data counts as under way that a reset ended (Linux: the same).
const FAST_RESET_COUNTS_FOR: Duration = Duration::from_secs(60);

/// What is listened on: an address and a port.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr {
    /// Unspecified: any address of the stack; that of IPv6 takes IPv4 too.
    pub local: SocketAddr,
    /// Then it does not (`IPV6_V6ONLY`).
    pub v6only: bool,
}

impl ListenAddr {
    /// Whether connections to `to` belong there.
    #[must_use]
    pub fn takes(&self, to: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && (self.is_dual() || self.local.is_ipv4() == to.is_ipv4());
        self.local.port() == to.port() && (any || self.local.ip() == to.ip())
    }

    /// Whether all that belongs to `other` would belong here, too.
    #[must_use]
    pub fn covers(&self, other: &ListenAddr) -> bool {
        self.takes(other.local) && (self.is_dual() || !other.is_dual())
    }

    fn is_dual(&self) -> bool {
        self.local.is_ipv6() && self.local.ip().is_unspecified() && !self.v6only
    }

    /// Whether some connections would belong to both.
    #[must_use]
    pub fn clashes(&self, other: &ListenAddr) -> bool {
        self.takes(other.local) || other.takes(self.local)
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(local: SocketAddr) -> Self {
        ListenAddr { local, v6only: false }
    }
}

/// Says how connections are accepted.
pub trait AcceptPolicy: Send + Sync + core::fmt::Debug {
    /// What a connection from `remote` to `local` has instead of the stack's [`Config`](crate::Config);
    /// [`ConnectOptions::local`] and [`ConnectOptions::fast_open`] mean nothing here. It is asked for each SYN, and must
    /// always give the same answer: where handshakes are answered without keeping anything of them, it is asked again.
    fn options(&self, local: SocketAddr, remote: SocketAddr) -> ConnectOptions;
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) at: ListenAddr,
    backlog: usize,
    /// Handshakes that are not over.
    pub(super) half_open: usize,
    pub(super) ready: VecDeque<ConnectionId>,
    /// So many connections may have their SYN's data before their handshake is over.
    pub(super) fast_open_limit: usize,
    pub(super) opening_fast: Vec<ConnectionId>,
    /// Until when such handshakes count that a reset ended.
    fast_resets: VecDeque<Instant>,
    policy: Option<Arc<dyn AcceptPolicy>>,
}

impl Listener {
    pub(super) fn new(at: ListenAddr, backlog: usize) -> Self {
        Listener {
            at,
            backlog: backlog.max(1),
            half_open: 0,
            ready: VecDeque::new(),
            fast_open_limit: 0,
            opening_fast: Vec::new(),
            fast_resets: VecDeque::new(),
            policy: None,
        }
    }

    /// RFC 9293 leaves it to the host: beyond the backlog a SYN is not answered, so that the peer tries again.
    pub(super) fn is_full(&self) -> bool {
        self.ready.len() >= self.backlog
    }

    /// Handshakes under way have a limit of their own, so that SYNs of nobody do not shut out everybody soon.
    pub(super) fn is_flooded(&self) -> bool {
        self.half_open >= self.backlog.max(MAX_HALF_OPEN)
    }

    /// No further handshake may have its data taken early now; `is_opening` knows those that are under way.
    // [7413-4.2.2-2]
    pub(super) fn is_fast_open_full(&mut self, now: Instant, is_opening: impl Fn(&ConnectionId) -> bool) -> bool {
        self.opening_fast.retain(is_opening);
        while self.fast_resets.front().is_some_and(|until| *until <= now) {
            self.fast_resets.pop_front();
        }
        self.opening_fast.len() + self.fast_resets.len() >= self.fast_open_limit
    }
}

/// Why a port cannot be listened on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Another listener has it.
    #[error("address already in use by another listener of this stack")]
    InUse,
    /// The address is not one of the stack's.
    #[error("address not available: it is not one of this stack's addresses")]
    NotAvailable,
    /// Every port is taken.
    #[error("no free port is left")]
    NoPort,
}

impl super::Stack {
    /// Listens on `at`; an unspecified address means all of the stack's, port 0 means any free one. Up to `backlog`
    /// connections wait to be accepted.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(&mut self, at: impl Into<ListenAddr>, backlog: usize) -> Result<ListenerId, ListenError> {
        let ListenAddr { mut local, v6only } = at.into();
        if !local.ip().is_unspecified() && !self.addresses.iter().any(|a| a.addr == local.ip()) {
            return Err(ListenError::NotAvailable);
        }
        if local.port() == 0 {
            let port = (32_768..61_000).find(|p| !self.port_is_listening(*p)).ok_or(ListenError::NoPort)?;
            local.set_port(port);
        }
        let at = ListenAddr { local, v6only };
        if self.listeners.iter().any(|(_, l)| l.at.clashes(&at)) {
            return Err(ListenError::InUse);
        }
        // [9293-MUST-41]
        Ok(ListenerId(self.listeners.insert(Listener::new(at, backlog))))
    }

    /// Has `policy` say how each connection is accepted; none, as at first: all as the stack's
    /// [`Config`](crate::Config) has it.
    pub fn set_accept_policy(&mut self, id: ListenerId, policy: Option<Arc<dyn AcceptPolicy>>) {
        if let Some(l) = self.listeners.get_mut(id.0) {
            l.policy = policy;
        }
    }

    /// How a listener's connection is to be accepted.
    pub(super) fn accept_options(&self, id: ListenerId, tuple: FourTuple) -> ConnectOptions {
        let policy = self.listeners.get(id.0).and_then(|l| l.policy.as_ref());
        policy.map(|policy| policy.options(tuple.local, tuple.remote)).unwrap_or_default()
    }

    /// Takes data that comes with SYNs (TCP Fast Open, RFC 7413), of so many connections at once whose handshakes are
    /// under way, or were ended by a reset within a minute; 0: of none, as at first. Such data may come twice: the
    /// application has to stand that.
    pub fn set_fast_open(&mut self, id: ListenerId, limit: usize) {
        if let Some(l) = self.listeners.get_mut(id.0) {
            l.fast_open_limit = limit;
        }
    }

    /// Whoever forges SYNs with a cookie makes their supposed sender reset what they open: that makes no room for more.
    pub(super) fn note_fast_open_reset(&mut self, now: Instant, id: ConnectionId) {
        let listener = self.connections.get(id.0).and_then(|slot| slot.listener);
        if let Some(l) = listener.and_then(|listener| self.listeners.get_mut(listener.0)) {
            // [7413-4.2.2-5]
            l.fast_resets.push_back(now + FAST_RESET_COUNTS_FOR);
        }
    }

    /// Whose connections to `local` are.
    pub(super) fn listener_at(&self, local: SocketAddr) -> Option<ListenerId> {
        self.listeners.iter().find(|(_, l)| l.at.takes(local)).map(|(h, _)| ListenerId(h))
    }

    pub(super) fn port_is_listening(&self, port: u16) -> bool {
        self.listeners.iter().any(|(_, l)| l.at.local.port() == port)
    }

    /// The address that a listener has.
    pub fn listener_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(id.0).map(|l| l.at.local)
    }

    /// The oldest connection that waits to be accepted.
    pub fn accept(&mut self, id: ListenerId) -> Option<ConnectionId> {
        let connection = self.listeners.get_mut(id.0)?.ready.pop_front()?;
        if let Some(slot) = self.connections.get_mut(connection.0) {
            slot.accepted = true;
        }
        Some(connection)
    }

    /// Stops listening. Connections that nobody accepted are reset; joins to accepted ones go on.
    pub fn close_listener(&mut self, now: Instant, id: ListenerId) {
        if self.listeners.remove(id.0).is_none() {
            return;
        }
        let of_it = |slot: &super::Slot| slot.listener == Some(id) && !slot.accepted;
        let unheld: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, slot)| of_it(slot)).map(|(h, _)| ConnectionId(h)).collect();
        for connection in unheld {
            self.abandon(connection, now);
        }
    }
}
