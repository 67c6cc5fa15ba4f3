//! From interfaces, addresses and routes to paths: which interface, from which address, by which gateways.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;

use polypath_proto::PathPolicy;

use super::snapshot::{Address, AddressKind, KernelRoute, Link, Snapshot, TABLE_MAIN};
use super::{AttachOptions, Effect, Obstacle, PathOptions};

/// RFC 8200 section 5: where a link offers less, IPv6 does not run.
const MTU_MIN_V6: u32 = 1280;
const MTU_MIN_V4: u32 = 576;
const MTU_MAX: u32 = 65_535;
/// Each route is a rule that packets are held against: of a router's many thousands only the most general are taken.
const MAX_ROUTES: usize = 256;

/// An address to speak from, and the interface and routes that its packets take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) interface: String,
    pub(crate) index: u32,
    pub(crate) addr: IpAddr,
    pub(crate) backup: bool,
    /// Largest packet, by the link and its routes.
    pub(crate) mtu: u32,
    /// The most specific first; one for each destination.
    pub(crate) routes: Vec<Route>,
}

/// Where packets of a path go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) destination: IpAddr,
    pub(crate) prefix_len: u8,
    /// `None`: the destination itself is on the link.
    pub(crate) gateway: Option<IpAddr>,
}

impl Path {
    fn route_to(&self, addr: IpAddr) -> Option<&Route> {
        self.routes.iter().find(|route| route.leads_to(addr))
    }
}

impl Route {
    fn leads_to(&self, addr: IpAddr) -> bool {
        contains(self.destination, self.prefix_len, addr)
    }
}

/// The path that a connection to `remote` begins on: no backup if possible, then the most specific route, then the
/// first of `paths`, which are in the order of preference.
pub(crate) fn best<'a>(paths: &'a [Path], remote: IpAddr, policy: Option<&PathPolicy>) -> Option<&'a Path> {
    let backup = |path: &Path| match policy {
        Some(policy) => policy.backup(path.addr, Some(&path.interface), path.backup),
        None => Some(path.backup),
    };
    let rank = |path: &&'a Path| Some((backup(path)?, u8::MAX - path.route_to(remote)?.prefix_len));
    paths.iter().filter(|path| rank(path).is_some()).min_by_key(|path| rank(path))
}

/// Whether connections to `remote` are for the stack: a path leads there, it is not this host itself, and the kernel
/// has no more specific route over an interface that is no path (to a container, for example), refuses it by none, and
/// does not encrypt what goes there.
pub(super) fn carries(snapshot: &Snapshot, paths: &[Path], remote: IpAddr) -> bool {
    let Some(ours) = paths.iter().filter_map(|path| path.route_to(remote)).map(|route| route.prefix_len).max() else {
        return false;
    };
    let elsewhere = |route: &KernelRoute| {
        // A tunnel's two halves are a default route; whoever names other paths wants those.
        route.table == TABLE_MAIN
            && route.prefix_len > ours.max(1)
            && contains(route.destination, route.prefix_len, remote)
            && !paths.iter().any(|path| path.index == route.index)
    };
    // Which link is meant by such an address, only the kernel's own sockets can tell.
    let link_local = match remote {
        IpAddr::V4(addr) => addr.is_link_local() || addr.is_broadcast(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    };
    let own: Vec<IpAddr> = snapshot.addresses.iter().map(|a| a.addr).collect();
    let policy = &snapshot.policy;
    !link_local
        && !own.contains(&remote)
        && !snapshot.routes.iter().any(elsewhere)
        && !policy.refuses(remote, ours.max(1))
        && !policy.protects(remote, &own)
}

/// The paths there are, at most one for each interface and family, in the order of preference. An address in use
/// (`current`) is kept as long as its interface has it.
pub(super) fn discover(snapshot: &Snapshot, options: &AttachOptions, current: &[Path]) -> Vec<Path> {
    let mut paths: Vec<(u32, u32, Path)> = Vec::new();
    let open = Snapshot { routes: open_routes(snapshot), ..snapshot.clone() };
    // Who names interfaces gets them.
    let snapshot = if options.paths.is_empty() { &open } else { snapshot };
    for v6 in [false, true] {
        let chosen: Vec<(&Link, PathOptions)> = if options.paths.is_empty() {
            automatic(snapshot, v6).into_iter().map(|link| (link, PathOptions::new(&link.name))).collect()
        } else {
            let named = |path: &PathOptions| {
                let link = snapshot.links.iter().find(|link| link.name == path.interface && link.running)?;
                Some((link, path.clone()))
            };
            options.paths.iter().filter_map(named).collect()
        };
        for (link, wanted) in chosen {
            if let Some(path) = path(snapshot, link, &wanted, v6, current) {
                let metric = if options.paths.is_empty() { metric(snapshot, &path) } else { 0 };
                paths.push((wanted.priority.unwrap_or(u32::MAX), metric, path));
            }
        }
    }
    // Sorting is stable: what is equal stays in the order of the command line or the kernel's.
    paths.sort_by_key(|(priority, metric, _)| (*priority, *metric));
    paths.into_iter().map(|(_, _, path)| path).collect()
}

/// What the kernel orders interfaces by: the default route's, or else the smallest.
fn metric(snapshot: &Snapshot, path: &Path) -> u32 {
    let routes =
        snapshot.routes.iter().filter(|r| r.index == path.index && r.destination.is_ipv6() == path.addr.is_ipv6());
    routes.min_by_key(|r| (r.prefix_len > 0, r.metric)).map_or(0, |r| r.metric)
}

/// The interfaces with a default route, or a route over a gateway; if there is none, those with any route. Where a
/// tunnel has taken over everything, nobody wants traffic beside it: then only the tunnel.
fn automatic(snapshot: &Snapshot, v6: bool) -> Vec<&Link> {
    let with = |wanted: &dyn Fn(&KernelRoute) -> bool| -> Vec<&Link> {
        snapshot.links.iter().filter(usable).filter(|link| routes_of(snapshot, link, v6).any(wanted)).collect()
    };
    let tunnels = tunnels(snapshot, v6);
    if !tunnels.is_empty() {
        return tunnels;
    }
    let all = with(&|route| route.prefix_len == 0 || route.gateway.is_some());
    if all.is_empty() { with(&|route| route.table == TABLE_MAIN) } else { all }
}

/// The tunnels that have taken over everything.
pub(super) fn tunnels(snapshot: &Snapshot, v6: bool) -> Vec<&Link> {
    let routes = |link: &Link| routes_of(snapshot, link, v6);
    let all: Vec<&Link> = snapshot.links.iter().filter(usable).collect();
    let best_default = |link: &Link| routes(link).filter(|r| r.prefix_len == 0).map(|r| r.metric).min();
    let best_of_others = all.iter().filter(|link| !link.tunnel).filter_map(|link| best_default(link)).min();
    let takes_all = |link: &&Link| {
        // As OpenVPN does: two halves, more specific than any default route.
        let halves = routes(link).filter(|route| route.prefix_len == 1).count() >= 2;
        // As WireGuard's wg-quick does: a default route that a rule leads to.
        let by_rule = routes(link).any(|route| route.prefix_len == 0 && route.table != TABLE_MAIN);
        let by_metric = best_default(link).is_some_and(|own| best_of_others.is_none_or(|other| own <= other));
        link.tunnel && (halves || by_rule || by_metric)
    };
    all.iter().copied().filter(takes_all).collect()
}

fn usable(link: &&Link) -> bool {
    link.running && !link.loopback
}

fn routes_of<'a>(snapshot: &'a Snapshot, link: &Link, v6: bool) -> impl Iterator<Item = &'a KernelRoute> + use<'a> {
    let index = link.index;
    snapshot.routes.iter().filter(move |route| route.index == index && route.destination.is_ipv6() == v6)
}

/// The routes that the host's policy lets the kernel use.
fn open_routes(snapshot: &Snapshot) -> Vec<KernelRoute> {
    let all = &snapshot.routes;
    all.iter().filter(|route| snapshot.policy.hides(route, all).is_none()).cloned().collect()
}

fn path(snapshot: &Snapshot, link: &Link, wanted: &PathOptions, v6: bool, current: &[Path]) -> Option<Path> {
    let mut found: Vec<&KernelRoute> =
        snapshot.routes.iter().filter(|r| r.index == link.index && r.destination.is_ipv6() == v6).collect();
    // Other tables are for hosts that route by source address, and have no default route for this one in the main one.
    if found.iter().any(|route| route.table == TABLE_MAIN && route.prefix_len == 0) {
        found.retain(|route| route.table == TABLE_MAIN);
    }
    found.sort_by_key(|route| (u8::MAX - route.prefix_len, route.table != TABLE_MAIN, route.metric));
    found.dedup_by_key(|route| (route.destination, route.prefix_len));
    found.drain(..found.len().saturating_sub(MAX_ROUTES));
    let source = found.iter().rev().find_map(|route| route.source);
    let addr = address(snapshot, link, v6, source, current)?;
    let link_mtu = if v6 { link.mtu_v6 } else { link.mtu };
    // A route's own MTU holds for all: a segment's size does not depend on where it goes.
    let mtu = found.iter().filter_map(|route| route.mtu).fold(link_mtu, u32::min).min(MTU_MAX);
    if found.is_empty() || mtu < if v6 { MTU_MIN_V6 } else { MTU_MIN_V4 } {
        return None;
    }
    let routes = found
        .iter()
        .map(|r| Route { destination: r.destination, prefix_len: r.prefix_len, gateway: r.gateway })
        .collect();
    Some(Path { interface: link.name.clone(), index: link.index, addr, backup: wanted.backup, mtu, routes })
}

fn address(snapshot: &Snapshot, link: &Link, v6: bool, source: Option<IpAddr>, current: &[Path]) -> Option<IpAddr> {
    let all: Vec<&Address> =
        snapshot.addresses.iter().filter(|a| a.index == link.index && a.addr.is_ipv6() == v6).collect();
    let has = |addr: IpAddr| all.iter().any(|a| a.addr == addr);
    let in_use = current.iter().find(|p| p.index == link.index && p.addr.is_ipv6() == v6).map(|p| p.addr);
    if let Some(addr) = in_use.into_iter().chain(source).find(|addr| has(*addr)) {
        return Some(addr);
    }
    // The first of the best kind.
    let best: AddressKind = all.iter().map(|a| a.kind).max()?;
    all.iter().find(|a| a.kind == best).map(|a| a.addr)
}

/// What is wrong where there is no path at all, or `obstacles` block each.
pub(super) fn no_path(snapshot: &Snapshot, options: &AttachOptions, obstacles: &[Obstacle]) -> io::Error {
    let blocked = |name: &str| {
        obstacles.iter().any(|o| o.effect == Effect::Blocks && o.interface.as_deref().is_some_and(|i| i == name))
    };
    let states = |link: &Link| {
        let state = if !link.running {
            "is down or has no carrier"
        } else if !snapshot.addresses.iter().any(|a| a.index == link.index) {
            "has no address"
        } else if !snapshot.routes.iter().any(|r| r.index == link.index) {
            "has no route"
        } else if blocked(&link.name) {
            "is blocked"
        } else {
            "cannot be used"
        };
        format!("{} {state}", link.name)
    };
    let known = |name: &str| snapshot.links.iter().find(|link| link.name == name);
    let found: Vec<String> = if options.paths.is_empty() {
        snapshot.links.iter().filter(|link| !link.loopback).map(states).collect()
    } else {
        let named = |path: &PathOptions| {
            known(&path.interface).map_or_else(|| format!("there is no interface {}", path.interface), states)
        };
        options.paths.iter().map(named).collect()
    };
    let found = if found.is_empty() { "there are no interfaces but loopback".to_owned() } else { found.join(", ") };
    let mut message = format!("no path to attach to: {found}; see `ip address` and `ip route`");
    for obstacle in obstacles.iter().filter(|o| matches!(o.effect, Effect::Blocks | Effect::MayBlock)) {
        let _ = write!(message, "; {obstacle}");
    }
    io::Error::new(io::ErrorKind::NetworkUnreachable, message)
}

pub(super) fn contains(network: IpAddr, prefix_len: u8, addr: IpAddr) -> bool {
    let shift = |bits: u32| bits - u32::from(prefix_len).min(bits);
    match (network, addr) {
        (IpAddr::V4(network), IpAddr::V4(addr)) => {
            (network.to_bits() ^ addr.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(addr)) => {
            (network.to_bits() ^ addr.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use polypath_proto::PathUse;

    use super::*;
    use crate::attach::policy::Refusal;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(index: u32, name: &str) -> Link {
        let name = name.into();
        let (running, loopback, tunnel, ifb, xdp) = (true, false, false, false, None);
        Link { index, name, running, loopback, tunnel, ifb, xdp, mtu: 1500, mtu_v6: 1500 }
    }

    fn address(index: u32, addr: &str, kind: AddressKind) -> Address {
        Address { index, addr: ip(addr), kind }
    }

    fn route(index: u32, destination: &str, gateway: Option<&str>, metric: u32) -> KernelRoute {
        let (network, prefix_len) = destination.split_once('/').unwrap();
        let (destination, prefix_len) = (ip(network), prefix_len.parse().unwrap());
        let (gateway, table) = (gateway.map(ip), TABLE_MAIN);
        KernelRoute { index, table, destination, prefix_len, gateway, source: None, metric, mtu: None }
    }

    /// A laptop: Wi-Fi and a phone, and a container bridge.
    fn laptop() -> Snapshot {
        Snapshot {
            links: vec![link(2, "wlan0"), link(3, "wwan0"), link(4, "docker0")],
            addresses: vec![
                address(2, "192.168.1.7", AddressKind::Ordinary),
                address(3, "10.64.3.2", AddressKind::Ordinary),
                address(4, "172.17.0.1", AddressKind::Ordinary),
            ],
            routes: vec![
                route(2, "0.0.0.0/0", Some("192.168.1.1"), 600),
                route(2, "192.168.1.0/24", None, 600),
                route(3, "0.0.0.0/0", Some("10.64.3.1"), 700),
                route(3, "10.64.3.0/30", None, 700),
                route(4, "172.17.0.0/16", None, 0),
            ],
            ..Snapshot::default()
        }
    }

    fn names(paths: &[Path]) -> Vec<&str> {
        paths.iter().map(|path| path.interface.as_str()).collect()
    }

    fn auto(snapshot: &Snapshot) -> Vec<Path> {
        discover(snapshot, &AttachOptions::default(), &[])
    }

    #[test]
    fn every_interface_with_a_default_route_is_a_path_and_a_container_bridge_is_none() {
        let paths = auto(&laptop());
        assert_eq!(names(&paths), ["wlan0", "wwan0"]);
        let prefixes: Vec<u8> = paths[0].routes.iter().map(|route| route.prefix_len).collect();
        assert_eq!(prefixes, [24, 0], "the most specific first");
        assert_eq!(best(&paths, ip("10.64.3.1"), None).unwrap().interface, "wwan0");
        assert_eq!(best(&paths, ip("192.0.2.1"), None).unwrap().interface, "wlan0");
        let policy = |wlan, others| PathPolicy::new([("wlan0".into(), wlan)], others);
        let begins = |policy| best(&paths, ip("192.0.2.1"), Some(&policy)).map(|path| path.interface.as_str());
        assert_eq!(begins(policy(PathUse::Backup, PathUse::AsItIs)), Some("wwan0"));
        assert_eq!(begins(policy(PathUse::Backup, PathUse::Never)), Some("wlan0"));
        assert_eq!(begins(policy(PathUse::Never, PathUse::Never)), None);
        let carried = |remote| carries(&laptop(), &paths, ip(remote));
        assert!(carried("192.0.2.1") && carried("10.64.3.1"));
        assert!(
            !carried("169.254.0.9") && !carried("172.17.0.9") && !carried("192.168.1.7") && !carried("2001:db8::1")
        );
    }

    #[test]
    fn named_paths_come_in_the_order_of_their_priority_and_may_be_backups() {
        let wwan = PathOptions { priority: Some(1), ..PathOptions::new("wwan0") };
        let wlan = PathOptions { backup: true, ..PathOptions::new("wlan0") };
        let options = AttachOptions { paths: vec![wlan, wwan, PathOptions::new("nothing")] };
        let paths = discover(&laptop(), &options, &[]);
        assert_eq!(names(&paths), ["wwan0", "wlan0"]);
        assert!(paths[1].backup);
        assert_eq!(best(&paths, ip("192.0.2.1"), None).unwrap().interface, "wwan0");
    }

    #[test]
    fn a_tunnel_that_has_taken_over_everything_is_the_only_path_unless_others_are_named() {
        let mut host = laptop();
        host.links.push(Link { tunnel: true, ..link(5, "tun0") });
        host.addresses.push(address(5, "10.8.0.2", AddressKind::Ordinary));
        host.routes.push(route(5, "10.8.0.0/24", None, 0));
        assert_eq!(names(&auto(&host)), ["wlan0", "wwan0"], "it has taken over nothing yet");
        host.routes.push(route(5, "0.0.0.0/1", Some("10.8.0.1"), 0));
        host.routes.push(route(5, "128.0.0.0/1", Some("10.8.0.1"), 0));
        assert_eq!(names(&auto(&host)), ["tun0"]);
        let options = AttachOptions { paths: vec![PathOptions::new("wlan0"), PathOptions::new("tun0")] };
        assert_eq!(names(&discover(&host, &options, &[])), ["wlan0", "tun0"]);
    }

    #[test]
    fn what_the_hosts_policy_refuses_is_no_route_unless_interfaces_are_named() {
        let mut host = laptop();
        let refuse = |destination: &str, prefix_len, metric| Refusal {
            kind: "blackhole",
            table: TABLE_MAIN,
            destination: ip(destination),
            prefix_len,
            metric,
        };
        host.policy.refusals = vec![refuse("0.0.0.0", 0, 650), refuse("198.51.100.0", 24, 0)];
        let paths = auto(&host);
        assert_eq!(names(&paths), ["wlan0"], "the phone's default route comes after the refusal");
        let carried = |remote| carries(&host, &paths, ip(remote));
        assert!(carried("192.0.2.1") && !carried("198.51.100.1"));
        let named = AttachOptions { paths: vec![PathOptions::new("wwan0")] };
        assert_eq!(discover(&host, &named, &[])[0].routes.len(), 2);
        host.policy.refusals[0].metric = 0;
        let paths = auto(&host);
        assert!(paths.iter().all(|path| path.routes.iter().all(|route| route.prefix_len > 0)), "{paths:?}");
    }

    #[test]
    fn routes_by_source_address_are_found_in_other_tables() {
        let mut host = laptop();
        for route in host.routes.iter_mut().filter(|route| route.prefix_len == 0) {
            route.table = 100 + route.index;
        }
        let paths = auto(&host);
        assert_eq!(names(&paths), ["wlan0", "wwan0"]);
        assert_eq!(paths[1].routes.last().unwrap().gateway, Some(ip("10.64.3.1")));
    }

    #[test]
    fn without_any_gateway_every_interface_with_a_route_is_a_path() {
        let mut host = laptop();
        host.routes.retain(|route| route.gateway.is_none());
        assert_eq!(names(&auto(&host)).len(), 3);
    }

    #[test]
    fn an_address_in_use_stays_until_it_is_gone() {
        let mut host = laptop();
        let old = auto(&host);
        host.addresses.insert(0, address(2, "192.168.1.9", AddressKind::Ordinary));
        assert_eq!(discover(&host, &AttachOptions::default(), &old), old);
        host.addresses.retain(|a| a.addr != ip("192.168.1.7"));
        assert_eq!(discover(&host, &AttachOptions::default(), &old)[0].addr, ip("192.168.1.9"));
    }

    #[test]
    fn the_smallest_mtu_of_link_and_routes_counts() {
        let mut host = laptop();
        host.links[0].mtu = 9000;
        host.routes[0].mtu = Some(1400);
        assert_eq!(auto(&host)[0].mtu, 1400);
        host.links[1].running = false;
        assert_eq!(names(&auto(&host)), ["wlan0"]);
    }

    #[test]
    fn of_a_routers_many_routes_the_most_general_are_taken() {
        let mut host = laptop();
        host.routes.extend((0..=255).map(|n| route(2, &format!("198.51.{n}.0/24"), Some("192.168.1.9"), 0)));
        let paths = auto(&host);
        assert_eq!(paths[0].routes.len(), MAX_ROUTES);
        assert_eq!(paths[0].routes.last().unwrap().prefix_len, 0);
    }

    #[test]
    fn ipv6_speaks_from_a_temporary_address() {
        let mut host = laptop();
        host.routes.push(route(2, "::/0", Some("fe80::1"), 1024));
        for (addr, kind) in [
            ("fd00::7", AddressKind::Local),
            ("2001:db8::7", AddressKind::Ordinary),
            ("2001:db8::8", AddressKind::Temporary),
            ("2001:db8::9", AddressKind::Last),
        ] {
            host.addresses.push(address(2, addr, kind));
        }
        let paths = auto(&host);
        assert_eq!(names(&paths), ["wlan0", "wwan0", "wlan0"]);
        assert_eq!(paths[2].addr, ip("2001:db8::8"));
    }

    #[test]
    fn where_there_is_no_path_the_error_says_why() {
        let mut host = laptop();
        host.links[0].running = false;
        host.routes.clear();
        let error = no_path(&host, &AttachOptions::default(), &[]).to_string();
        assert!(error.contains("wlan0 is down or has no carrier, wwan0 has no route"), "{error}");
        let options = AttachOptions { paths: vec![PathOptions::new("eth7")] };
        assert!(no_path(&host, &options, &[]).to_string().contains("there is no interface eth7"));
    }
}
