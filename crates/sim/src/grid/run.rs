//! One run: a scenario, a contender, a seed, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use polypath_proto::mib::Counter;
use polypath_proto::{Config, Instant, LocalAddress};

use super::end::{End, Side, Work};
use super::record::Record;
use super::scenario::{Load, Outage, Path, Scenario};
use super::series::Series;
use crate::link::{FRAME_OVERHEAD, LinkParams, Rate};
use crate::middlebox::Direction;
use crate::network::Network;
use crate::schedule::Change;
use crate::topology::{Checksums, LinkSpec};
use crate::trace::Trace;
use crate::transfer::{
    CLIENT, PORT, PathSpec, SERVER, client_addr, client_link, join, path_link, server_addr, server_link,
};

/// What the kernel offers of its buffer, in eighths: the rest is for its own records of packets. Of 262,144 bytes Linux
/// 6.18 advertises 161,792 to 163,840 at most.
const WINDOW_IN_EIGHTHS: u64 = 5;
/// The queue holds at least this many full frames, however slow the link.
const LEAST_QUEUE: u64 = 2 * (1500 + FRAME_OVERHEAD as u64);
/// How often queues are looked at.
const TICK: Duration = Duration::from_millis(10);
/// Requests that take longer than this in all count as hung.
const PATIENCE: Duration = Duration::from_secs(1_000);
/// How long after the cut the queue counts as standing.
const STANDING_AFTER: Duration = Duration::from_secs(1);

/// Who takes part.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Multipath TCP over all paths.
    Multipath,
    /// Plain TCP over one path, by its number from 0.
    Alone(usize),
}

/// Runs it. Both stacks have the settings of `config`, but for those the scenario or the contender need.
///
/// # Errors
/// A byte was wrong, the connection failed or hung, or a stack did not come to rest: in words.
pub fn run(scenario: &Scenario, contender: Contender, config: &Config, seed: u64) -> Result<Record, String> {
    let mut run = Run::new(scenario, contender, config, seed);
    run.network.start();
    run.until_done()?;
    Ok(run.record())
}

/// The settings of a scenario that limits the kernel's buffers.
pub fn limit_buffers(config: &mut Config, kernel_buffer: u64) {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    config.recv_buffer_max = bytes(kernel_buffer * WINDOW_IN_EIGHTHS / 8);
    config.send_buffer_max = bytes(kernel_buffer);
}

struct Run<'a> {
    scenario: &'a Scenario,
    network: Network<End>,
    /// Of data.
    direction: Direction,
    end: Duration,
    /// Waits in the queues of the paths that stay, in milliseconds.
    waits: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, contender: Contender, config: &Config, seed: u64) -> Self {
        let mut config = config.clone();
        let first = match contender {
            Contender::Multipath => 0,
            Contender::Alone(path) => path,
        };
        config.multipath &= contender == Contender::Multipath;
        if let Some(bytes) = scenario.kernel_buffer {
            limit_buffers(&mut config, bytes);
        }
        let (client, server, direction, end) = roles(scenario.load);
        let mut network = Network::new(seed, Checksums::Offloaded, Trace::off());
        let remote = SocketAddr::new(server_addr(0, false), PORT);
        let local = SocketAddr::new(client_addr(first, false), 0);
        let patterns = (seed, !seed);
        network.add_host(
            "client",
            config.clone(),
            End::new(Side::Client { local, remote }, client, patterns.0, patterns.1),
        );
        network.add_host("server", config, End::new(Side::Server { local: remote }, server, patterns.1, patterns.0));
        join(&mut network, scenario.paths.iter().map(spec).collect(), 1, &server_link(), false);
        for path in 0..scenario.paths.len() {
            network.direction_mut(path_link(path), direction).keep_passages();
        }
        schedule(&mut network, scenario);
        Self { scenario, network, direction, end, waits: Vec::new() }
    }

    fn until_done(&mut self) -> Result<(), String> {
        let mut tick = Duration::ZERO;
        while tick < self.end && !self.network.host(CLIENT).app.is_done() {
            tick = (tick + TICK).min(self.end);
            let until = Instant::ZERO + tick;
            while self.network.next_at().is_some_and(|at| at < until) {
                self.network.step().map_err(|fault| format!("a stack does not come to rest: {fault:?}"))?;
            }
            self.check()?;
            self.look_at_queues(until);
        }
        let hung = matches!(self.scenario.load, Load::Requests { .. }) && !self.network.host(CLIENT).app.is_done();
        if hung { Err(format!("requests are not answered within {} s", PATIENCE.as_secs())) } else { Ok(()) }
    }

    fn check(&self) -> Result<(), String> {
        for id in [CLIENT, SERVER] {
            let host = self.network.host(id);
            if let Some(error) = host.app.error() {
                return Err(format!("{}: {error}", host.name()));
            }
        }
        Ok(())
    }

    fn look_at_queues(&mut self, now: Instant) {
        let (cut, back) = self.scenario.outage_at;
        let standing = Instant::ZERO + cut + STANDING_AFTER..Instant::ZERO + back;
        if self.scenario.outage.is_none() || !standing.contains(&now) {
            return;
        }
        for path in 1..self.scenario.paths.len() {
            let wait = self.network.direction(path_link(path), self.direction).wait(now);
            self.waits.push(wait.as_secs_f64() * 1e3);
        }
    }

    fn record(self) -> Record {
        let [client, server] = [CLIENT, SERVER].map(|id| self.network.host(id));
        let infos = [client, server].map(|host| host.app.info(&host.stack));
        let total = |of: fn(&polypath_proto::ConnectionInfo) -> u64| infos.iter().flatten().map(of).sum();
        let receiver = if self.direction == Direction::Forward { server } else { client };
        let passages = |path: usize| {
            let mut series = Series::default();
            for (at, bytes) in self.network.direction(path_link(path), self.direction).passages() {
                series.push(*at - Instant::ZERO, u64::from(*bytes));
            }
            series
        };
        let end = if client.app.is_done() { self.network.elapsed() } else { self.end };
        Record {
            end,
            application: receiver.app.arrivals().clone(),
            paths: (0..self.scenario.paths.len()).map(passages).collect(),
            latencies: client.app.latencies().to_vec(),
            waits_ms: self.waits,
            bytes: client.app.received() + server.app.received(),
            bytes_reinjected: total(|info| info.bytes_reinjected),
            remove_addr: Some(client.stack.mib().get(Counter::MPTcpExtRmAddrTx) > 0),
        }
    }
}

/// What client and server do, which way data goes, and for how long.
fn roles(load: Load) -> (Work, Work, Direction, Duration) {
    match load {
        Load::Upload(time) => (Work::Send, Work::Receive, Direction::Forward, time),
        Load::Download(time) => (Work::Receive, Work::Send, Direction::Backward, time),
        Load::Requests { count, request, answer } => {
            (Work::Ask { count, request, answer }, Work::Answer { request, answer }, Direction::Backward, PATIENCE)
        }
    }
}

fn spec(path: &Path) -> PathSpec {
    let rate = Rate::mbit(path.mbit);
    let queue = rate.bytes_in(Duration::from_millis(path.queue_ms)).max(LEAST_QUEUE);
    let params = LinkParams::new(rate, Duration::from_millis(path.rtt_ms) / 2).queue(queue).loss(path.loss);
    PathSpec { link: LinkSpec::new(path.name, params), backup: path.backup }
}

/// What fails, and comes back.
fn schedule(network: &mut Network<End>, scenario: &Scenario) {
    let Some(outage) = scenario.outage else { return };
    let (cut, back) = (Instant::ZERO + scenario.outage_at.0, Instant::ZERO + scenario.outage_at.1);
    let link = path_link(0);
    if outage == Outage::AddressRemoved {
        network.schedule(cut, Change::RemoveAddress(CLIENT, client_addr(0, false)));
    }
    network.schedule(cut, Change::Cut { link, lasting: Some(back - cut) });
    if outage == Outage::AddressRemoved {
        let path = &scenario.paths[0];
        let name = Some(path.name.into());
        let address = LocalAddress { addr: client_addr(0, false), link: client_link(0), backup: path.backup, name };
        // Behind the end of the cut, which is put into the heap when the cut happens.
        network.schedule(back + Duration::from_nanos(1), Change::AddAddress(CLIENT, address));
    }
}
