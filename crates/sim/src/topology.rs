//! The parts of a network: names, link properties and switches.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use polypath_wire::ChecksumMode;

use crate::link::LinkParams;
use crate::middlebox::Direction;
use crate::packet::Packet;

/// A host or a switch of a [`Network`](crate::Network).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub(crate) u32);

/// A link of a [`Network`](crate::Network).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkIndex(pub(crate) u32);

/// A link to make: its name in the packet log and the properties of both directions.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// The name.
    pub name: String,
    /// Longest IP packet in bytes, at least 576 (IPv4) or 1280 (IPv6).
    pub mtu: u32,
    /// Longest IP packet that a stack may hand over to be cut into frames; not above `mtu`: none.
    pub max_segment: u32,
    /// The packet log leaves out what is sent over it and shows only what arrives at hosts or is dropped.
    pub quiet: bool,
    /// Hosts gather what arrives over it for so long and merge what can be merged, as a network card does that
    /// moderates its interrupts and coalesces (GRO). `None`: each packet goes to the stack at once.
    pub coalesce: Option<Duration>,
    /// From end A to end B.
    pub forward: LinkParams,
    /// From end B to end A.
    pub backward: LinkParams,
}

impl LinkSpec {
    /// A link that is the same in both directions, with Ethernet's MTU of 1500 and full segmentation offload.
    pub fn new(name: impl Into<String>, params: LinkParams) -> Self {
        let (forward, backward) = (params.clone(), params);
        Self { name: name.into(), mtu: 1500, max_segment: 65_535, quiet: false, coalesce: None, forward, backward }
    }
}

/// Where a link ends.
#[derive(Copy, Clone, Debug)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    /// The host's name for the link; for a switch, its port.
    pub(crate) port: u32,
}

/// A link's way out of a node.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Port {
    pub(crate) link: LinkIndex,
    pub(crate) outward: Direction,
}

/// How the links treat TCP checksums.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Checksums {
    /// Stacks neither compute nor verify them: payload is not touched.
    #[default]
    Offloaded,
    /// Stacks compute and verify them, as without offload: a changed byte is noticed.
    Computed,
}

impl Checksums {
    /// What stacks put into the checksum field.
    pub(crate) fn mode(self) -> ChecksumMode {
        match self {
            Self::Offloaded => ChecksumMode::Zero,
            Self::Computed => ChecksumMode::Full,
        }
    }
}

/// Forwards by destination address; among several ports, by the hash of the flow.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    pub(crate) name: String,
    ports: Vec<Port>,
    routes: BTreeMap<IpAddr, Vec<u32>>,
    default: Vec<u32>,
}

impl Switch {
    pub(crate) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    pub(crate) fn add_port(&mut self, port: Port) -> u32 {
        self.ports.push(port);
        (self.ports.len() - 1) as u32
    }

    /// One more port for packets to this address, or for all that have no other route.
    pub(crate) fn add_route(&mut self, addr: Option<IpAddr>, port: u32) {
        match addr {
            Some(addr) => self.routes.entry(addr).or_default().push(port),
            None => self.default.push(port),
        }
    }

    pub(crate) fn route(&self, packet: &Packet) -> Option<Port> {
        let flow = packet.flow()?;
        let group = self.routes.get(&flow.dst).unwrap_or(&self.default);
        let number = match group.as_slice() {
            [] => return None,
            [one] => *one,
            several => several[(flow.hash() % several.len() as u64) as usize],
        };
        Some(self.ports[number as usize])
    }
}
