//! The wires between the TUN device and the uplinks: one nf_tables table of the family `netdev`.
//!
//! ```text
//! table netdev polypath_pp0 { flags owner
//!   set listeners4 { type ipv4_addr . inet_service; elements = { ADDRESS . PORT } }
//!   chain out    { type filter hook ingress device "pp0" priority 0; policy drop;
//!     ip saddr ADDRESS tcp sport PORTS ip daddr ONLINK fwd ip to ip daddr device "u1"
//!     ip saddr ADDRESS tcp sport PORTS fwd ip to GATEWAY device "u1"            one for each route,
//!     ip saddr ADDRESS ip saddr . tcp sport @listeners4 fwd … }                 and the same for listeners
//!   chain in_u1  { type filter hook ingress device "u1" priority 0; policy accept;
//!     ip daddr ADDRESS tcp dport PORTS fwd ip to ADDRESS device "pp0"
//!     ip daddr ADDRESS icmp type destination-unreachable @th,224,16 PORTS fwd …
//!     ip daddr . tcp dport @listeners4 fwd ip to ip daddr device "pp0"
//!     icmp type destination-unreachable @th,160,32 . @th,224,16 @listeners4 fwd … }
//! }
//! ```
//!
//! PORTS are those of outgoing connections; the sets hold what is listened on, and change without the rest. What is
//! for one of them may come in over any uplink, as with the kernel's own sockets. Nothing that this host
//! sends to itself is seen here: it goes over `lo`.
//!
//! The table belongs to our socket: nobody else may change it, `nft flush ruleset` leaves it alone, and the kernel
//! removes it with the socket, whatever ends the process.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::discover::{Path, Route};
use super::nft::{Base, Neighbour, Policy, Rule, Set, Socket, Transaction, octets};

const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// RFC 792, RFC 4443: destination unreachable (with "fragmentation needed"), packet too big.
const ICMP_UNREACHABLE: u8 = 3;
const ICMPV6_UNREACHABLE: u8 = 1;
const ICMPV6_TOO_BIG: u8 = 2;

const LISTENERS_V4: Set = Set { name: "listeners4", v6: false };
const LISTENERS_V6: Set = Set { name: "listeners6", v6: true };

/// What the names of our tables begin with.
pub(super) const TABLE_PREFIX: &str = "polypath_";

/// The table, as long as this lives.
#[derive(Debug)]
pub(crate) struct Table {
    socket: Socket,
    name: String,
    tun: String,
    tun_index: u32,
    ports: RangeInclusive<u16>,
    loaded: bool,
    /// What stands in the sets.
    listening: BTreeSet<SocketAddr>,
}

impl Table {
    /// A table for the device `tun`, with nothing in it. Nothing is loaded yet.
    pub(crate) fn new(tun: &str, tun_index: u32, ports: RangeInclusive<u16>) -> io::Result<Self> {
        let socket = Socket::open().map_err(|error| explain("socket", &error))?;
        let name = format!("{TABLE_PREFIX}{tun}");
        Ok(Self { socket, name, tun: tun.to_owned(), tun_index, ports, loaded: false, listening: BTreeSet::new() })
    }

    /// Replaces everything by what `paths` and those need who listen, in one transaction.
    pub(crate) fn load(&mut self, paths: &[Path], listening: &BTreeSet<SocketAddr>) -> io::Result<()> {
        let mut transaction = Transaction::default();
        if self.loaded {
            transaction.delete_table(&self.name);
        }
        transaction.new_table(&self.name);
        let ends: Vec<SocketAddr> = listening.iter().copied().collect();
        for (id, set) in [(1, &LISTENERS_V4), (2, &LISTENERS_V6)] {
            transaction.new_set(&self.name, set, id);
            transaction.add_elements(&self.name, set, &ends);
        }
        transaction.new_chain(&self.name, "out", &self.tun, Policy::Drop);
        for path in paths {
            for route in &path.routes {
                for rule in self.outwards(path, route) {
                    transaction.new_rule(&self.name, "out", &rule);
                }
            }
        }
        let mut done: Vec<&str> = Vec::new();
        for uplink in paths.iter().map(|path| path.interface.as_str()) {
            if done.contains(&uplink) {
                continue;
            }
            done.push(uplink);
            let chain = format!("in_{uplink}");
            transaction.new_chain(&self.name, &chain, uplink, Policy::Accept);
            let here = || paths.iter().filter(|path| path.interface == uplink);
            let mut rules: Vec<Rule> = here().flat_map(|path| self.inwards(path)).collect();
            for v6 in [false, true].into_iter().filter(|v6| here().any(|path| path.addr.is_ipv6() == *v6)) {
                rules.extend(self.to_listeners(v6));
            }
            for rule in rules {
                transaction.new_rule(&self.name, &chain, &rule);
            }
        }
        self.socket.commit(transaction).map_err(|(step, error)| explain(step, &error))?;
        self.loaded = true;
        self.listening.clone_from(listening);
        Ok(())
    }

    /// Makes the sets hold what is listened on, element by element.
    /// Whether that made a difference.
    pub(crate) fn listen(&mut self, listening: &BTreeSet<SocketAddr>) -> io::Result<bool> {
        let gone: Vec<SocketAddr> = self.listening.difference(listening).copied().collect();
        let new: Vec<SocketAddr> = listening.difference(&self.listening).copied().collect();
        let mut transaction = Transaction::default();
        for set in [&LISTENERS_V4, &LISTENERS_V6] {
            transaction.delete_elements(&self.name, set, &gone);
            transaction.add_elements(&self.name, set, &new);
        }
        if transaction.is_empty() {
            return Ok(false);
        }
        self.socket.commit(transaction).map_err(|(step, error)| explain(step, &error))?;
        self.listening.clone_from(listening);
        Ok(true)
    }

    /// From the stack to where `route` leads: from the ports of outgoing connections, and from those listened on. None
    /// where the kernel has no such forwarding.
    fn outwards(&self, path: &Path, route: &Route) -> Vec<Rule> {
        let v6 = path.addr.is_ipv6();
        if route.gateway.is_some_and(|gateway| gateway.is_ipv6() != v6) {
            tracing::warn!(?route, "routes over a gateway of the other family are not followed");
            return Vec::new();
        }
        let (source, destination) = if v6 { (8, 24) } else { (12, 16) };
        let ours = || family(v6).bytes(Base::Network, source, &octets(path.addr)).transport(TCP);
        let leave = |mut rule: Rule| {
            if route.prefix_len > 0 {
                let network = octets(route.destination);
                let mask = mask(network.len(), route.prefix_len);
                rule = rule.masked(Base::Network, destination, &network, &mask);
            }
            match route.gateway.map(octets) {
                Some(gateway) => rule.forward(path.index, Neighbour::Fixed(&gateway), v6),
                None => rule.forward(path.index, Neighbour::Destination, v6),
            }
        };
        let listeners = ours().in_set(listeners(v6), (Base::Network, source), 0);
        vec![leave(self.ports(ours(), 0)), leave(listeners)]
    }

    /// What is for ports that are listened on: segments, and errors about packets from there.
    fn to_listeners(&self, v6: bool) -> Vec<Rule> {
        let set = listeners(v6);
        let to_stack = |rule: Rule| rule.forward(self.tun_index, Neighbour::Destination, v6);
        let destination = if v6 { 24 } else { 16 };
        let segments = family(v6).transport(TCP).in_set(set, (Base::Network, destination), 2);
        // As in `inwards`, with the source address in the packet that the error is about.
        let about = |protocol, kind: u8, address, port| {
            let rule = family(v6).transport(protocol).bytes(Base::Transport, 0, &[kind]);
            to_stack(rule.in_set(set, (Base::Transport, address), port))
        };
        if v6 {
            vec![to_stack(segments), about(ICMPV6, ICMPV6_UNREACHABLE, 16, 48), about(ICMPV6, ICMPV6_TOO_BIG, 16, 48)]
        } else {
            vec![to_stack(segments), about(ICMP, ICMP_UNREACHABLE, 20, 28)]
        }
    }

    /// What is for outgoing connections: segments, and errors about their packets.
    fn inwards(&self, path: &Path) -> Vec<Rule> {
        let v6 = path.addr.is_ipv6();
        let address = octets(path.addr);
        let destination = if v6 { 24 } else { 16 };
        let ours = || family(v6).bytes(Base::Network, destination, &address);
        let to_stack = |rule: Rule| rule.forward(self.tun_index, Neighbour::Fixed(&address), v6);
        // The packet that an error is about begins 8 bytes into it, and its source port follows an IP header.
        let about = |protocol, kind: u8, port| {
            let rule = ours().transport(protocol).bytes(Base::Transport, 0, &[kind]);
            to_stack(self.ports(rule, port))
        };
        let segments = to_stack(self.ports(ours().transport(TCP), 2));
        if v6 {
            vec![segments, about(ICMPV6, ICMPV6_UNREACHABLE, 48), about(ICMPV6, ICMPV6_TOO_BIG, 48)]
        } else {
            vec![segments, about(ICMP, ICMP_UNREACHABLE, 28)]
        }
    }

    /// The port at `offset` is one of ours.
    fn ports(&self, rule: Rule, offset: u32) -> Rule {
        rule.between(Base::Transport, offset, *self.ports.start(), *self.ports.end())
    }
}

fn listeners(v6: bool) -> &'static Set {
    if v6 { &LISTENERS_V6 } else { &LISTENERS_V4 }
}

fn family(v6: bool) -> Rule {
    Rule::default().protocol(if v6 { ETHERTYPE_V6 } else { ETHERTYPE_V4 })
}

fn mask(len: usize, prefix_len: u8) -> Vec<u8> {
    (0..len).map(|at| !(0xff_u32 >> usize::from(prefix_len).saturating_sub(8 * at).min(8)) as u8).collect()
}

fn explain(step: &str, error: &io::Error) -> io::Error {
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => " (CAP_NET_ADMIN is needed: sudo)",
        Some(libc::EEXIST) => " (a table of this name exists: nft delete table netdev NAME, or another --tun)",
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            " (modprobe -a nf_tables nft_fwd_netdev; the kernel needs CONFIG_NF_TABLES_NETDEV and CONFIG_NFT_FWD_NETDEV)"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("nftables, {step}: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_namespace, ip, run};

    fn path(interface: &str, index: u32, addr: &str, routes: &[(&str, u8, Option<&str>)]) -> Path {
        let route = |(destination, prefix_len, gateway): &(&str, u8, Option<&str>)| Route {
            destination: destination.parse().unwrap(),
            prefix_len: *prefix_len,
            gateway: gateway.map(|g| g.parse().unwrap()),
        };
        let addr = addr.parse().unwrap();
        let routes = routes.iter().map(route).collect();
        Path { interface: interface.into(), index, addr, backup: false, mtu: 1500, routes }
    }

    fn index(name: &str) -> u32 {
        let text = ip(&format!("-o link show {name}"));
        text.split(':').next().unwrap().trim().parse().unwrap()
    }

    #[test]
    fn the_kernel_reads_the_rules_as_they_are_meant() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            ip("link set u1 up");
            ip("link add t0 type veth peer name t1");
            let mut table = Table::new("t0", index("t0"), 61_000..=61_499).unwrap();
            let paths = [
                path("u1", index("u1"), "10.1.0.2", &[("10.1.0.0", 20, None), ("0.0.0.0", 0, Some("10.1.0.1"))]),
                path("u1", index("u1"), "fd00::2", &[("::", 0, Some("fe80::1"))]),
            ];
            table.load(&paths, &BTreeSet::new()).unwrap();
            let all = run("nft", "list ruleset");
            for expected in [
                "ip saddr 10.1.0.2 tcp sport 61000-61499 ip daddr 10.1.0.0/20 fwd ip to ip daddr device \"u1\"",
                "ip saddr 10.1.0.2 tcp sport 61000-61499 fwd ip to 10.1.0.1 device \"u1\"",
                "ip6 saddr fd00::2 tcp sport 61000-61499 fwd ip6 to fe80::1 device \"u1\"",
                "ip daddr 10.1.0.2 tcp dport 61000-61499 fwd ip to 10.1.0.2 device \"t0\"",
                "ip6 daddr fd00::2 icmpv6 type packet-too-big",
                "ip saddr 10.1.0.2 ip saddr . tcp sport @listeners4 ip daddr 10.1.0.0/20 fwd ip to ip daddr",
                "ip daddr . tcp dport @listeners4 fwd ip to ip daddr device \"t0\"",
                "ip6 daddr . tcp dport @listeners6 fwd ip6 to ip6 daddr device \"t0\"",
                "icmp type destination-unreachable @th,160,32 . @th,224,16 @listeners4 fwd ip to ip daddr",
                "icmpv6 type packet-too-big @th,128,128 . @th,384,16 @listeners6 fwd ip6 to ip6 daddr",
                "hook ingress device \"t0\" priority filter; policy drop;",
                "hook ingress device \"u1\" priority filter; policy accept;",
                "flags owner",
            ] {
                assert!(all.contains(expected), "{expected} is not in {all}");
            }
            let ends = ["10.1.0.2:80", "10.1.0.2:443", "[fd00::2]:80"].map(|end| end.parse().unwrap());
            assert!(table.listen(&BTreeSet::from(ends)).unwrap());
            let set = |name: &str| run("nft", &format!("list set netdev polypath_t0 {name}"));
            let four = set("listeners4");
            assert!(four.contains("type ipv4_addr . inet_service"), "{four}");
            assert!(four.contains("10.1.0.2 . 80") && four.contains("10.1.0.2 . 443"), "{four}");
            assert!(set("listeners6").contains("fd00::2 . 80"), "{}", set("listeners6"));
            assert!(table.listen(&BTreeSet::from([ends[1]])).unwrap());
            assert!(!table.listen(&BTreeSet::from([ends[1]])).unwrap(), "it is there already");
            let four = set("listeners4");
            assert!(!four.contains("10.1.0.2 . 80") && four.contains("10.1.0.2 . 443"), "{four}");
            table.load(&paths, &BTreeSet::from([ends[2]])).unwrap();
            assert!(set("listeners6").contains("fd00::2 . 80") && !set("listeners4").contains("443"));
            table.load(&paths, &BTreeSet::new()).unwrap();
            assert_eq!(run("nft", "list ruleset"), all);
            run("nft", "flush ruleset");
            assert_eq!(run("nft", "list ruleset"), all, "others cannot take it away");
            table.load(&paths[..1], &BTreeSet::new()).unwrap();
            let fewer = run("nft", "list ruleset");
            assert!(fewer.contains("10.1.0.1") && !fewer.contains("fe80::1"), "{fewer}");
            drop(table);
            assert_eq!(run("nft", "list ruleset"), "");
        });
    }

    #[test]
    fn a_table_of_somebody_else_is_an_error_and_stays() {
        in_namespace(|| {
            ip("link add t0 type veth peer name t1");
            let table = || Table::new("t0", index("t0"), 61_000..=61_499).unwrap();
            let mut first = table();
            first.load(&[], &BTreeSet::new()).unwrap();
            let before = run("nft", "list ruleset");
            let error = table().load(&[], &BTreeSet::new()).unwrap_err();
            assert!(error.to_string().contains("table with an owner"), "{error}");
            first.load(&[], &BTreeSet::new()).unwrap();
            assert_eq!(run("nft", "list ruleset"), before);
        });
    }

    #[test]
    fn masks_have_as_many_ones_as_the_prefix_is_long() {
        assert_eq!(mask(4, 20), [0xff, 0xff, 0xf0, 0]);
        assert_eq!(mask(4, 32), [0xff; 4]);
        assert_eq!(mask(16, 1)[..2], [0x80, 0]);
    }
}
