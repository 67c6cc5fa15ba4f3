//! One run: namespaces, an emulated bottleneck, kernel flows and one of polypath's over it, and what each delivered.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use polypath_net::{Host, MptcpStream};
use polypath_proto::{Config, ConnectOptions, MultipathState};
use polypath_sim::Red;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;

use super::{Contender, Options};
use crate::kernel::{KernelClient, Transport, listen};
use crate::link::Rate;
use crate::scenario::{Owner, PathSpec, SERVER_V4, Scenario, client_v4};

/// What each flow would have of the bottleneck if all had the same.
const EACH: Rate = Rate::mbit(4);
const RTT: Duration = Duration::from_millis(50);
/// Mean waits between which the bottleneck drops up to a tenth of the packets ([`Red`]), and what the full queue takes to
/// drain. At its tail alone it would drop from all flows at once, and two half windows have half the growth between two such
/// times: that measures the queue, and not the congestion control.
const RED_FROM: Duration = Duration::from_millis(20);
const RED_TO: Duration = Duration::from_millis(40);
const QUEUE: Duration = Duration::from_millis(120);
/// The client's addresses: the stack's two, and the kernel's.
const OWN: [Ipv4Addr; 2] = [client_v4(0), Ipv4Addr::new(10, 1, 0, 4)];
const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
/// Of Multipath TCP and of TCP.
const PORTS: [u16; 2] = [5001, 5002];
/// Flows begin at random within this.
const START_WITHIN: Duration = Duration::from_secs(1);
/// How long a connection may take to be opened.
const OPENING: Duration = Duration::from_secs(10);
/// Parts that a run is cut into for its picture, and those at the beginning that are not counted.
const STEPS: u32 = 40;
const WARM: u32 = 8;
const PIECE: usize = 64 * 1024;

/// What each flow delivered after the warming up, in Mbit/s.
#[derive(Clone, Debug)]
pub struct Shares {
    /// polypath's connection.
    pub own: f64,
    /// The kernel's flows.
    pub kernels: Vec<f64>,
    /// Subflows that polypath's connection had.
    pub subflows: usize,
    /// Seconds and Mbit/s: polypath's connection, and the kernel's flows in the mean.
    pub(super) own_curve: Vec<(f64, f64)>,
    pub(super) kernel_curve: Vec<(f64, f64)>,
}

impl Shares {
    /// The kernel's flows in the mean.
    pub fn kernel(&self) -> f64 {
        self.kernels.iter().sum::<f64>() / self.kernels.len().max(1) as f64
    }
}

/// Runs a contender beside the kernel's flows, once.
///
/// # Errors
/// When hosts cannot be made, a connection does not come about, or is not what it should be.
pub fn once(contender: &Contender, options: &Options, seed: u64) -> anyhow::Result<Shares> {
    ensure!(options.flows > 0, "at least one kernel flow is needed to compare with");
    let scenario = build(options.flows + 1, seed)?;
    let transport = if contender.config.multipath { Transport::Mptcp } else { Transport::Tcp };
    let listeners = [(transport, PORTS[0]), (Transport::Tcp, PORTS[1])];
    let [for_own, for_kernel] = listeners.map(|(transport, port)| listen(scenario.server(), transport, port));
    let (for_own, for_kernel) = (for_own?, for_kernel?);
    let host = start_host(&scenario, contender.config.clone()).context("polypath's host")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut own = runtime.block_on(connect(&host)).context("polypath's connection")?;
    // The other ends first, polypath's before all.
    let mut receivers = vec![for_own.accept().context("accepting polypath's connection")?.0];
    let mut senders = Vec::new();
    for _ in 0..options.flows {
        let (local, remote) = (SocketAddr::from((KERNEL, 0)), SocketAddr::from((SERVER_V4, PORTS[1])));
        let client = KernelClient::connect(scenario.client(), Transport::Tcp, Some(local), remote)?;
        senders.push(client.into_stream());
        receivers.push(accept(&for_kernel)?);
    }

    let counts: Vec<AtomicU64> = receivers.iter().map(|_| AtomicU64::new(0)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut begin = || START_WITHIN.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
    let (start, mut samples) = (Instant::now(), vec![vec![0; receivers.len()]]);
    let until = start + options.time;
    let info = thread::scope(|scope| {
        for (receiver, count) in receivers.iter().zip(&counts) {
            scope.spawn(move || receive(receiver, count));
        }
        for sender in &senders {
            let begin = begin();
            scope.spawn(move || send(sender, begin));
        }
        let begin = begin();
        let own = scope.spawn(move || runtime.block_on(send_own(&mut own, begin, until)));
        for step in 1..=STEPS {
            thread::sleep((start + options.time * step / STEPS).saturating_duration_since(Instant::now()));
            samples.push(counts.iter().map(|count| count.load(Relaxed)).collect());
        }
        let info = own.join().map_err(|_| anyhow::anyhow!("polypath's end panicked"));
        for stream in senders.iter().chain(&receivers) {
            // One that has ended by itself needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
        info?
    })?;
    ensure!(info.1 == contender.config.multipath, "polypath's connection is not what it should be");
    Ok(shares(&samples, options.time, info.0))
}

fn shares(samples: &[Vec<u64>], time: Duration, subflows: usize) -> Shares {
    let each = time.as_secs_f64() / f64::from(STEPS);
    let rate = |flow: usize, from: usize, to: usize| {
        (samples[to][flow] - samples[from][flow]) as f64 * 8.0 / 1e6 / ((to - from) as f64 * each)
    };
    let flows = samples.first().map_or(0, Vec::len);
    let curve = |of: &dyn Fn(usize) -> f64| (1..samples.len()).map(|to| ((to as f64 - 0.5) * each, of(to))).collect();
    let kernels = |from: usize, to: usize| (1..flows).map(move |flow| rate(flow, from, to)).collect::<Vec<_>>();
    let (warm, last) = (WARM as usize, samples.len() - 1);
    Shares {
        own: rate(0, warm, last),
        kernels: kernels(warm, last),
        subflows,
        own_curve: curve(&|to| rate(0, to - 1, to)),
        kernel_curve: curve(&|to| kernels(to - 1, to).iter().sum::<f64>() / (flows - 1).max(1) as f64),
    }
}

/// One link for all: the stack's two addresses and one of the kernel's are at the same end of it.
fn build(flows: usize, seed: u64) -> anyhow::Result<Scenario> {
    let rate = Rate::bits_per_second(EACH.as_bits_per_second() * flows as u64);
    let mut path = PathSpec::new("wire", rate, RTT, QUEUE);
    path.up.red = Some(Red::new(polypath_sim::Rate::bits(rate.as_bits_per_second()), RED_FROM, RED_TO));
    let device = path.interface();
    let builder = Scenario::builder().client(Owner::Stack).server(Owner::Kernel).congestion("reno").seed(seed);
    let scenario = builder.path(path).build()?;
    let second = OWN[1];
    let rules: String = [KERNEL, second].map(|address| format!("rule add from {address} lookup 101\n")).concat();
    scenario.client().ip(&format!("addr add {KERNEL}/32 dev {device}\n{rules}"))?;
    let back = |address| format!("route add {address} dev {device} src {SERVER_V4} congctl reno\n");
    scenario.server().ip(&[KERNEL, second].map(back).concat())?;
    Ok(scenario)
}

fn start_host(scenario: &Scenario, config: Config) -> anyhow::Result<Host> {
    let start = || {
        let builder = Host::builder().tun("pp0").config(config);
        OWN.iter().fold(builder, |builder, own| builder.address((*own).into(), None, false)).start()
    };
    Ok(scenario.client().run(start)??)
}

async fn connect(host: &Host) -> io::Result<MptcpStream> {
    let remote = SocketAddr::from((SERVER_V4, PORTS[0]));
    let options = ConnectOptions { local: Some(SocketAddr::from((OWN[0], 0))), ..ConnectOptions::default() };
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection came about"));
    tokio::time::timeout(OPENING, MptcpStream::connect_with(host, remote, options)).await.unwrap_or_else(late)
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    Ok(listener.accept()?.0)
}

/// To the end, whatever that is.
fn receive(mut stream: &TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 4 * PIECE];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        count.fetch_add(read as u64, Relaxed);
    }
}

/// Until it is shut down.
fn send(mut stream: &TcpStream, begin: Duration) {
    thread::sleep(begin);
    let piece = vec![0; PIECE];
    while stream.write_all(&piece).is_ok() {}
}

/// How many subflows there were in the end, and whether it was Multipath TCP.
async fn send_own(stream: &mut MptcpStream, begin: Duration, until: Instant) -> anyhow::Result<(usize, bool)> {
    tokio::time::sleep(begin).await;
    let piece = vec![0; PIECE];
    let sending = async {
        loop {
            if let Err(error) = stream.write_all(&piece).await {
                return error;
            }
        }
    };
    if let Ok(error) = tokio::time::timeout_at(until.into(), sending).await {
        return Err(error).context("polypath's connection failed");
    }
    let info = stream.info()?;
    let _ = stream.abort();
    Ok((info.subflows.len(), info.multipath == MultipathState::Active))
}
