//! What the stack's work costs, in memory and without a host: nanoseconds or, with `--instructions`, instructions for each
//! packet, message, connection or timer. Instructions are counted by callgrind (Debian: `valgrind`), and are the same
//! however busy the machine is. Set-up and the other work of this program are not counted.
//!
//! ```sh
//! cargo bench -p polypath-bench --bench stack                                   # all, in nanoseconds
//! cargo bench -p polypath-bench --bench stack -- --instructions bulk tick-1000  # two of them, in instructions
//! cargo bench -p polypath-bench --bench stack -- --compare                      # with the stored counts
//! cargo bench -p polypath-bench --bench stack -- --accept                       # stores new ones
//! ```

mod stored;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use polypath_bench::crowd::Crowd;
use polypath_bench::pair::{NO_OFFLOAD, OFFLOAD, Pair, Watch};
use polypath_proto::Config;
use stored::{Counts, Stored};

/// Packets, and timers, that are counted, whatever the number of connections: each packet on another one.
const AMONG: usize = 1_000;

/// What a workload came to.
struct Cost {
    units: usize,
    time: Duration,
}

struct Workload {
    name: &'static str,
    /// Of what the cost is told.
    unit: &'static str,
    run: fn() -> anyhow::Result<Cost>,
}

const WORKLOADS: [Workload; 10] = [
    Workload { name: "bulk", unit: "64 KB super-segment", run: || bulk(OFFLOAD) },
    Workload { name: "bulk-1500", unit: "packet of 1,500 bytes", run: || bulk(NO_OFFLOAD) },
    Workload { name: "request", unit: "64 bytes there and back", run: requests },
    Workload { name: "connect", unit: "connection, two subflows, 1 KB each way", run: connects },
    Workload { name: "packet-1000", unit: "packet among 1,000 connections", run: || packets(1_000) },
    Workload { name: "packet-10000", unit: "packet among 10,000 connections", run: || packets(10_000) },
    Workload { name: "packet-100000", unit: "packet among 100,000 connections", run: || packets(100_000) },
    Workload { name: "tick-1000", unit: "timer among 1,000 connections", run: || ticks(1_000) },
    Workload { name: "tick-10000", unit: "timer among 10,000 connections", run: || ticks(10_000) },
    Workload { name: "tick-100000", unit: "timer among 100,000 connections", run: || ticks(100_000) },
];

/// While it is on, what the stack does counts.
#[derive(Default)]
struct Meter {
    on: bool,
    time: Duration,
}

impl Watch for Meter {
    fn around<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if !self.on {
            return work();
        }
        let begun = Instant::now();
        let result = callgrind_counts_here(work);
        self.time += begun.elapsed();
        result
    }
}

/// Callgrind is told by this name what to count.
#[inline(never)]
fn callgrind_counts_here<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn meter(pair: &mut Pair<Meter>, client: bool, server: bool) {
    (pair.client.watch.on, pair.server.watch.on) = (client, server);
}

fn cost(pair: &Pair<Meter>, units: usize) -> Cost {
    Cost { units, time: pair.client.watch.time + pair.server.watch.time }
}

/// The client's packets count, and with each all that is done for its acknowledgement.
fn bulk(max_segment: u32) -> anyhow::Result<Cost> {
    const WRITE: usize = 128 * 1024;
    let mut pair = Pair::new(&Config::default(), max_segment, 1)?;
    let (here, there) = pair.connect()?;
    let (data, mut out) = (Bytes::from(vec![7; WRITE]), vec![0; 1 << 20]);
    let rounds = max_segment as usize / 50;
    for round in 0..2 * rounds {
        if round == rounds {
            meter(&mut pair, true, true);
            pair.client.packets = 0;
        }
        let (now, mut more) = (pair.now, data.clone());
        let written = pair.client.write_bytes(now, here, &mut more)?;
        ensure!(written == WRITE, "{written} of {WRITE} bytes written");
        pair.settle(|server, now| while server.read(now, there, &mut out).is_ok_and(|read| read > 0) {});
    }
    Ok(cost(&pair, pair.client.packets))
}

fn requests() -> anyhow::Result<Cost> {
    const REQUESTS: usize = 1_000;
    let mut pair = Pair::new(&Config { nodelay: true, ..Config::default() }, OFFLOAD, 1)?;
    let (here, there) = pair.connect()?;
    for number in 0..2 * REQUESTS {
        meter(&mut pair, number >= REQUESTS, number >= REQUESTS);
        pair.ask(here, there, &mut [7; 64])?;
    }
    Ok(cost(&pair, REQUESTS))
}

fn connects() -> anyhow::Result<Cost> {
    const CONNECTIONS: usize = 500;
    let mut pair = Pair::new(&Config { nodelay: true, ..Config::default() }, OFFLOAD, 1)?;
    for number in 0..2 * CONNECTIONS {
        meter(&mut pair, number >= CONNECTIONS, number >= CONNECTIONS);
        let (here, there) = pair.connect()?;
        pair.client.close(pair.now, here);
        pair.settle(|_, _| {});
        pair.server.close(pair.now, there);
        pair.settle(|_, _| {});
    }
    let left = pair.client.stack.connection_count() + pair.server.stack.connection_count();
    ensure!(left == 0, "{left} connections did not end");
    Ok(cost(&pair, CONNECTIONS))
}

/// From a packet's arrival until its acknowledgement could leave.
fn packets(connections: usize) -> anyhow::Result<Cost> {
    let mut crowd = Crowd::gather(connections)?;
    meter(&mut crowd.pair, false, true);
    (0..AMONG).for_each(|n| crowd.packet(n));
    Ok(cost(&crowd.pair, AMONG))
}

/// From timers' expiry until what one of them sends could leave.
fn ticks(connections: usize) -> anyhow::Result<Cost> {
    let mut crowd = Crowd::gather(connections)?;
    crowd.wind_up(AMONG);
    meter(&mut crowd.pair, true, false);
    let before = crowd.pair.client.packets;
    (0..AMONG).for_each(|_| crowd.tick());
    Ok(cost(&crowd.pair, crowd.pair.client.packets - before))
}

/// How many instructions the stack needs in a workload: it runs in another process of this program.
fn instructions(workload: &Workload) -> anyhow::Result<f64> {
    let here = std::env::current_exe()?;
    let kept = here.with_file_name(format!("callgrind.{}.out", workload.name));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*callgrind_counts_here*"])
        .arg(format!("--callgrind-out-file={}", kept.display()))
        .arg(&here)
        .args(["--units", workload.name])
        .output()
        .context("valgrind cannot be started; Debian has it in the package 'valgrind'")?;
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{} under valgrind: {told}", workload.name);
    let collected = told.lines().find_map(|line| line.split_once("Collected : ")).context("callgrind told no count")?;
    let (collected, units): (f64, f64) = (collected.1.trim().parse()?, said.trim().parse()?);
    Ok(collected / units)
}

/// What is done with the workloads.
#[derive(Copy, Clone, PartialEq)]
enum Mode {
    Time,
    /// Only run, for who counts; tells the units.
    Units,
    Instructions,
    Accept,
    Compare,
}

fn mode(options: &[&String]) -> anyhow::Result<Mode> {
    // Cargo adds `--bench`.
    let asked: Vec<&str> = options.iter().map(|option| option.as_str()).filter(|option| *option != "--bench").collect();
    Ok(match asked[..] {
        [] => Mode::Time,
        ["--units"] => Mode::Units,
        ["--instructions"] => Mode::Instructions,
        ["--accept"] => Mode::Accept,
        ["--compare"] => Mode::Compare,
        _ => bail!("one of --instructions, --accept and --compare, not {}", asked.join(" ")),
    })
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (options, mut names): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
    if let Some(unknown) = names.iter().find(|name| WORKLOADS.iter().all(|workload| workload.name != name.as_str())) {
        let known = WORKLOADS.map(|workload| workload.name).join(", ");
        bail!("there is no workload '{unknown}', but {known}");
    }
    let mode = mode(&options)?;
    let stored = matches!(mode, Mode::Accept | Mode::Compare).then(Stored::read).transpose()?;
    if let Some(stored) = stored.as_ref().filter(|_| names.is_empty()) {
        names = stored.counts.keys().collect();
    }
    if let Some(why) = stored.as_ref().filter(|_| mode == Mode::Compare).map(Stored::of_another).transpose()?.flatten()
    {
        println!("nothing is compared: {why}");
        return Ok(());
    }
    let wanted = |workload: &&Workload| names.is_empty() || names.iter().any(|name| *name == workload.name);
    let mut counts = Counts::new();
    for workload @ Workload { name, unit, run } in WORKLOADS.iter().filter(wanted) {
        match mode {
            Mode::Units => println!("{}", run()?.units),
            Mode::Time => {
                let Cost { units, time } = run()?;
                println!("{name:<15}{:>12.0} ns for each {unit}", time.as_nanos() as f64 / units as f64);
            }
            Mode::Instructions | Mode::Accept | Mode::Compare => {
                let count = instructions(workload)?;
                println!("{name:<15}{count:>12.0} instructions for each {unit}");
                counts.insert((*name).to_owned(), count);
            }
        }
    }
    match (mode, stored) {
        (Mode::Compare, Some(stored)) => stored.compare(&counts),
        (Mode::Accept, _) => stored::accept(&counts),
        _ => Ok(()),
    }
}
