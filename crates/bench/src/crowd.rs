//! What one packet and one timer cost in a stack that holds many connections.

use polypath_proto::mib::Counter;
use polypath_proto::{Config, ConnectionId, Duration, Keepalive};
use serde::Serialize;
use std::time::Instant as Stopwatch;

use crate::pair::{OFFLOAD, Packet, Pair, Watch};
use crate::stats::Summary;

/// Packets, and timers, that are measured, whatever the number of connections: each packet on another one.
const MEASURED: usize = 1_000;
/// They are taken in groups, of which the median counts: what disturbs the machine disturbs one of them.
const GROUPS: usize = 20;

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

/// Two stacks, and idle connections between them.
#[derive(Debug)]
pub struct Crowd<W> {
    /// The stacks.
    pub pair: Pair<W>,
    held: Vec<ConnectionId>,
}

impl<W: Watch> Crowd<W> {
    /// So many connections, on each of which both have said something.
    ///
    /// # Errors
    /// When they do not come about.
    pub fn gather(connections: usize) -> anyhow::Result<Self> {
        // With keep-alives each of them waits for something.
        let config = Config { nodelay: true, keepalive: Some(Keepalive::default()), ..Config::default() };
        let mut pair = Pair::new(&config, OFFLOAD, connections)?;
        let held: Vec<_> = (0..connections).map(|_| Ok(pair.connect()?.0)).collect::<anyhow::Result<_>>()?;
        pair.rest(Duration::from_secs(5));
        let (connected, joined) = (pair.client.connected, pair.client.stack.mib().get(Counter::MPTcpExtMPJoinSynAckRx));
        anyhow::ensure!(connected == connections, "{connected} of {connections} connected");
        anyhow::ensure!(joined as usize == connections, "{joined} of {connections} joined");
        Ok(Crowd { pair, held })
    }

    /// Neighbours in memory do not follow each other: a prime step.
    fn nth(&self, n: usize) -> ConnectionId {
        self.held[n * 7_919 % self.held.len()]
    }

    /// The client writes on the `n`th connection; what it sends.
    fn say(&mut self, n: usize) -> Option<Packet> {
        let (now, id) = (self.pair.now, self.nth(n));
        let _ = self.pair.client.write(now, id, &[7; 64]);
        self.pair.client.transmit(now)
    }

    /// One packet to the server, on the `n`th connection, and its answer.
    pub fn packet(&mut self, n: usize) {
        let packet = self.say(n);
        let Pair { now, client, server, .. } = &mut self.pair;
        let Some(packet) = packet else { return };
        server.take(*now, packet);
        server.tend(*now);
        while let Some(answer) = server.transmit(*now) {
            client.take(*now, answer);
        }
        client.tend(*now);
    }

    /// Something that nobody answers is sent on so many connections: each has a timer that will soon expire.
    pub fn wind_up(&mut self, connections: usize) {
        for n in 0..connections {
            self.pair.now += Duration::from_nanos(100);
            let _lost = self.say(n);
            while self.pair.client.transmit(self.pair.now).is_some() {}
        }
    }

    /// The client's next timers expire, until one of them sends something, which is lost.
    pub fn tick(&mut self) {
        let Pair { now, client, .. } = &mut self.pair;
        let sent = client.packets;
        while client.packets == sent {
            let Some(at) = client.stack.poll_timeout() else { return };
            *now = at.max(*now);
            client.tend(*now);
            while client.transmit(*now).is_some() {}
        }
    }
}

/// How long the stack works.
#[derive(Debug, Default)]
struct Worked(Duration);

impl Watch for Worked {
    fn around<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Stopwatch::now();
        let result = work();
        self.0 += begun.elapsed();
        result
    }
}

/// Measures a stack of so many connections.
///
/// # Errors
/// When they do not come about.
pub(crate) fn measure(connections: usize) -> anyhow::Result<Cost> {
    let mut crowd = Crowd::<Worked>::gather(connections)?;
    let packet_ns = each(connections, |n| {
        let before = crowd.pair.server.watch.0;
        crowd.packet(n);
        crowd.pair.server.watch.0 - before
    });
    crowd.pair.settle(|_, _| {});
    crowd.wind_up(MEASURED.min(connections));
    let tick_ns = each(connections, |_| {
        let before = crowd.pair.client.watch.0;
        crowd.tick();
        crowd.pair.client.watch.0 - before
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_comes_about_and_is_measured() {
        let cost = measure(200).unwrap();
        assert!(cost.packet_ns > 0.0 && cost.tick_ns > 0.0, "{cost:?}");
    }
}
