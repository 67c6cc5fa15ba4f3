//! Boxes that only let data through that comes in order, because they look at the stream and will not buffer.

use polypath_proto::Instant;
use polypath_wire::{SeqNum, TcpFlags};

use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// Drops data behind a gap.
#[derive(Debug)]
pub(super) struct InOrder {
    which: Option<Direction>,
    next: PerConnection<[Option<SeqNum>; 2]>,
}

impl InOrder {
    pub(super) fn new(which: Option<Direction>) -> Self {
        Self { which, next: PerConnection::default() }
    }
}

impl Middlebox for InOrder {
    fn name(&self) -> &str {
        "in-order"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(segment), Some(next)) = (packet.segment(), self.next.of(direction, &packet)) else { return };
        let next = &mut next[direction.index()];
        let flags = segment.tcp.flags;
        let syn = u32::from(flags.contains(TcpFlags::SYN));
        let length = packet.payload.len() as u32 + u32::from(flags.contains(TcpFlags::FIN)) + syn;
        let end = SeqNum(segment.tcp.seq.0.wrapping_add(length));
        let expected = next.filter(|_| syn == 0).unwrap_or(segment.tcp.seq);
        let gap = segment.tcp.seq.0.wrapping_sub(expected.0) as i32;
        if length > 0 && gap > 0 && self.which.is_none_or(|which| which == direction) {
            return;
        }
        if (end.0.wrapping_sub(expected.0) as i32) >= 0 {
            *next = Some(end);
        }
        out.push(direction, packet);
    }
}
