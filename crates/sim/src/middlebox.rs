//! Boxes in the middle of a path that read, change, drop or invent packets.

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_wire::{ChecksumMode, MptcpOption, Segment, TcpFlags};

use crate::packet::Packet;

/// Which way along a link.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
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
}

/// Packets that leave a box.
#[derive(Debug, Default)]
pub struct Output(pub(crate) Vec<(Direction, Packet)>);

impl Output {
    /// Sends a packet on its way in this direction.
    pub fn push(&mut self, direction: Direction, packet: Packet) {
        self.0.push((direction, packet));
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
    // Positions are gaps: gap i lies in front of box i for a forward packet, behind box i - 1 for a backward one.
    let mut moving = vec![(entry, direction, packet)];
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
        for (direction, packet) in output.0.into_iter().rev() {
            let gap = if direction == Direction::Forward { index + 1 } else { index };
            moving.push((gap, direction, packet));
        }
    }
}

/// A box made of a function that sees each packet's headers and payload and says what becomes of it.
pub struct Filter<F> {
    name: String,
    filter: F,
}

/// What a [`Filter`] does with a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing: it goes on as it came.
    Pass,
    /// It goes on with the changes made to its header values and payload, with a fresh checksum.
    Rewrite,
    /// It is dropped.
    Drop,
}

impl<F> Filter<F>
where
    F: FnMut(Instant, Direction, &mut Segment, &mut Bytes) -> Action,
{
    /// A box with this name in the packet log.
    pub fn new(name: impl Into<String>, filter: F) -> Self {
        Self { name: name.into(), filter }
    }
}

impl<F> Middlebox for Filter<F>
where
    F: FnMut(Instant, Direction, &mut Segment, &mut Bytes) -> Action,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn handle(&mut self, now: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let Ok(mut segment) = packet.segment() else {
            return;
        };
        let mut payload = packet.payload.clone();
        match (self.filter)(now, direction, &mut segment, &mut payload) {
            Action::Pass => out.push(direction, packet),
            Action::Rewrite => out.push(direction, Packet::new(&segment, payload, ChecksumMode::Full)),
            Action::Drop => {}
        }
    }
}

/// Which packets a box takes Multipath TCP options from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Strip {
    /// Only from SYN and SYN/ACK: the peers never learn of each other's support.
    Syn,
    /// From SYN/ACK only: the server believes in Multipath TCP until the third ACK.
    SynAck,
    /// From everything but SYN and SYN/ACK: the peers agree, then no option arrives.
    Data,
    /// From everything.
    All,
}

/// A firewall that takes the Multipath TCP options out (RFC 8684 section 3.7).
pub fn strip_mptcp(what: Strip) -> impl Middlebox {
    Filter::new("strip-mptcp", move |_, _, segment: &mut Segment, _: &mut Bytes| {
        let syn = segment.tcp.flags.contains(TcpFlags::SYN);
        let ack = segment.tcp.flags.contains(TcpFlags::ACK);
        let taken = match what {
            Strip::Syn => syn,
            Strip::SynAck => syn && ack,
            Strip::Data => !syn,
            Strip::All => true,
        };
        if !taken || segment.options.mptcp.is_empty() {
            return Action::Pass;
        }
        segment.options.mptcp.clear();
        Action::Rewrite
    })
}

/// A firewall that drops every packet with an `MP_JOIN` option: only the first subflow works.
pub fn drop_joins() -> impl Middlebox {
    Filter::new("drop-joins", |_, _, segment: &mut Segment, _: &mut Bytes| {
        let join = segment.options.mptcp.iter().any(|option| matches!(option, MptcpOption::MpJoin(_)));
        if join { Action::Drop } else { Action::Pass }
    })
}

/// Drops the packets for which `doomed` says so, by their number in their direction, counted from 0.
pub fn drop_numbered(mut doomed: impl FnMut(Direction, u64) -> bool) -> impl Middlebox {
    let mut seen = [0; 2];
    Filter::new("drop-numbered", move |_, direction: Direction, _: &mut Segment, _: &mut Bytes| {
        let number = seen[direction.index()];
        seen[direction.index()] += 1;
        if doomed(direction, number) { Action::Drop } else { Action::Pass }
    })
}

#[cfg(test)]
mod tests {
    use polypath_wire::{
        CapableFlags, CapableKeys, Ecn, IpHeader, MpCapable, MpPrio, SeqNum, TcpHeader, TcpOptions, verify_checksum,
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
