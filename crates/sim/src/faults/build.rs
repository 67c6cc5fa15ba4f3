//! From a scenario to a network: hosts, links, boxes, and what happens when.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use polypath_proto::{Config, EcnMode, Instant, Keepalive, LinkId, LocalAddress, Mechanisms, SynCookies};

use super::boxes;
use super::program::Program;
use super::scenario::{
    Access, At, ConnectionPlan, Cookies, Ecn, Happening, HostPlan, Scenario, Settings, Side, Trouble, Way,
};
use super::wire::Wire;
use crate::link::{LinkParams, Rate};
use crate::middlebox::Direction;
use crate::network::Network;
use crate::rng::{self, Stream};
use crate::schedule::Change;
use crate::topology::{Checksums, LinkIndex, LinkSpec, NodeId};
use crate::trace::Trace;

const SWITCH: NodeId = NodeId(2);
/// The port of the first connection.
const PORT: u16 = 443;

/// A host.
pub(super) fn node(side: Side) -> NodeId {
    NodeId(side as u32)
}

/// A link of a host: end A is the host's.
pub(super) fn link(scenario: &Scenario, side: Side, number: usize) -> LinkIndex {
    let before = if side == Side::Server { scenario.client.links.len() } else { 0 };
    LinkIndex((before + number) as u32)
}

/// The address on a host's link.
pub(super) fn address(scenario: &Scenario, side: Side, number: usize) -> IpAddr {
    let (net, host) = (side as u8 + 1, number as u8 + 1);
    if scenario.host(side).links[number].ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, net.into(), host.into(), 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(10, net, host, 1).into()
    }
}

/// The client's and the server's end of a connection.
pub(super) fn ends(scenario: &Scenario, plan: &ConnectionPlan, index: u16) -> (SocketAddr, SocketAddr) {
    let (local, remote) = (address(scenario, Side::Client, plan.from), address(scenario, Side::Server, plan.to));
    (SocketAddr::new(local, 0), SocketAddr::new(remote, PORT + index))
}

/// The network, with what happens by the clock already on its way; and what waits for bytes, the next one last.
pub(super) fn network(scenario: &Scenario, trace: Trace) -> (Network<Program>, Vec<(u64, Happening)>) {
    let checksums = if scenario.checksums { Checksums::Computed } else { Checksums::Offloaded };
    let mut network = Network::new(scenario.seed, checksums, trace);
    for (side, name) in Side::BOTH.into_iter().zip(["client", "server"]) {
        let host = scenario.host(side);
        let program = Program::new(scenario, side, Wire::new(scenario.checksums));
        network.add_host(name, config(&host.settings), program);
    }
    network.add_switch("switch");
    for side in Side::BOTH {
        attach(&mut network, scenario, side, scenario.host(side));
    }
    let mut waiting = Vec::new();
    for happening in &scenario.events {
        match happening.at {
            At::Ms(ms) => {
                let at = Instant::ZERO + Duration::from_millis(ms);
                for (after, change) in changes(scenario, happening) {
                    network.schedule(at + after, change);
                }
            }
            At::Bytes(bytes) => waiting.push((bytes, happening.clone())),
        }
    }
    // Stable, and then back to front: of two for the same moment the first given comes first.
    waiting.sort_by_key(|(bytes, _)| *bytes);
    waiting.reverse();
    (network, waiting)
}

fn attach(network: &mut Network<Program>, scenario: &Scenario, side: Side, host: &HostPlan) {
    for (number, access) in host.links.iter().enumerate() {
        let name = format!("{}{number}", if side == Side::Client { "c" } else { "s" });
        let spec = LinkSpec {
            name: name.clone(),
            mtu: access.mtu,
            max_segment: if access.offload { 65_535 } else { access.mtu },
            quiet: false,
            coalesce: (access.coalesce_us > 0).then(|| Duration::from_micros(access.coalesce_us.into())),
            forward: params(&access.up),
            backward: params(&access.down),
        };
        let link = network.add_link(node(side), SWITCH, spec);
        let addr = address(scenario, side, number);
        network.add_address(node(side), link, addr, &name, access.backup);
        network.add_route(SWITCH, Some(addr), link);
        for middlebox in boxes::on(access, rng::stream(scenario.seed, Stream::Middlebox(link.0))) {
            network.add_middlebox(link, middlebox);
        }
    }
    network.set_clock_tick(node(side), Duration::from_micros(host.tick_us.into()));
}

fn thousandth(number: u32) -> f64 {
    f64::from(number.min(1_000)) / 1_000.0
}

fn params(way: &Way) -> LinkParams {
    LinkParams {
        red: None,
        rate: Rate::kbit(way.kbit),
        delay: Duration::from_micros(way.delay_us),
        queue_bytes: way.queue,
        loss: thousandth(way.loss),
        duplicate: thousandth(way.duplicate),
        jitter: Duration::from_micros(way.jitter_us),
        reorder: thousandth(way.reorder),
        reorder_delay: Duration::from_micros(way.reorder_us),
    }
}

fn config(settings: &Settings) -> Config {
    Config {
        multipath: settings.multipath,
        dss_checksum: settings.dss_checksum,
        allow_join_initial: settings.allow_join_initial,
        send_buffer_max: settings.send_buffer,
        recv_buffer_max: settings.recv_buffer,
        congestion: settings.congestion.parse().expect("the name was checked when the scenario was read"),
        ecn: match settings.ecn {
            Ecn::Off => EcnMode::Off,
            Ecn::Accept => EcnMode::Accept,
            Ecn::Request => EcnMode::Request,
        },
        scheduler: settings.scheduler.parse().expect("the name was checked when the scenario was read"),
        mechanisms: if settings.mechanisms { Mechanisms::default() } else { Mechanisms::OFF },
        syn_cookies: match settings.syn_cookies {
            Cookies::Off => SynCookies::Off,
            Cookies::UnderPressure => SynCookies::UnderPressure,
            Cookies::Always => SynCookies::Always,
        },
        max_subflows: settings.max_subflows,
        announce_addresses: settings.announce,
        announce_port: settings.announce_port,
        nodelay: settings.nodelay,
        keepalive: settings
            .keepalive_s
            .map(|idle| Keepalive { idle: Duration::from_secs(idle), ..Keepalive::default() }),
        ..Config::default()
    }
}

/// The changes that something that happens is made of, and how long after it each comes.
pub(super) fn changes(scenario: &Scenario, happening: &Happening) -> Vec<(Duration, Change)> {
    let Happening { side, link: number, ref what, .. } = *happening;
    let (index, addr, ms) = (link(scenario, side, number), address(scenario, side, number), Duration::from_millis);
    let cut = |lasting: u64| Change::Cut { link: index, lasting: (lasting > 0).then(|| ms(lasting)) };
    let now = Duration::ZERO;
    match *what {
        Trouble::Cut(lasting) => vec![(now, cut(lasting))],
        Trouble::Flap { down, up, times } => {
            (0..times).map(|time| ((ms(down) + ms(up)) * time, cut(down.max(1)))).collect()
        }
        Trouble::Lossy { up, down, loss, ms: lasting } => {
            let access = &scenario.host(side).links[number];
            let ways = [(up, Direction::Forward, access.up.loss), (down, Direction::Backward, access.down.loss)];
            let hit = ways.into_iter().filter(|(hit, ..)| *hit);
            let change = |direction, loss| Change::LossOneWay(index, direction, thousandth(loss));
            hit.flat_map(|(_, way, usual)| [(now, change(way, loss)), (ms(lasting), change(way, usual))]).collect()
        }
        Trouble::Rate(kbit) => vec![(now, Change::Rate(index, Rate::kbit(kbit)))],
        Trouble::Delay(us) => vec![(now, Change::Delay(index, Duration::from_micros(us)))],
        Trouble::Leave(lasting) => {
            let gone = (now, Change::RemoveAddress(node(side), addr));
            let back =
                (lasting > 0).then(|| (ms(lasting), Change::AddAddress(node(side), local(scenario, side, number))));
            std::iter::once(gone).chain(back).collect()
        }
        Trouble::Backup(backup) => vec![(now, Change::Backup(node(side), addr, backup))],
    }
}

fn local(scenario: &Scenario, side: Side, number: usize) -> LocalAddress {
    let Access { backup, .. } = scenario.host(side).links[number];
    let addr = address(scenario, side, number);
    LocalAddress { addr, link: LinkId(number as u32), backup, name: None }
}
