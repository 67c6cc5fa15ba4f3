//! Application-level gateways: they know a protocol, and replace addresses in its payload.

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_wire::{Segment, SeqNum, TcpFlags};

use super::positions::Positions;
use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// What a gateway looks for: an address as FTP writes it.
pub const TOKEN: &[u8] = b"PORT 10,1,0,2,195,80";

/// Its replacements.
pub(super) const SAME: &[u8] = b"PORT 192,0,2,7,19,88";
pub(super) const LONGER: &[u8] = b"PORT 198,51,100,207,195,80";
pub(super) const SHORTER: &[u8] = b"PORT 9,9,9,9,1,1";

/// Replaces the token, and sees to it that the numbers are right for both ends.
#[derive(Debug)]
pub(super) struct Alg {
    with: &'static [u8],
    which: Option<Direction>,
    connections: PerConnection<[Half; 2]>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Half {
    isn: Option<SeqNum>,
    positions: Positions,
}

impl Half {
    /// Counts from the SYN; a connection here is shorter than 2 GB.
    fn position(&self, seq: SeqNum) -> u64 {
        u64::from(seq.0.wrapping_sub(self.isn.unwrap_or(seq).0))
    }

    fn number(&self, position: u64) -> SeqNum {
        SeqNum(self.isn.unwrap_or_default().0.wrapping_add(position as u32))
    }

    fn inward(&self, ack: SeqNum) -> SeqNum {
        self.number(self.positions.inward(self.position(ack)))
    }
}

impl Alg {
    pub(super) fn new(with: &'static [u8], which: Option<Direction>) -> Self {
        Self { with, which, connections: PerConnection::default() }
    }

    fn translate(&self, halves: &mut [Half; 2], direction: Direction, segment: &mut Segment, payload: &Bytes) -> Bytes {
        let looks = self.which.is_none_or(|which| which == direction);
        let [forward, backward] = halves;
        let (here, there) = if direction == Direction::Forward { (forward, backward) } else { (backward, forward) };
        let at = here.position(segment.tcp.seq);
        let payload = match looks {
            true => here.positions.rewrite(at, payload, TOKEN, self.with),
            false => payload.clone(),
        };
        segment.tcp.seq = here.number(here.positions.outward(at));
        if segment.tcp.flags.contains(TcpFlags::ACK) && there.isn.is_some() {
            segment.tcp.ack = there.inward(segment.tcp.ack);
            for block in &mut segment.options.sack {
                (block.left, block.right) = (there.inward(block.left), there.inward(block.right));
            }
        }
        payload
    }
}

impl Middlebox for Alg {
    fn name(&self) -> &str {
        "alg"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let Ok(mut segment) = packet.segment() else { return };
        let mut connections = std::mem::take(&mut self.connections);
        if let Some(halves) = connections.of(direction, &packet) {
            if segment.tcp.flags.contains(TcpFlags::SYN) {
                halves[direction.index()].isn = Some(segment.tcp.seq);
            }
            let payload = self.translate(halves, direction, &mut segment, &packet.payload);
            // What is all in front of it already says nothing.
            if payload.is_empty() == packet.payload.is_empty() {
                out.push(direction, packet.rewrite(&segment, payload));
            }
        }
        self.connections = connections;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_have_the_lengths_that_their_names_say() {
        assert_eq!(SAME.len(), TOKEN.len());
        assert!(LONGER.len() > TOKEN.len() && SHORTER.len() < TOKEN.len());
    }
}
