//! Network address translation.

use std::collections::BTreeMap;

use polypath_proto::Instant;

use super::{Direction, Middlebox, Output};
use crate::packet::{Flow, Packet};

/// The first port that a NAT gives out: below those of our clients.
const FIRST_PORT: u16 = 1_024;

/// Gives each connection from end A a port of its own. (The address stays: the simulated network has a route to it.)
#[derive(Debug)]
pub(super) struct Nat {
    /// After so many packets of a connection it forgets it, once, and the next packet from inside gets another port.
    rebind_after: Option<u32>,
    inside: BTreeMap<Flow, Binding>,
    /// By the flow as the outside sees it.
    outside: BTreeMap<Flow, Flow>,
    next_port: u16,
}

#[derive(Debug)]
struct Binding {
    port: u16,
    packets: u32,
    rebound: bool,
}

impl Nat {
    pub(super) fn new(rebind_after: Option<u32>) -> Self {
        Self { rebind_after, inside: BTreeMap::new(), outside: BTreeMap::new(), next_port: FIRST_PORT }
    }

    fn bind(&mut self, flow: Flow) -> u16 {
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        self.outside.insert(Flow { src_port: port, ..flow }, flow);
        port
    }
}

impl Middlebox for Nat {
    fn name(&self) -> &str {
        "nat"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(mut segment), Some(flow)) = (packet.segment(), packet.flow()) else { return };
        let inner = match direction {
            Direction::Forward => flow,
            // Nobody inside asked for it.
            Direction::Backward => match self.outside.get(&flow.reverse()) {
                Some(inner) => *inner,
                None => return,
            },
        };
        if !self.inside.contains_key(&inner) {
            let port = self.bind(inner);
            self.inside.insert(inner, Binding { port, packets: 0, rebound: false });
        }
        let Some(Binding { port, packets, rebound }) = self.inside.get_mut(&inner) else { return };
        *packets += 1;
        match direction {
            Direction::Forward if !*rebound && self.rebind_after.is_some_and(|after| *packets > after) => {
                self.outside.remove(&Flow { src_port: *port, ..inner });
                let port = self.bind(inner);
                self.inside.insert(inner, Binding { port, packets: 0, rebound: true });
                segment.tcp.src_port = port;
            }
            Direction::Forward => segment.tcp.src_port = *port,
            Direction::Backward => segment.tcp.dst_port = inner.src_port,
        }
        out.push(direction, packet.rewrite(&segment, packet.payload.clone()));
    }
}
