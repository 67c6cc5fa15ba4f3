//! One round of one contender: a stack on each host, a flow from each, and what each got over which paths.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use polypath_net::{Host, MptcpListener, MptcpStream};
use polypath_proto::{ConnectOptions, ConnectionInfo, MultipathState};
use serde::Serialize;
use tokio::task::JoinSet;

use super::network::{self, CORE, HOSTS, Network, PATHS};
use super::plan::{self, Flow};
use super::{Contender, Options};
use crate::grid::job::{Job, Seen, play};

const PORT: u16 = 5001;
/// How long a connection may take to be opened.
const OPENING: Duration = Duration::from_secs(10);
/// The part of a round that is for warming up.
const WARM: u32 = 5;

/// What a contender got in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// `tcp`, `mptcp4`.
    pub contender: String,
    /// Which round, from 1.
    pub round: u64,
    /// By senders.
    pub flows: Vec<FlowSeen>,
    /// Of the core: side a's uplinks, then side b's.
    pub links: Vec<LinkSeen>,
}

/// What a flow got.
#[derive(Clone, Debug, Serialize)]
pub struct FlowSeen {
    /// The host that sent.
    pub from: String,
    /// The host that received.
    pub to: String,
    /// Goodput after the warming up.
    pub mbit: f64,
    /// In the end, the first one first.
    pub subflows: Vec<SubflowSeen>,
}

/// Where a subflow went.
#[derive(Clone, Debug, Serialize)]
pub struct SubflowSeen {
    /// The sender's port.
    pub port: u16,
    /// The path through the core that the router chose for it.
    pub path: usize,
    /// Payload sent on it, each byte once.
    pub bytes: u64,
}

/// What a path carried in one direction after the warming up, by the router's counter.
#[derive(Clone, Debug, Serialize)]
pub struct LinkSeen {
    /// From which side, `a` or `b`.
    pub from: char,
    /// Which path.
    pub path: usize,
    /// Bytes of frames over the whole round.
    pub bytes: u64,
    /// Part of its rate that was used after the warming up.
    pub used: f64,
}

impl Round {
    /// What each flow got, in Mbit/s.
    #[must_use]
    pub fn mbit(&self) -> Vec<f64> {
        self.flows.iter().map(|flow| flow.mbit).collect()
    }
}

impl FlowSeen {
    /// On how many paths its subflows were.
    #[must_use]
    pub fn paths(&self) -> usize {
        (0..PATHS).filter(|path| self.subflows.iter().any(|subflow| subflow.path == *path)).count()
    }
}

/// Runs a contender in the round `number`, counted from 0.
pub(super) fn run(network: &Network, contender: Contender, options: &Options, number: u64) -> anyhow::Result<Round> {
    let flows = plan::round(options.seed, number);
    let before = network.carried()?;
    let hosts = (0..HOSTS).map(|host| start(network, contender, options, host)).collect::<anyhow::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ends = runtime.block_on(open(&hosts, &flows))?;

    let (begun, warm) = (Instant::now(), options.time / WARM);
    let (seen, at) = thread::scope(|scope| {
        let playing = scope.spawn(|| runtime.block_on(play_all(ends, &flows, begun, begun + options.time)));
        let carried = |after: Duration| -> io::Result<(Instant, [[u64; PATHS]; 2])> {
            thread::sleep((begun + after).saturating_duration_since(Instant::now()));
            Ok((Instant::now(), network.carried()?))
        };
        // What they have to tell is asked for after the other thread's end, whatever that is.
        let at = [carried(warm), carried(options.time)];
        (playing.join().map_err(|_| anyhow::anyhow!("the flows' thread panicked")), at)
    });
    let [warmed, ended] = at;
    let links = links(&before, &warmed?, &ended?);
    let seen = seen??;
    drop(hosts);

    let flow = |(flow, (arrived, info)): (&Flow, (Seen, ConnectionInfo))| {
        let title = || format!("{} to {}", network::name(flow.from), network::name(flow.to));
        ensure!(!arrived.corrupt, "{}: a byte arrived that was not sent", title());
        let multipath = info.multipath == MultipathState::Active;
        ensure!(multipath == (contender != Contender::Tcp), "{}: the connection is {:?}", title(), info.multipath);
        let subflow = |subflow: &polypath_proto::SubflowInfo| {
            let path = network.path(flow.from, subflow.local, subflow.remote)?;
            Ok(SubflowSeen { port: subflow.local.port(), path, bytes: subflow.bytes_sent })
        };
        Ok(FlowSeen {
            from: network::name(flow.from),
            to: network::name(flow.to),
            mbit: arrived.arrivals.mbit(warm, options.time),
            subflows: info.subflows.iter().map(subflow).collect::<anyhow::Result<_>>()?,
        })
    };
    let flows = flows.iter().zip(seen).map(flow).collect::<anyhow::Result<_>>()?;
    Ok(Round { contender: contender.to_string(), round: number + 1, flows, links })
}

/// Starts the stack of a host.
fn start(network: &Network, contender: Contender, options: &Options, host: usize) -> anyhow::Result<Host> {
    let config = contender.config(options.congestion);
    let start =
        || Host::builder().tun("pp0").config(config).address(network::address(host).into(), None, false).start();
    network.host(host).run(start)?.with_context(|| format!("the stack of {}", network::name(host)))
}

/// Both ends of a flow, and the listener, which stays: joins go to it.
struct Ends {
    sender: MptcpStream,
    receiver: MptcpStream,
    _listener: MptcpListener,
}

/// Opens the connections, one after the other.
async fn open(hosts: &[Host], flows: &[Flow]) -> anyhow::Result<Vec<Ends>> {
    let mut ends = Vec::new();
    for flow in flows {
        let remote = SocketAddr::from((network::address(flow.to), PORT));
        let local = SocketAddr::from((network::address(flow.from), flow.port));
        let listener = MptcpListener::bind_with_backlog(&hosts[flow.to], remote, 1)?;
        let options = ConnectOptions { local: Some(local), ..ConnectOptions::default() };
        let both = async {
            tokio::try_join!(MptcpStream::connect_with(&hosts[flow.from], remote, options), listener.accept())
        };
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection came about"));
        let opened = tokio::time::timeout(OPENING, both).await.unwrap_or_else(late);
        let (sender, (receiver, _)) = opened.with_context(|| format!("{local} to {remote}"))?;
        ends.push(Ends { sender, receiver, _listener: listener });
    }
    Ok(ends)
}

/// Plays all flows; what each receiver saw, and what each sender's connection was in the end.
async fn play_all(
    ends: Vec<Ends>,
    flows: &[Flow],
    begun: Instant,
    until: Instant,
) -> anyhow::Result<Vec<(Seen, ConnectionInfo)>> {
    let mut playing = JoinSet::new();
    for (number, (ends, flow)) in ends.into_iter().zip(flows).enumerate() {
        let (seed, begin) = (flow.seed, flow.begin);
        playing.spawn(async move {
            let Ends { mut sender, mut receiver, _listener } = ends;
            let sending = async {
                tokio::time::sleep(begin).await;
                play(Job::Send, &mut sender, seed, begun, until).await
            };
            let receiving = play(Job::Receive, &mut receiver, seed, begun, until);
            let (_, seen) = tokio::try_join!(sending, receiving)?;
            let info = sender.info()?;
            sender.abort()?;
            io::Result::Ok((number, seen, info))
        });
    }
    let mut seen = Vec::new();
    while let Some(flow) = playing.join_next().await {
        seen.push(flow.context("a flow's task")?.context("a flow")?);
    }
    seen.sort_by_key(|(number, ..)| *number);
    Ok(seen.into_iter().map(|(_, seen, info)| (seen, info)).collect())
}

/// From what had been carried before the round, after the warming up, and in the end.
fn links(
    before: &[[u64; PATHS]; 2],
    (warmed, early): &(Instant, [[u64; PATHS]; 2]),
    (ended, late): &(Instant, [[u64; PATHS]; 2]),
) -> Vec<LinkSeen> {
    let most = CORE.as_bits_per_second() as f64 / 8.0 * (*ended - *warmed).as_secs_f64();
    let link = |(side, path): (usize, usize)| LinkSeen {
        from: if side == 0 { 'a' } else { 'b' },
        path,
        bytes: late[side][path] - before[side][path],
        used: (late[side][path] - early[side][path]) as f64 / most,
    };
    (0..2).flat_map(|side| (0..PATHS).map(move |path| (side, path))).map(link).collect()
}
