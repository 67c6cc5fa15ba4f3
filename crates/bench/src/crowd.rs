//! What one packet and one timer cost in a stack that holds many connections: two stacks in memory, joined by nothing but
//! this loop, on a clock that stands still unless a timer is asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant as Stopwatch;

use bytes::Bytes;
use polypath_proto::mib::Counter;
use polypath_proto::{
    ChecksumMode, Config, ConnectOptions, ConnectionId, Duration, Event, Instant, LinkConfig, LinkId, LocalAddress,
    Received, RxChecksum, Stack, TransmitBuf,
};
use serde::Serialize;

use crate::network::{SERVER, client};
use crate::stats::Summary;

/// Subflows of each connection.
const SUBFLOWS: usize = 2;
/// Packets, and timers, that are measured, each on another connection, and so no more than there are.
const MEASURED: usize = 4_000;
/// They are taken in groups, of which the median counts: what disturbs the machine disturbs one of them.
const GROUPS: usize = 20;
/// Connections that one port of the server has, at most.
const PER_PORT: usize = 20_000;
const FIRST_PORT: u16 = 5001;

/// Nanoseconds in a stack of so many connections.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// In the stack, each with two subflows.
    pub connections: usize,
    /// From a packet's arrival until its acknowledgement could leave.
    pub packet_ns: f64,
    /// From a timer's expiry until what it sends could leave.
    pub tick_ns: f64,
}

/// One end.
struct Host {
    stack: Stack,
    link: LinkId,
    buf: TransmitBuf,
    /// News of connections that were established.
    connected: Vec<ConnectionId>,
    acceptable: usize,
}

impl Host {
    fn new(seed: u8, addresses: &[Ipv4Addr]) -> Self {
        let mut stack = Stack::new(Config { nodelay: true, ..Config::default() }, [seed; 32]);
        let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 65_535, checksum: ChecksumMode::Partial });
        for address in addresses {
            let addr = IpAddr::V4(*address);
            stack.add_address(Instant::ZERO, LocalAddress { addr, link, backup: false, name: None });
        }
        Self { stack, link, buf: TransmitBuf::default(), connected: Vec::new(), acceptable: 0 }
    }

    /// What it wants to send now, as bytes of headers and of payload.
    fn transmit(&mut self, now: Instant) -> Option<(Vec<u8>, Bytes)> {
        self.stack.poll_transmit(now, &mut self.buf)?;
        let payload = match &self.buf.payload[..] {
            [] => Bytes::new(),
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        };
        Some((self.buf.headers.to_vec(), payload))
    }

    fn take(&mut self, now: Instant, (headers, payload): (Vec<u8>, Bytes)) {
        let received = Received { headers: &headers, payload, checksum: RxChecksum::Verified };
        self.stack.handle_packet(now, self.link, received);
    }

    fn listen_to_news(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Connected(id) => self.connected.push(id),
                Event::Acceptable(_) => self.acceptable += 1,
                _ => {}
            }
        }
    }
}

/// Carries packets both ways until neither has any.
fn settle(now: Instant, client: &mut Host, server: &mut Host) {
    loop {
        let mut quiet = true;
        while let Some(packet) = client.transmit(now) {
            (quiet, _) = (false, server.take(now, packet));
        }
        while let Some(packet) = server.transmit(now) {
            (quiet, _) = (false, client.take(now, packet));
        }
        client.listen_to_news();
        server.listen_to_news();
        if quiet {
            return;
        }
    }
}

/// Measures a stack of so many connections.
///
/// # Errors
/// When they do not come about.
pub(crate) fn measure(connections: usize) -> anyhow::Result<Cost> {
    let addresses: Vec<Ipv4Addr> = (0..SUBFLOWS).map(client).collect();
    let (mut here, mut there) = (Host::new(1, &addresses), Host::new(2, &[SERVER]));
    let mut now = Instant::ZERO + Duration::from_secs(1);
    let mut listeners = Vec::new();
    for port in 0..connections.div_ceil(PER_PORT) as u16 {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, FIRST_PORT + port));
        listeners.push(there.stack.listen(at, 1024)?);
    }
    let mut held = Vec::with_capacity(connections);
    for number in 0..connections {
        // Time passes, as it does where many connect.
        now += Duration::from_micros(100);
        let port = FIRST_PORT + (number / PER_PORT) as u16;
        held.push(here.stack.connect(now, SocketAddr::from((SERVER, port)), ConnectOptions::default())?);
        settle(now, &mut here, &mut there);
        let accepted = listeners.iter().find_map(|listener| there.stack.accept(*listener));
        // Without data nobody joins: the client has not heard that it may.
        for (id, from_here) in [(held.last().copied(), true), (accepted, false)] {
            let host = if from_here { &mut here } else { &mut there };
            if let Some(mut connection) = id.and_then(|id| host.stack.connection(now, id)) {
                connection.write(&[7; 64])?;
            }
            settle(now, &mut here, &mut there);
        }
        for (id, host) in [(held.last().copied(), &mut here), (accepted, &mut there)] {
            if let Some(mut connection) = id.and_then(|id| host.stack.connection(now, id)) {
                connection.read(usize::MAX)?;
            }
        }
        settle(now, &mut here, &mut there);
    }
    // What is put off is done: joins, acknowledgements.
    let over = now + Duration::from_secs(2);
    while let Some(at) = [here.stack.poll_timeout(), there.stack.poll_timeout()].into_iter().flatten().min() {
        if at > over {
            break;
        }
        now = now.max(at);
        here.stack.handle_timeout(now);
        there.stack.handle_timeout(now);
        settle(now, &mut here, &mut there);
    }
    anyhow::ensure!(here.connected.len() == connections, "{} of {connections} connected", here.connected.len());
    let joined = here.stack.mib().get(Counter::MPTcpExtMPJoinSynAckRx);
    anyhow::ensure!(joined as usize == connections, "{joined} of {connections} joined");
    // A prime step: neighbours in memory are not measured one after the other.
    let order = |n: usize| held[n * 7_919 % connections];
    let packet_ns = packets(now, (&mut here, &mut there), connections, order);
    settle(now, &mut here, &mut there);
    let tick_ns = ticks(now, &mut here, connections, order);
    Ok(Cost { connections, packet_ns, tick_ns })
}

/// The time that `work` takes, in nanoseconds, for each of so many, as the median of groups.
fn each(connections: usize, mut work: impl FnMut(usize) -> Duration) -> f64 {
    let group = MEASURED.min(connections) / GROUPS;
    let of_group = |n: usize, work: &mut dyn FnMut(usize) -> Duration| {
        let time: Duration = (n * group..(n + 1) * group).map(work).sum();
        time.as_nanos() as f64 / group as f64
    };
    Summary::of((0..GROUPS).map(|n| of_group(n, &mut work))).map_or(f64::NAN, |summary| summary.median)
}

fn packets(
    now: Instant,
    (here, there): (&mut Host, &mut Host),
    connections: usize,
    order: impl Fn(usize) -> ConnectionId,
) -> f64 {
    each(connections, |n| {
        if let Some(mut connection) = here.stack.connection(now, order(n)) {
            let _ = connection.write(&[7; 64]);
        }
        let mut time = Duration::ZERO;
        while let Some((headers, payload)) = here.transmit(now) {
            let begun = Stopwatch::now();
            let received = Received { headers: &headers, payload, checksum: RxChecksum::Verified };
            there.stack.handle_packet(now, there.link, received);
            while there.stack.poll_event().is_some() {}
            let answer = there.transmit(now);
            time += begun.elapsed();
            if let Some(answer) = answer {
                here.take(now, answer);
            }
        }
        here.listen_to_news();
        time
    })
}

/// Every connection has sent something that nobody answers.
fn ticks(mut now: Instant, here: &mut Host, connections: usize, order: impl Fn(usize) -> ConnectionId) -> f64 {
    for n in 0..connections {
        now += Duration::from_micros(1);
        if let Some(mut connection) = here.stack.connection(now, order(n)) {
            let _ = connection.write(&[7; 64]);
        }
        while here.transmit(now).is_some() {}
    }
    each(connections, |_| {
        let Some(at) = here.stack.poll_timeout() else { return Duration::ZERO };
        now = now.max(at);
        let begun = Stopwatch::now();
        here.stack.handle_timeout(now);
        while here.stack.poll_transmit(now, &mut here.buf).is_some() {}
        while here.stack.poll_event().is_some() {}
        let _next = here.stack.poll_timeout();
        begun.elapsed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_comes_about_and_is_measured() {
        let cost = measure(200).unwrap();
        assert!(cost.packet_ns > 0.0 && cost.tick_ns > 0.0, "{cost:?}");
    }
}
