//! Boxes that drop pure acknowledgements: on asymmetric links, to save their narrow direction.

use bytes::Bytes;
use polypath_wire::{Segment, TcpFlags};

use super::{Action, Direction, Filter, Middlebox};

/// Lets only every so-manieth pure acknowledgement of a direction through, whatever options it has.
pub(super) fn thin_acks(keep_every: u32, which: Option<Direction>) -> impl Middlebox {
    let mut seen = [0_u32; 2];
    Filter::new("drop-acks", move |_, direction: Direction, segment: &mut Segment, payload: &mut Bytes| {
        let pure = segment.tcp.flags == TcpFlags::ACK && payload.is_empty();
        if !pure || which.is_some_and(|which| which != direction) {
            return Action::Pass;
        }
        let seen = &mut seen[direction.index()];
        *seen += 1;
        if seen.is_multiple_of(keep_every) { Action::Pass } else { Action::Drop }
    })
}
