//! `polypath lab soak`: a program with many connections under `polypath run` for a long time, while paths come and go.
//! Every byte is compared; what the supervisor holds has to stay what it was.

mod memory;

use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use polypath_sim::grid::figure::{Bar, Figure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::kernel::{KernelServer, MptcpCounters, ServerConfig, Service, Transport};
use crate::link::Rate;
use crate::scenario::{Owner, PathSpec, SERVER_V4, Scenario, client_v4};
pub use memory::Holding;

/// Connections at once, and all that they do.
const CLIENT: &str = include_str!("client.py");
/// How often the supervisor is looked at, where the time is long.
const LOOK: Duration = Duration::from_secs(5);
/// How often a path changes, at most and at least, in milliseconds.
const CHANGE: std::ops::Range<u64> = 500..5_000;
/// What is held may grow by this.
const MOST_GROWTH: f64 = 1.1;
/// How long the program may take to end after its time.
const LINGER: Duration = Duration::from_secs(60);

/// What to do, and for how long.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// The `polypath` command.
    pub polypath: PathBuf,
    /// How long.
    pub time: Duration,
    /// Connections at once.
    pub connections: u32,
    /// Decides what is sent, and when paths come and go.
    pub seed: u64,
}

/// What the program says that it did.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Connections opened, one after the other and at once.
    pub connections: u64,
    /// Messages that came back as they were sent.
    pub messages: u64,
    /// Bytes of them, in each direction.
    pub bytes: u64,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct SoakReport {
    /// All bars are met.
    pub ok: bool,
    /// With bars.
    pub figures: Vec<Figure>,
    /// How long, in seconds.
    pub seconds: f64,
    /// What the program says.
    pub done: Done,
    /// How often a path was cut.
    pub cuts: u64,
    /// Joins that the peer's kernel has seen.
    pub joins: i64,
    /// What the supervisor held, over time.
    pub held: Vec<Holding>,
}

/// Runs it. Progress goes to standard error.
///
/// # Errors
/// Where the links or the program cannot be started; when the program fails, with what it said.
pub fn run(options: &SoakOptions) -> anyhow::Result<SoakReport> {
    let path = |name: &str, rate, rtt, loss| {
        let queue = Duration::from_millis(50);
        PathSpec::new(name, Rate::mbit(rate), Duration::from_millis(rtt), queue).with_loss(loss)
    };
    let paths = [path("wifi", 100, 10, 0.001), path("lte", 50, 30, 0.0)];
    let mut builder = Scenario::builder().client(Owner::Stack).server(Owner::Kernel).seed(options.seed);
    for path in &paths {
        builder = builder.path(path.clone());
    }
    let scenario = builder.build()?;
    let config = ServerConfig { transport: Transport::Mptcp, port: 0, service: Service::Echo, seed: options.seed };
    let server = KernelServer::start(scenario.server(), config).context("starting the echo server")?;
    let began = Instant::now();
    let mut child = start(&scenario, options, &paths, server.port())?;
    let (mut held, mut cuts) = (Vec::new(), 0);
    let flapping = flap(&scenario, options, began, &mut child, &mut held, &mut cuts);
    for path in 0..paths.len() {
        scenario.set_up(path, true);
    }
    let done = flapping.and_then(|()| finish(&mut child, began + options.time + LINGER));
    if done.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let done = done?;
    let counters = MptcpCounters::read(scenario.server())?;
    let figures = figures(options, &held, done);
    Ok(SoakReport {
        ok: figures.iter().all(|figure| figure.met() != Some(false)),
        figures,
        seconds: began.elapsed().as_secs_f64(),
        done,
        cuts,
        joins: counters.get("MPJoinAckRx"),
        held,
    })
}

fn start(scenario: &Scenario, options: &SoakOptions, paths: &[PathSpec], port: u16) -> anyhow::Result<Child> {
    let mut line: Vec<OsString> = ["run", "--config", "none", "--tun", "pp0"].map(OsString::from).into();
    for (index, path) in paths.iter().enumerate() {
        line.extend(["--address".into(), format!("{}={}", client_v4(index), path.name).into()]);
    }
    line.extend(["--", "python3", "-c", CLIENT, &SERVER_V4.to_string(), &port.to_string()].map(OsString::from));
    let numbers = [options.connections.to_string(), options.time.as_secs().to_string(), options.seed.to_string()];
    line.extend(numbers.map(OsString::from));
    let mut command = scenario.client().command(&options.polypath);
    command.args(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().with_context(|| format!("starting {}", options.polypath.display()))
}

/// Cuts paths and brings them back, never both at once, until the time is over; looks at the supervisor meanwhile.
fn flap(
    scenario: &Scenario,
    options: &SoakOptions,
    began: Instant,
    child: &mut Child,
    held: &mut Vec<Holding>,
    cuts: &mut u64,
) -> anyhow::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut down = None;
    let pace = LOOK.min(options.time / 16);
    let (mut change, mut look) = (began + pace, began + pace);
    while began.elapsed() < options.time {
        let now = Instant::now();
        if now >= change {
            match down.take() {
                Some(path) => scenario.set_up(path, true),
                None => {
                    let path = (rng.next_u32() % 2) as usize;
                    scenario.set_up(path, false);
                    down = Some(path);
                    *cuts += 1;
                }
            }
            change = now + Duration::from_millis(CHANGE.start + rng.next_u64() % (CHANGE.end - CHANGE.start));
        }
        if now >= look {
            let seen = Holding::of(child.id(), began.elapsed().as_secs_f64())?;
            let (minutes, megabytes) = (seen.at / 60.0, seen.rss as f64 / 1e6);
            eprintln!("{minutes:5.1} min: {megabytes:.1} MB, {} descriptors, {cuts} cuts", seen.descriptors);
            held.push(seen);
            look = now + pace;
        }
        if child.try_wait()?.is_some() {
            // What it said comes with its status.
            return Ok(());
        }
        thread::sleep(change.min(look).saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
    }
    Ok(())
}

/// The program's end, and what it printed.
fn finish(child: &mut Child, deadline: Instant) -> anyhow::Result<Done> {
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        ensure!(Instant::now() < deadline, "the program does not end");
        thread::sleep(Duration::from_millis(20));
    };
    let (mut said, mut complaints) = (String::new(), String::new());
    child.stdout.take().context("it has no output")?.read_to_string(&mut said)?;
    child.stderr.take().context("it has no errors")?.read_to_string(&mut complaints)?;
    if !status.success() {
        bail!("the program failed ({status}): {}", complaints.trim());
    }
    serde_json::from_str(&said).with_context(|| format!("the program printed '{}'", said.trim()))
}

fn figures(options: &SoakOptions, held: &[Holding], done: Done) -> Vec<Figure> {
    let most = Some(Bar::AtMost(MOST_GROWTH));
    // Each lives for at most 40 seconds.
    let least = f64::from(options.connections) * (options.time.as_secs_f64() / 40.0).max(1.0);
    vec![
        Figure::new("soak.rss_growth", memory::growth(held, |h| h.rss), "", most),
        Figure::new("soak.descriptor_growth", memory::growth(held, |h| h.descriptors), "", most),
        Figure::new("soak.connections", Some(done.connections as f64), "", Some(Bar::AtLeast(least.floor()))),
    ]
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { connections, messages, bytes } = self.done;
        writeln!(
            f,
            "{connections} connections, {messages} messages, {:.1} MB each way in {:.1} minutes; {} cuts, {} joins",
            bytes as f64 / 1e6,
            self.seconds / 60.0,
            self.cuts,
            self.joins
        )?;
        if let (Some(first), Some(last)) = (self.held.first(), self.held.last()) {
            let megabytes = |h: &Holding| h.rss as f64 / 1e6;
            writeln!(f, "memory: {:.1} MB at first, {:.1} MB at the end", megabytes(first), megabytes(last))?;
        }
        for figure in &self.figures {
            let bar = figure.bar.map_or_else(String::new, |bar| match bar {
                Bar::AtLeast(bar) => format!(" (at least {bar})"),
                Bar::AtMost(bar) => format!(" (at most {bar})"),
                Bar::Within(low, high) => format!(" ({low} to {high})"),
            });
            let value = figure.value.map_or_else(|| "not measured".to_owned(), |value| value.to_string());
            writeln!(f, "{}: {value}{bar}", figure.name)?;
        }
        Ok(())
    }
}
