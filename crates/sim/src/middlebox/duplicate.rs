//! Boxes that send packets twice.

use polypath_proto::Instant;

use super::{Direction, Middlebox, Output};
use crate::packet::Packet;

/// Sends every so-manieth packet of a direction twice.
#[derive(Debug)]
pub(super) struct Duplicate {
    every: u32,
    which: Option<Direction>,
    seen: [u32; 2],
}

impl Duplicate {
    pub(super) fn new(every: u32, which: Option<Direction>) -> Self {
        Self { every, which, seen: [0; 2] }
    }
}

impl Middlebox for Duplicate {
    fn name(&self) -> &str {
        "duplicate"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let seen = &mut self.seen[direction.index()];
        *seen += 1;
        if seen.is_multiple_of(self.every) && self.which.is_none_or(|which| which == direction) {
            out.push(direction, packet.clone());
        }
        out.push(direction, packet);
    }
}
