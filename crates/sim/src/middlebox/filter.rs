//! Boxes made of a function.

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_wire::Segment;

use super::{Direction, Middlebox, Output};
use crate::packet::Packet;

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
            Action::Rewrite => out.push(direction, packet.rewrite(&segment, payload)),
            Action::Drop => {}
        }
    }
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
