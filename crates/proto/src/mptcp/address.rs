//! ADD_ADDR, REMOVE_ADDR, address IDs, and what the path manager wants (RFC 8684, section 3.4).

use super::subflow::Question;
use super::timers::ConnectionTimer;
use super::{CloseReason, Connection, ConnectionError, Env, Multipath, Request, Role, Signal};
use crate::LocalAddress;
use crate::SubflowId;
use crate::mib::Counter;
use crate::path_manager::{LocalView, PathCommand, PathEvent, PathManagerView, SubflowView};
use crate::path_policy;
use crate::time::{Duration, Instant};
use crate::trace::{By, ReinjectReason, TraceEvent};
use arrayvec::ArrayVec;
use polypath_wire::{AddAddr, MpPrio, MptcpOption, RemoveAddr, ResetReason, add_addr_hmac};
use std::net::{IpAddr, SocketAddr};

/// An ADD_ADDR without an echo is repeated after this, doubling.
const ADD_ADDR_AGAIN: Duration = Duration::from_secs(1);
/// This many times.
const ADD_ADDR_TRIES: u32 = 4;
/// Echoes that wait to be sent; a peer that wants more has to ask again.
const MAX_ECHOES: usize = 32;

/// An address the peer was told of.
#[derive(Copy, Clone, Debug)]
pub(super) struct Announced {
    addr: IpAddr,
    port: Option<u16>,
    id: u8,
    tries: u32,
    echoed: bool,
}

impl Connection {
    /// The ID of a local address: the same in MP_JOIN, ADD_ADDR and REMOVE_ADDR; 0 is the first subflow's. None: all
    /// are in use. [8684-3.4.1-2, 8684-3.4.1-17]
    pub(super) fn local_id(&mut self, addr: IpAddr) -> Option<u8> {
        if let Some((_, id)) = self.local_ids.iter().find(|(a, _)| *a == addr) {
            return Some(*id);
        }
        // Round the numbers, so that a REMOVE_ADDR that comes late does not hit a successor.
        let last = usize::from(self.last_local_id);
        let mut ids = (1..=u8::MAX).cycle().skip(last).take(usize::from(u8::MAX));
        let id = ids.find(|id| self.local_ids.iter().all(|(_, taken)| taken != id))?;
        self.last_local_id = id;
        self.local_ids.push((addr, id));
        Some(id)
    }

    pub(super) fn run_path_manager(&mut self, now: Instant, env: &Env<'_>, event: &PathEvent) {
        let port = env.config.announce_port.unwrap_or(self.initial.local().port());
        let paths = self.paths.clone();
        let view = |a: &LocalAddress| {
            let announced = self.announced.iter().any(|known| known.addr == a.addr);
            let reached = env.reach.has(SocketAddr::new(a.addr, port));
            let backup = path_policy::backup_by(paths.as_ref(), a)?;
            Some(LocalView { addr: a.addr, backup, id: self.local_id(a.addr)?, announced, reached })
        };
        let locals: Vec<LocalView> = env.addresses.iter().filter_map(view).collect();
        let subflows: Vec<SubflowView> = self
            .iter()
            .map(|(_, s)| SubflowView {
                local: s.tcp.local(),
                remote: s.tcp.remote(),
                established: s.established,
                stalled: s.gets_nothing_through(),
            })
            .collect();
        let remotes: Vec<SocketAddr> = self.remote_addresses.iter().map(|(_, a)| *a).collect();
        let view = PathManagerView {
            is_client: self.role == Role::Client,
            initial_remote: self.initial.remote(),
            // [8684-3.4.2-6]
            deny_join_initial: self.initial_removed || self.multipath.session().is_some_and(|s| s.deny_join_initial),
            locals: &locals,
            remotes: &remotes,
            subflows: &subflows,
            max_subflows: self.max_subflows,
            announce: env.config.announce_addresses,
        };
        let mut commands = Vec::new();
        self.timers.stop(ConnectionTimer::PathManager);
        self.path_manager.handle(now, event, &view, &mut commands);
        self.trace_managed(event, &commands);
        for command in commands {
            match command {
                PathCommand::Open { local, remote, backup } => {
                    self.requests.push(Request::Open { local, remote, backup });
                }
                PathCommand::Close { local, remote } => {
                    let meant =
                        |(_, s): &(SubflowId, &super::Subflow)| (s.tcp.local(), s.tcp.remote()) == (local, remote);
                    let found = self.iter().find(meant).map(|(id, _)| id);
                    if let Some(id) = found {
                        let reset = ResetReason::UnacceptablePerformance;
                        self.close_subflow_with_reset(now, env, id, reset, CloseReason::Silent);
                    }
                }
                PathCommand::Announce(addr) => self.announce(now, addr, env.config.announce_port),
                PathCommand::WakeAt(at) => self.timers.set_if_earlier(ConnectionTimer::PathManager, at),
            }
        }
    }

    fn announce(&mut self, now: Instant, addr: IpAddr, port: Option<u16>) {
        let Some(id) = self.local_id(addr) else { return };
        self.announced.push(Announced { addr, port, id, tries: 0, echoed: false });
        if !self.timers.is_set(ConnectionTimer::AddAddr) {
            self.announce_next(now);
        }
    }

    /// The one that was said least often, and not echoed. One at a time: Linux drops an announcement that comes while it
    /// is busy with another (MPTcpExtAddAddrDrop).
    pub(super) fn announce_next(&mut self, now: Instant) {
        let open = self.announced.iter_mut().filter(|a| !a.echoed && a.tries < ADD_ADDR_TRIES);
        let Some(next) = open.min_by_key(|a| a.tries) else {
            return self.timers.stop(ConnectionTimer::AddAddr);
        };
        // [8684-3.4.1-4, 8684-3.4.1-15]
        next.tries += 1;
        let Announced { addr, port, id, tries, .. } = *next;
        self.push_add_addr(addr, port, id);
        self.timers.set(ConnectionTimer::AddAddr, now + ADD_ADDR_AGAIN * (1 << (tries - 1)));
    }

    fn push_add_addr(&mut self, addr: IpAddr, port: Option<u16>, address_id: u8) {
        let Some(session) = self.multipath.session() else { return };
        let hmac = add_addr_hmac(session.local_key, session.remote_key, address_id, addr, port);
        let option = MptcpOption::AddAddr(AddAddr { echo: false, address_id, addr, port, hmac: Some(hmac) });
        if self.signals.iter().all(|signal| signal.option != option) {
            self.signals.push_back(Signal { option, on: None });
        }
    }

    pub(super) fn on_add_addr(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, add: &AddAddr) {
        if add.echo {
            self.journal.count(Counter::MPTcpExtEchoAdd);
            let meant = |a: &&mut Announced| (a.id, a.addr) == (add.address_id, add.addr) && !a.echoed;
            if let Some(known) = self.announced.iter_mut().find(meant) {
                known.echoed = true;
                self.announce_next(now);
            }
            return;
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
        let echo = MptcpOption::AddAddr(AddAddr { echo: true, hmac: None, ..*add });
        if self.signals.len() < MAX_ECHOES && self.signals.iter().all(|signal| signal.option != echo) {
            self.signals.push_back(Signal { option: echo, on: None });
        }
        // [8684-3.4.1-5, 8684-3.9.1-1]
        let port = add.port.unwrap_or_else(|| self.get(id).map_or(0, |s| s.tcp.remote().port()));
        let remote = SocketAddr::new(add.addr, port);
        if add.addr.is_unspecified() || add.addr.is_multicast() || add.addr.is_loopback() {
            return;
        }
        // An ID in use for another address is ignored until it is removed; another port of the same address is another
        // subflow. [8684-3.4.1-16]
        let known = |(id, a): &(u8, SocketAddr)| *a == remote || (*id == add.address_id && a.ip() != remote.ip());
        match self.remote_addresses.iter().find(|r| known(r)) {
            Some((_, a)) if *a != remote => return,
            Some(_) => {}
            None if self.remote_addresses.len() >= env.config.max_remote_addresses => {
                return self.journal.count(Counter::MPTcpExtAddAddrDrop);
            }
            // [8684-3.4.1-3]
            None => self.remote_addresses.push((add.address_id, remote)),
        }
        self.notify_path_manager(now, env, &PathEvent::Announced(remote));
    }

    /// The peer takes addresses back. Anybody might say so: what is on those paths goes elsewhere at once, but the
    /// subflows end only when a question on them is not answered (RFC 8684, section 3.4.2).
    pub(super) fn on_remove_addr(&mut self, now: Instant, env: &Env<'_>, remove: &RemoveAddr) {
        self.journal.count(Counter::MPTcpExtRmAddr);
        for gone in &remove.ids {
            // [8684-3.4.2-6]
            self.initial_removed |= *gone == 0;
            self.remote_addresses.retain(|(id, _)| id != gone);
            for id in self.ids() {
                // [8684-3.4.2-9, 8684-3.8-3]
                match self.get_mut(id).filter(|s| s.remote_id == *gone) {
                    Some(s) if s.is_alive() => self.doubt(now, id),
                    Some(_) => self.close_subflow(now, env, id, CloseReason::RemoteAddressRemoved),
                    None => {}
                }
            }
        }
        self.notify_path_manager(now, env, &PathEvent::RemoteAddresses);
    }

    fn doubt(&mut self, now: Instant, id: SubflowId) {
        let Some(s) = self.get_mut(id) else { return };
        // [8684-3.4.2-4]
        s.question = Some(Question::Window);
        s.doubted_at = Some((now, 1));
        s.stalled.get_or_insert(now);
        let patience = s.tcp.rtt.rto();
        self.timers.set_if_earlier(ConnectionTimer::Doubt, now + patience / 2);
        self.reinject_outstanding(id, ReinjectReason::AddressRemoved);
    }

    /// The time for answers is over.
    pub(super) fn resolve_doubts(&mut self, now: Instant, env: &Env<'_>) {
        for id in self.ids() {
            let Some(s) = self.get_mut(id) else { continue };
            let Some((asked, times)) = s.doubted_at.take() else { continue };
            if s.tcp.last_received > asked {
                // [8684-3.4.2-5]
                let initial = s.remote_id == 0;
                self.initial_removed &= !initial;
                continue;
            }
            let patience = s.tcp.rtt.rto();
            if now - asked < patience {
                // The question may have been lost: ask twice. [9293-MUST-29]
                let again = times == 1 && now - asked >= patience / 2;
                if again {
                    s.question = Some(Question::Window);
                }
                s.doubted_at = Some((asked, if again { 2 } else { times }));
                let next = if again || times > 1 { patience } else { patience / 2 };
                self.timers.set_if_earlier(ConnectionTimer::Doubt, asked + next);
                continue;
            }
            // [8684-3.4.2-3, 8684-3.4.2-8]
            let reset = ResetReason::Unspecified;
            self.close_subflow_with_reset(now, env, id, reset, CloseReason::RemoteAddressRemoved);
        }
    }

    /// Tells the peer that an address is gone (RFC 8684, section 3.4.2), on every subflow that works. There is no echo,
    /// so it is said at least twice. [8684-3.4.1-12]
    pub(super) fn withdraw(&mut self, address_id: u8) {
        let mut ids = ArrayVec::new();
        ids.push(address_id);
        let option = MptcpOption::RemoveAddr(RemoveAddr { ids });
        let works =
            |(_, s): &(SubflowId, &super::Subflow)| s.is_alive() && s.stalled.is_none() && s.local_id != address_id;
        let on: Vec<SubflowId> = self.iter().filter(works).map(|(id, _)| id).collect();
        let again = 2_usize.saturating_sub(on.len());
        self.signals.extend(on.into_iter().map(|id| Signal { option: option.clone(), on: Some(id) }));
        self.signals.extend((0..again).map(|_| Signal { option: option.clone(), on: None }));
    }

    /// What the peer was told of an address does not hold any more: it may be told anew.
    pub(super) fn forget_announcement(&mut self, addr: IpAddr) {
        self.announced.retain(|a| a.addr != addr);
        self.local_ids.retain(|(a, _)| *a != addr);
    }

    /// Subflows from a local address are to be used only as a backup, or no longer only so (RFC 8684, section 3.3.8).
    pub(crate) fn on_backup_changed(&mut self, env: &Env<'_>, addr: IpAddr) {
        let address = env.addresses.iter().find(|a| a.addr == addr);
        let Some(backup) = address.and_then(|a| self.backup_by_policy(a)) else { return };
        for id in self.ids() {
            let Some(s) = self.get_mut(id).filter(|s| s.tcp.local().ip() == addr && s.backup != backup) else {
                continue;
            };
            s.backup = backup;
            s.priority_said = false;
            if s.established {
                self.say_priority(id);
            }
        }
    }

    /// Whether subflows from an address are to be used only as a backup, where there are to be any.
    pub(super) fn backup_by_policy(&self, address: &LocalAddress) -> Option<bool> {
        path_policy::backup_by(self.paths.as_ref(), address)
    }

    /// Whether this host has the address, and subflows may begin or end there.
    pub(crate) fn may_use(&self, env: &Env<'_>, addr: IpAddr) -> bool {
        env.addresses.iter().any(|a| a.addr == addr && self.backup_by_policy(a).is_some())
    }

    /// Tells the peer of a subflow's priority, where its SYN did not.
    pub(super) fn say_priority(&mut self, id: SubflowId) {
        if !self.is_active() {
            return;
        }
        let Some(s) = self.get_mut(id).filter(|s| !s.priority_said) else { return };
        s.priority_said = true;
        let backup = s.backup;
        // It speaks of the subflow that it travels on; the last word counts.
        self.signals.retain(|signal| signal.on != Some(id) || !matches!(signal.option, MptcpOption::MpPrio(_)));
        let option = MptcpOption::MpPrio(MpPrio { backup });
        self.signals.push_back(Signal { option, on: Some(id) });
        self.journal.trace(|| TraceEvent::PathPriority { subflow: id, backup, by: By::Here });
    }

    /// A local address appeared.
    pub(crate) fn on_address_added(&mut self, now: Instant, env: &Env<'_>) {
        self.notify_path_manager(now, env, &PathEvent::LocalAddresses);
    }

    /// A local address is gone: its subflows are dead at once. A plain TCP connection has nothing else, and
    /// waits for the address to come back, as the kernel's sockets do (RFC 9293, section 3.8.3: until R2).
    pub(crate) fn on_address_removed(&mut self, now: Instant, env: &Env<'_>, addr: IpAddr) {
        let hit: Vec<SubflowId> = self.iter().filter(|(_, s)| s.tcp.local().ip() == addr).map(|(id, _)| id).collect();
        // [8684-3.4.2-2]
        if hit.is_empty() && !self.announced.iter().any(|a| a.addr == addr) {
            return;
        }
        if !self.is_active() && self.established {
            return;
        }
        let known = self.local_ids.iter().find(|(a, _)| *a == addr).map(|(_, id)| *id);
        if let Some(id) = known.filter(|_| self.is_active()) {
            // [8684-3.4.2-1]
            self.withdraw(id);
        }
        // Should it come back, it is another: what was said of the old one may arrive later. [8684-3.4.1-17]
        self.forget_announcement(addr);
        for id in hit {
            if self.is_initial_handshake() {
                return self.fail(now, ConnectionError::AddressRemoved);
            }
            self.note_lost_reset(now, id);
            self.close_subflow(now, env, id, CloseReason::AddressRemoved);
        }
        self.advance_close(now);
    }
}
