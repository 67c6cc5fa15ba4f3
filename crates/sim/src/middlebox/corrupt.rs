//! Boxes with bad memory: bits of the payload are turned over.

use bytes::BytesMut;
use polypath_proto::Instant;

use super::{Direction, Middlebox, Output};
use crate::packet::Packet;

/// Turns a bit over in every so-manieth packet with data of a direction.
#[derive(Debug)]
pub(super) struct Corrupt {
    every: u32,
    mended: bool,
    which: Option<Direction>,
    seen: [u32; 2],
}

impl Corrupt {
    /// `mended`: the box computes the TCP checksum anew afterwards, so that only a DSS checksum can show it.
    pub(super) fn new(every: u32, mended: bool, which: Option<Direction>) -> Self {
        Self { every, mended, which, seen: [0; 2] }
    }
}

impl Middlebox for Corrupt {
    fn name(&self) -> &str {
        "corrupt"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        if packet.payload.is_empty() || self.which.is_some_and(|which| which != direction) {
            return out.push(direction, packet);
        }
        let seen = &mut self.seen[direction.index()];
        *seen += 1;
        if !seen.is_multiple_of(self.every) {
            return out.push(direction, packet);
        }
        let mut payload = BytesMut::from(&packet.payload[..]);
        let at = payload.len() / 2;
        payload[at] ^= 0x40;
        let payload = payload.freeze();
        let corrupt = match (self.mended, packet.segment()) {
            (true, Ok(segment)) => packet.rewrite(&segment, payload),
            _ => Packet { headers: packet.headers.clone(), payload },
        };
        out.push(direction, corrupt);
    }
}
