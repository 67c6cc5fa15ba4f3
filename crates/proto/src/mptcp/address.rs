//! ADD_ADDR, REMOVE_ADDR, address IDs, and what the path manager wants (RFC 8684, section 3.4).

use super::timers::ConnectionTimer;
use super::{CloseReason, Connection, ConnectionError, Env, Multipath, Request, Role};
use crate::SubflowId;
use crate::mib::Counter;
use crate::path_manager::{LocalView, PathCommand, PathEvent, PathManagerView, SubflowView};
use crate::time::{Duration, Instant};
use arrayvec::ArrayVec;
use polypath_wire::{AddAddr, MptcpOption, RemoveAddr, add_addr_hmac};
use std::net::{IpAddr, SocketAddr};

/// An ADD_ADDR without an echo is repeated after this, doubling.
const ADD_ADDR_AGAIN: Duration = Duration::from_secs(1);
/// This many times.
const ADD_ADDR_TRIES: u32 = 4;
/// Addresses of one peer that are remembered: an ADD_ADDR flood costs no more.
const MAX_REMOTE_ADDRESSES: usize = 8;

/// An address the peer was told of.
#[derive(Copy, Clone, Debug)]
pub(super) struct Announced {
    addr: IpAddr,
    id: u8,
    tries: u32,
    echoed: bool,
}

impl Connection {
    /// The ID of a local address: the same in MP_JOIN, ADD_ADDR and REMOVE_ADDR; 0 is the first subflow's.
    pub(super) fn local_id(&mut self, addr: IpAddr) -> u8 {
        // [8684-3.4.1-15]
        if let Some((_, id)) = self.local_ids.iter().find(|(a, _)| *a == addr) {
            return *id;
        }
        let id = self.next_local_id;
        self.next_local_id = self.next_local_id.checked_add(1).unwrap_or(1);
        // [8684-3.2-4, 8684-3.4.1-2]
        self.local_ids.push((addr, id));
        id
    }

    pub(super) fn run_path_manager(&mut self, now: Instant, env: &Env<'_>, event: &PathEvent) {
        let locals: Vec<LocalView> = env
            .addresses
            .iter()
            .map(|a| LocalView {
                addr: a.addr,
                backup: a.backup,
                id: self.local_id(a.addr),
                announced: self.announced.iter().any(|known| known.addr == a.addr),
            })
            .collect();
        let subflows: Vec<SubflowView> = self
            .iter()
            .map(|(_, s)| SubflowView { local: s.tcp.local, remote: s.tcp.remote, established: s.established })
            .collect();
        let remotes: Vec<SocketAddr> = self.remote_addresses.iter().map(|(_, a)| *a).collect();
        let view = PathManagerView {
            is_client: self.role == Role::Client,
            initial_remote: self.initial_remote,
            deny_join_initial: self.multipath.session().is_some_and(|s| s.deny_join_initial),
            locals: &locals,
            remotes: &remotes,
            subflows: &subflows,
            max_subflows: env.config.max_subflows,
            announce: env.config.announce_addresses,
        };
        let mut commands = Vec::new();
        self.timers.stop(ConnectionTimer::PathManager);
        self.path_manager.handle(now, event, &view, &mut commands);
        self.trace_managed(event, &commands);
        for command in commands {
            match command {
                PathCommand::Open { local, remote } => self.requests.push(Request::Open { local, remote }),
                PathCommand::Announce(addr) => self.announce(now, addr),
                PathCommand::WakeAt(at) => self.timers.set_if_earlier(ConnectionTimer::PathManager, at),
            }
        }
    }

    fn announce(&mut self, now: Instant, addr: IpAddr) {
        let id = self.local_id(addr);
        self.announced.push(Announced { addr, id, tries: 1, echoed: false });
        self.push_add_addr(addr, id);
        self.timers.set(ConnectionTimer::AddAddr, now + ADD_ADDR_AGAIN);
    }

    fn push_add_addr(&mut self, addr: IpAddr, address_id: u8) {
        let Some(session) = self.multipath.session() else { return };
        let hmac = add_addr_hmac(session.local_key, session.remote_key, address_id, addr, None);
        let option = AddAddr { echo: false, address_id, addr, port: None, hmac: Some(hmac) };
        self.signals.push_back(MptcpOption::AddAddr(option));
    }

    pub(super) fn repeat_announcements(&mut self, now: Instant) {
        let mut again = Vec::new();
        for known in self.announced.iter_mut().filter(|a| !a.echoed && a.tries < ADD_ADDR_TRIES) {
            // [8684-3.4.1-4]
            known.tries += 1;
            again.push((known.addr, known.id, known.tries));
        }
        for (addr, id, tries) in again {
            self.push_add_addr(addr, id);
            self.timers.set(ConnectionTimer::AddAddr, now + ADD_ADDR_AGAIN * (1 << (tries - 1)));
        }
    }

    pub(super) fn on_add_addr(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, add: &AddAddr) {
        if add.echo {
            for known in self.announced.iter_mut().filter(|a| a.id == add.address_id && a.addr == add.addr) {
                known.echoed = true;
            }
            return self.journal.count(Counter::MPTcpExtEchoAdd);
        }
        self.journal.count(Counter::MPTcpExtAddAddr);
        if add.port.is_some() {
            self.journal.count(Counter::MPTcpExtPortAdd);
        }
        let Multipath::Active(session) = &self.multipath else { return };
        let hmac = add_addr_hmac(session.remote_key, session.local_key, add.address_id, add.addr, add.port);
        // [8684-3.4.1-7]
        if add.hmac != Some(hmac) {
            // RFC 8684, section 3.4.1: silently ignored.
            return self.journal.count(Counter::MPTcpExtAddAddrDrop);
        }
        // The echo repeats the option without the HMAC. [8684-3.4.1-10]
        self.signals.push_back(MptcpOption::AddAddr(AddAddr { echo: true, hmac: None, ..*add }));
        // [8684-3.4.1-5, 8684-3.9.1-1]
        let port = add.port.unwrap_or_else(|| self.get(id).map_or(0, |s| s.tcp.remote.port()));
        let remote = SocketAddr::new(add.addr, port);
        if add.addr.is_unspecified() || add.addr.is_multicast() || add.addr.is_loopback() {
            return;
        }
        // RFC 8684, section 3.4.1: an ID in use for another address is ignored until it is removed.
        let known = self.remote_addresses.iter().any(|(known, a)| *known == add.address_id || *a == remote);
        // [8684-3.4.1-3]
        if known {
            return;
        }
        if self.remote_addresses.len() >= MAX_REMOTE_ADDRESSES {
            return self.journal.count(Counter::MPTcpExtAddAddrDrop);
        }
        self.remote_addresses.push((add.address_id, remote));
        self.notify_path_manager(now, env, &PathEvent::RemoteAddresses);
    }

    pub(super) fn on_remove_addr(&mut self, now: Instant, env: &Env<'_>, remove: &RemoveAddr) {
        self.journal.count(Counter::MPTcpExtRmAddr);
        for gone in &remove.ids {
            // [8684-3.4.2-6]
            self.remote_addresses.retain(|(id, _)| id != gone);
            for id in self.ids() {
                // [8684-3.4.2-9, 8684-3.8-3]
                if self.get(id).is_some_and(|s| s.remote_id == *gone) {
                    // [8684-3.4.2-3]
                    self.close_subflow(now, env, id, CloseReason::RemoteAddressRemoved);
                }
            }
        }
    }

    /// Tells the peer that an address is gone (RFC 8684, section 3.4.2). There is no echo, so it is said twice.
    pub(super) fn withdraw(&mut self, address_id: u8) {
        let mut ids = ArrayVec::new();
        ids.push(address_id);
        for _ in 0..2 {
            self.signals.push_back(MptcpOption::RemoveAddr(RemoveAddr { ids: ids.clone() }));
        }
    }

    /// A local address appeared.
    pub(crate) fn on_address_added(&mut self, now: Instant, env: &Env<'_>) {
        self.notify_path_manager(now, env, &PathEvent::LocalAddresses);
    }

    /// A local address is gone: its subflows are dead at once. A plain TCP connection has nothing else, and
    /// waits for the address to come back, as the kernel's sockets do (RFC 9293, section 3.8.3: until R2).
    pub(crate) fn on_address_removed(&mut self, now: Instant, env: &Env<'_>, addr: IpAddr) {
        let hit: Vec<SubflowId> = self.iter().filter(|(_, s)| s.tcp.local.ip() == addr).map(|(id, _)| id).collect();
        // [8684-3.4.2-2]
        if hit.is_empty() && !self.announced.iter().any(|a| a.addr == addr) {
            return;
        }
        if !self.is_active() && self.established {
            return;
        }
        self.announced.retain(|a| a.addr != addr);
        if self.is_active() {
            let id = self.local_id(addr);
            // [8684-3.4.2-1]
            self.withdraw(id);
        }
        for id in hit {
            if self.is_initial_handshake() {
                return self.fail(now, ConnectionError::AddressRemoved);
            }
            self.close_subflow(now, env, id, CloseReason::AddressRemoved);
        }
        self.advance_close(now);
    }
}
