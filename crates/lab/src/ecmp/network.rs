//! Eight hosts, two edge routers and four core routers, each in a namespace of its own.
//!
//! ```text
//!  a0 ─┐            ┌─ core0 ─┐            ┌─ b0
//!  a1 ─┤            ├─ core1 ─┤            ├─ b1
//!  a2 ─┼─ edge a ───┼─ core2 ─┼─── edge b ─┼─ b2
//!  a3 ─┘            └─ core3 ─┘            └─ b3
//! ```
//!
//! The kernels of the routers forward. To the other side an edge has one route with four next hops, chosen by a hash
//! over addresses and ports (`fib_multipath_hash_policy` 1), so that a connection stays on one path and the next may
//! take another. Nobody has two addresses: a host cannot choose a path, only ports.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, anyhow};

use crate::link::Rate;
use crate::namespace::Namespace;
use crate::scenario::Owner;
use crate::setup;

/// Hosts on each side.
pub const SIDE: usize = 4;
/// Hosts in all: the first half is on side a.
pub const HOSTS: usize = 2 * SIDE;
/// Paths between the sides.
pub const PATHS: usize = 4;
/// Of each path through the core, in each direction.
pub const CORE: Rate = Rate::mbit(20);
/// Of each host's link, in each direction.
pub const UPLINK: Rate = Rate::mbit(20);
/// What may wait before a link, in bytes: 64 packets; it drops at its tail.
const QUEUE: u64 = 64 * 1_514;
/// What a token bucket may send at once: two packets.
const BURST: u64 = 2 * 1_514;
/// Hardware addresses of the two ends of each link. Neighbours are entered by hand, so that no resolution is lost in a
/// full queue.
const NEAR: &str = "02:00:00:00:00:01";
const FAR: &str = "02:00:00:00:00:02";

/// The whole of it; gone with its value, or the process.
#[derive(Debug)]
pub(super) struct Network {
    hosts: Vec<Namespace>,
    edges: Vec<Namespace>,
    /// Nothing is asked of them, but they must live.
    _cores: Vec<Namespace>,
}

impl Network {
    /// Makes it. `seed` goes into the edges' hash.
    pub(super) fn build(seed: u64) -> anyhow::Result<Self> {
        let make = |count: usize| (0..count).map(|_| Namespace::new()).collect::<io::Result<Vec<_>>>();
        let (hosts, edges, cores) = (make(HOSTS)?, make(2)?, make(PATHS)?);
        for namespace in hosts.iter().chain(&edges).chain(&cores) {
            setup::parameters(namespace, Owner::Stack)?;
        }
        for (side, edge) in edges.iter().enumerate() {
            spread(edge, seed.wrapping_mul(2).wrapping_add(side as u64))?;
            for (path, core) in cores.iter().enumerate() {
                let (device, there) = (core_link(path), format!("edge{side}"));
                let [near, far] = [1, 2].map(|end| Ipv4Addr::new(10, 11 + side as u8, path as u8, end));
                join((edge, &device, near), (core, &there, far)).with_context(|| format!("the link {device}"))?;
                core.ip(&format!("route add {} via {near}\n", network(side)))?;
                limit(edge, &device, CORE)?;
            }
            let hops: String = (0..PATHS)
                .map(|path| format!(" nexthop via {}", Ipv4Addr::new(10, 11 + side as u8, path as u8, 2)))
                .collect();
            edge.ip(&format!("route add {}{hops}\n", network(1 - side))).context("the route with several next hops")?;
        }
        for (number, host) in hosts.iter().enumerate() {
            let (edge, own) = (&edges[number / SIDE], address(number));
            let [_, network, place, _] = own.octets();
            let [near, far] = [2, 3].map(|end| Ipv4Addr::new(10, network, place, end));
            let device = host_link(number);
            join((host, "up0", near), (edge, &device, far)).with_context(|| format!("the link of {}", name(number)))?;
            // The stack's own route is better, as long as there is a stack.
            host.ip(&format!(
                "route add default via {far}\nroute add blackhole {own} metric {}\n",
                setup::LAST_METRIC
            ))?;
            edge.ip(&format!("route add {own} via {near}\n"))?;
            limit(host, "up0", UPLINK)?;
            limit(edge, &device, UPLINK)?;
        }
        Ok(Self { hosts, edges, _cores: cores })
    }

    /// Where a host's stack lives.
    pub(super) fn host(&self, number: usize) -> &Namespace {
        &self.hosts[number]
    }

    /// Bytes of frames that each path has carried so far, from side a and from side b.
    pub(super) fn carried(&self) -> io::Result<[[u64; PATHS]; 2]> {
        let mut carried = [[0; PATHS]; 2];
        for (edge, carried) in self.edges.iter().zip(&mut carried) {
            for (path, carried) in carried.iter_mut().enumerate() {
                *carried = edge.interface(&core_link(path))?.tx_bytes;
            }
        }
        Ok(carried)
    }

    /// On which path the edge of the sender puts what goes from `local` to `remote`: the kernel's own word.
    pub(super) fn path(&self, from: usize, local: SocketAddr, remote: SocketAddr) -> anyhow::Result<usize> {
        let (source, target) = (local.ip().to_string(), remote.ip().to_string());
        let (ports, device) = ([local.port(), remote.port()].map(|port| port.to_string()), host_link(from));
        let ends = ["-json", "route", "get", &target, "from", &source, "iif", &device];
        let protocol = ["ipproto", "tcp", "sport", &ports[0], "dport", &ports[1]];
        let said = self.edges[from / SIDE].show(&[&ends[..], &protocol].concat())?;
        let route: serde_json::Value = serde_json::from_str(&said).map_err(|_| anyhow!("ip route get: {said}"))?;
        let path = (0..PATHS).find(|path| route[0]["dev"] == core_link(*path));
        path.with_context(|| format!("{local} to {remote} does not cross the core: {said}"))
    }
}

/// The address of a host's stack.
pub(super) const fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1 + (host / SIDE) as u8, (host % SIDE) as u8, 1)
}

/// What a host is called: `a0`.
pub fn name(host: usize) -> String {
    format!("{}{}", if host < SIDE { 'a' } else { 'b' }, host % SIDE)
}

/// All hosts of a side.
fn network(side: usize) -> String {
    format!("10.{}.0.0/16", 1 + side)
}

/// A path's interface at the edges.
fn core_link(path: usize) -> String {
    format!("core{path}")
}

/// A host's interface at its edge.
fn host_link(host: usize) -> String {
    format!("host{}", host % SIDE)
}

/// The edge hashes addresses and ports. Since Linux 6.11 the hash has a seed that can be set: then the same ports take
/// the same paths in every run.
fn spread(edge: &Namespace, seed: u64) -> anyhow::Result<()> {
    edge.set_parameters(&[("net/ipv4/fib_multipath_hash_policy", "1")])
        .context("the kernel must be 4.12 or newer, with CONFIG_IP_ROUTE_MULTIPATH")?;
    let known = edge.run(|| std::path::Path::new("/proc/sys/net/ipv4/fib_multipath_hash_seed").exists())?;
    if known {
        // Zero would leave it to chance.
        let seed = (seed as u32).max(1).to_string();
        edge.set_parameters(&[("net/ipv4/fib_multipath_hash_seed", &seed)])?;
    }
    Ok(())
}

/// A link between two namespaces: where it begins and where it ends.
fn join(near: (&Namespace, &str, Ipv4Addr), far: (&Namespace, &str, Ipv4Addr)) -> io::Result<()> {
    // `ip` takes any path for the name of a namespace.
    let there = format!("/proc/{}/fd/{}", std::process::id(), far.0.as_fd().as_raw_fd());
    let (device, other) = (near.1, far.1);
    near.0
        .ip(&format!("link add {device} address {NEAR} type veth peer name {other} address {FAR} netns {there}\n"))?;
    for ((namespace, device, own), peer, hardware) in [(near, far.2, FAR), (far, near.2, NEAR)] {
        let mut lines = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "link set {device} addrgenmode none");
        let _ = writeln!(lines, "link set {device} up");
        let _ = writeln!(lines, "address add {own}/24 dev {device}");
        let _ = writeln!(lines, "neighbour add {peer} lladdr {hardware} dev {device} nud permanent");
        namespace.ip(&lines)?;
    }
    Ok(())
}

/// What leaves by `device` leaves at this rate.
fn limit(namespace: &Namespace, device: &str, rate: Rate) -> anyhow::Result<()> {
    let bits = rate.as_bits_per_second();
    namespace
        .tc(&format!("qdisc add dev {device} root tbf rate {bits}bit burst {BURST} limit {QUEUE}\n"))
        .with_context(|| format!("the rate of {device}"))
}
