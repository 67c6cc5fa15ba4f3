//! Firewalls that give connections other initial sequence numbers, which they think are harder to guess.

use polypath_proto::Instant;
use polypath_wire::{SeqNum, TcpFlags};

use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// Adds a number to all sequence numbers of a direction.
#[derive(Debug)]
pub(super) struct Sequence {
    /// It has not heard of SACK: the blocks keep the numbers that nobody else knows.
    forgets_sack: bool,
    which: Option<Direction>,
    connections: PerConnection<[Option<u32>; 2]>,
    drawn: u32,
}

impl Sequence {
    pub(super) fn new(forgets_sack: bool, which: Option<Direction>) -> Self {
        Self { forgets_sack, which, connections: PerConnection::default(), drawn: 0 }
    }
}

impl Middlebox for Sequence {
    fn name(&self) -> &str {
        "sequence"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(mut segment), Some(shifts)) = (packet.segment(), self.connections.of(direction, &packet)) else {
            return;
        };
        let here = &mut shifts[direction.index()];
        if here.is_none() && segment.tcp.flags.contains(TcpFlags::SYN) {
            // Any number does; these are far from each other.
            self.drawn = self.drawn.wrapping_add(0x9e37_79b9);
            *here = Some(if self.which.is_none_or(|which| which == direction) { self.drawn } else { 0 });
        }
        let shift = here.unwrap_or(0);
        let back = shifts[direction.reverse().index()].unwrap_or(0);
        segment.tcp.seq = SeqNum(segment.tcp.seq.0.wrapping_add(shift));
        if segment.tcp.flags.contains(TcpFlags::ACK) {
            segment.tcp.ack = SeqNum(segment.tcp.ack.0.wrapping_sub(back));
        }
        if !self.forgets_sack {
            for block in &mut segment.options.sack {
                block.left = SeqNum(block.left.0.wrapping_sub(back));
                block.right = SeqNum(block.right.0.wrapping_sub(back));
            }
        }
        out.push(direction, packet.rewrite(&segment, packet.payload.clone()));
    }
}
