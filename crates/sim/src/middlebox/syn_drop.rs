//! Boxes that drop what opens a subflow, because it has an option they do not know.

use bytes::Bytes;
use polypath_wire::{MptcpOption, Segment, TcpFlags};

use super::{Action, Direction, Filter, Middlebox};

/// A firewall that drops every packet with an `MP_JOIN` option: only the first subflow works.
pub fn drop_joins() -> impl Middlebox {
    Filter::new("drop-joins", |_, _, segment: &mut Segment, _: &mut Bytes| {
        let join = segment.options.mptcp.iter().any(|option| matches!(option, MptcpOption::MpJoin(_)));
        if join { Action::Drop } else { Action::Pass }
    })
}

/// A firewall that drops SYNs (in the direction that clients speak) and SYN/ACKs (in the other) with Multipath TCP
/// options.
pub(super) fn drop_syns(which: Option<Direction>) -> impl Middlebox {
    Filter::new("drop-syn", move |_, direction, segment: &mut Segment, _: &mut Bytes| {
        let here = which.is_none_or(|which| which == direction);
        let doomed = here && segment.tcp.flags.contains(TcpFlags::SYN) && !segment.options.mptcp.is_empty();
        if doomed { Action::Drop } else { Action::Pass }
    })
}
