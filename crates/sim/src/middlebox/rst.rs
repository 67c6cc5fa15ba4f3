//! Boxes that end what they do not like with a reset.

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_wire::{ChecksumMode, Segment, SeqNum, TcpFlags, TcpOptions};

use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// Whom a box answers with a reset.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// Whoever sends a SYN with Multipath TCP options.
    Syn,
    /// Both ends, when so many packets of a connection have passed.
    After(u32),
}

/// Answers with resets.
#[derive(Debug)]
pub(super) struct Rst {
    when: When,
    seen: PerConnection<u32>,
}

impl Rst {
    pub(super) fn new(when: When) -> Self {
        Self { when, seen: PerConnection::default() }
    }
}

impl Middlebox for Rst {
    fn name(&self) -> &str {
        "rst"
    }

    fn handle(&mut self, _: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(segment), Some(seen)) = (packet.segment(), self.seen.of(direction, &packet)) else { return };
        *seen += 1;
        let syn = segment.tcp.flags.contains(TcpFlags::SYN);
        match self.when {
            When::Syn if syn && !segment.options.mptcp.is_empty() => {
                out.push(direction.reverse(), reset_in_answer(&segment, packet.payload.len()));
            }
            When::After(packets) if *seen == packets => {
                out.push(direction.reverse(), reset_in_answer(&segment, packet.payload.len()));
                out.push(direction, reset_in_place(&segment));
            }
            _ => out.push(direction, packet),
        }
    }
}

/// A reset that seems to come from whom a segment goes to, as RFC 9293, section 3.5.2 has it.
pub(super) fn reset_in_answer(segment: &Segment, payload: usize) -> Packet {
    let (ip, tcp) = (&segment.ip, &segment.tcp);
    let length =
        payload + usize::from(tcp.flags.contains(TcpFlags::SYN)) + usize::from(tcp.flags.contains(TcpFlags::FIN));
    let mut reset = Segment { options: TcpOptions::default(), ..segment.clone() };
    (reset.ip.src, reset.ip.dst) = (ip.dst, ip.src);
    (reset.tcp.src_port, reset.tcp.dst_port) = (tcp.dst_port, tcp.src_port);
    reset.tcp.flags = TcpFlags::RST | TcpFlags::ACK;
    reset.tcp.seq = if tcp.flags.contains(TcpFlags::ACK) { tcp.ack } else { SeqNum(0) };
    reset.tcp.ack = SeqNum(tcp.seq.0.wrapping_add(length as u32));
    Packet::new(&reset, Bytes::new(), ChecksumMode::Full)
}

/// A reset that seems to come from whom a segment comes from.
fn reset_in_place(segment: &Segment) -> Packet {
    let mut reset = Segment { options: TcpOptions::default(), ..segment.clone() };
    reset.tcp.flags = TcpFlags::RST | TcpFlags::ACK;
    Packet::new(&reset, Bytes::new(), ChecksumMode::Full)
}
