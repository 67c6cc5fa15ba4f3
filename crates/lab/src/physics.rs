//! Whether emulated links are true: the round trip of a ping, the goodput of one TCP connection, and losses, each
//! against what rate, delay, headers and chance give.

use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::emulator::Direction;
use crate::kernel::{KernelClient, KernelServer, ServerConfig, Service, Transport};
use crate::link::{ETHERNET_HEADER, Rate};
use crate::scenario::{Owner, PathSpec, SERVER_V4, Scenario, client_v4};

/// IPv4, ICMP and 56 bytes, as ping sends.
const PING: usize = 84;
/// Between an answer and the next ping.
const PAUSE: Duration = Duration::from_millis(3);
/// Payload of the datagrams that show losses.
const DATAGRAM: usize = 1400;
/// So much of a link's rate they take, so that none is dropped for want of room.
const LOAD: f64 = 0.8;
/// How often some of them are sent.
const TICK: Duration = Duration::from_millis(1);

/// A scenario with kernels at both ends, for the functions of this module. Its TCP is one whose slow start goes on
/// until a queue is full, so that it fills a link however long that is.
///
/// # Errors
/// As [`build`](crate::scenario::ScenarioBuilder::build).
pub fn scenario(paths: impl IntoIterator<Item = PathSpec>) -> anyhow::Result<Scenario> {
    let builder = Scenario::builder().client(Owner::Kernel).congestion("reno");
    paths.into_iter().fold(builder, crate::scenario::ScenarioBuilder::path).build()
}

/// How much longer than the link's delay and its sending time pings over `path` took, in ascending order; negative for
/// those that were faster. In milliseconds.
///
/// # Errors
/// Those of the socket, and when an answer does not come.
///
/// # Panics
/// If there is no such path.
pub fn ping_errors(scenario: &Scenario, path: usize, count: u16) -> anyhow::Result<Vec<f64>> {
    let PathSpec { up, down, .. } = &scenario.paths()[path];
    let sending = |rate: Option<Rate>| rate.map_or(0, |rate| rate.transmission_time((PING + ETHERNET_HEADER) as u64));
    let ideal = up.delay + down.delay + Duration::from_nanos(sending(up.rate) + sending(down.rate));
    let pings = || (1..=count).map(|sequence| ping(path, sequence)).collect::<anyhow::Result<Vec<_>>>();
    let times = scenario.client().run(pings)??;
    let mut errors: Vec<f64> = times.iter().map(|time| (time.as_secs_f64() - ideal.as_secs_f64()) * 1e3).collect();
    errors.sort_by(f64::total_cmp);
    Ok(errors)
}

/// Sends one ICMP echo request and waits for the answer.
fn ping(path: usize, sequence: u16) -> anyhow::Result<Duration> {
    thread::sleep(PAUSE);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.bind(&SocketAddr::from((client_v4(path), 0)).into())?;
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
        let time = start.elapsed();
        let answer = &answer[..len];
        if answer.get(20) == Some(&0) && answer.get(26..28) == Some(&sequence.to_be_bytes()) {
            return Ok(time);
        }
    }
}

/// The goodput of one TCP connection that downloads over `path` for `time`, in its second half, as a part of what
/// headers leave of the link's rate: 0 to 1. The link's queue should hold a round trip, and lose nothing.
///
/// # Errors
/// Those of the sockets, and for a link without a rate.
///
/// # Panics
/// If there is no such path.
pub fn tcp_share(scenario: &Scenario, path: usize, time: Duration) -> anyhow::Result<f64> {
    let rate = scenario.paths()[path].down.rate.context("a link without a rate")?;
    let config = ServerConfig { transport: Transport::Tcp, port: 0, service: Service::Http, seed: 1 };
    let server = KernelServer::start(scenario.server(), config)?;
    let local = SocketAddr::from((client_v4(path), 0));
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, Some(local), server.at(SERVER_V4))?;
    let stopper = client.stream().try_clone()?;
    let start = Instant::now();
    let mut reads: Vec<(Duration, u64)> = Vec::new();
    let mut total = 0;
    // Shutting the stream down from outside is how an endless download ends.
    let _ = client.get(&format!("/bytes/{}", u64::MAX / 2), |bytes| {
        total += bytes.len() as u64;
        reads.push((start.elapsed(), total));
        if start.elapsed() > time {
            let _ = stopper.shutdown(std::net::Shutdown::Both);
        }
    });
    let first = reads.iter().find(|(at, _)| *at >= time / 2);
    let last = reads.iter().rev().find(|(at, _)| *at <= time);
    let (Some((from, before)), Some((to, after))) = (first, last) else { anyhow::bail!("nothing was downloaded") };
    ensure!(to > from, "the download stood still");
    let goodput = (after - before) as f64 * 8.0 / (*to - *from).as_secs_f64();
    // IPv4, TCP and timestamps: 52 bytes of 1500.
    Ok(goodput / (rate.as_bits_per_second() as f64 * 1448.0 / (1500.0 + ETHERNET_HEADER as f64)))
}

/// How far what `path` loses of datagrams from the client, sent for `time`, is from its probability of loss: in
/// standard deviations of a binomial distribution.
///
/// # Errors
/// Those of the sockets, and for a link without a rate or without losses.
///
/// # Panics
/// If there is no such path.
pub fn loss_sigma(scenario: &Scenario, path: usize, time: Duration) -> anyhow::Result<f64> {
    let link = scenario.paths()[path].up;
    let rate = link.rate.context("a link without a rate")?;
    ensure!(link.loss > 0.0 && link.loss < 1.0, "a link without losses, or with nothing else");
    // It takes them and reads none; what does not fit is dropped behind the link.
    let sink = scenario.server().run(|| UdpSocket::bind((SERVER_V4, 0)))??;
    let socket = scenario.client().run(|| UdpSocket::bind((client_v4(path), 0)))??;
    socket.connect(sink.local_addr()?)?;
    let before = scenario.counters(path, Direction::Up);
    let each = rate.transmission_time((DATAGRAM + 28 + ETHERNET_HEADER) as u64) as f64 / 1e9 / LOAD;
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        while sent as f64 * each < start.elapsed().as_secs_f64() {
            socket.send(&[0; DATAGRAM])?;
            sent += 1;
        }
        thread::sleep(TICK);
    }
    let arrive = link.delay + Duration::from_millis(100);
    thread::sleep(arrive);
    let after = scenario.counters(path, Direction::Up);
    let lost = (after.lost.packets - before.lost.packets) as f64;
    let all = lost + (after.delivered.packets - before.delivered.packets) as f64;
    ensure!(all > 0.0, "no datagram got through");
    Ok((lost - all * link.loss).abs() / (all * link.loss * (1.0 - link.loss)).sqrt())
}
