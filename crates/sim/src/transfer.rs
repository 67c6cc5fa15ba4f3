//! The standard experiment: two hosts, some paths between them, one connection.
//!
//! The client has one link and one address for each path, all to one switch; the server stands behind it with one fast
//! link for each of its addresses. Only the client's links are slow, lossy or cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use polypath_proto::{Config, Instant, LinkId};

use crate::app::Application;
use crate::link::{LinkParams, Rate};
use crate::middlebox::{Direction, Middlebox};
use crate::network::Network;
use crate::oracle::{Failure, Limits, Observation, Oracle};
use crate::peer::Peer;
use crate::report::{EndReport, Failed, LinkReport, Report};
use crate::rng::{self, Stream as RngStream};
use crate::schedule::{Change, When};
use crate::stream::{Stream, StreamPlan};
use crate::topology::{Checksums, LinkIndex, LinkSpec, NodeId};
use crate::trace::Trace;

/// The client of a transfer.
pub const CLIENT: NodeId = NodeId(0);
/// The server of a transfer.
pub const SERVER: NodeId = NodeId(1);
const SWITCH: NodeId = NodeId(2);
/// The port the server listens on.
pub const PORT: u16 = 443;

/// A transfer to run.
pub struct Transfer {
    /// Where all randomness of the run comes from.
    pub seed: u64,
    /// The paths; the connection begins on the first. End A of each link is the client's.
    pub paths: Vec<PathSpec>,
    /// How many addresses the server has, at least 1; the client connects to the first.
    pub server_addresses: usize,
    /// The link of each of them; end A is the server's.
    pub server_link: LinkSpec,
    /// IPv6 in place of IPv4.
    pub ipv6: bool,
    /// The client's stack.
    pub client: Config,
    /// The server's stack.
    pub server: Config,
    /// How the client uses the connection.
    pub client_plan: StreamPlan,
    /// How the server uses it.
    pub server_plan: StreamPlan,
    /// What changes on the way. [`path_link`] names the links.
    pub changes: Vec<(When, Change)>,
    /// Boxes at the client's end of paths, by path.
    pub boxes: Vec<(usize, Box<dyn Middlebox>)>,
    /// Whether stacks compute checksums.
    pub checksums: Checksums,
    /// The first path is the only one that can be used: boxes forbid Multipath TCP. The stall detector wants to know.
    pub first_path_only: bool,
    /// When the run counts as failed.
    pub limits: Limits,
    /// The packet log.
    pub trace: Trace,
}

/// One path of a transfer.
#[derive(Clone, Debug)]
pub struct PathSpec {
    /// Its link.
    pub link: LinkSpec,
    /// Whether the client's address on it is for backup only.
    pub backup: bool,
}

impl PathSpec {
    /// A path that is the same in both directions.
    pub fn new(name: &str, params: LinkParams) -> Self {
        Self { link: LinkSpec::new(name, params), backup: false }
    }
}

/// The link of a path, for [`Transfer::changes`].
pub fn path_link(path: usize) -> LinkIndex {
    LinkIndex(path as u32)
}

/// What the client's stack calls the link of a path, for [`Change::AddAddress`].
pub fn client_link(path: usize) -> LinkId {
    LinkId(path as u32)
}

/// The client's address on a path.
pub fn client_addr(path: usize, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 1 + path as u16, 0, 0, 0, 0, 2).into()
    } else {
        Ipv4Addr::new(10, 1 + path as u8, 0, 2).into()
    }
}

/// One of the server's addresses.
pub fn server_addr(number: usize, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xff, number as u16, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(10, 255, number as u8, 1).into()
    }
}

/// Puts the switch between client and server, with the client's paths and the server's links, and gives both their
/// addresses.
pub(crate) fn join<A: Application>(
    network: &mut Network<A>,
    paths: Vec<PathSpec>,
    server_addresses: usize,
    server_link: &LinkSpec,
    ipv6: bool,
) {
    network.add_switch("switch");
    for (path, spec) in paths.into_iter().enumerate() {
        let name = spec.link.name.clone();
        let link = network.add_link(CLIENT, SWITCH, spec.link);
        let addr = client_addr(path, ipv6);
        network.add_address(CLIENT, link, addr, &name, spec.backup);
        network.add_route(SWITCH, Some(addr), link);
    }
    for number in 0..server_addresses {
        let name = format!("lan{number}");
        let link = network.add_link(SERVER, SWITCH, LinkSpec { name: name.clone(), ..server_link.clone() });
        let addr = server_addr(number, ipv6);
        network.add_address(SERVER, link, addr, &name, false);
        network.add_route(SWITCH, Some(addr), link);
    }
}

/// The server's link where nothing else is said: no limit, no delay.
pub(crate) fn server_link() -> LinkSpec {
    LinkSpec { quiet: true, ..LinkSpec::new("lan", LinkParams::new(Rate::UNLIMITED, Duration::ZERO)) }
}

/// A transfer under way.
struct Run {
    network: Network<Peer>,
    oracle: Oracle,
    paths: usize,
    first_path_only: bool,
    /// Changes that wait for bytes delivered, the next one last.
    on_delivery: Vec<(u64, Change)>,
    limits: Limits,
    seed: u64,
}

impl Transfer {
    /// A transfer of these streams over these paths; the rest as default.
    pub fn new(seed: u64, paths: Vec<PathSpec>, client_plan: StreamPlan, server_plan: StreamPlan) -> Self {
        Self {
            seed,
            paths,
            server_addresses: 1,
            server_link: server_link(),
            ipv6: false,
            client: Config::default(),
            server: Config::default(),
            client_plan,
            server_plan,
            changes: Vec::new(),
            boxes: Vec::new(),
            checksums: Checksums::default(),
            first_path_only: false,
            limits: Limits::default(),
            trace: Trace::off(),
        }
    }

    /// Runs it to the end.
    ///
    /// # Errors
    /// What the oracle found wrong, with the report up to there.
    pub fn run(self) -> Result<Report, Box<Failed>> {
        let mut run = self.build();
        run.network.start();
        let failure = match run.until_done() {
            Ok(elapsed) => match run.drain() {
                Ok(()) => return Ok(run.report(elapsed)),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        let elapsed = run.network.elapsed();
        Err(Box::new(Failed { failure, report: run.report(elapsed) }))
    }

    fn build(self) -> Run {
        let mut network = Network::new(self.seed, self.checksums, self.trace);
        let app = |plan, id: NodeId| Stream::new(plan, rng::stream(self.seed, RngStream::Application(id.0)));
        let remote = SocketAddr::new(server_addr(0, self.ipv6), PORT);
        let local = SocketAddr::new(client_addr(0, self.ipv6), 0);
        let client = Peer::client(Some(local), remote, app(self.client_plan, CLIENT));
        let server = Peer::server(remote, app(self.server_plan, SERVER));
        network.add_host("client", self.client, client);
        network.add_host("server", self.server, server);
        let paths = self.paths.len();
        join(&mut network, self.paths, self.server_addresses, &self.server_link, self.ipv6);
        for (path, middlebox) in self.boxes {
            network.add_middlebox(path_link(path), middlebox);
        }
        let mut on_delivery = Vec::new();
        for (when, change) in self.changes {
            match when {
                When::At(at) => network.schedule(at, change),
                When::Delivered(bytes) => on_delivery.push((bytes, change)),
            }
        }
        // Stable, and then back to front: of two for the same moment the first given comes first.
        on_delivery.sort_by_key(|(bytes, _)| *bytes);
        on_delivery.reverse();
        let oracle = Oracle::new(self.limits.clone());
        let (first_path_only, limits, seed) = (self.first_path_only, self.limits, self.seed);
        Run { network, oracle, paths, first_path_only, on_delivery, limits, seed }
    }
}

impl Run {
    /// Steps until both ends are done; how long that took.
    fn until_done(&mut self) -> Result<Duration, Failure> {
        loop {
            self.check_ends()?;
            if self.ends().all(|(_, end)| end.stream().is_done()) {
                return Ok(self.network.elapsed());
            }
            if !self.network.step().map_err(Failure::Fault)? {
                return Err(Failure::Deadlock);
            }
            let seen = self.look();
            self.oracle.observe(&seen)?;
            self.change_on_delivery(seen.received);
        }
    }

    /// Watches what the stacks still do on their own.
    fn drain(&mut self) -> Result<(), Failure> {
        let end = self.network.now() + self.limits.drain;
        while self.network.next_at().is_some_and(|at| at <= end) {
            self.network.step().map_err(Failure::Fault)?;
            self.check_ends()?;
            self.oracle.observe(&Observation { excused: true, ..self.look() })?;
        }
        Ok(())
    }

    fn ends(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        [CLIENT, SERVER].into_iter().map(|id| (id, &self.network.host(id).app))
    }

    fn check_ends(&self) -> Result<(), Failure> {
        for (id, end) in self.ends() {
            if end.has_failed() {
                let host = self.network.name(id).to_owned();
                let error = end.error().unwrap_or_default();
                return Err(Failure::Stream { host, error });
            }
        }
        Ok(())
    }

    fn look(&self) -> Observation {
        let mut seen = Observation {
            now: self.network.now(),
            progress: 0,
            excused: !self.some_path_is_up(),
            frames: self.network.frames(),
            received: 0,
            written: 0,
            calls: 0,
        };
        for (_, end) in self.ends() {
            let stream = end.stream();
            seen.progress += stream.progress();
            seen.received += stream.received();
            seen.written += stream.written();
            seen.calls += stream.calls();
            seen.excused |= stream.rests(seen.now);
        }
        seen
    }

    fn some_path_is_up(&self) -> bool {
        let usable = if self.first_path_only { 1 } else { self.paths };
        (0..usable).any(|path| self.network.direction(path_link(path), Direction::Forward).is_up())
    }

    fn change_on_delivery(&mut self, received: u64) {
        while self.on_delivery.last().is_some_and(|(bytes, _)| *bytes <= received) {
            if let Some((_, change)) = self.on_delivery.pop() {
                self.network.apply(change);
            }
        }
    }

    fn report(&mut self, elapsed: Duration) -> Report {
        let links = (0..self.paths)
            .map(|path| {
                let link = path_link(path);
                LinkReport {
                    name: self.network.link_name(link).to_owned(),
                    up: *self.network.direction(link, Direction::Forward).stats(),
                    down: *self.network.direction(link, Direction::Backward).stats(),
                }
            })
            .collect();
        Report {
            seed: self.seed,
            elapsed,
            frames: self.network.frames(),
            client: self.end_report(CLIENT),
            server: self.end_report(SERVER),
            links,
            digest: self.network.trace().digest(),
        }
    }

    fn end_report(&mut self, id: NodeId) -> EndReport {
        let now: Instant = self.network.now();
        let host = self.network.host_mut(id);
        let stream = host.app.stream();
        let live =
            stream.connection().and_then(|id| host.stack.connection(now, id)).map(|connection| connection.info());
        EndReport {
            written: stream.written(),
            received: stream.received(),
            done: stream.is_done(),
            info: stream.info().cloned().or(live),
            events: host.app.events().to_vec(),
        }
    }
}
