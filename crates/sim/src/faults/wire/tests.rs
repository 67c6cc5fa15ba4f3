//! The watch sees what is wrong: otherwise a thousand scenarios that go well say nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use polypath_proto::{Config, Instant, Stack};
use polypath_wire::{
    CapableFlags, CapableKeys, ChecksumMode, Dss, DssMapping, Ecn, IpHeader, Key, MpCapable, MptcpOption, SackBlock,
    Segment, SeqNum, TcpFlags, TcpHeader, TcpOptions, WireDsn,
};

use super::Wire;
use crate::app::Seen;
use crate::packet::Packet;

const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)), 5_000);
const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 2, 1, 1)), 443);
const ISS: u32 = 0xffff_fff0;
const IRS: u32 = 77;
const OURS: Key = Key(1);
const THEIRS: Key = Key(2);

/// A segment of a script: numbers count from the SYNs.
#[derive(Clone)]
struct Seg {
    seq: u32,
    ack: u32,
    flags: TcpFlags,
    len: usize,
    window: u16,
    options: TcpOptions,
}

fn seg(seq: u32, len: usize, ack: u32) -> Seg {
    Seg { seq, ack, flags: TcpFlags::ACK, len, window: 1_000, options: TcpOptions::default() }
}

impl Seg {
    fn flags(mut self, flags: TcpFlags) -> Self {
        self.flags |= flags;
        self
    }

    fn option(mut self, option: MptcpOption) -> Self {
        self.options.mptcp.push(option);
        self
    }

    fn capable(self, keys: CapableKeys) -> Self {
        self.option(MptcpOption::MpCapable(MpCapable { version: 1, flags: CapableFlags::HMAC_SHA256, keys }))
    }

    /// A DATA_ACK, and a mapping of so many bytes from `dsn` on: both count from the first byte.
    fn dss(self, (from, ack): (Key, u32), to: Key, mapping: Option<(u32, u32, u16)>) -> Self {
        let number = |key: Key, at: u32| WireDsn::Short((key.idsn() as u32).wrapping_add(1).wrapping_add(at));
        let mapping = mapping.map(|(dsn, ssn, len)| DssMapping { dsn: number(from, dsn), ssn, len, checksum: None });
        self.option(MptcpOption::Dss(Dss { data_ack: Some(number(to, ack)), mapping, data_fin: false }))
    }
}

struct Watched {
    wire: Wire,
    stack: Stack,
}

#[expect(clippy::needless_pass_by_value, reason = "a script reads better so")]
impl Watched {
    fn new() -> Self {
        Self { wire: Wire::new(false), stack: Stack::new(Config::default(), [0; 32]) }
    }

    /// A connection of plain TCP that was opened here.
    fn plain() -> Self {
        let mut watched = Self::new();
        watched.sent(Seg { flags: TcpFlags::SYN, ..seg(0, 0, 0) });
        watched.received(seg(0, 0, 1).flags(TcpFlags::SYN));
        watched.sent(seg(1, 0, 1));
        watched
    }

    /// One of Multipath TCP.
    fn multipath() -> Self {
        let mut watched = Self::new();
        watched.sent(Seg { flags: TcpFlags::SYN, ..seg(0, 0, 0) }.capable(CapableKeys::Syn));
        watched.received(seg(0, 0, 1).flags(TcpFlags::SYN).capable(CapableKeys::SynAck { sender: THEIRS }));
        watched.sent(seg(1, 0, 1).capable(CapableKeys::Ack { sender: OURS, receiver: THEIRS }));
        watched.received(seg(1, 0, 1).dss((THEIRS, 0), OURS, None));
        watched
    }

    fn pass(&mut self, seg: &Seg, sent: bool) {
        let (src, dst, first, other) = if sent { (HERE, THERE, ISS, IRS) } else { (THERE, HERE, IRS, ISS) };
        let ip = IpHeader { src: src.ip(), dst: dst.ip(), hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 };
        let tcp = TcpHeader {
            src_port: src.port(),
            dst_port: dst.port(),
            seq: SeqNum(first.wrapping_add(seg.seq)),
            ack: SeqNum(other.wrapping_add(seg.ack)),
            flags: seg.flags,
            window: seg.window,
            urgent: 0,
        };
        let segment = Segment { ip, tcp, options: seg.options.clone() };
        let packet = Packet::new(&segment, Bytes::from(vec![0; seg.len]), ChecksumMode::Zero);
        self.wire.observe(&Seen { now: Instant::ZERO, stack: &self.stack, packet: &packet, sent });
    }

    fn received(&mut self, seg: Seg) {
        self.pass(&seg, false);
    }

    fn sent(&mut self, seg: Seg) {
        self.pass(&seg, true);
        assert_eq!(self.wire.violation(), None);
    }

    /// It must not be sent, and the watch says why.
    fn caught(mut self, seg: Seg, why: &str) {
        self.pass(&seg, true);
        let violation = self.wire.violation().unwrap_or("nothing");
        assert!(violation.contains(why), "{violation}, and not: {why}");
    }
}

fn mapped(dsn: u32, ssn: u32, len: u16) -> Seg {
    seg(ssn, len.into(), 1).dss((OURS, 0), THEIRS, Some((dsn, ssn, len)))
}

#[test]
fn a_connection_in_order_is_let_pass() {
    let mut plain = Watched::plain();
    plain.sent(seg(1, 500, 1));
    plain.sent(seg(501, 500, 1));
    plain.received(seg(1, 100, 501));
    plain.sent(seg(1_001, 500, 101));
    plain.sent(seg(1, 500, 101));
    plain.sent(seg(1_501, 0, 101).flags(TcpFlags::FIN));
    let mut multipath = Watched::multipath();
    multipath.sent(mapped(0, 1, 600));
    multipath.sent(mapped(600, 601, 400));
    multipath.sent(mapped(0, 1, 600));
}

#[test]
fn data_beyond_the_window_or_behind_a_gap_is_caught() {
    Watched::plain().caught(seg(1, 1_001, 1), "beyond the peer's window");
    Watched::plain().caught(seg(10, 5, 1), "nothing between");
    let mut finished = Watched::plain();
    finished.sent(seg(1, 10, 1).flags(TcpFlags::FIN));
    finished.caught(seg(11, 10, 1), "beyond its FIN");
}

#[test]
fn acknowledgements_of_what_did_not_arrive_are_caught() {
    Watched::plain().caught(seg(1, 0, 2), "only 1 has arrived");
    let mut behind_a_gap = Watched::plain();
    behind_a_gap.received(seg(101, 100, 1));
    let block = |left: u32, right: u32| SackBlock { left: SeqNum(IRS + left), right: SeqNum(IRS + right) };
    behind_a_gap.sent(seg(1, 0, 1));
    behind_a_gap.caught(seg(1, 0, 201), "only 1 has arrived");
    let mut sack = Watched::plain();
    sack.received(seg(101, 100, 1));
    let mut wrong = seg(1, 0, 1);
    wrong.options.sack.push(block(101, 202));
    sack.caught(wrong, "SACK of 101..202");
    let mut back = Watched::plain();
    back.received(seg(1, 100, 1));
    back.sent(seg(1, 0, 101));
    back.caught(seg(1, 0, 51), "acknowledged 51 after 101");
}

#[test]
fn a_window_taken_back_is_caught() {
    let mut watched = Watched::plain();
    watched.received(seg(1, 100, 1));
    watched.caught(Seg { window: 800, ..seg(1, 0, 101) }, "took its window back");
}

#[test]
fn options_that_were_not_agreed_on_are_caught() {
    let mut stamped = seg(1, 0, 1);
    stamped.options.timestamps = Some(polypath_wire::Timestamps { val: 1, ecr: 1 });
    Watched::plain().caught(stamped, "were not agreed on");
}

#[test]
fn what_breaks_the_rules_of_mappings_is_caught() {
    let mut two = Watched::multipath();
    two.sent(mapped(0, 1, 600));
    let mut other = Watched::multipath();
    other.sent(mapped(0, 1, 600));
    two.caught(mapped(0, 301, 600), "mapped 600 bytes at 301 to 0");
    other.caught(mapped(5, 1, 600), "mapped 600 bytes at 1 to 5");
    Watched::multipath().caught(mapped(5, 1, 600), "nothing between 0 and that");
    let outside = seg(1, 700, 1).dss((OURS, 0), THEIRS, Some((0, 1, 600)));
    Watched::multipath().caught(outside, "sent 700 bytes at 1 with a mapping of 600");
    let mut plain = Watched::multipath();
    plain.sent(seg(1, 500, 1));
    plain.caught(mapped(500, 501, 100), "a mapping after data without");
}

#[test]
fn a_data_ack_of_what_did_not_arrive_or_backwards_is_caught() {
    let answer = |ack| seg(1, 0, 101).dss((OURS, ack), THEIRS, None);
    let arrived = || {
        let mut watched = Watched::multipath();
        watched.received(seg(1, 100, 1).dss((THEIRS, 0), OURS, Some((0, 1, 100))));
        watched
    };
    let mut right = arrived();
    right.sent(answer(100));
    right.caught(answer(99), "DATA_ACK of 99 after 100");
    arrived().caught(answer(101), "only 100 has arrived");
}

#[test]
fn an_answer_to_a_syn_that_did_not_come_is_caught() {
    Watched::new().caught(seg(0, 0, 1).flags(TcpFlags::SYN), "a SYN that did not come");
    Watched::new().caught(seg(1, 0, 1), "of no connection");
}
