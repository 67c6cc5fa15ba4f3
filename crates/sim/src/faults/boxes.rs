//! The boxes of a scenario: the one place that knows which middleboxes there are.

use bytes::{Bytes, BytesMut};
use polypath_proto::Instant;
use polypath_wire::{Ecn, Segment, TcpFlags};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::scenario::{Access, BoxPlan, Way};
use crate::middlebox::{self, Action, Direction, Filter, Middlebox, Output, Strip};
use crate::packet::Packet;

/// What stands on a link, from the host's end on.
pub(super) fn on(link: &Access, rng: ChaCha8Rng) -> Vec<Box<dyn Middlebox>> {
    // What comes over the link is changed after the boxes, not before: they would give it a fresh checksum.
    let mut boxes: Vec<Box<dyn Middlebox>> = Vec::new();
    boxes.extend(wear(&link.down, Direction::Backward, rng.clone()));
    boxes.extend(link.boxes.iter().map(|plan| made(*plan)));
    boxes.extend(wear(&link.up, Direction::Forward, rng));
    boxes
}

fn wear(way: &Way, direction: Direction, rng: ChaCha8Rng) -> Option<Box<dyn Middlebox>> {
    let Way { corrupt, mark, .. } = *way;
    (corrupt + mark > 0).then(|| Box::new(Wear { direction, corrupt, mark, rng }) as Box<dyn Middlebox>)
}

fn made(plan: BoxPlan) -> Box<dyn Middlebox> {
    match plan {
        BoxPlan::NoSack => syns(|syn| std::mem::take(&mut syn.options.sack_permitted)),
        BoxPlan::NoTimestamps => syns(|syn| syn.options.timestamps.take().is_some()),
        BoxPlan::NoWindowScale => syns(|syn| syn.options.window_scale.take().is_some()),
        BoxPlan::NoMss => syns(|syn| syn.options.mss.take().is_some()),
        BoxPlan::NoEcn => syns(|syn| {
            let asked = syn.tcp.flags.intersects(TcpFlags::ECE | TcpFlags::CWR);
            syn.tcp.flags.remove(TcpFlags::ECE | TcpFlags::CWR);
            asked
        }),
        BoxPlan::NoMultipath => Box::new(middlebox::strip_mptcp(Strip::Syn)),
        BoxPlan::NoMultipathInAnswers => Box::new(middlebox::strip_mptcp(Strip::SynAck)),
        BoxPlan::NoMultipathInData => Box::new(middlebox::strip_mptcp(Strip::Data)),
        BoxPlan::NoJoins => Box::new(middlebox::drop_joins()),
    }
}

/// Changes SYN and SYN/ACK, if the function says that it did.
fn syns(mut change: impl FnMut(&mut Segment) -> bool + 'static) -> Box<dyn Middlebox> {
    Box::new(Filter::new("syn-options", move |_, _, segment: &mut Segment, _: &mut Bytes| {
        let changed = segment.tcp.flags.contains(TcpFlags::SYN) && change(segment);
        if changed { Action::Rewrite } else { Action::Pass }
    }))
}

/// Changes a bit of some packets, and marks some as having met congestion.
struct Wear {
    direction: Direction,
    /// Of a thousand.
    corrupt: u32,
    /// Of a thousand.
    mark: u32,
    rng: ChaCha8Rng,
}

impl Middlebox for Wear {
    fn name(&self) -> &str {
        "wear"
    }

    fn handle(&mut self, _now: Instant, direction: Direction, mut packet: Packet, out: &mut Output) {
        if direction != self.direction {
            return out.push(direction, packet);
        }
        if self.rng.random_range(0..1_000) < self.mark {
            packet = marked(packet);
        }
        if self.rng.random_range(0..1_000) < self.corrupt {
            let bit = self.rng.random_range(0..packet.len() as usize * 8);
            flip(&mut packet, bit);
        }
        out.push(direction, packet);
    }
}

/// With CE in its IP header, and nothing else changed: what is wrong with it stays wrong.
fn marked(mut packet: Packet) -> Packet {
    match packet.segment() {
        Ok(mut segment) if segment.ip.ecn != Ecn::NotEct => {
            segment.ip.ecn = Ecn::Ce;
            let whole = Packet::new(&segment, packet.payload.clone(), polypath_wire::ChecksumMode::Full);
            let ip = if segment.ip.src.is_ipv4() { 20 } else { 40 };
            packet.headers[..ip].copy_from_slice(&whole.headers[..ip]);
            packet
        }
        _ => packet,
    }
}

fn flip(packet: &mut Packet, bit: usize) {
    let (byte, mask) = (bit / 8, 1 << (bit % 8));
    match byte.checked_sub(packet.headers.len()) {
        None => packet.headers[byte] ^= mask,
        Some(byte) => {
            let mut payload = BytesMut::from(&packet.payload[..]);
            payload[byte] ^= mask;
            packet.payload = payload.freeze();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_packet_can_change_and_only_that_one() {
        let bytes = |packet: &Packet| [&packet.headers[..], &packet.payload[..]].concat();
        let addr = std::net::Ipv4Addr::LOCALHOST.into();
        let segment = Segment {
            ip: polypath_wire::IpHeader { src: addr, dst: addr, hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 },
            tcp: polypath_wire::TcpHeader::default(),
            options: polypath_wire::TcpOptions::default(),
        };
        let packet = Packet::new(&segment, Bytes::from_static(b"payload"), polypath_wire::ChecksumMode::Full);
        for bit in 0..packet.len() as usize * 8 {
            let mut changed = packet.clone();
            flip(&mut changed, bit);
            let differs: u32 = bytes(&packet).iter().zip(bytes(&changed)).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(differs, 1, "bit {bit}");
        }
    }
}
