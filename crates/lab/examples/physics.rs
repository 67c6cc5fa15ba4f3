//! How true the emulated links are: the round trip of a ping, and the goodput of one TCP connection, each against
//! the ideal that rate, delay and headers give.
//!
//! `cargo run --release -p polypath-lab --example physics`

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use polypath_lab::kernel::{KernelClient, KernelServer, ServerConfig, Service, Transport};
use polypath_lab::link::{ETHERNET_HEADER, Rate};
use polypath_lab::scenario::SERVER_V4;
use polypath_lab::{Direction, Owner, PathSpec, Scenario};
use socket2::{Domain, Protocol, Socket, Type};

/// IPv4, ICMP and 56 bytes, as ping sends.
const PING: usize = 84;

fn main() -> anyhow::Result<()> {
    ping(Rate::mbit(50), Duration::from_millis(20))?;
    ping(Rate::mbit(20), Duration::from_millis(60))?;
    ping(Rate::mbit(1000), Duration::from_millis(2))?;
    tcp(Rate::mbit(50), Duration::from_millis(20), 40_000_000)?;
    tcp(Rate::mbit(200), Duration::from_millis(10), 150_000_000)?;
    tcp(Rate::mbit(1000), Duration::from_millis(4), 400_000_000)
}

fn scenario(rate: Rate, rtt: Duration) -> anyhow::Result<Scenario> {
    let path = PathSpec::new("link", rate, rtt, Duration::from_millis(200));
    Scenario::builder().client(Owner::Kernel).path(path).build()
}

fn ping(rate: Rate, rtt: Duration) -> anyhow::Result<()> {
    let scenario = scenario(rate, rtt)?;
    let mut times = scenario.client().run(|| (1..=200).map(ping_once).collect::<anyhow::Result<Vec<_>>>())??;
    times.sort();
    let sending = rate.transmission_time((PING + ETHERNET_HEADER) as u64);
    let ideal = rtt + 2 * Duration::from_nanos(sending);
    let late = |time: Duration| (time.as_secs_f64() - ideal.as_secs_f64()) * 1e3;
    println!(
        "ping, {rate}, {rtt:?}: ideal {ideal:?}; over it: min {:.3}, median {:.3}, p99 {:.3}, max {:.3} ms",
        late(times[0]),
        late(times[times.len() / 2]),
        late(times[times.len() * 99 / 100]),
        late(times[times.len() - 1]),
    );
    Ok(())
}

/// Sends one ICMP echo request and waits for the answer.
fn ping_once(sequence: u16) -> anyhow::Result<Duration> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0_u8; PING - 20];
    request[0] = 8;
    request[6..8].copy_from_slice(&sequence.to_be_bytes());
    // RFC 1071: all other bytes are zero.
    let sum = !(0x0800 + sequence);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    let start = Instant::now();
    socket.send_to(&request, &SocketAddr::from((SERVER_V4, 0)).into())?;
    loop {
        let mut answer = [0; 256];
        let len = (&socket).read(&mut answer).context("no answer to a ping")?;
        let answer = &answer[..len];
        if answer.get(20) == Some(&0) && answer.get(26..28) == Some(&sequence.to_be_bytes()) {
            std::thread::sleep(Duration::from_millis(3));
            return Ok(start.elapsed() - Duration::from_millis(3));
        }
    }
}

fn tcp(rate: Rate, rtt: Duration, len: u64) -> anyhow::Result<()> {
    let scenario = scenario(rate, rtt)?;
    let config = ServerConfig { transport: Transport::Tcp, port: 0, service: Service::Http, seed: 1 };
    let server = KernelServer::start(scenario.server(), config)?;
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, None, server.at(SERVER_V4))?;
    let mut reads: Vec<(Instant, u64)> = Vec::new();
    let mut total = 0;
    client.get(&format!("/bytes/{len}"), |bytes| {
        total += bytes.len() as u64;
        reads.push((Instant::now(), total));
    })?;
    ensure!(total == len, "{total} of {len} bytes arrived");
    // The first half has slow start in it.
    let from = reads.iter().position(|&(_, total)| total >= len / 2).unwrap_or(0);
    let (start, before) = reads[from];
    let (end, after) = reads[reads.len() - 1];
    let goodput = (after - before) as f64 * 8.0 / (end - start).as_secs_f64();
    // IPv4, TCP and timestamps: 52 bytes of 1500.
    let ideal = rate.as_bits_per_second() as f64 * 1448.0 / (1500.0 + ETHERNET_HEADER as f64);
    let counters = scenario.counters(0, Direction::Down);
    println!(
        "TCP, {rate}, {rtt:?}: {:.3} of {:.3} Mbit/s = {:.2} %; dropped by queue {}, by the devices {}; late mean {:?}, max {:?}",
        goodput / 1e6,
        ideal / 1e6,
        100.0 * goodput / ideal,
        counters.dropped_by_queue.packets,
        scenario.device_drops(0)?,
        scenario.lateness().mean,
        scenario.lateness().max,
    );
    Ok(())
}
