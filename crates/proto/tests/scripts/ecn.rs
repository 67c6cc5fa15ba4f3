//! Explicit congestion notification (RFC 3168): asked for, told of, answered once in a round trip.

use crate::support::*;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::mib::Counter;
use polypath_proto::{ChecksumMode, Config, EcnMode};
use polypath_wire::{Ecn, TcpFlags};

const FULL: usize = MSS as usize;
const ECE: TcpFlags = TcpFlags::ECE;
const CWR: TcpFlags = TcpFlags::CWR;

fn options(ecn: EcnMode) -> ScriptOptions {
    let config = Config { ecn, congestion: CongestionKind::Reno, ..Config::default() };
    ScriptOptions { config, ..ScriptOptions::default() }
}

/// The sequence number of the full segment number `i`, counted from 0.
fn place(i: u32) -> u32 {
    1 + i * MSS
}

fn cwnd(s: &mut Script) -> u64 {
    s.info().subflows[0].cwnd / u64::from(MSS)
}

/// A plain client that has agreed on ECN.
fn client_with(options: &ScriptOptions) -> Script {
    let mut s = Script::client(options);
    s.expect(syn().with(ECE | CWR).ecn(Ecn::NotEct));
    s.advance(RTT);
    s.inject(syn_ack().with(ECE));
    s.expect(ack(1).seq(1).ecn(Ecn::NotEct));
    assert!(s.info().subflows[0].ecn);
    s
}

fn client() -> Script {
    client_with(&options(EcnMode::Request))
}

/// A plain server that has agreed on ECN.
fn server() -> Script {
    let mut s = Script::server(&options(EcnMode::Accept));
    s.inject(syn().with(ECE | CWR));
    s.expect(syn_ack().with(ECE).ecn(Ecn::NotEct));
    s.advance(RTT);
    s.inject(ack(1));
    s.accept();
    assert!(s.info().subflows[0].ecn);
    s
}

/// The client has sent `n` full segments.
fn sent(n: u32) -> Script {
    let mut s = client();
    s.write(0, (n * MSS) as usize);
    for i in 0..n {
        s.expect(data(place(i), FULL).ecn(Ecn::Ect0));
    }
    s.expect_nothing();
    s
}

// [3168-5-1, 3168-6.1-1, 3168-6.1.1-1, 3168-6.1.1-4, 3168-6.1.4-1]
#[test]
fn only_data_is_sent_as_capable_and_only_after_both_ends_agreed() {
    let mut s = sent(2);
    s.inject(data(1, 10).ack(place(2)));
    s.expect(ack(11).ecn(Ecn::NotEct));

    let mut s = server();
    s.write(0, 10);
    s.expect(data(1, 10).ecn(Ecn::Ect0));
    // A FIN has no data.
    s.inject(ack(11));
    s.shutdown();
    s.expect(fin(11).ecn(Ecn::NotEct));
}

// [3168-6.1-1, 3168-6.1.1-2, 3168-6.1.1-4]
#[test]
fn who_does_not_ask_or_is_not_answered_sends_nothing_of_ecn() {
    // By default we do not ask, and a SYN that does not ask is not answered.
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().with(ECE));
    s.expect(ack(1));
    s.write(0, 10);
    s.expect(data(1, 10).ecn(Ecn::NotEct));

    // One of the two flags is no question.
    for flags in [TcpFlags::empty(), ECE, CWR] {
        let mut s = Script::server(&options(EcnMode::Request));
        s.inject(syn().with(flags));
        s.expect(syn_ack());
        s.inject(ack(1));
        s.accept();
        s.write(0, 10);
        s.expect(data(1, 10).ecn(Ecn::NotEct));
        assert!(!s.info().subflows[0].ecn);
    }

    let mut s = Script::server(&options(EcnMode::Off));
    s.inject(syn().with(ECE | CWR));
    s.expect(syn_ack());

    // An answer without, and one that only repeats the question.
    for flags in [TcpFlags::empty(), ECE | CWR] {
        let mut s = Script::client(&options(EcnMode::Request));
        s.expect(syn().with(ECE | CWR));
        s.inject(syn_ack().with(flags));
        s.expect(ack(1));
        s.write(0, 10);
        s.expect(data(1, 10).ecn(Ecn::NotEct));
    }
}

// [3168-6.1.1-3]
#[test]
fn a_syn_that_asks_in_vain_is_followed_by_one_that_does_not() {
    let mut s = Script::client(&options(EcnMode::Request));
    s.expect(syn().with(ECE | CWR));
    s.expect_after(ms(1_000), syn());
    // The answer to the first one, late. Who has sent a SYN without sends no ECT; what the peer sends may be marked.
    s.inject(syn_ack().with(ECE));
    s.expect(ack(1));
    s.write(0, 10);
    s.expect(data(1, 10).ecn(Ecn::NotEct));
    s.inject(data(1, 10).ack(11).ecn(Ecn::Ce));
    s.expect(ack(11).with(ECE));
    // An echo means nothing to who is not marked.
    let before = cwnd(&mut s);
    s.inject(ack(11).with(ECE));
    assert_eq!(cwnd(&mut s), before);

    // The same, seen from the other end.
    let mut s = Script::server(&options(EcnMode::Accept));
    s.inject(syn().with(ECE | CWR));
    s.expect(syn_ack().with(ECE));
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    s.write(0, 10);
    s.expect(data(1, 10).ecn(Ecn::NotEct));
}

// [3168-5-1, 3168-6.1.3-1]
#[test]
fn a_mark_is_echoed_on_every_acknowledgement_until_the_sender_has_reduced() {
    let mut s = server();
    s.inject(data(1, 10).ecn(Ecn::Ect1));
    s.expect(ack(11));
    s.inject(data(11, 10).ecn(Ecn::Ce));
    s.expect(ack(21).with(ECE));
    s.inject(data(21, 10).ecn(Ecn::Ect0));
    s.expect(ack(31).with(ECE));
    // On data too, which is an acknowledgement.
    s.write(0, 10);
    s.expect(data(1, 10).ack(31).with(ECE));
    s.inject(data(31, 10).ack(11).with(CWR).ecn(Ecn::Ect0));
    s.expect(ack(41));
    // Marked again on its way.
    s.inject(data(41, 10).ecn(Ecn::Ce));
    s.expect(ack(51).with(ECE));
    s.inject(data(51, 10).with(CWR).ecn(Ecn::Ce));
    s.expect(ack(61).with(ECE));
    // A super-packet, whose first segment has CWR.
    s.inject(data(61, 4 * FULL).with(CWR).ecn(Ecn::Ect0));
    s.expect(ack(61 + 4 * MSS));
    let mib = s.stack.mib();
    assert_eq!((mib.get(Counter::IpExtInCEPkts), mib.get(Counter::IpExtInECT1Pkts)), (3, 1), "{mib:?}");
}

// [3168-6.1.5-2]
#[test]
fn a_mark_on_data_from_outside_the_window_says_nothing() {
    let mut s = server();
    s.inject(data(1, 10));
    s.expect(ack(11));
    // Old, beyond, and none.
    s.inject(data(1, 10).ecn(Ecn::Ce));
    s.expect(ack(11));
    s.inject(data(100_000_000, 10).ecn(Ecn::Ce));
    s.expect(ack(11));
    s.inject(ack(1).seq(11).ecn(Ecn::Ce));
    s.inject(data(11, 10));
    s.expect(ack(21));
}

// [3168-6.1.2-1, 3168-6.1.2-2, 3168-6.1.2-3]
#[test]
fn an_echo_halves_the_window_once_in_a_round_trip_and_sends_nothing_again() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(2)).with(ECE));
    assert_eq!(cwnd(&mut s), 5);
    s.write(u64::from(10 * MSS), 10 * FULL);
    // More of the same, until what left with CWR is acknowledged.
    s.inject(ack(place(4)).with(ECE));
    s.inject(ack(place(6)).with(ECE));
    assert_eq!(cwnd(&mut s), 5);
    s.expect(data(place(10), FULL).with(CWR).ecn(Ecn::Ect0));
    s.expect_nothing();
    s.inject(ack(place(7)).with(ECE));
    s.expect(data(place(11), FULL).ecn(Ecn::Ect0));
    s.inject(ack(place(10)).with(ECE));
    assert_eq!(cwnd(&mut s), 5);
    for i in 12..15 {
        s.expect(data(place(i), FULL).ecn(Ecn::Ect0));
    }
    // An echo after the CWR is of a new mark.
    s.advance(RTT);
    s.inject(ack(place(11)).with(ECE));
    assert_eq!(cwnd(&mut s), 2);
    assert_eq!(s.info().subflows[0].counters.retransmits, 0);
}

#[test]
fn a_late_acknowledgement_with_an_echo_is_of_the_past() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(2)));
    s.inject(ack(place(1)).with(ECE));
    assert!(cwnd(&mut s) >= 10);
}

// [3168-6.1.2-1]
#[test]
fn cubic_answers_a_mark_by_seven_tenths() {
    let config = Config { ecn: EcnMode::Request, ..Config::default() };
    let mut s = client_with(&ScriptOptions { config, ..ScriptOptions::default() });
    s.write(0, 10 * FULL);
    s.advance(RTT);
    s.inject(ack(place(2)).with(ECE));
    assert_eq!(cwnd(&mut s), 7);
}

// [3168-6.1.2-1, 3168-6.1.5-1]
#[test]
fn a_mark_and_a_loss_in_one_window_are_one_reduction() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(1)).with(ECE));
    assert_eq!(cwnd(&mut s), 5);
    // The second is lost: sent again, without ECT, for the window that was reduced already.
    s.inject(ack(place(1)).with(ECE).sack(&[(place(2), place(6))]));
    s.expect(data(place(1), FULL).ecn(Ecn::NotEct));
    assert_eq!(cwnd(&mut s), 5);
    s.write(u64::from(10 * MSS), 10 * FULL);
    s.inject(ack(place(10)).with(ECE));
    assert_eq!(cwnd(&mut s), 5);
    s.expect(data(place(10), FULL).with(CWR));
    s.clear();

    // The other way round: the loss is noticed first.
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(1), place(4))]));
    s.expect(data(place(0), FULL).ecn(Ecn::NotEct));
    assert_eq!(cwnd(&mut s), 5);
    s.inject(ack(place(4)).with(ECE));
    assert_eq!(cwnd(&mut s), 5);
    // CWR is for every reduction (RFC 3168, section 6.1.2).
    s.inject(ack(place(10)).with(ECE));
    s.write(u64::from(10 * MSS), FULL);
    s.expect(data(place(10), FULL).with(CWR).ecn(Ecn::Ect0));
    assert_eq!(cwnd(&mut s), 5);
}

// [3168-6.1.5-1, 3168-6.1.6-1]
#[test]
fn what_is_sent_after_a_timeout_and_probes_are_not_marked_as_capable() {
    let mut s = sent(2);
    s.expect_after(ms(42), data(place(1), FULL).ecn(Ecn::NotEct));
    s.expect_after(ms(200), data(place(0), FULL).ecn(Ecn::NotEct));
    s.inject(ack(place(2)));
    // New data: a timeout is a reduction too.
    s.write(u64::from(2 * MSS), 10);
    s.expect(data(place(2), 10).with(CWR).ecn(Ecn::Ect0));

    let mut s = Script::client(&options(EcnMode::Request));
    s.expect(syn().with(ECE | CWR));
    s.advance(RTT);
    s.inject(syn_ack().with(ECE).window(10));
    s.expect(ack(1));
    s.write(0, 20);
    s.expect(data(1, 10).ecn(Ecn::Ect0));
    s.inject(ack(11).window(0));
    s.expect_after(ms(200), data(10, 1).ecn(Ecn::NotEct));
}

// [3168-6.1.2-2]
#[test]
fn of_a_super_segment_the_first_piece_has_cwr() {
    let config = Config { ecn: EcnMode::Request, ..Config::default() };
    let mut s = client_with(&ScriptOptions { config, max_segment: 65_535, ..ScriptOptions::default() });
    s.write(0, 10 * FULL);
    s.expect(data(1, 10 * FULL).ecn(Ecn::Ect0));
    s.advance(RTT);
    s.inject(ack(place(10)).with(ECE));
    s.write(u64::from(10 * MSS), 5 * FULL);
    let packet = s.expect(data(place(10), 5 * FULL).with(CWR).ecn(Ecn::Ect0));
    let mut headers = polypath_proto::HeaderBuf::new();
    let payload = [packet.payload];
    polypath_wire::emit_headers(&packet.seg, &payload, ChecksumMode::Full, &mut headers);
    let mut pieces = Vec::new();
    let size = packet.segment_size.expect("a super-segment");
    polypath_wire::gso::split(&headers, &payload, size, ChecksumMode::Full, |headers, _| {
        let (piece, ..) = polypath_wire::parse_headers(headers).expect("a segment");
        pieces.push((piece.tcp.flags.contains(CWR), piece.ip.ecn));
    });
    assert_eq!(pieces[0], (true, Ecn::Ect0));
    assert_eq!(pieces[1..], [(false, Ecn::Ect0); 4]);
}

// [3168-6.1-1]
#[test]
fn each_subflow_negotiates_by_itself() {
    let config = Config { ecn: EcnMode::Request, ..Config::default() };
    let mut s = Script::client(&ScriptOptions { config, ..ScriptOptions::two_addresses() });
    s.expect(syn().with(ECE | CWR).opt(capable_syn()));
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.advance(RTT);
    s.inject(ack(1).opt(dack(1)));
    let (_, join) = s.take_syn();
    assert_eq!(join.seg.tcp.flags, TcpFlags::SYN | ECE | CWR);
    let [polypath_wire::MptcpOption::MpJoin(polypath_wire::MpJoin::Syn { nonce, .. })] = join.seg.options.mptcp[..]
    else {
        panic!("{join:?}")
    };
    let answer = join_syn_ack(&s, nonce).with(ECE);
    s.inject(answer);
    assert_eq!(s.info().subflows.iter().map(|subflow| subflow.ecn).collect::<Vec<_>>(), [false, true]);
}

// [9293-SHLD-8]
#[test]
fn a_transfer_over_a_path_that_marks_loses_nothing_and_keeps_its_window_small() {
    let config = Config { ecn: EcnMode::Request, ..Config::default() };
    let options =
        PairOptions { client: config, client_addresses: vec![(WIFI, false)], max_segment: 1500, ..Default::default() };
    let mut pair = Pair::connected(&options);
    let mut n = 0;
    // Every 50th data packet of the client, in each window about one.
    pair.mark(move |sent| {
        n += u32::from(sent.by == Side::Client && !sent.payload.is_empty());
        sent.by == Side::Client && !sent.payload.is_empty() && n % 50 == 0
    });
    pair.send(Side::Client, 3_000_000);
    pair.drive_until(ms(30_000), |p| p.server.received.len() == 3_000_000);
    let subflow = &pair.info(Side::Client).subflows[0];
    assert_eq!((subflow.retransmits, subflow.ecn), (0, true));
    assert!(subflow.cwnd < 100 * u64::from(MSS), "{subflow:?}");
    let cwrs = pair.log.iter().filter(|p| p.by == Side::Client && p.seg.tcp.flags.contains(CWR)).count();
    assert!(cwrs > 10, "{cwrs}");
}
