//! The network of a scenario: a sender and a receiver for each flow, bottlenecks between switches, and ways of any delay
//! to them.
//!
//! ```text
//! sender === way of each path ===> [in  ==== bottleneck ==== out] ---> ... ---> [exit] ---> receiver
//! ```
//!
//! Acknowledgements go back the same way, where nothing limits them. Bottlenecks drop early ([`Red`]), as in the papers, but
//! for congestion control that goes by delay, and the ways have a jitter of a millisecond, so that no flow owes its luck to the phase of another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use polypath_proto::congestion::CongestionKind;
use polypath_proto::{Config, Instant};
use rand::RngExt;

use super::bulk::{Bulk, Role};
use super::scenario::{Group, Route, Scenario};
use crate::link::{LinkParams, Rate};
use crate::network::Network;
use crate::red::Red;
use crate::rng::{self, Stream};
use crate::topology::{Checksums, LinkIndex, LinkSpec, NodeId};
use crate::trace::Trace;
use crate::transfer::{PORT, server_addr};

/// Mean waits between which a bottleneck drops up to a tenth of the frames: 25 and 50 full frames at 10 Mbit/s.
const RED_FROM: Duration = Duration::from_millis(30);
const RED_TO: Duration = Duration::from_millis(60);
/// What a full queue takes to drain.
const QUEUE: Duration = Duration::from_millis(200);
/// Of each packet on its way to the first bottleneck, at most.
const JITTER: Duration = Duration::from_millis(1);
/// Flows begin at random within this.
const START_WITHIN: Duration = Duration::from_secs(2);

/// Who takes part.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// All as the scenario says.
    Multipath,
    /// Single-path flows over that one of their routes, by its number, in the place of those with several paths.
    Control(usize),
}

impl Who {
    fn routes(self, group: &Group) -> Vec<Route> {
        match self {
            Who::Control(at) if group.is_multipath() => group.routes.get(at).into_iter().cloned().collect(),
            _ => group.routes.clone(),
        }
    }
}

/// One flow: which group it is of, and its hosts.
pub(super) struct Flow {
    pub(super) group: usize,
    pub(super) sender: NodeId,
    pub(super) receiver: NodeId,
    pub(super) paths: usize,
}

/// The network, ready to start, and its flows in the order of the groups.
pub(super) fn build(
    scenario: &Scenario,
    who: Who,
    config: &Config,
    seed: u64,
    end: Duration,
) -> (Network<Bulk>, Vec<Flow>) {
    let mut builder = Builder::new(scenario, config, seed, end);
    for (number, group) in scenario.groups.iter().enumerate() {
        for _ in 0..group.count {
            builder.flow(number, group, &who.routes(group));
        }
    }
    (builder.network, builder.flows)
}

/// The address of a sender on one of its paths.
pub(super) fn sender_addr(flow: usize, path: usize) -> IpAddr {
    Ipv4Addr::new(10, 1 + path as u8, flow as u8, 2).into()
}

struct Builder<'a> {
    network: Network<Bulk>,
    config: &'a Config,
    seed: u64,
    end: Duration,
    /// Of each bottleneck: the switches at its ends, and the link.
    bottlenecks: Vec<(NodeId, NodeId, LinkIndex)>,
    exit: NodeId,
    /// Links between bottlenecks, and from the last one to the exit.
    between: BTreeMap<(NodeId, NodeId), LinkIndex>,
    routed: BTreeSet<(NodeId, IpAddr)>,
    flows: Vec<Flow>,
}

impl<'a> Builder<'a> {
    fn new(scenario: &Scenario, config: &'a Config, seed: u64, end: Duration) -> Self {
        let mut network = Network::new(seed, Checksums::Offloaded, Trace::off());
        // Ten packets of each flow, which are what it goes by, wait longer than that.
        let drops_early = config.congestion != CongestionKind::Wvegas;
        let bottleneck = |(number, kbit): (usize, &u64)| {
            let (enter, leave) =
                (network.add_switch(format!("in{number}")), network.add_switch(format!("out{number}")));
            let rate = Rate::kbit(*kbit);
            let forward = LinkParams::new(rate, Duration::ZERO).queue(rate.bytes_in(QUEUE));
            let forward = if drops_early { forward.red(Red::new(rate, RED_FROM, RED_TO)) } else { forward };
            let spec = LinkSpec { forward, ..LinkSpec::new(format!("bottleneck{number}"), free()) };
            (enter, leave, network.add_link(enter, leave, spec))
        };
        let bottlenecks: Vec<_> = scenario.links.iter().enumerate().map(bottleneck).collect();
        let exit = if let [(_, leave, _)] = bottlenecks.as_slice() { *leave } else { network.add_switch("exit") };
        let (between, routed) = (BTreeMap::new(), BTreeSet::new());
        Self { network, config, seed, end, bottlenecks, exit, between, routed, flows: Vec::new() }
    }

    fn flow(&mut self, group: usize, of: &Group, routes: &[Route]) {
        let number = self.flows.len();
        let mut rng = rng::stream(self.seed, Stream::Application(number as u32));
        // One that is there from the start begins at random, within a tenth of a short run.
        let within = START_WITHIN.min(self.end / 10).as_secs_f64();
        let at = |part: f64| Instant::ZERO + self.end.mul_f64(part);
        let (from, to) = (at(of.active.0) + Duration::from_secs_f64(rng.random_range(0.0..within)), at(of.active.1));
        let remote = SocketAddr::new(server_addr(number, false), PORT);
        let local = SocketAddr::new(sender_addr(number, 0), 0);
        let config = Config { multipath: routes.len() > 1, ..self.config.clone() };
        let sender = Bulk::new(Role::Sender { local, remote, from, to });
        let sender = self.network.add_host(format!("sender{number}"), config.clone(), sender);
        let receiver = Bulk::new(Role::Receiver { local: remote, to });
        let receiver = self.network.add_host(format!("receiver{number}"), config, receiver);
        let last = self.network.add_link(receiver, self.exit, quiet("last".into(), free(), free()));
        self.network.add_address(receiver, last, remote.ip(), "lan", false);
        self.route(self.exit, remote.ip(), last);
        for (path, route) in routes.iter().enumerate() {
            self.path((number, path), sender, route, remote.ip());
        }
        self.flows.push(Flow { group, sender, receiver, paths: routes.len() });
    }

    fn path(&mut self, (flow, path): (usize, usize), sender: NodeId, route: &Route, to: IpAddr) {
        let half = LinkParams::new(Rate::UNLIMITED, Duration::from_micros(route.rtt_ms * 500));
        let way = quiet(format!("path{path}"), LinkParams { jitter: JITTER, ..half.clone() }, half);
        let mut back = self.network.add_link(sender, self.bottlenecks[route.links[0]].0, way);
        let from = sender_addr(flow, path);
        self.network.add_address(sender, back, from, &format!("path{path}"), false);
        for (index, link) in route.links.iter().enumerate() {
            let (enter, leave, bottleneck) = self.bottlenecks[*link];
            self.route(enter, from, back);
            self.route(enter, to, bottleneck);
            self.route(leave, from, bottleneck);
            let next = route.links.get(index + 1).map_or(self.exit, |next| self.bottlenecks[*next].0);
            if next != leave {
                back = self.between(leave, next);
                self.route(leave, to, back);
            }
        }
        self.route(self.exit, from, back);
    }

    fn between(&mut self, a: NodeId, b: NodeId) -> LinkIndex {
        let network = &mut self.network;
        *self.between.entry((a, b)).or_insert_with(|| network.add_link(a, b, quiet("joint".into(), free(), free())))
    }

    /// The first way to an address that is said is the way: paths of a flow that have a switch in common go on together.
    fn route(&mut self, switch: NodeId, addr: IpAddr, link: LinkIndex) {
        if self.routed.insert((switch, addr)) {
            self.network.add_route(switch, Some(addr), link);
        }
    }
}

fn free() -> LinkParams {
    LinkParams::new(Rate::UNLIMITED, Duration::ZERO)
}

fn quiet(name: String, forward: LinkParams, backward: LinkParams) -> LinkSpec {
    LinkSpec { quiet: true, forward, backward, ..LinkSpec::new(name, free()) }
}
