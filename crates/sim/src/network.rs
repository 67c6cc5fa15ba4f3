//! Hosts, switches and links, and the one loop that moves the clock.

use std::net::IpAddr;
use std::time::Duration;

use polypath_proto::{Config, Instant, LinkConfig, LinkId, LocalAddress, Stack};

use crate::app::{Application, Context};
use crate::event::EventHeap;
use crate::host::{Fault, Host};
use crate::link::{LinkDirection, Verdict};
use crate::middlebox::{self, Direction, Middlebox};
use crate::packet::Packet;
use crate::rng::{self, Stream};
use crate::schedule::Change;
use crate::slab::Slab;
use crate::topology::{Checksums, End, LinkIndex, LinkSpec, NodeId, Port, Switch};
use crate::trace::{Passage, Trace, What};

pub(crate) struct Link {
    pub(crate) name: String,
    quiet: bool,
    coalesce: Option<Duration>,
    ends: [End; 2],
    pub(crate) directions: [LinkDirection; 2],
    boxes: Vec<Box<dyn Middlebox>>,
    /// When they are called next.
    boxes_armed: Option<Instant>,
}

enum Node<A> {
    Host(Box<Host<A>>),
    Switch(Switch),
}

/// What waits in the event heap.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Event {
    Arrive {
        link: LinkIndex,
        direction: Direction,
        cuts: u32,
        packet: u32,
    },
    Wake(NodeId),
    /// The packets that a host has gathered reach its stack.
    Flush(NodeId),
    /// A box of a link wants to act.
    Boxes(LinkIndex),
    Change(u32),
}

/// A network under a virtual clock. Every host runs an application of type `A`.
///
/// The same calls with the same seed give the same run, to the byte.
pub struct Network<A> {
    pub(crate) heap: EventHeap<Event>,
    nodes: Vec<Node<A>>,
    pub(crate) links: Vec<Link>,
    packets: Slab<Packet>,
    changes: Vec<Change>,
    pub(crate) trace: Trace,
    seed: u64,
    checksums: Checksums,
    fault: Option<Fault>,
    frames: u64,
    /// Scratch for packets that leave a host and for those that leave a stack of middleboxes.
    leaving: Vec<(Port, Packet)>,
    passed: Vec<(Direction, Packet)>,
}

impl<A: Application> Network<A> {
    /// An empty network. All its randomness comes from `seed`.
    pub fn new(seed: u64, checksums: Checksums, trace: Trace) -> Self {
        Self {
            heap: EventHeap::new(),
            nodes: Vec::new(),
            links: Vec::new(),
            packets: Slab::default(),
            changes: Vec::new(),
            trace,
            seed,
            checksums,
            fault: None,
            frames: 0,
            leaving: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// Adds a host with a stack of this configuration.
    pub fn add_host(&mut self, name: impl Into<String>, config: Config, app: A) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let stack = Stack::new(config, rng::seed_bytes(self.seed, Stream::Stack(id.0)));
        self.nodes.push(Node::Host(Box::new(Host::new(name.into(), stack, app))));
        id
    }

    /// Adds a switch, which forwards by destination address ([`add_route`](Self::add_route)) without delay.
    pub fn add_switch(&mut self, name: impl Into<String>) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node::Switch(Switch::new(name.into())));
        id
    }

    /// Joins two nodes by a link with its end A at `a` and its end B at `b`.
    pub fn add_link(&mut self, a: NodeId, b: NodeId, spec: LinkSpec) -> LinkIndex {
        let index = LinkIndex(self.links.len() as u32);
        let ends = [
            self.add_end(a, Port { link: index, outward: Direction::Forward }, &spec),
            self.add_end(b, Port { link: index, outward: Direction::Backward }, &spec),
        ];
        let direction = |params, number| {
            LinkDirection::new(params, spec.mtu, rng::stream(self.seed, Stream::Link(index.0 * 2 + number)))
        };
        let directions = [direction(spec.forward, 0), direction(spec.backward, 1)];
        self.links.push(Link {
            name: spec.name,
            quiet: spec.quiet,
            coalesce: spec.coalesce,
            ends,
            directions,
            boxes: Vec::new(),
            boxes_armed: None,
        });
        index
    }

    fn add_end(&mut self, node: NodeId, port: Port, spec: &LinkSpec) -> End {
        let checksum = self.checksums.mode();
        let number = match &mut self.nodes[node.0 as usize] {
            Node::Host(host) => {
                host.add_port(port, LinkConfig { mtu: spec.mtu, max_segment: spec.max_segment, checksum })
            }
            Node::Switch(switch) => switch.add_port(port),
        };
        End { node, port: number }
    }

    /// What a host calls a link that ends at it.
    ///
    /// # Panics
    /// The link does not end at this host.
    pub fn link_id(&self, host: NodeId, link: LinkIndex) -> LinkId {
        LinkId(self.port(host, link))
    }

    fn port(&self, node: NodeId, link: LinkIndex) -> u32 {
        let ends = &self.links[link.0 as usize].ends;
        ends.iter().find(|end| end.node == node).expect("the link ends at this node").port
    }

    /// Gives a host an address on one of its links. `name` is what the stack reports the path by.
    pub fn add_address(&mut self, host: NodeId, link: LinkIndex, addr: IpAddr, name: &str, backup: bool) {
        let address = LocalAddress { addr, link: self.link_id(host, link), backup, name: Some(name.into()) };
        self.apply(Change::AddAddress(host, address));
    }

    /// Timers of a host, its stack's and its application's, expire late: at the next multiple of `tick`. Zero: on time.
    ///
    /// # Panics
    /// The node is a switch.
    pub fn set_clock_tick(&mut self, host: NodeId, tick: Duration) {
        self.host_mut(host).tick = tick;
    }

    /// Lets a host's application do something now.
    pub(crate) fn with_app(&mut self, host: NodeId, act: impl FnOnce(&mut A, &mut Context<'_>)) {
        let now = self.heap.now();
        if let Node::Host(node) = &mut self.nodes[host.0 as usize] {
            let (app, mut cx) = node.context(now, &mut self.trace);
            act(app, &mut cx);
            self.settle(host);
        }
    }

    /// A switch sends packets to `addr` over `link`; over one of several by the flow's hash, if this is said more than
    /// once. Without an address: packets for which there is no other route.
    ///
    /// # Panics
    /// The node is a host, or the link does not end at it.
    pub fn add_route(&mut self, switch: NodeId, addr: Option<IpAddr>, link: LinkIndex) {
        let port = self.port(switch, link);
        let Node::Switch(switch) = &mut self.nodes[switch.0 as usize] else { panic!("hosts have no routes") };
        switch.add_route(addr, port);
    }

    /// Puts a box at end A of a link, behind those that are there already.
    pub fn add_middlebox(&mut self, link: LinkIndex, middlebox: Box<dyn Middlebox>) {
        self.links[link.0 as usize].boxes.push(middlebox);
    }

    /// Lets a change happen at a time.
    pub fn schedule(&mut self, at: Instant, change: Change) {
        self.changes.push(change);
        self.heap.push(at, Event::Change((self.changes.len() - 1) as u32));
    }

    /// Starts the applications, in the order of their hosts.
    pub fn start(&mut self) {
        for index in 0..self.nodes.len() {
            let node = NodeId(index as u32);
            if let Node::Host(host) = &mut self.nodes[index] {
                host.start(self.heap.now(), &mut self.trace);
                self.settle(node);
            }
        }
    }

    /// Lets the next event happen. `false`: nothing will ever happen again.
    ///
    /// # Errors
    /// A stack that does not come to rest. The network is not to be used any more.
    pub fn step(&mut self) -> Result<bool, Fault> {
        let Some(event) = self.heap.pop() else {
            return Ok(false);
        };
        match event {
            Event::Arrive { link, direction, cuts, packet } => self.arrive(link, direction, cuts, packet),
            Event::Wake(node) => self.wake(node),
            Event::Flush(node) => self.flush(node),
            Event::Boxes(link) => self.wake_boxes(link),
            Event::Change(index) => self.apply(self.changes[index as usize].clone()),
        }
        self.fault.take().map_or(Ok(true), Err)
    }

    fn wake(&mut self, node: NodeId) {
        let now = self.heap.now();
        let Node::Host(host) = &mut self.nodes[node.0 as usize] else {
            return;
        };
        match host.wake(now, &mut self.trace) {
            Ok(true) => self.settle(node),
            Ok(false) => self.arm(node),
            Err(fault) => self.fault = Some(fault),
        }
    }

    fn flush(&mut self, node: NodeId) {
        let now = self.heap.now();
        if let Node::Host(host) = &mut self.nodes[node.0 as usize] {
            host.receive_gathered(now, &mut self.trace);
            self.settle(node);
        }
    }

    /// Drains a host after something happened to it, until it rests.
    pub(crate) fn settle(&mut self, node: NodeId) {
        let now = self.heap.now();
        loop {
            let Node::Host(host) = &mut self.nodes[node.0 as usize] else {
                return;
            };
            if let Err(fault) = host.transmit(now, self.checksums, &mut self.leaving) {
                self.fault = Some(fault);
                return;
            }
            let more = host.dispatch(now, &mut self.trace);
            let mut leaving = std::mem::take(&mut self.leaving);
            for (port, packet) in leaving.drain(..) {
                self.leave(node, port, packet);
            }
            self.leaving = leaving;
            if !more {
                break;
            }
        }
        self.arm(node);
    }

    fn arm(&mut self, node: NodeId) {
        let Node::Host(host) = &mut self.nodes[node.0 as usize] else {
            return;
        };
        if let Some(at) = host.arm() {
            self.heap.push(at, Event::Wake(node));
        }
    }

    /// A packet leaves a node. At end A it meets the link's middleboxes first.
    fn leave(&mut self, node: NodeId, port: Port, packet: Packet) {
        self.frames += 1;
        if port.outward == Direction::Forward && !self.links[port.link.0 as usize].boxes.is_empty() {
            self.pass_boxes(node, port.link, port.outward, packet);
        } else {
            self.enqueue(node, port.link, port.outward, packet);
        }
    }

    fn pass_boxes(&mut self, node: NodeId, index: LinkIndex, direction: Direction, packet: Packet) {
        let now = self.heap.now();
        let link = &mut self.links[index.0 as usize];
        let before = self.trace.is_on().then(|| packet.clone());
        let mut passed = std::mem::take(&mut self.passed);
        middlebox::pass(&mut link.boxes, now, direction, packet, &mut passed);
        if let (Some(packet), true) = (before, passed.is_empty()) {
            let node = self.nodes[node.0 as usize].name();
            self.trace.packet(&Passage { at: now, node, link: &link.name, packet: &packet, what: What::Swallowed });
        }
        self.leave_boxes(index, passed);
    }

    /// A box acts by itself.
    fn wake_boxes(&mut self, index: LinkIndex) {
        let now = self.heap.now();
        let link = &mut self.links[index.0 as usize];
        if link.boxes_armed != Some(now) {
            return;
        }
        link.boxes_armed = None;
        let mut passed = std::mem::take(&mut self.passed);
        middlebox::wake(&mut link.boxes, now, &mut passed);
        self.leave_boxes(index, passed);
    }

    /// What comes out of a stack of boxes goes on.
    fn leave_boxes(&mut self, index: LinkIndex, mut passed: Vec<(Direction, Packet)>) {
        let link = &mut self.links[index.0 as usize];
        let wish = middlebox::next_wake(&link.boxes);
        if let Some(at) = wish.filter(|at| link.boxes_armed.is_none_or(|armed| *at < armed)) {
            link.boxes_armed = Some(at);
            self.heap.push(at, Event::Boxes(index));
        }
        let node = link.ends[0].node;
        for (direction, packet) in passed.drain(..) {
            match direction {
                Direction::Forward => self.enqueue(node, index, direction, packet),
                Direction::Backward => self.deliver(index, direction, packet),
            }
        }
        self.passed = passed;
    }

    fn enqueue(&mut self, node: NodeId, index: LinkIndex, direction: Direction, packet: Packet) {
        let now = self.heap.now();
        let link = &mut self.links[index.0 as usize];
        let wire = &mut link.directions[direction.index()];
        let queued = if self.trace.is_on() { wire.queued(now) } else { 0 };
        let verdict = wire.offer(now, packet.len());
        let cuts = wire.cuts();
        let what = What::Sent { verdict, queued, quiet: link.quiet };
        let node = self.nodes[node.0 as usize].name();
        self.trace.packet(&Passage { at: now, node, link: &link.name, packet: &packet, what });
        if let Verdict::Deliver { at, copy } = verdict {
            self.links[index.0 as usize].directions[direction.index()].note_passage(at, packet.payload.len());
            let copy = copy.map(|at| (at, packet.clone()));
            for (at, packet) in std::iter::once((at, packet)).chain(copy) {
                let packet = self.packets.insert(packet);
                self.heap.push(at, Event::Arrive { link: index, direction, cuts, packet });
            }
        }
    }

    fn arrive(&mut self, index: LinkIndex, direction: Direction, cuts: u32, packet: u32) {
        let packet = self.packets.remove(packet);
        let link = &mut self.links[index.0 as usize];
        let end = link.ends[1 - direction.index()];
        let wire = &mut link.directions[direction.index()];
        if cuts != wire.cuts() {
            wire.lost_in_cut(packet.len());
            let node = self.nodes[end.node.0 as usize].name();
            let at = self.heap.now();
            self.trace.packet(&Passage { at, node, link: &link.name, packet: &packet, what: What::Cut });
        } else if direction == Direction::Backward && !link.boxes.is_empty() {
            self.pass_boxes(end.node, index, direction, packet);
        } else {
            self.deliver(index, direction, packet);
        }
    }

    /// A packet has come over a link, middleboxes and all.
    fn deliver(&mut self, index: LinkIndex, direction: Direction, packet: Packet) {
        let now = self.heap.now();
        let link = &self.links[index.0 as usize];
        let end = link.ends[1 - direction.index()];
        let hold = link.coalesce;
        match &mut self.nodes[end.node.0 as usize] {
            Node::Host(host) => {
                let (node, link) = (host.name(), link.name.as_str());
                self.trace.packet(&Passage { at: now, node, link, packet: &packet, what: What::Arrived });
                match hold {
                    None => {
                        host.receive(now, end.port, packet, self.checksums);
                        self.settle(end.node);
                    }
                    Some(hold) => {
                        if host.gather(end.port, packet, self.checksums) {
                            self.heap.push(now + hold, Event::Flush(end.node));
                        }
                    }
                }
            }
            Node::Switch(switch) => match switch.route(&packet) {
                Some(port) => self.leave(end.node, port, packet),
                None => {
                    let (node, link) = (switch.name.as_str(), link.name.as_str());
                    self.trace.packet(&Passage { at: now, node, link, packet: &packet, what: What::NoRoute });
                }
            },
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.heap.now()
    }

    /// When the next event is due; `None`: never.
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.next_at()
    }

    /// How long it is from the start of the simulation to now.
    pub fn elapsed(&self) -> Duration {
        self.now() - Instant::ZERO
    }

    /// A host.
    ///
    /// # Panics
    /// The node is a switch.
    pub fn host(&self, id: NodeId) -> &Host<A> {
        match &self.nodes[id.0 as usize] {
            Node::Host(host) => host,
            Node::Switch(switch) => panic!("{} is a switch", switch.name),
        }
    }

    /// A host, to look closely at its stack. A change of the stack is seen only after the next event.
    ///
    /// # Panics
    /// The node is a switch.
    pub fn host_mut(&mut self, id: NodeId) -> &mut Host<A> {
        match &mut self.nodes[id.0 as usize] {
            Node::Host(host) => host,
            Node::Switch(switch) => panic!("{} is a switch", switch.name),
        }
    }

    /// What a node is called.
    pub fn name(&self, id: NodeId) -> &str {
        self.nodes[id.0 as usize].name()
    }

    /// What a link is called.
    pub fn link_name(&self, link: LinkIndex) -> &str {
        &self.links[link.0 as usize].name
    }

    /// One direction of a link.
    pub fn direction(&self, link: LinkIndex, direction: Direction) -> &LinkDirection {
        &self.links[link.0 as usize].directions[direction.index()]
    }

    /// One direction of a link, to change it or to let it keep account of more.
    pub fn direction_mut(&mut self, link: LinkIndex, direction: Direction) -> &mut LinkDirection {
        &mut self.links[link.0 as usize].directions[direction.index()]
    }

    /// Frames that left a node so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The packet log and the digest.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}

impl<A> Node<A> {
    fn name(&self) -> &str {
        match self {
            Self::Host(host) => &host.name,
            Self::Switch(switch) => &switch.name,
        }
    }
}
