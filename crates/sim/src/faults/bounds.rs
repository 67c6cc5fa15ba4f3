//! How much a stack may keep, and how many packets it may send.

use std::time::Duration;

use polypath_proto::{Holdings, Instant};

use super::scenario::{HostPlan, Scenario};

/// What does not depend on buffers: the rest of a block, of a super-segment.
const SLACK: usize = 128 * 1024;

/// What is wrong with what a host holds, if anything is.
pub(super) fn check_memory(scenario: &Scenario, host: &HostPlan, held: &Holdings) -> Result<(), String> {
    // Where joins lose their option, each looks like a connection of plain TCP for a round trip. Where a server keeps nothing
    // of handshakes, segments of a connection that was reset make another.
    let connections = scenario.connections.len() * (1 + scenario.client.links.len());
    // Joins that have not shown their HMAC have some places of their own.
    let subflows = connections * (host.settings.max_subflows + 4);
    let (send, receive) = (host.settings.send_buffer, host.settings.recv_buffer);
    let Holdings { connections: open, tokens, flows, time_waits, deadlines, replies, data } = *held;
    let most = [
        ("connections", open, connections),
        ("tokens", tokens, connections),
        ("subflows", data.subflows, subflows),
        ("flows", flows, subflows),
        ("pairs in TIME-WAIT", time_waits, 64 * subflows),
        ("deadlines", deadlines, connections),
        ("replies", replies, 256),
        ("unacknowledged bytes", data.unacknowledged, connections * send),
        // What is offered may be one and a half times the buffer behind a reader that reads nothing.
        ("unread bytes", data.unread, connections * (receive + receive / 2 + SLACK)),
        // Each subflow has its own; and a sender may go one buffer beyond the edge.
        ("bytes out of order", data.out_of_order, (connections + subflows) * (2 * receive + SLACK)),
        ("outstanding bytes", data.outstanding, (connections + subflows) * (send + SLACK)),
    ];
    match most.into_iter().find(|(_, held, most)| held > most) {
        Some((what, held, most)) => Err(format!("{held} {what}, and at most {most} were allowed: {data:?}")),
        None => Ok(()),
    }
}

/// Work done so far: what packets may be spent on.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Work {
    /// Packets that the two stacks have sent.
    pub(super) packets: u64,
    /// Bytes that applications have written and read.
    pub(super) bytes: u64,
    /// Their calls.
    pub(super) calls: u64,
    /// Bytes that may have to be sent again now.
    pub(super) outstanding: u64,
}

/// Counts packets against work.
pub(super) struct Storm {
    /// Pairs of addresses that packets may go between.
    pairs: u64,
    connections: u64,
    /// When the last slice of a second began, and what was done until then.
    slice: (Instant, Work),
    /// What was done when it was looked last.
    last: Work,
    /// Since when there was no work.
    quiet_since: Instant,
}

/// A slice without any work for so long before it is a quiet one: what was sent before has been repeated by then.
const QUIET_AFTER: Duration = Duration::from_secs(10);

impl Storm {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let pairs = (scenario.client.links.len() * scenario.server.links.len()) as u64;
        let connections = scenario.connections.len() as u64;
        Self {
            pairs,
            connections,
            slice: (Instant::ZERO, Work::default()),
            last: Work::default(),
            quiet_since: Instant::ZERO,
        }
    }

    /// Looks at what has been done by now.
    pub(super) fn observe(&mut self, now: Instant, work: Work) -> Result<(), String> {
        let each = self.pairs * self.connections;
        let units = work.bytes / 500 + work.calls;
        let seconds = (now - Instant::ZERO).as_secs();
        // A redundant scheduler sends all on each path.
        let most = 1_000 * self.connections + 10 * self.pairs.min(8) * units + 50 * each * (1 + seconds);
        if work.packets > most {
            return Err(format!("{} packets, {most} were allowed for {work:?}", work.packets));
        }
        let last = std::mem::replace(&mut self.last, work);
        if work.bytes != last.bytes || work.calls != last.calls {
            self.quiet_since = now;
        }
        if now - self.slice.0 >= Duration::from_secs(1) || self.quiet_since == now {
            self.slice = (now, last);
        }
        let before = self.slice.1;
        let sent = work.packets - before.packets;
        // After an outage, all that was under way goes again.
        let most = 100 + 40 * each + work.outstanding / 100;
        if now - self.quiet_since > QUIET_AFTER && sent > most {
            return Err(format!("{sent} packets in a second, after {QUIET_AFTER:?} in which nothing came of them"));
        }
        Ok(())
    }
}
