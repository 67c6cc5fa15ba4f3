//! How connections and subflows come into being: active and passive opens, joins, ports.

use super::{ConnectionId, FourTuple, ListenerId, Slot, Stack, SynCookies, syn_cookies};
use crate::journal::Journal;
use crate::mib::Counter;
use crate::mptcp::{self, FallbackReason, Handshake, JoinSyn, Multipath, Role, Subflow};
use crate::path_policy;
use crate::seq::Ssn;
use crate::tcp::{Tcp, TcpParams};
use crate::time::Instant;
use crate::{ConnectOptions, LinkId, SubflowId};
use bytes::Bytes;
use core::hash::BuildHasher;
use polypath_wire::{FastOpenCookie, Key, Segment, TcpFlags, TcpOptions};
use rand::Rng;
use std::net::{IpAddr, SocketAddr};

/// After so many ports in TIME-WAIT one of those will do: the search must not go over tens of thousands each time.
const UNTOUCHED_TRIES: usize = 64;

/// Why a connection cannot be opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The stack has no address of the destination's family, or none that the connection may use.
    #[error("network is unreachable: the stack has no {} address that may be used", if *.v6 { "IPv6" } else { "IPv4" })]
    Unreachable {
        /// The destination is IPv6.
        v6: bool,
    },
    /// The local address asked for is not one of the stack's, or of another family than the destination's.
    #[error("cannot assign requested address {0}: it is not one of the stack's for this destination")]
    AddressNotAvailable(IpAddr),
    /// The destination is a multicast or broadcast address, or none.
    #[error("cannot connect to {0}: it is not the address of one host")]
    NotUnicast(IpAddr),
    /// The two ends are in use by another connection.
    #[error("address {0} is already in use for this destination")]
    AddressInUse(SocketAddr),
    /// No port is free.
    #[error("no free local port is left for this destination")]
    NoPort,
}

/// What answers a SYN.
struct Newcomer {
    tuple: FourTuple,
    multipath: Multipath,
    tcp: Tcp,
    fast_open: FastOpenAnswer,
    options: ConnectOptions,
}

/// What a server makes of a SYN's Fast Open option.
enum FastOpenAnswer {
    None,
    /// A cookie for the next time.
    Cookie(FastOpenCookie),
    /// The SYN's data is taken.
    Data(Bytes),
}

impl Stack {
    /// Opens a connection to `remote`; [`Connected`](crate::Event::Connected) or
    /// [`Closed`](crate::Event::Closed) will follow.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        options: ConnectOptions,
    ) -> Result<ConnectionId, ConnectError> {
        // Flow label and scope are no part of who the two ends are.
        let remote = SocketAddr::new(remote.ip(), remote.port());
        // [9293-MUST-46]
        if !super::is_unicast(remote.ip()) {
            return Err(ConnectError::NotUnicast(remote.ip()));
        }
        // [9293-MUST-43]
        let wanted = options.local.filter(|l| !l.ip().is_unspecified());
        let address = self
            .addresses
            .iter()
            .filter(|a| a.addr.is_ipv4() == remote.is_ipv4() && wanted.is_none_or(|w| w.ip() == a.addr))
            .filter_map(|a| Some((path_policy::backup_by(options.paths.as_ref(), a)?, a)))
            // [9293-MUST-44]
            .min_by_key(|(backup, _)| *backup);
        let Some((addr, link)) = address.map(|(_, a)| (a.addr, a.link)) else {
            return Err(match wanted {
                Some(w) => ConnectError::AddressNotAvailable(w.ip()),
                None => ConnectError::Unreachable { v6: remote.is_ipv6() },
            });
        };
        let port = options.local.map_or(0, |l| l.port());
        let local = self.choose_port(now, addr, port, remote)?;
        let multipath = match self.config.multipath && !options.no_multipath {
            true if self.blackholes.contains(now, (addr, remote.ip())) => {
                self.mib.count(Counter::MPTcpExtMPCapableSYNTXDisabled);
                Multipath::Fallback(FallbackReason::Blackhole)
            }
            true => Multipath::Negotiating { local_key: self.draw_key() },
            false => Multipath::Fallback(FallbackReason::Disabled),
        };
        let params = self.params(now, local, remote, link);
        let mut connection = self.new_connection(Role::Client, multipath, local, remote);
        let fast_open = options.fast_open;
        connection.take_options(now, options);
        connection.journal.count(Counter::TcpActiveOpens);
        if matches!(multipath, Multipath::Negotiating { .. }) {
            connection.journal.count(Counter::MPTcpExtMPCapableSYNTX);
        }
        let path = (local.ip(), remote.ip());
        if let Some((cookie, mss)) = self.fast_opens.offer(now, path).filter(|_| fast_open) {
            connection.prepare_fast_open(now, cookie, mss);
        }
        let subflow = Subflow::new(now, Tcp::connect(now, &params), Handshake::Capable, 0, 0);
        let id = self.install(now, connection_with(&mut connection, self, subflow), connection, None);
        Ok(id)
    }

    fn new_connection(
        &self,
        role: Role,
        multipath: Multipath,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> mptcp::Connection {
        let journal = Journal::new(self.tracing);
        mptcp::Connection::new(role, multipath, &self.config, local, remote, journal)
    }

    /// Makes a connection with its first subflow known.
    fn install(
        &mut self,
        now: Instant,
        subflow: Option<SubflowId>,
        connection: mptcp::Connection,
        listener: Option<ListenerId>,
    ) -> ConnectionId {
        let token = match connection.multipath {
            Multipath::Negotiating { local_key } => Some(local_key.token()),
            Multipath::Active(_) | Multipath::Fallback(_) => None,
        };
        let tuple = connection.iter().next().map(|(_, s)| FourTuple { local: s.tcp.local(), remote: s.tcp.remote() });
        let slot = Slot { connection, listener, accepted: false, token, ready: false, armed: None, memory: 0 };
        let id = ConnectionId(self.connections.insert(slot));
        if let (Some(tuple), Some(subflow)) = (tuple, subflow) {
            self.time_waits.remove(&tuple);
            self.flows.insert(&tuple, (id, subflow));
        }
        if let Some(token) = token {
            self.by_token.insert(token, id);
        }
        self.settle(now, id);
        id
    }

    /// A key whose token is not in use (RFC 8684, section 3.1).
    fn draw_key(&mut self) -> Key {
        loop {
            // [8684-3.1-1, 8684-3.1-2]
            let key = Key(self.rng.next_u64());
            let token = key.token();
            // [8684-3.1-3]
            if token.0 != 0 && !self.by_token.contains_key(&token) {
                return key;
            }
        }
    }

    /// RFC 6056, algorithm 1: a random port, then the next ones, preferably none in TIME-WAIT.
    fn choose_port(
        &mut self,
        now: Instant,
        addr: IpAddr,
        port: u16,
        remote: SocketAddr,
    ) -> Result<SocketAddr, ConnectError> {
        let used = |stack: &Stack, local| stack.flows.contains(&FourTuple { local, remote });
        let waits = |stack: &Stack, local| stack.time_waits.contains(&FourTuple { local, remote });
        let reusable = |stack: &Stack, local| stack.time_waits.is_reusable(now, &FourTuple { local, remote });
        let free = |stack: &Stack, local| !used(stack, local) && (!waits(stack, local) || reusable(stack, local));
        if port != 0 {
            let local = SocketAddr::new(addr, port);
            return if free(self, local) { Ok(local) } else { Err(ConnectError::AddressInUse(local)) };
        }
        let (first, last) = (*self.config.client_ports.start(), *self.config.client_ports.end());
        let span = u32::from(last.saturating_sub(first)) + 1;
        let start = self.rng.next_u32() % span;
        let ports = || (0..span).map(|i| SocketAddr::new(addr, first + ((start + i) % span) as u16));
        let mut ports = ports().take(UNTOUCHED_TRIES).filter(|local| !waits(self, *local)).chain(ports());
        ports.find(|local| free(self, *local) && !self.port_is_listening(local.port())).ok_or(ConnectError::NoPort)
    }

    fn params(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, link: LinkId) -> TcpParams {
        let mtu = self.links.get(link.0 as usize).map_or(576, |l| l.mtu);
        let headers = if local.is_ipv4() { 40 } else { 60 };
        // The offset tells hosts apart, and stays the same for a pair of them, so that PAWS keeps working
        // across connections (RFC 7323, section 5.4). [7323-5.4-2]
        let ts_offset = self.hasher.hash_one((local.ip(), remote.ip())) as u32;
        TcpParams {
            local,
            remote,
            link,
            iss: self.time_waits.beyond(&FourTuple { local, remote }, self.isn.next(now, local, remote)),
            // [9293-MUST-67, 8201-5.4-2]
            mss: u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX - 100),
            path_mtu: self.path_mtus.get(now, local.ip(), remote.ip()),
            window_scale: window_scale(self.config.recv_buffer_max),
            ecn: self.config.ecn,
            ts_offset,
        }
    }

    /// A SYN for nothing that exists yet.
    pub(super) fn on_syn(&mut self, now: Instant, on: LinkId, tuple: FourTuple, seg: &Segment, payload: &Bytes) {
        // [8684-3.2-18]
        if let Some(join) = JoinSyn::of(seg) {
            return self.on_join_syn(now, on, tuple, seg, join);
        }
        // [9293-MUST-42]
        let Some(listener) = self.listener_at(tuple.local) else { return self.refuse(on, seg, 0, None) };
        let flooded = self.listeners.get(listener.0).is_none_or(super::Listener::is_flooded);
        let stateless = match self.config.syn_cookies {
            SynCookies::Off => false,
            SynCookies::UnderPressure => flooded,
            SynCookies::Always => true,
        };
        // What a pair has left behind bounds the numbers of its next connection: a cookie has no place for that.
        let returning = self.time_waits.contains(&tuple);
        let full = self.listeners.get(listener.0).is_none_or(super::Listener::is_full) || self.is_memory_full();
        if full || (flooded && !stateless) {
            self.mib.count(Counter::TcpExtListenOverflows);
            return;
        }
        if stateless && !returning {
            return self.answer_with_cookie(now, on, listener, tuple, seg);
        }
        // [8684-3.1-18]
        let options = self.accept_options(listener, tuple);
        let multipath = match mptcp::usable_offer(seg, self.config.multipath && !options.no_multipath) {
            Ok(()) => Multipath::Negotiating { local_key: self.draw_key() },
            Err(reason) => Multipath::Fallback(reason),
        };
        let params = self.params(now, tuple.local, tuple.remote, on);
        let tcp = Tcp::accept(now, &params, seg);
        let fast_open = self.judge_fast_open(now, listener, tuple, seg, payload);
        self.take_in(now, listener, Newcomer { tuple, multipath, tcp, fast_open, options }, seg);
    }

    /// What a SYN's Fast Open option is worth.
    fn judge_fast_open(
        &mut self,
        now: Instant,
        listener: ListenerId,
        tuple: FourTuple,
        seg: &Segment,
        payload: &Bytes,
    ) -> FastOpenAnswer {
        let path = (tuple.local.ip(), tuple.remote.ip());
        let limit = self.listeners.get(listener.0).map_or(0, |l| l.fast_open_limit);
        let Some(cookie) = seg.options.fast_open.filter(|_| limit > 0) else { return FastOpenAnswer::None };
        // [7413-4.2.2-1]
        if !self.fast_opens.is_good(now, path, cookie) {
            self.mib.count(match cookie.is_request() {
                true => Counter::TcpExtTCPFastOpenCookieReqd,
                false => Counter::TcpExtTCPFastOpenPassiveFail,
            });
            return FastOpenAnswer::Cookie(self.fast_opens.cookie(now, path));
        }
        let connections = &self.connections;
        let opening = |id: &ConnectionId| connections.get(id.0).is_some_and(|slot| slot.connection.is_opening_fast());
        let Some(l) = self.listeners.get_mut(listener.0) else { return FastOpenAnswer::None };
        if l.is_fast_open_full(now, opening) {
            self.mib.count(Counter::TcpExtTCPFastOpenListenOverflow);
            return FastOpenAnswer::None;
        }
        if payload.is_empty() { FastOpenAnswer::None } else { FastOpenAnswer::Data(payload.clone()) }
    }

    /// Makes a connection of a listener from a peer's SYN.
    fn take_in(&mut self, now: Instant, listener: ListenerId, new: Newcomer, seg: &Segment) {
        let Newcomer { tuple, multipath, tcp, fast_open, options } = new;
        let mut connection = self.new_connection(Role::Server, multipath, tuple.local, tuple.remote);
        connection.take_options(now, options);
        connection.journal.count(Counter::TcpPassiveOpens);
        connection.take_terms(mptcp::Terms::offered(seg));
        if mptcp::offers_multipath(seg) {
            connection.journal.count(Counter::MPTcpExtMPCapableSYNRX);
        }
        let subflow = Subflow::new(now, tcp, Handshake::Capable, 0, 0);
        let subflow = connection_with(&mut connection, self, subflow);
        if let Some(id) = subflow {
            connection.trace_received(id, seg);
        }
        let early = matches!(fast_open, FastOpenAnswer::Data(_));
        match (fast_open, subflow) {
            (FastOpenAnswer::Cookie(cookie), _) => connection.grant_cookie(cookie),
            (FastOpenAnswer::Data(payload), Some(id)) => connection.accept_fast_open(now, id, payload),
            _ => {}
        }
        if let Some(l) = self.listeners.get_mut(listener.0) {
            l.half_open += 1;
        }
        let id = self.install(now, subflow, connection, Some(listener));
        if let Some(l) = self.listeners.get_mut(listener.0).filter(|_| early) {
            l.opening_fast.push(id);
        }
    }

    /// Answers a SYN, and remembers nothing of it.
    fn answer_with_cookie(&mut self, now: Instant, on: LinkId, listener: ListenerId, tuple: FourTuple, seg: &Segment) {
        if self.replies.len() >= super::MAX_REPLIES {
            return;
        }
        let baked = self.cookies.bake(now, &tuple, seg);
        let params = TcpParams { iss: baked.iss, ..self.params(now, tuple.local, tuple.remote, on) };
        let mut tcp = Tcp::accept(now, &params, seg);
        let allowed = self.config.multipath && !self.accept_options(listener, tuple).no_multipath;
        let multipath = mptcp::usable_offer(seg, allowed).is_ok();
        let mut options = TcpOptions { mss: Some(params.mss), ..TcpOptions::default() };
        if let Some(timestamps) = tcp.timestamps(now) {
            // Only what the echo will remind us of.
            let offer = tcp.syn_options();
            options.timestamps = Some(syn_cookies::mark(timestamps, seg, multipath));
            (options.window_scale, options.sack_permitted) = (offer.window_scale, offer.sack_permitted);
        }
        if multipath {
            let terms = mptcp::Terms::offered(seg);
            options.mptcp.push(terms.answer(&self.config, baked.key));
        }
        let flags = TcpFlags::SYN | TcpFlags::ACK;
        let window = mptcp::Connection::first_window(&self.config);
        let reply = tcp.segment(Ssn::ORIGIN, flags, window, options);
        self.mib.count(Counter::TcpExtSyncookiesSent);
        self.replies.push_back((reply, on));
    }

    /// A segment of no connection: it may be the answer to a cookie. True: it was.
    pub(super) fn on_cookie(
        &mut self,
        now: Instant,
        on: LinkId,
        tuple: FourTuple,
        seg: &Segment,
        payload: &Bytes,
    ) -> bool {
        let flags = seg.tcp.flags;
        if !flags.contains(TcpFlags::ACK) || flags.intersects(TcpFlags::SYN | TcpFlags::RST) {
            return false;
        }
        let Some(listener) = self.listener_at(tuple.local) else { return false };
        let Some(baked) = self.cookies.eat(now, &tuple, seg) else {
            // Later data, where the third ACK was lost or overtaken: a reset would end what one retransmission mends.
            return self.cookies.is_current(now, &tuple, seg);
        };
        let mapping = seg.options.dss().and_then(|dss| dss.mapping.as_ref());
        if mapping.is_some_and(|mapping| !payload.is_empty() && mapping.ssn != 1) {
            // By its own word it is not the first data: the cookie seems right by chance.
            return true;
        }
        if self.listeners.get(listener.0).is_none_or(super::Listener::is_full) || self.is_memory_full() {
            // It will be sent again.
            self.mib.count(Counter::TcpExtListenOverflows);
            return true;
        }
        self.mib.count(Counter::TcpExtSyncookiesRecv);
        let syn = baked.syn(seg);
        if self.by_token.contains_key(&baked.key.token()) {
            // This cookie has made a connection, which has lost that subflow since.
            return false;
        }
        let echoed = mptcp::echoed_key(seg) == Some(baked.key);
        let options = self.accept_options(listener, tuple);
        let allowed = self.config.multipath && !options.no_multipath;
        let multipath = match (allowed, echoed) {
            (true, true) => Multipath::Negotiating { local_key: baked.key },
            (true, false) if syn_cookies::was_multipath(seg) => {
                Multipath::Fallback(FallbackReason::ThirdAckWithoutCapable)
            }
            (true, false) => Multipath::Fallback(FallbackReason::NotOffered),
            (false, _) => Multipath::Fallback(FallbackReason::Disabled),
        };
        let params = TcpParams { iss: baked.iss, ..self.params(now, tuple.local, tuple.remote, on) };
        let mut tcp = Tcp::accept(now, &params, &syn);
        tcp.resume_handshake();
        self.take_in(now, listener, Newcomer { tuple, multipath, tcp, fast_open: FastOpenAnswer::None, options }, &syn);
        if let Some((id, subflow)) = self.flows.get(&tuple) {
            self.with_connection(id, |c, env| {
                c.resume_window();
                c.on_segment(now, env, subflow, seg, payload.clone());
            });
            self.settle(now, id);
        }
        true
    }

    fn on_join_syn(&mut self, now: Instant, on: LinkId, tuple: FourTuple, seg: &Segment, join: JoinSyn) {
        self.mib.count(Counter::MPTcpExtMPJoinSynRx);
        if join.backup {
            self.mib.count(Counter::MPTcpExtMPJoinSynBackupRx);
        }
        let params = self.params(now, tuple.local, tuple.remote, on);
        let nonce = self.rng.next_u32();
        if self.is_memory_full() {
            self.mib.count(Counter::TcpExtListenOverflows);
            return;
        }
        let Some(&id) = self.by_token.get(&join.token) else {
            // [8684-3.2-7, 8684-3.8-1]
            self.mib.count(Counter::MPTcpExtMPJoinNoTokenFound);
            return self.refuse(on, seg, 0, Some(mptcp::Connection::join_refusal(false)));
        };
        let tcp = Tcp::accept(now, &params, seg);
        let joined = self.with_connection(id, |c, env| c.accept_join(now, env, tcp, join, nonce)).flatten();
        match joined {
            Some(subflow) => {
                self.mib.count(Counter::TcpPassiveOpens);
                self.with_connection(id, |c, _| c.trace_received(subflow, seg));
                self.time_waits.remove(&tuple);
                self.flows.insert(&tuple, (id, subflow));
                self.settle(now, id);
            }
            // [8684-3.2-7]
            None => {
                self.mib.count(Counter::MPTcpExtMPJoinRejected);
                let takes = |c: &mut mptcp::Connection, env: &mptcp::Env<'_>| {
                    c.takes_subflows() && c.may_use(env, tuple.local.ip())
                };
                let for_now = self.with_connection(id, takes).unwrap_or(false);
                self.refuse(on, seg, 0, Some(mptcp::Connection::join_refusal(for_now)));
                self.settle(now, id);
            }
        }
    }

    /// The path manager wants a subflow.
    pub(super) fn open_join(
        &mut self,
        now: Instant,
        id: ConnectionId,
        (local, remote): (IpAddr, SocketAddr),
        backup: bool,
    ) {
        let Some(link) = self.addresses.iter().find(|a| a.addr == local).map(|a| a.link) else { return };
        let Ok(local) = self.choose_port(now, local, 0, remote) else { return };
        let params = self.params(now, local, remote, link);
        let nonce = self.rng.next_u32();
        let tcp = Tcp::connect(now, &params);
        // [8684-3.2-2]
        let opened = self.with_connection(id, |c, env| c.open_join(now, env, tcp, nonce, backup)).flatten();
        if let Some(subflow) = opened {
            self.mib.count(Counter::TcpActiveOpens);
            self.mib.count(Counter::MPTcpExtMPJoinSynTx);
            let tuple = FourTuple { local, remote };
            self.time_waits.remove(&tuple);
            self.flows.insert(&tuple, (id, subflow));
        }
        self.mark_ready(id);
    }

    /// A handshake of a listener is over.
    pub(super) fn on_accepted(&mut self, now: Instant, id: ConnectionId, listener: ListenerId) {
        match self.listeners.get_mut(listener.0) {
            Some(l) => {
                l.half_open = l.half_open.saturating_sub(1);
                l.ready.push_back(id);
                self.events.push_back(super::Event::Acceptable(listener));
            }
            None => self.abandon(id, now),
        }
    }

    /// A connection ended that nobody has accepted yet: nobody will.
    pub(super) fn forget_unaccepted(&mut self, id: ConnectionId) {
        let Some(slot) = self.connections.get_mut(id.0) else { return };
        let Some(listener) = slot.listener else { return };
        if slot.connection.was_established() {
            return;
        }
        slot.connection.orphaned = true;
        if let Some(l) = self.listeners.get_mut(listener.0) {
            l.half_open = l.half_open.saturating_sub(1);
        }
    }

    /// Nobody will ever hold it.
    pub(super) fn abandon(&mut self, id: ConnectionId, now: Instant) {
        if let Some(slot) = self.connections.get_mut(id.0) {
            slot.connection.orphaned = true;
            slot.connection.abort(now);
            self.mark_ready(id);
        }
    }
}

/// The smallest shift that lets a 16-bit field say `max` (RFC 7323, section 2.2).
fn window_scale(max: usize) -> u8 {
    (0..14).find(|shift| max >> shift <= 65_535).unwrap_or(14)
}

/// Puts the first subflow into a new connection.
fn connection_with(connection: &mut mptcp::Connection, stack: &Stack, mut subflow: Subflow) -> Option<SubflowId> {
    let (config, links, addresses) = (&stack.config, &stack.links[..], &stack.addresses[..]);
    let env = mptcp::Env { config, links, addresses, reach: &stack.reach, memory_full: false };
    connection.name_subflow(&env, &mut subflow);
    connection.add_subflow(stack.config.max_subflows.max(1), subflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    // [8684-3.1-1, 8684-3.1-2, 8684-3.1-3]
    #[test]
    fn a_key_is_random_and_one_whose_token_is_taken_is_drawn_again() {
        let mut stack = Stack::new(Config::default(), [3; 32]);
        let first = Stack::new(Config::default(), [3; 32]).draw_key();
        let id = stack.install(Instant::ZERO, None, stack_connection(&stack), None);
        stack.by_token.insert(first.token(), id);
        let second = stack.draw_key();
        assert_ne!(first, second, "the same numbers were drawn, and the first of them is taken");
        let keys: Vec<u64> = (0..1000).map(|_| stack.draw_key().0).collect();
        for bit in 0..64 {
            let set = keys.iter().filter(|key| **key >> bit & 1 == 1).count();
            assert!((400..600).contains(&set), "bit {bit} is set in {set} of 1,000 keys");
        }
    }

    fn stack_connection(stack: &Stack) -> mptcp::Connection {
        let end = SocketAddr::new([192, 0, 2, 1].into(), 1);
        stack.new_connection(Role::Client, Multipath::Fallback(FallbackReason::Disabled), end, end)
    }
}
