//! Boxes in the middle of a path that read, change, drop or invent packets: one file for each family.
//!
//! [`Kind`] is the catalogue; its members have names (`strip-data>`), so that commands and drawn scenarios can ask for
//! them.

mod acks;
mod alg;
mod corrupt;
mod duplicate;
mod filter;
mod idle;
mod kind;
mod nat;
mod order;
mod positions;
mod proxy;
mod rst;
mod segment;
mod sequence;
mod strip;
mod syn_drop;
mod window;

pub use alg::TOKEN;
pub use filter::{Action, Filter, drop_numbered};
pub use kind::{Kind, Spec, UnknownBox};
pub use strip::{Strip, strip_mptcp};
pub use syn_drop::drop_joins;

use std::collections::BTreeMap;

use polypath_proto::Instant;

use crate::packet::{Flow, Packet};

/// Which way along a link.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// From the link's end A to its end B.
    Forward,
    /// From end B to end A.
    Backward,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Self::Forward => Self::Backward,
            Self::Backward => Self::Forward,
        }
    }

    /// 0 for forward, 1 for backward.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A box at end A of a link. Forward packets pass it before they queue for the link, backward packets when they have
/// come over it. Several on one link form a stack: forward packets pass them in the order they were added.
pub trait Middlebox {
    /// What it is called in the packet log.
    fn name(&self) -> &str;

    /// A packet comes by. It goes on if it is put into `out`, as it is or changed; it is dropped if not. Packets of
    /// the box's own may be added, in either direction.
    fn handle(&mut self, now: Instant, direction: Direction, packet: Packet, out: &mut Output);

    /// When it wants to act by itself, because it holds something back.
    fn next_wake(&self) -> Option<Instant> {
        None
    }

    /// That time, or an earlier one, has come.
    fn wake(&mut self, _now: Instant, _out: &mut Output) {}
}

/// What a box remembers of each connection. It is named as end A's packets name it.
#[derive(Debug)]
pub(crate) struct PerConnection<S>(BTreeMap<Flow, S>);

impl<S> Default for PerConnection<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Default> PerConnection<S> {
    /// Of the connection that a packet belongs to; `None` for what is not TCP.
    fn of(&mut self, direction: Direction, packet: &Packet) -> Option<&mut S> {
        let flow = packet.flow()?;
        let flow = if direction == Direction::Forward { flow } else { flow.reverse() };
        Some(self.0.entry(flow).or_default())
    }
}

/// Packets that leave a box.
#[derive(Debug, Default)]
pub struct Output(pub(crate) Vec<(Direction, Packet)>);

impl Output {
    /// Sends a packet on its way in this direction.
    pub fn push(&mut self, direction: Direction, packet: Packet) {
        self.0.push((direction, packet));
    }

    /// With the gaps they are in when they have left the box with this number; the last first.
    fn behind(self, index: usize) -> impl Iterator<Item = (usize, Direction, Packet)> {
        self.0.into_iter().rev().map(move |(direction, packet)| {
            (if direction == Direction::Forward { index + 1 } else { index }, direction, packet)
        })
    }
}

/// Sends `packet` through a stack of boxes. What comes out at either end is left in `out`, in order.
pub(crate) fn pass(
    boxes: &mut [Box<dyn Middlebox>],
    now: Instant,
    direction: Direction,
    packet: Packet,
    out: &mut Vec<(Direction, Packet)>,
) {
    let entry = match direction {
        Direction::Forward => 0,
        Direction::Backward => boxes.len(),
    };
    travel(boxes, now, vec![(entry, direction, packet)], out);
}

/// Lets the boxes act that want to by now.
pub(crate) fn wake(boxes: &mut [Box<dyn Middlebox>], now: Instant, out: &mut Vec<(Direction, Packet)>) {
    for index in 0..boxes.len() {
        if boxes[index].next_wake().is_some_and(|at| at <= now) {
            let mut output = Output::default();
            boxes[index].wake(now, &mut output);
            travel(boxes, now, output.behind(index).collect(), out);
        }
    }
}

/// When the first of the boxes wants to act.
pub(crate) fn next_wake(boxes: &[Box<dyn Middlebox>]) -> Option<Instant> {
    boxes.iter().filter_map(|middlebox| middlebox.next_wake()).min()
}

/// Moves packets on from their gaps, the last one first. Gap i lies in front of box i for a forward packet, behind box
/// i - 1 for a backward one.
fn travel(
    boxes: &mut [Box<dyn Middlebox>],
    now: Instant,
    mut moving: Vec<(usize, Direction, Packet)>,
    out: &mut Vec<(Direction, Packet)>,
) {
    while let Some((gap, direction, packet)) = moving.pop() {
        let index = match direction {
            Direction::Forward => Some(gap).filter(|&index| index < boxes.len()),
            Direction::Backward => gap.checked_sub(1),
        };
        let Some(index) = index else {
            out.push((direction, packet));
            continue;
        };
        let mut output = Output::default();
        boxes[index].handle(now, direction, packet, &mut output);
        moving.extend(output.behind(index));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use polypath_wire::{
        CapableFlags, CapableKeys, ChecksumMode, Ecn, IpHeader, MpCapable, MpPrio, MptcpOption, Segment, SeqNum,
        TcpFlags, TcpHeader, TcpOptions, verify_checksum,
    };

    use super::*;

    fn packet(flags: TcpFlags, option: MptcpOption) -> Packet {
        let addr = std::net::Ipv4Addr::LOCALHOST.into();
        let ip = IpHeader { src: addr, dst: addr, hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 };
        let (seq, ack) = (SeqNum(1), SeqNum(2));
        let tcp = TcpHeader { src_port: 1, dst_port: 2, seq, ack, flags, window: 100, urgent: 0 };
        let mut options = TcpOptions { mss: Some(1_460), ..TcpOptions::default() };
        options.mptcp.push(option);
        Packet::new(&Segment { ip, tcp, options }, Bytes::from_static(b"payload"), ChecksumMode::Zero)
    }

    fn capable() -> MptcpOption {
        let flags = CapableFlags::HMAC_SHA256;
        MptcpOption::MpCapable(MpCapable { version: 1, flags, keys: CapableKeys::Syn })
    }

    /// What leaves a stack of boxes.
    fn through(boxes: &mut [Box<dyn Middlebox>], direction: Direction, packet: Packet) -> Vec<(Direction, Packet)> {
        let mut out = Vec::new();
        pass(boxes, Instant::ZERO, direction, packet, &mut out);
        out
    }

    #[test]
    fn a_stripped_syn_is_a_plain_one_with_a_right_checksum() {
        let mut boxes: Vec<Box<dyn Middlebox>> = vec![Box::new(strip_mptcp(Strip::Syn))];
        let syn = packet(TcpFlags::SYN, capable());
        let out = through(&mut boxes, Direction::Forward, syn.clone());
        let [(Direction::Forward, stripped)] = &out[..] else { panic!("{out:?}") };
        let options = stripped.segment().unwrap().options;
        assert_eq!((options.mptcp.len(), options.mss), (0, Some(1_460)));
        assert_eq!(stripped.headers.len(), syn.headers.len() - 4);
        assert!(verify_checksum(&stripped.headers, &stripped.payload));
    }

    #[test]
    fn a_box_for_syns_leaves_data_as_it_is() {
        let mut boxes: Vec<Box<dyn Middlebox>> = vec![Box::new(strip_mptcp(Strip::Syn))];
        let data = packet(TcpFlags::ACK, MptcpOption::MpPrio(MpPrio { backup: true }));
        let out = through(&mut boxes, Direction::Backward, data.clone());
        assert_eq!(out[0].1.headers, data.headers);
        let mut boxes: Vec<Box<dyn Middlebox>> = vec![Box::new(strip_mptcp(Strip::Data))];
        let out = through(&mut boxes, Direction::Backward, data);
        assert!(out[0].1.segment().unwrap().options.mptcp.is_empty());
    }

    /// Answers each forward packet with a copy of it, and marks what passes with its number in the hop limit.
    struct Echo(u8);

    impl Middlebox for Echo {
        fn name(&self) -> &str {
            "echo"
        }

        fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
            let mut segment = packet.segment().unwrap();
            segment.ip.hop_limit = segment.ip.hop_limit * 10 + self.0;
            let marked = Packet::new(&segment, packet.payload, ChecksumMode::Zero);
            if direction == Direction::Forward {
                out.push(Direction::Backward, marked.clone());
            }
            out.push(direction, marked);
        }
    }

    #[test]
    fn boxes_stack_and_what_they_answer_passes_those_in_front_of_them() {
        let mut boxes: Vec<Box<dyn Middlebox>> = vec![Box::new(Echo(1)), Box::new(Echo(2))];
        let mut segment = packet(TcpFlags::ACK, capable()).segment().unwrap();
        segment.ip.hop_limit = 0;
        let packet = Packet::new(&segment, Bytes::new(), ChecksumMode::Zero);
        let marks = |out: Vec<(Direction, Packet)>| -> Vec<_> {
            out.iter().map(|(direction, packet)| (*direction, packet.segment().unwrap().ip.hop_limit)).collect()
        };
        let forward = marks(through(&mut boxes, Direction::Forward, packet.clone()));
        assert_eq!(
            forward,
            [(Direction::Backward, 1), (Direction::Backward, 121), (Direction::Forward, 12)],
            "box 1 answers; box 2 answers through box 1; the packet goes on"
        );
        assert_eq!(marks(through(&mut boxes, Direction::Backward, packet)), [(Direction::Backward, 21)]);
    }

    #[test]
    fn packets_are_numbered_by_direction() {
        let doomed = |direction, number| direction == Direction::Forward && number == 1;
        let mut boxes: Vec<Box<dyn Middlebox>> = vec![Box::new(drop_numbered(doomed))];
        let mut passes = |direction| !through(&mut boxes, direction, packet(TcpFlags::ACK, capable())).is_empty();
        assert!(passes(Direction::Forward));
        assert!(passes(Direction::Backward) && passes(Direction::Backward));
        assert!(!passes(Direction::Forward));
        assert!(passes(Direction::Forward));
    }
}
