//! Loss, timeouts, windows (RFC 9293, 6298, 8985).

use crate::support::*;
use polypath_proto::{Config, ConnectionError, Duration, Instant};

pub(crate) const FULL: usize = MSS as usize;

/// A plain client that has sent `n` full segments; srtt is 20 ms, the timeout 200 ms.
pub(crate) fn sent(n: u32) -> Script {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, (n * MSS) as usize);
    for i in 0..n {
        s.expect(data(place(i), FULL));
    }
    s.expect_nothing();
    s
}

/// The sequence number of the full segment number `i`, counted from 0.
pub(crate) fn place(i: u32) -> u32 {
    1 + i * MSS
}

fn cwnd(s: &mut Script) -> u64 {
    s.info().subflows[0].cwnd / u64::from(MSS)
}

// [6298-5-2, 8985-6.2-3]
#[test]
fn three_segments_sacked_beyond_a_hole_send_it_again_at_once() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(1), place(2))]));
    s.expect_nothing();
    s.inject(ack(place(0)).sack(&[(place(1), place(3))]));
    s.expect_nothing();
    s.inject(ack(place(0)).sack(&[(place(1), place(4))]));
    s.expect(data(place(0), FULL).payload(&stream(0, FULL)));
    s.expect_nothing();
    s.advance(RTT);
    s.inject(ack(place(10)));
    s.expect_silence(ms(5_000));
    assert_eq!(s.info().subflows[0].counters.retransmits, 1);
    assert_eq!(s.info().subflows[0].counters.timeouts, 0);
}

// [2018-5-4]
#[test]
fn only_what_is_missing_is_sent_again() {
    let mut s = sent(10);
    s.advance(RTT);
    // Segments 2 and 5 are lost.
    s.inject(ack(place(2)).sack(&[(place(3), place(5))]));
    s.expect_nothing();
    s.inject(ack(place(2)).sack(&[(place(6), place(10)), (place(3), place(5))]));
    s.expect(data(place(2), FULL));
    s.expect(data(place(5), FULL));
    s.advance(RTT);
    s.inject(ack(place(10)));
    s.expect_silence(ms(5_000));
    assert_eq!(s.info().subflows[0].counters.retransmits, 2);
}

// [8985-6.2-2]
#[test]
fn the_order_of_the_blocks_in_one_ack_is_not_reordering() {
    let mut s = sent(10);
    s.advance(RTT);
    // The acknowledgements before this one were lost; the latest block comes first (RFC 2018, section 4).
    s.inject(ack(place(2)).sack(&[(place(6), place(10)), (place(3), place(5))]));
    s.expect(data(place(2), FULL));
    s.expect(data(place(5), FULL));
}

// [8985-4-1, 5681-3.2-4]
#[test]
fn three_duplicate_acks_do_without_sack() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(Seg { sack_permitted: false, ..syn_ack() });
    s.expect(ack(1));
    // An acknowledgement with another window than the last is no duplicate.
    s.inject(ack(1));
    s.write(0, 5 * FULL);
    for i in 0..5 {
        s.expect(data(place(i), FULL));
    }
    s.advance(RTT);
    s.inject(ack(1));
    s.inject(ack(1));
    s.expect_nothing();
    s.inject(ack(1));
    s.expect(data(1, FULL));
    s.expect_nothing();
}

/// A plain client without SACK that has ten segments in flight, and more to send.
fn without_sack() -> Script {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(Seg { sack_permitted: false, ..syn_ack() });
    s.expect(ack(1));
    s.inject(ack(1));
    s.write(0, 20 * FULL);
    s.clear();
    s.advance(RTT);
    s
}

// [5681-2-1]
#[test]
fn window_updates_are_no_duplicate_acks() {
    let mut s = without_sack();
    for window in 1_001..1_010 {
        s.inject(ack(1).window(window));
    }
    s.expect_nothing();
}

// [5681-3.2-3]
#[test]
fn the_first_two_duplicate_acks_let_new_data_out() {
    let mut s = without_sack();
    s.inject(ack(1));
    s.expect(data(place(10), FULL));
    s.inject(ack(1));
    s.expect(data(place(11), FULL));
    s.expect_nothing();
    s.inject(ack(1));
    s.expect(data(1, FULL));
    s.expect_nothing();
}

/// The tail loss probe after so long: the end of what was sent.
#[track_caller]
fn expect_probe(s: &mut Script, after: Duration, end: u32) {
    let probe = s.expect_after(after, Seg { seq: None, len: None, ..data(0, 0) });
    assert_eq!(probe.payload, stream(u64::from(end) - 1 - probe.payload.len() as u64, probe.payload.len()));
}

// [8985-7.3-2]
#[test]
fn a_tail_loss_probe_is_the_whole_last_segment() {
    let mut s = sent(5);
    // RFC 8985, section 7.3: the highest-sequence segment sent so far.
    s.expect_after(ms(42), data(place(4), FULL));
    s.inject(ack(place(4)).sack(&[(place(4), place(5))]));

    let mut s = Script::active_client(&ScriptOptions::default());
    let last = 1 + 4 * DSS_MSS;
    s.write(0, 5 * DSS_MSS as usize);
    s.clear();
    s.expect_after(ms(42), data(last, DSS_MSS as usize).opt(map(u64::from(last), last, DSS_MSS as usize, 1)));
}

// [8985-7.2-1]
#[test]
fn a_lost_tail_is_probed_for_after_two_round_trips() {
    let mut s = sent(5);
    // RFC 8985, section 7.2: 2 * SRTT, and 2 ms for the clocks.
    expect_probe(&mut s, ms(42), place(5));
    assert_eq!(s.info().subflows[0].counters.loss_probes, 1);
    // The last two were lost: the answer to the probe shows the other one.
    s.advance(RTT);
    s.inject(ack(place(3)).sack(&[(place(5) - 1_000, place(5))]));
    let mut at = place(3);
    s.advance(RTT / 4);
    while let Some(packet) = s.next_packet() {
        assert_eq!(packet.payload, stream(u64::from(at) - 1, packet.payload.len()));
        at += packet.payload.len() as u32;
    }
    assert!(at >= place(4), "{at}");
    s.advance(RTT);
    s.inject(ack(place(5)));
    s.expect_silence(ms(5_000));
    assert_eq!(s.info().subflows[0].counters.timeouts, 0);
}

// [8985-7.3-3, 9438-4.8-1]
#[test]
fn a_probe_without_an_answer_is_followed_by_the_timeout() {
    let mut s = sent(5);
    expect_probe(&mut s, ms(42), place(5));
    s.expect_after(ms(200), data(place(0), FULL));
    assert_eq!(s.info().subflows[0].counters.timeouts, 1);
    assert_eq!(cwnd(&mut s), 1);
}

// [9293-MUST-18, 9293-MUST-19, 6298-2.4-1, 6298-3-1, 6298-5-1, 6298-5-5]
#[test]
fn timeouts_double_and_an_answer_resets_them() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.expect_after(ms(200), data(1, 100));
    s.expect_after(ms(400), data(1, 100));
    s.expect_after(ms(800), data(1, 100));
    s.expect_after(ms(1_600), data(1, 100));
    s.inject(ack(101));
    s.write(100, 100);
    s.expect(data(101, 100));
    s.expect_after(ms(200), data(101, 100));
}

// [9293-MUST-20, 9293-SHLD-11, 6298-2.5-1]
#[test]
fn a_timeout_is_never_longer_than_a_minute_and_gives_up_in_the_end() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    s.advance(ms(13 * 60_000));
    assert_eq!(s.closed(), None);
    let mut last: Option<Instant> = None;
    let mut longest = ms(0);
    while let Some(packet) = s.next_packet() {
        longest = longest.max(packet.at - last.unwrap_or(packet.at));
        last = Some(packet.at);
    }
    assert_eq!(longest, ms(60_000));
    s.advance(ms(4 * 60_000));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

// [6298-5-4, 9438-4.8-1]
#[test]
fn after_a_timeout_the_window_opens_again_in_slow_start() {
    let mut s = sent(10);
    expect_probe(&mut s, ms(42), place(10));
    s.expect_after(ms(200), data(place(0), FULL));
    s.advance(RTT);
    s.inject(ack(place(1)));
    s.expect(data(place(1), FULL));
    s.expect(data(place(2), FULL));
    s.expect_nothing();
}

// [9438-4.9-1]
#[test]
fn a_spurious_timeout_is_undone() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 10 * FULL);
    let first = s.expect(data(place(0), FULL)).seg.options.timestamps.unwrap().val;
    s.clear();
    expect_probe(&mut s, ms(42), place(10));
    s.expect_after(ms(200), data(place(0), FULL));
    assert_eq!(cwnd(&mut s), 1);
    // The originals arrive after all: the echo is older than the repetition (RFC 3522).
    s.inject(ack(place(1)).tsecr(first));
    s.expect_nothing();
    assert!(cwnd(&mut s) >= 10, "{} segments", cwnd(&mut s));
    s.inject(ack(place(10)).tsecr(first));
    s.expect_silence(ms(5_000));
    assert_eq!(s.info().subflows[0].counters.retransmits, 2);
}

#[test]
fn a_real_timeout_is_not_undone() {
    let mut s = sent(10);
    expect_probe(&mut s, ms(42), place(10));
    s.expect_after(ms(200), data(place(0), FULL));
    // The echo is that of the repetition.
    s.inject(ack(place(1)));
    s.expect(data(place(1), FULL));
    assert!(cwnd(&mut s) <= 2);
}

// [8985-6.2-4]
#[test]
fn a_little_reordering_sends_nothing_again() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(1), place(3))]));
    s.expect_nothing();
    s.advance(ms(2));
    s.inject(ack(place(3)));
    s.inject(ack(place(10)));
    s.expect_silence(ms(5_000));
    assert_eq!(s.info().subflows[0].counters.retransmits, 0);
}

// [8985-4-2, 8985-6.2-4, 8985-6.2-7]
#[test]
fn what_stays_missing_for_a_quarter_of_a_round_trip_is_lost() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(1), place(2))]));
    s.expect_after(RTT / 4, data(place(0), FULL));
}

// [8985-6.2-2]
#[test]
fn where_reordering_was_seen_three_segments_are_no_proof_of_loss() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(1), place(2))]));
    s.inject(ack(place(2)));
    // Now a hole, and three beyond.
    s.inject(ack(place(2)).sack(&[(place(3), place(6))]));
    s.expect_nothing();
    // RFC 8985, section 6.2: a quarter of the round trip later it counts as lost.
    s.expect_after(RTT / 4, data(place(2), FULL));
}

// [9293-MUST-35, 9293-MUST-36, 9293-SHLD-29, 9293-SHLD-30, 6298-5-2]
#[test]
fn a_shut_window_is_probed_until_it_opens() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(syn_ack().window(1_000));
    s.expect(ack(1));
    s.write(0, 3_000);
    s.expect(data(1, 1_000));
    s.inject(ack(1_001).window(0));
    s.expect_nothing();
    // RFC 9293, section 3.8.6.1: after a timeout, then ever more slowly. Below the window: it must be answered.
    s.expect_after(ms(200), data(1_000, 1).ack(1));
    s.inject(ack(1_001).window(0));
    s.expect_after(ms(400), data(1_000, 1).ack(1));
    s.inject(ack(1_001).window(0));
    s.expect_after(ms(800), data(1_000, 1).ack(1));
    s.inject(ack(1_001).window(1_000));
    s.expect(data(1_001, FULL));
    s.expect(data(1_001 + MSS, 2_000 - FULL));
    s.inject(ack(3_001));
    s.expect_silence(ms(10_000));
}

// [8684-3.3.4-1, 9293-SHLD-14, 9293-MUST-39]
#[test]
fn a_reader_that_makes_room_sends_a_window_update() {
    let config = Config { recv_buffer_max: 10_000, ..Config::default() };
    let mut s = Script::plain_server(&ScriptOptions { config, ..ScriptOptions::default() });
    for i in 0..6 {
        s.inject(data(place(i), FULL));
        s.expect(ack(place(i + 1)).window(10_000 - (i as u16 + 1) * 1_448));
    }
    s.inject(data(place(6), 10_000 - 6 * FULL));
    s.expect(ack(10_001).window(0));
    // A little room is not worth a segment (RFC 9293, section 3.8.6.2.2).
    s.act(|c| c.read(1_000)).unwrap();
    s.expect_nothing();
    s.read();
    s.expect(ack(10_001).window(10_000));
}

// [9293-3.10.7.4-1]
#[test]
fn data_into_a_shut_window_is_refused_and_answered() {
    let config = Config { recv_buffer_max: 5_000, ..Config::default() };
    let mut s = Script::plain_server(&ScriptOptions { config, ..ScriptOptions::default() });
    for i in 0..3 {
        s.inject(data(place(i), FULL));
        s.expect(ack(place(i + 1)));
    }
    s.inject(data(place(3), 5_000 - 3 * FULL));
    s.expect(ack(5_001).window(0));
    // The kind of probe with one byte of data.
    s.inject(data(5_001, 1));
    assert_eq!(s.next_packet().map(|p| p.seg.tcp.window), Some(0));
}

/// A plain server beyond the first segments, which are acknowledged at once.
fn after_quick_acks() -> (Script, u32) {
    let mut s = Script::plain_server(&ScriptOptions::default());
    for i in 0..16 {
        s.inject(data(place(i), FULL));
        s.expect(ack(place(i + 1)));
    }
    (s, 16)
}

// [9293-SHLD-19, 5681-4.2-1]
#[test]
fn every_second_segment_is_acknowledged() {
    let (mut s, n) = after_quick_acks();
    for i in 0..4 {
        s.inject(data(place(n + 2 * i), FULL));
        s.expect_nothing();
        s.inject(data(place(n + 2 * i + 1), FULL));
        s.expect(ack(place(n + 2 * i + 2)));
    }
}

// [9293-SHLD-18, 9293-MUST-40, 5681-4.2-2]
#[test]
fn a_single_segment_is_acknowledged_after_40_milliseconds() {
    let (mut s, n) = after_quick_acks();
    s.inject(data(place(n), 100));
    s.expect_after(ms(40), ack(place(n) + 100));
    // Data of ours takes it along.
    s.inject(data(place(n) + 100, 100));
    s.write(0, 10);
    s.expect(data(1, 10).ack(place(n) + 200));
    s.inject(ack(11));
    s.expect_silence(ms(1_000));
}

// [9293-MAY-13, 5681-3.2-1, 5681-3.2-2]
#[test]
fn out_of_order_and_hole_filling_segments_are_acknowledged_at_once() {
    let (mut s, n) = after_quick_acks();
    s.inject(data(place(n + 1), 100));
    s.expect(ack(place(n)).sack(&[(place(n + 1), place(n + 1) + 100)]));
    s.inject(data(place(n), FULL));
    s.expect(ack(place(n + 1) + 100));
}

// [7323-4.3-1]
#[test]
fn timestamps_echo_the_segment_that_the_acknowledgement_waits_for() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    let early = s.peer_clock() + 1;
    s.inject(data(1, 10).tsval(early));
    assert_eq!(s.expect(ack(11)).seg.options.timestamps.unwrap().ecr, early);
    // RFC 7323, section 4.3: a segment after a hole does not count.
    s.inject(data(51, 10).tsval(early + 5));
    assert_eq!(s.expect(ack(11)).seg.options.timestamps.unwrap().ecr, early);
}

#[test]
fn a_lossy_path_delivers_everything() {
    let options = PairOptions { client_addresses: vec![(WIFI, false)], ..PairOptions::default() };
    let mut pair = Pair::connected(&options);
    let mut n = 0;
    // Every 13th packet in either direction, whatever it is.
    pair.lose(move |_| {
        n += 1;
        n % 13 == 0
    });
    pair.send(Side::Client, 400_000);
    pair.send(Side::Server, 400_000);
    pair.drive_until(ms(60_000), |p| p.server.received.len() == 400_000 && p.client.received.len() == 400_000);
    pair.assert_received(Side::Server, 400_000);
    pair.assert_received(Side::Client, 400_000);
}
