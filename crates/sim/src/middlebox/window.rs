//! Firewalls that follow the window: data outside of it is dropped (what conntrack does unless it is told to be liberal).

use polypath_proto::Instant;
use polypath_wire::TcpFlags;

use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// Drops data beyond the window that the receiver has offered on this subflow.
#[derive(Debug)]
pub(super) struct Window {
    /// It has not heard of the window scale option.
    unscaled: bool,
    which: Option<Direction>,
    seen: PerConnection<Seen>,
}

/// By direction of the packets that say it.
#[derive(Debug, Default)]
struct Seen {
    shift: [Option<u8>; 2],
    /// One past the last byte that may come in answer.
    edge: [Option<u32>; 2],
}

impl Window {
    pub(super) fn new(unscaled: bool, which: Option<Direction>) -> Self {
        Self { unscaled, which, seen: PerConnection::default() }
    }
}

impl Middlebox for Window {
    fn name(&self) -> &str {
        "window"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(segment), Some(seen)) = (packet.segment(), self.seen.of(direction, &packet)) else { return };
        let (here, there) = (direction.index(), direction.reverse().index());
        let flags = segment.tcp.flags;
        let syn = flags.contains(TcpFlags::SYN);
        if syn {
            seen.shift[here] = segment.options.window_scale;
        }
        if flags.contains(TcpFlags::ACK) {
            let agreed = seen.shift[here].filter(|_| seen.shift[there].is_some() && !syn && !self.unscaled);
            let edge = segment.tcp.ack.0.wrapping_add(u32::from(segment.tcp.window) << agreed.unwrap_or(0));
            let known = seen.edge[here].get_or_insert(edge);
            if (edge.wrapping_sub(*known) as i32) > 0 {
                *known = edge;
            }
        }
        let end = segment.tcp.seq.0.wrapping_add(packet.payload.len() as u32);
        let beyond = seen.edge[there].is_some_and(|edge| (end.wrapping_sub(edge) as i32) > 0);
        let watched = !packet.payload.is_empty() && !syn && self.which.is_none_or(|which| which == direction);
        if !(watched && beyond) {
            out.push(direction, packet);
        }
    }
}
