//! What the stack listens on, and which addresses of it are held in the kernel: only those are diverted.
//!
//! A listener on an unspecified address needs that, and no more. One on a single address needs that one; the host's
//! other paths are claimed on its port as far as nobody has them, because its connections are joined there. What is
//! held stays so until neither a listener nor a connection needs the port any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use polypath_proto::{ListenAddr, ListenerId};

use super::claims::{explain, hold};

/// What was released is left so long to who asked for it.
pub(super) const LEFT_FOR: Duration = Duration::from_secs(1);

/// By port.
#[derive(Debug, Default)]
pub(super) struct Listening {
    ports: BTreeMap<u16, Port>,
}

#[derive(Debug, Default)]
struct Port {
    listeners: Vec<Listener>,
    claims: Vec<Claim>,
    released: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    at: ListenAddr,
    /// The caller holds `at` in the kernel.
    held: bool,
    /// None: it is closed, and its connections go on.
    id: Option<ListenerId>,
}

/// Something that nobody else of this host has.
#[derive(Debug)]
struct Claim {
    at: ListenAddr,
    /// None: whoever listens holds it, or did until a moment ago.
    socket: Option<OwnedFd>,
}

impl Listening {
    /// Holds `at` for a listener to come, unless the caller has it (`held`); port 0: the kernel chooses one.
    /// [`add`](Self::add) comes next, or [`tidy`](Self::tidy).
    pub(super) fn claim(&mut self, mut at: ListenAddr, held: bool) -> io::Result<ListenAddr> {
        if at.local.port() == 0 {
            if held {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "port 0 cannot be held by anybody"));
            }
            let (socket, port) = hold(at).map_err(|error| explain(at, error))?;
            at.local.set_port(port);
            self.ports.entry(port).or_default().claims.push(Claim { at, socket: Some(socket) });
            return Ok(at);
        }
        let port = self.ports.entry(at.local.port()).or_default();
        port.released = None;
        if port.listeners.iter().any(|l| l.id.is_some() && l.at.clashes(&at)) {
            let message = format!("{} is in use by another listener of this host's stack", at.local);
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        if held {
            port.claims.retain(|claim| !at.covers(&claim.at));
            port.claims.push(Claim { at, socket: None });
            return Ok(at);
        }
        if port.claims.iter().any(|claim| claim.socket.is_some() && claim.at.covers(&at)) {
            return Ok(at);
        }
        // Some of it may be ours already, for connections that are joined there.
        for claim in port.claims.iter_mut().filter(|claim| at.clashes(&claim.at)) {
            claim.socket = None;
        }
        match hold(at) {
            Ok((socket, _)) => {
                port.claims.retain(|claim| !at.covers(&claim.at));
                port.claims.push(Claim { at, socket: Some(socket) });
                Ok(at)
            }
            Err(error) => {
                port.hold_again();
                Err(explain(at, error))
            }
        }
    }

    /// The stack listens on what was claimed.
    pub(super) fn add(&mut self, at: ListenAddr, held: bool, id: ListenerId) {
        let port = self.ports.entry(at.local.port()).or_default();
        // The same again: what is left of the earlier one is its now.
        port.listeners.retain(|l| l.id.is_some() || l.at != at);
        port.listeners.push(Listener { at, held, id: Some(id) });
    }

    /// It does not any more.
    pub(super) fn close(&mut self, id: ListenerId) {
        for listener in self.ports.values_mut().flat_map(|port| &mut port.listeners).filter(|l| l.id == Some(id)) {
            listener.id = None;
        }
    }

    /// Ports of closed listeners.
    pub(super) fn closed(&self) -> Vec<u16> {
        let closed = |port: &Port| port.listeners.iter().any(|l| l.id.is_none());
        self.ports.iter().filter(|(_, port)| closed(port)).map(|(number, _)| *number).collect()
    }

    /// Forgets the closed listeners of `port` that no connection is left of; `in_use`: those there are have these
    /// addresses.
    pub(super) fn forget(&mut self, port: u16, in_use: &BTreeSet<IpAddr>) {
        let Some(entry) = self.ports.get_mut(&port) else { return };
        entry.listeners.retain(|l| {
            let of_it = |addr: &IpAddr| !l.at.local.ip().is_unspecified() || l.at.takes(SocketAddr::new(*addr, port));
            l.id.is_some() || in_use.iter().any(of_it)
        });
    }

    /// Lets go in the kernel of what no listener of ours has asked for by itself: the caller wants to bind there.
    pub(super) fn release(&mut self, port: u16) {
        let Some(port) = self.ports.get_mut(&port) else { return };
        port.released = Some(Instant::now());
        let Port { listeners, claims, .. } = port;
        let needed = |claim: &Claim| listeners.iter().any(|l| l.id.is_some() && !l.held && claim.at.takes(l.at.local));
        for claim in claims.iter_mut().filter(|claim| !needed(claim)) {
            claim.socket = None;
        }
    }

    /// Holds what is to be held and is not: addresses of paths that have come, and what others have let go of.
    pub(super) fn claim_missing(&mut self, paths: &[IpAddr]) {
        for (number, port) in &mut self.ports {
            if port.released.is_some_and(|at| at.elapsed() < LEFT_FOR) {
                continue;
            }
            port.released = None;
            port.hold_again();
            if !port.listeners.iter().any(Listener::is_at_one_address) {
                continue;
            }
            for end in paths.iter().map(|addr| SocketAddr::new(*addr, *number)) {
                if port.claims.iter().any(|claim| claim.at.takes(end)) {
                    continue;
                }
                match hold(end.into()) {
                    Ok((socket, _)) => port.claims.push(Claim { at: end.into(), socket: Some(socket) }),
                    Err(error) => tracing::debug!(%end, %error, "a further address is left to who has it"),
                }
            }
        }
    }

    /// What is to be diverted: the addresses of paths that are held, with the ports.
    pub(super) fn ends(&self, paths: &[IpAddr]) -> BTreeSet<SocketAddr> {
        let of_port = |(number, port): (&u16, &Port)| {
            let needed: Vec<ListenAddr> = port.needed(paths);
            let ends = paths.iter().map(|addr| SocketAddr::new(*addr, *number));
            ends.filter(|end| needed.iter().any(|at| at.takes(*end))).collect::<Vec<_>>()
        };
        self.ports.iter().flat_map(of_port).collect()
    }

    /// Lets go of what nobody needs any more; it must not be diverted by now.
    pub(super) fn tidy(&mut self, paths: &[IpAddr]) {
        for port in self.ports.values_mut() {
            let needed = port.needed(paths);
            port.claims.retain(|claim| needed.contains(&claim.at));
        }
        self.ports.retain(|_, port| !port.listeners.is_empty());
    }

    /// Whether time alone may change something: connections end, others let go.
    pub(super) fn is_unsettled(&self) -> bool {
        let loose = |port: &Port| port.claims.iter().any(|claim| is_loose(claim, &port.listeners));
        !self.closed().is_empty() || self.ports.values().any(loose)
    }
}

impl Listener {
    fn is_at_one_address(&self) -> bool {
        !self.at.local.ip().is_unspecified()
    }
}

/// Neither we nor a caller who said so hold it.
fn is_loose(claim: &Claim, listeners: &[Listener]) -> bool {
    claim.socket.is_none() && !listeners.iter().any(|l| l.held && l.id.is_some() && l.at == claim.at)
}

impl Port {
    fn hold_again(&mut self) {
        let Port { listeners, claims, .. } = self;
        claims.retain_mut(|claim| {
            if is_loose(claim, listeners) {
                claim.socket = hold(claim.at).ok().map(|(socket, _)| socket);
            }
            // A further address is left to who has it now. At another one it may be who asked for it, or did.
            claim.socket.is_some() || listeners.iter().any(|l| l.at == claim.at)
        });
    }

    /// Of the claims: what a listener asked for, and other paths to one that is at a single address.
    fn needed(&self, paths: &[IpAddr]) -> Vec<ListenAddr> {
        let asked = |at: &ListenAddr| {
            self.listeners.iter().any(|l| {
                let rests_on_it = || at.covers(&l.at) && self.claims.iter().all(|claim| claim.at != l.at);
                *at == l.at || rests_on_it()
            })
        };
        let further =
            |at: &ListenAddr| paths.contains(&at.local.ip()) && self.listeners.iter().any(Listener::is_at_one_address);
        self.claims.iter().map(|claim| claim.at).filter(|at| asked(at) || further(at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use polypath_proto::{Config, Stack};

    use super::*;
    use crate::testing::{KERNEL_V4, in_namespace, ip};

    const OTHER: &str = "192.0.2.2";

    fn at(local: &str) -> ListenAddr {
        local.parse::<SocketAddr>().unwrap().into()
    }

    fn paths() -> Vec<IpAddr> {
        [KERNEL_V4, OTHER].map(|addr| addr.parse().unwrap()).to_vec()
    }

    /// In a namespace with two addresses.
    fn here(test: impl FnOnce(Listening, ListenerId) + Send + 'static) {
        in_namespace(move || {
            ip(&format!("address add {OTHER}/32 dev lo"));
            let id = Stack::new(Config::default(), [7; 32]).listen(at("0.0.0.0:1"), 1).unwrap();
            test(Listening::default(), id);
        });
    }

    fn open(listening: &mut Listening, local: &str, held: bool, id: ListenerId) -> Vec<String> {
        // What was closed just now may live on for an instant, in a child of another test before it becomes a program.
        let claimed = (0..1_000).find_map(|_| {
            let claimed = listening.claim(at(local), held);
            (!claimed.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse)).then_some(claimed)
        });
        let at = claimed.expect("free at last").unwrap();
        listening.add(at, held, id);
        listening.claim_missing(&paths());
        ends(listening)
    }

    fn ends(listening: &mut Listening) -> Vec<String> {
        let ends = listening.ends(&paths()).iter().map(ToString::to_string).collect();
        listening.tidy(&paths());
        ends
    }

    fn close(listening: &mut Listening, id: ListenerId, in_use: &[IpAddr]) {
        listening.close(id);
        for port in listening.closed() {
            listening.forget(port, &in_use.iter().copied().collect());
        }
        listening.tidy(&paths());
    }

    #[test]
    fn the_other_address_is_claimed_unless_somebody_has_it() {
        here(|mut listening, id| {
            assert_eq!(open(&mut listening, "192.0.2.1:80", false, id), ["192.0.2.1:80", "192.0.2.2:80"]);
            assert!(TcpListener::bind("192.0.2.2:80").is_err());
            close(&mut listening, id, &[]);
            let service = TcpListener::bind("192.0.2.2:80").unwrap();
            assert_eq!(open(&mut listening, "192.0.2.1:80", false, id), ["192.0.2.1:80"]);
            let taken = listening.claim(at("0.0.0.0:80"), false).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
            drop(service);
            listening.claim_missing(&paths());
            assert_eq!(ends(&mut listening), ["192.0.2.1:80", "192.0.2.2:80"]);
        });
    }

    #[test]
    fn what_is_closed_stays_held_while_a_connection_is_left() {
        here(|mut listening, id| {
            open(&mut listening, "0.0.0.0:80", false, id);
            close(&mut listening, id, &paths()[..1]);
            assert_eq!(ends(&mut listening).len(), 2);
            assert!(listening.is_unsettled() && TcpListener::bind("192.0.2.1:80").is_err());
            assert_eq!(open(&mut listening, "0.0.0.0:80", false, id).len(), 2, "again on the same port");
            assert!(!listening.is_unsettled());
            close(&mut listening, id, &[]);
            assert!(ends(&mut listening).is_empty() && TcpListener::bind("192.0.2.1:80").is_ok());
        });
    }

    #[test]
    fn what_the_caller_holds_is_taken_over_when_they_let_go_and_given_back_when_asked_for() {
        here(|mut listening, id| {
            let theirs = TcpListener::bind("0.0.0.0:80").unwrap();
            assert_eq!(open(&mut listening, "0.0.0.0:80", true, id).len(), 2);
            close(&mut listening, id, &paths());
            drop(theirs);
            listening.claim_missing(&paths());
            assert!(TcpListener::bind("0.0.0.0:80").is_err(), "connections are left");
            listening.release(80);
            listening.claim_missing(&paths());
            let theirs = TcpListener::bind("0.0.0.0:80").unwrap();
            assert_eq!(open(&mut listening, "0.0.0.0:80", true, id).len(), 2);
            drop(theirs);
        });
    }

    #[test]
    fn listeners_on_two_addresses_share_a_port_and_port_0_is_chosen_by_the_kernel() {
        here(|mut listening, id| {
            open(&mut listening, "192.0.2.1:80", false, id);
            assert_eq!(open(&mut listening, "192.0.2.2:80", false, id).len(), 2);
            assert_eq!(listening.claim(at("192.0.2.2:80"), false).unwrap_err().kind(), ErrorKind::AddrInUse);
            assert_eq!(listening.claim(at("192.0.2.9:81"), false).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
            assert_eq!(listening.claim(at("0.0.0.0:0"), true).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_ne!(listening.claim(at("0.0.0.0:0"), false).unwrap().local.port(), 0);
        });
    }
}
