//! Boxes that cut segments and put them together again.

use std::time::Duration;

use polypath_proto::Instant;
use polypath_wire::{Segment, SeqNum, TcpFlags};

use super::{Direction, Middlebox, Output};
use crate::packet::{Flow, Packet, join};

/// Cuts segments.
#[derive(Debug)]
pub(super) struct Split {
    /// Longest payload that leaves, in bytes.
    most: usize,
    /// Only the first piece keeps the Multipath TCP options; otherwise all do, as where a network card cuts.
    options_once: bool,
    which: Option<Direction>,
}

impl Split {
    pub(super) fn new(most: usize, options_once: bool, which: Option<Direction>) -> Self {
        Self { most, options_once, which }
    }
}

impl Middlebox for Split {
    fn name(&self) -> &str {
        "split"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let Ok(segment) = packet.segment() else { return };
        if packet.payload.len() <= self.most || self.which.is_some_and(|which| which != direction) {
            return out.push(direction, packet);
        }
        let last = packet.payload.len().div_ceil(self.most) - 1;
        for number in 0..=last {
            let from = number * self.most;
            let payload = packet.payload.slice(from..(from + self.most).min(packet.payload.len()));
            let mut piece = segment.clone();
            piece.tcp.seq = SeqNum(segment.tcp.seq.0.wrapping_add(from as u32));
            if number < last {
                piece.tcp.flags -= TcpFlags::FIN | TcpFlags::PSH;
            }
            if number > 0 {
                piece.tcp.flags -= TcpFlags::CWR;
                if self.options_once {
                    piece.options.mptcp.clear();
                }
            }
            out.push(direction, packet.rewrite(&piece, payload));
        }
    }
}

/// How long a segment waits for the next one.
const HOLD: Duration = Duration::from_millis(1);
/// The maximum segment size that it lets the ends agree on, so that two fit into one packet, in bytes.
const MSS: u16 = 640;

/// Which options a segment has that was two.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// Those of the first.
    First,
    /// Those of the last.
    Last,
}

/// Puts two segments together where one follows the other at once.
#[derive(Debug)]
pub(super) struct Coalesce {
    keep: Keep,
    which: Option<Direction>,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    until: Instant,
    direction: Direction,
    flow: Flow,
    packet: Packet,
}

impl Coalesce {
    pub(super) fn new(keep: Keep, which: Option<Direction>) -> Self {
        Self { keep, which, held: Vec::new() }
    }

    fn merge(&self, first: &Packet, last: &Packet) -> Option<Packet> {
        let (a, b) = (first.segment().ok()?, last.segment().ok()?);
        let follows = a.tcp.seq.0.wrapping_add(first.payload.len() as u32) == b.tcp.seq.0;
        let fits = first.payload.len() + last.payload.len() <= 2 * usize::from(MSS);
        if !(follows && fits && first.is_sound() && last.is_sound()) {
            return None;
        }
        let kept = if self.keep == Keep::First { &a } else { &b };
        let mut merged = Segment { ip: a.ip, tcp: b.tcp, options: kept.options.clone() };
        merged.tcp.seq = a.tcp.seq;
        // Of the other options the latest count.
        merged.options.timestamps = b.options.timestamps;
        Some(last.rewrite(&merged, join(&[first.payload.clone(), last.payload.clone()])))
    }
}

impl Middlebox for Coalesce {
    fn name(&self) -> &str {
        "coalesce"
    }

    fn handle(&mut self, now: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(mut segment), Some(flow)) = (packet.segment(), packet.flow()) else { return };
        if segment.tcp.flags.contains(TcpFlags::SYN) {
            segment.options.mss = segment.options.mss.map(|mss| mss.min(MSS));
            return out.push(direction, packet.rewrite(&segment, packet.payload.clone()));
        }
        let held = self.held.iter().position(|held| held.flow == flow).map(|index| self.held.remove(index).packet);
        let merged = held.as_ref().filter(|_| !packet.payload.is_empty()).and_then(|held| self.merge(held, &packet));
        if let Some(merged) = merged {
            return out.push(direction, merged);
        }
        if let Some(held) = held {
            out.push(direction, held);
        }
        let plain = segment.tcp.flags - TcpFlags::PSH == TcpFlags::ACK && !packet.payload.is_empty();
        if plain && self.which.is_none_or(|which| which == direction) {
            self.held.push(Held { until: now + HOLD, direction, flow, packet });
        } else {
            out.push(direction, packet);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.until).min()
    }

    fn wake(&mut self, now: Instant, out: &mut Output) {
        for held in self.held.extract_if(.., |held| held.until <= now) {
            out.push(held.direction, held.packet);
        }
    }
}
