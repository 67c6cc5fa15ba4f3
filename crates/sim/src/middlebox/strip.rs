//! Boxes that take Multipath TCP options out (RFC 8684 section 3.7).

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_wire::{Segment, TcpFlags};

use super::{Action, Direction, Filter, Middlebox, Output, PerConnection};
use crate::packet::Packet;

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

impl Strip {
    fn takes_from(self, segment: &Segment) -> bool {
        let flags = segment.tcp.flags;
        let syn = flags.contains(TcpFlags::SYN);
        match self {
            Self::Syn => syn,
            Self::SynAck => syn && flags.contains(TcpFlags::ACK),
            Self::Data => !syn,
            Self::All => true,
        }
    }
}

/// A firewall that takes the Multipath TCP options out.
pub fn strip_mptcp(what: Strip) -> impl Middlebox {
    strip_one_way(what, None)
}

/// The same in one direction only.
pub(super) fn strip_one_way(what: Strip, which: Option<Direction>) -> impl Middlebox {
    Filter::new("strip-mptcp", move |_, direction, segment: &mut Segment, _: &mut Bytes| {
        let here = which.is_none_or(|which| which == direction);
        if !here || !what.takes_from(segment) || segment.options.mptcp.is_empty() {
            return Action::Pass;
        }
        segment.options.mptcp.clear();
        Action::Rewrite
    })
}

/// Takes the options out of each connection from some packet on: a route has changed.
#[derive(Debug)]
pub(super) struct StripAfter {
    packets: u32,
    data_only: bool,
    which: Option<Direction>,
    seen: PerConnection<u32>,
}

impl StripAfter {
    /// The first `packets` of each connection, in both directions together, keep theirs. `data_only`: so
    /// do acknowledgements.
    pub(super) fn new(packets: u32, data_only: bool, which: Option<Direction>) -> Self {
        Self { packets, data_only, which, seen: PerConnection::default() }
    }
}

impl Middlebox for StripAfter {
    fn name(&self) -> &str {
        "strip-after"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let Some(seen) = self.seen.of(direction, &packet) else { return };
        *seen += 1;
        let here = *seen > self.packets && self.which.is_none_or(|which| which == direction);
        let Ok(mut segment) = packet.segment() else { return };
        if !here || segment.options.mptcp.is_empty() || (self.data_only && packet.payload.is_empty()) {
            return out.push(direction, packet);
        }
        segment.options.mptcp.clear();
        out.push(direction, packet.rewrite(&segment, packet.payload.clone()));
    }
}
