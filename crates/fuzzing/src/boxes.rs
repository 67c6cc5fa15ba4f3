//! Middleboxes that do whatever middleboxes do, each on one path.
//!
//! They are hostile, but not the end of the world: a byte that they change is one that a checksum covers, and when they
//! have done with it, what is sent again gets through.

use crate::choices::Choices;
use crate::world::{Packet, SERVER};
use polypath_proto::Duration;
use polypath_wire::{MptcpOption, SackBlock, Segment, TcpFlags};

/// All boxes on one path.
#[derive(Debug, Default)]
pub(crate) struct Path {
    strip: Option<Strip>,
    /// Sequence numbers of each direction are moved by so much.
    renumber: [u32; 2],
    /// The client's port as the server sees it is another one.
    nat: u16,
    /// Segments are cut after so many bytes of payload, options copied.
    split: Option<usize>,
    /// No more than this is left of the window of a segment without SYN.
    clamp: Option<u16>,
    /// Every so many pure acknowledgements, one is dropped.
    thin: Option<u32>,
    /// From this packet on nothing gets through.
    dead_from: Option<u32>,
    /// With this packet both ends get a reset.
    reset_at: Option<u32>,
    /// Payload may be changed where a DSS checksum covers it.
    alter: bool,
    packets: u32,
    acks: u32,
    /// SYNs that were lost.
    lost_syns: u32,
    /// Other packets that were lost, and those in a row in each direction.
    lost: u32,
    in_a_row: [u32; 2],
}

/// All of them may be one segment and its copies: twenty timeouts, of which the last take a minute. After 15 minutes a connection
/// is given up.
const MOST_LOST: u32 = 20;

/// A handshake gives up sooner, and a cookie is outlived.
const MOST_IN_A_ROW: u32 = 3;

/// A handshake gives up after seven.
const MOST_LOST_SYNS: u32 = 2;

/// Which options are taken off which segments.
#[derive(Debug)]
struct Strip {
    to: usize,
    from_packet: u32,
    on: On,
    what: What,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum On {
    All,
    Syn,
    Data,
    PureAck,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum What {
    Multipath,
    Dss,
    Joins,
    Addresses,
    Timestamps,
    Sack,
}

/// What may come of the boxes.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Expectation {
    /// An error is an answer: a connection was reset, its only path died, or its options went in the midst of it.
    pub(crate) error: bool,
}

impl Path {
    pub(crate) fn new(choices: &mut Choices<'_>) -> Path {
        let mut path = Path::default();
        let flags = choices.byte();
        if flags & 1 != 0 {
            path.strip = Some(Strip {
                to: choices.below(2),
                from_packet: choices.byte().into(),
                on: choices.pick(&[On::All, On::Syn, On::Data, On::PureAck]),
                what: choices.pick(&[
                    What::Multipath,
                    What::Multipath,
                    What::Dss,
                    What::Joins,
                    What::Addresses,
                    What::Timestamps,
                    What::Sack,
                ]),
            });
        }
        if flags & 2 != 0 {
            path.renumber = [choices.u32(), choices.u32()];
        }
        path.nat = if flags & 4 != 0 { 1 + u16::from(choices.byte()) } else { 0 };
        path.split = (flags & 8 != 0).then(|| 64 + usize::from(choices.u16() & 1_023));
        path.clamp = (flags & 16 != 0).then(|| 200 + choices.u16() / 2);
        path.thin = (flags & 32 != 0).then(|| 2 + u32::from(choices.byte() & 7));
        match flags >> 6 {
            1 => path.dead_from = Some(choices.byte().into()),
            2 => path.reset_at = Some(choices.byte().into()),
            // Behind a box that takes options off, a change would not be seen.
            3 => path.alter = path.strip.is_none(),
            _ => {}
        }
        path
    }

    pub(crate) fn alters(&self) -> bool {
        self.alter
    }

    pub(crate) fn expectation(&self) -> Expectation {
        // A box that thins out acknowledgements may always hit the one with the keys.
        Expectation {
            error: self.strip.is_some()
                || self.thin.is_some()
                || self.dead_from.is_some()
                || self.reset_at.is_some()
                || self.alter,
        }
    }

    /// What comes out for a packet that goes in, with how much later; `fate` decides about this one packet.
    pub(crate) fn pass(&mut self, packet: Packet, fate: &mut Choices<'_>, out: &mut Vec<(Duration, Packet)>) {
        self.packets += 1;
        if self.dead_from.is_some_and(|from| self.packets > from) {
            return;
        }
        let fate_of_this = fate.byte();
        let delay = Duration::from_millis(10);
        // What is not dropped here can be dropped, or doubled, below: as on a path in front of the boxes.
        let later = match fate_of_this {
            0..=159 => Duration::ZERO,
            160..=189
                if !packet.seg.tcp.flags.contains(TcpFlags::SYN)
                    && self.lost < MOST_LOST
                    && self.in_a_row[packet.to] < MOST_IN_A_ROW =>
            {
                self.lost += 1;
                self.in_a_row[packet.to] += 1;
                return;
            }
            160..=189 if packet.seg.tcp.flags.contains(TcpFlags::SYN) && self.lost_syns < MOST_LOST_SYNS => {
                self.lost_syns += 1;
                return;
            }
            160..=189 => Duration::ZERO,
            190..=219 => Duration::from_millis(fate.byte().into()),
            220..=229 => Duration::from_millis(u64::from(fate.byte()) * 20),
            230..=244 => {
                let again = delay + Duration::from_millis(fate.byte().into());
                self.through(packet.clone(), again, out);
                Duration::ZERO
            }
            _ => {
                let mut packet = packet;
                if self.alter {
                    alter(&mut packet, fate);
                }
                return self.through(packet, delay, out);
            }
        };
        self.in_a_row[packet.to] = 0;
        self.through(packet, delay + later, out);
    }

    fn through(&mut self, mut packet: Packet, at: Duration, out: &mut Vec<(Duration, Packet)>) {
        let pure_ack = packet.payload.is_empty()
            && !packet.seg.tcp.flags.intersects(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
        if let Some(every) = self.thin.filter(|_| pure_ack) {
            self.acks += 1;
            if self.acks.is_multiple_of(every) {
                return;
            }
        }
        if let Some(strip) = self.strip.as_ref().filter(|s| s.to == packet.to && self.packets > s.from_packet) {
            strip.apply(&mut packet);
        }
        if let Some(most) = self.clamp.filter(|_| !packet.seg.tcp.flags.contains(TcpFlags::SYN)) {
            packet.seg.tcp.window = packet.seg.tcp.window.min(most);
        }
        if self.reset_at == Some(self.packets) {
            self.reset(&packet, at, out);
        }
        self.rename(&mut packet.seg, packet.to);
        match self.split {
            Some(len) if packet.payload.len() > len && !packet.seg.tcp.flags.contains(TcpFlags::SYN) => {
                cut(&packet, len, |piece| out.push((at, piece)));
            }
            _ => out.push((at, packet)),
        }
    }

    /// Numbers and ports as they are on the other side.
    fn rename(&self, seg: &mut Segment, to: usize) {
        let (there, back) = (self.renumber[to], self.renumber[to ^ 1]);
        seg.tcp.seq = seg.tcp.seq.wrapping_add(there);
        if seg.tcp.flags.contains(TcpFlags::ACK) {
            seg.tcp.ack = seg.tcp.ack.wrapping_sub(back);
        }
        for SackBlock { left, right } in &mut seg.options.sack {
            (*left, *right) = (left.wrapping_sub(back), right.wrapping_sub(back));
        }
        let port = if to == SERVER { &mut seg.tcp.src_port } else { &mut seg.tcp.dst_port };
        *port = if to == SERVER { port.wrapping_add(self.nat) } else { port.wrapping_sub(self.nat) };
    }

    /// A box that has lost its state: both ends hear of it, each in the other's name.
    fn reset(&self, packet: &Packet, at: Duration, out: &mut Vec<(Duration, Packet)>) {
        let mut forward = packet.clone();
        forward.payload.clear();
        forward.seg.options = polypath_wire::TcpOptions::default();
        forward.seg.tcp.flags = TcpFlags::RST | TcpFlags::ACK;
        let mut back = forward.clone();
        let (ip, tcp) = (&mut back.seg.ip, &mut back.seg.tcp);
        (ip.src, ip.dst) = (ip.dst, ip.src);
        (tcp.src_port, tcp.dst_port) = (tcp.dst_port, tcp.src_port);
        (tcp.seq, tcp.ack) = (packet.seg.tcp.ack, packet.seg.tcp.seq);
        back.to = packet.to ^ 1;
        // The one back is made on the sender's side of the boxes: nothing about it is renamed.
        out.push((at, back));
        self.rename(&mut forward.seg, forward.to);
        out.push((at, forward));
    }
}

impl Strip {
    fn apply(&self, packet: &mut Packet) {
        let syn = packet.seg.tcp.flags.contains(TcpFlags::SYN);
        let hit = match self.on {
            On::All => true,
            On::Syn => syn,
            On::Data => !packet.payload.is_empty(),
            On::PureAck => packet.payload.is_empty() && !syn,
        };
        if !hit {
            return;
        }
        let options = &mut packet.seg.options;
        match self.what {
            What::Multipath => options.mptcp.clear(),
            What::Dss => options.mptcp.retain(|o| !matches!(o, MptcpOption::Dss(_))),
            What::Joins => options.mptcp.retain(|o| !matches!(o, MptcpOption::MpJoin(_))),
            What::Addresses => {
                options.mptcp.retain(|o| !matches!(o, MptcpOption::AddAddr(_) | MptcpOption::RemoveAddr(_)));
            }
            What::Timestamps => options.timestamps = options.timestamps.filter(|_| !syn),
            What::Sack => {
                options.sack_permitted = false;
                options.sack.clear();
            }
        }
    }
}

/// Changes a byte of payload, if all of it is covered by a DSS checksum.
fn alter(packet: &mut Packet, fate: &mut Choices<'_>) {
    let covered = packet.seg.options.dss().and_then(|dss| dss.mapping).is_some_and(|map| map.checksum.is_some());
    if let Some(len) = core::num::NonZero::new(packet.payload.len()).filter(|_| covered) {
        let mut bytes = packet.payload.to_vec();
        bytes[usize::from(fate.u16()) % len] ^= fate.byte().max(1);
        packet.payload = bytes.into();
    }
}

/// The same segment in pieces, as offload in the wrong place does it: every piece has all the options.
fn cut(packet: &Packet, len: usize, mut put: impl FnMut(Packet)) {
    let mut at = 0;
    while at < packet.payload.len() {
        let end = (at + len).min(packet.payload.len());
        let mut piece = packet.clone();
        piece.payload = packet.payload.slice(at..end);
        piece.seg.tcp.seq = packet.seg.tcp.seq.wrapping_add(at as u32);
        if end < packet.payload.len() {
            piece.seg.tcp.flags.remove(TcpFlags::FIN | TcpFlags::PSH);
        }
        at = end;
        put(piece);
    }
}
