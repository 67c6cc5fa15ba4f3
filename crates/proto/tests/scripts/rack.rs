//! RACK, the tail loss probe and proportional rate reduction (RFC 8985, RFC 6937).

use crate::support::*;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::{Config, Duration};

const FULL: usize = MSS as usize;

/// The sequence number of the full segment number `i`, counted from 0.
fn place(i: u32) -> u32 {
    1 + i * MSS
}

/// A plain client that has sent `n` full segments; srtt is 20 ms, the timeout 200 ms.
fn sent(n: u32) -> Script {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, (n * MSS) as usize);
    s.clear();
    s
}

fn cwnd(s: &mut Script) -> u64 {
    s.info().subflows[0].cwnd / u64::from(MSS)
}

// [8985-6.2-1]
#[test]
fn an_acknowledgement_too_soon_for_the_retransmission_measures_nothing() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    // Timestamps would tell the original from its repetition.
    s.inject(syn_ack().no_timestamps());
    s.expect(ack(1));
    let place = |i: u32| 1 + i * (MSS + 12);
    s.write(0, 10 * (FULL + 12));
    s.clear();
    s.advance(RTT);
    s.inject(ack(1).sack(&[(place(1), place(4))]));
    s.expect(data(1, FULL + 12));
    s.advance(ms(5));
    s.inject(ack(place(4)));
    // 5 ms are no round trip: what was sent before the repetition is not late.
    s.expect_nothing();
    assert_eq!(s.info().subflows[0].srtt, Some(RTT));
}

/// Sends two segments, number `i` the first, which is lost; how long until it goes again. Then the peer says whether
/// it had both.
fn patience(s: &mut Script, i: u32, duplicate: bool) -> Duration {
    s.write(u64::from(i * MSS), 2 * FULL);
    s.clear();
    s.advance(RTT);
    s.inject(ack(place(i)).sack(&[(place(i + 1), place(i + 2))]));
    let from = s.now;
    while s.next_packet().is_none() {
        s.advance(ms(1));
    }
    let waited = s.now - from;
    let all = ack(place(i + 2));
    s.inject(if duplicate { all.sack(&[(place(i), place(i + 1))]) } else { all });
    s.expect_nothing();
    waited
}

// [8985-6.2-5, 8985-6.2-6]
#[test]
fn a_needless_retransmission_widens_the_reordering_window() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    let mut i = 0;
    let mut next = |s: &mut Script, duplicate| {
        i += 2;
        patience(s, i - 2, duplicate)
    };
    // A quarter of a round trip more each time, a whole one at most.
    let widening: Vec<_> = (0..6).map(|_| next(&mut s, true)).collect();
    assert_eq!(widening, [ms(5), ms(10), ms(15), ms(20), ms(20), ms(20)]);
    // It is forgotten after 16 recoveries.
    let lasting: Vec<_> = (0..15).map(|_| next(&mut s, false)).collect();
    assert_eq!(lasting, [ms(20); 15]);
    next(&mut s, false);
    assert_eq!(next(&mut s, false), ms(5));
}

// [8985-6.3-1]
#[test]
fn a_timeout_leaves_alone_what_was_sent_just_before() {
    let mut s = sent(1);
    s.advance(RTT);
    s.inject(ack(place(1)));
    s.write(u64::from(MSS), 4 * FULL);
    s.clear();
    s.advance(ms(42));
    s.clear();
    s.advance(ms(198));
    s.expect_nothing();
    s.write(u64::from(5 * MSS), FULL);
    s.expect(data(place(5), FULL));
    s.expect_after(ms(2), data(place(1), FULL));
    // The first goes at once, although the window is one segment.
    assert_eq!(s.info().subflows[0].in_flight, 2 * u64::from(MSS));
    s.advance(RTT);
    s.inject(ack(place(5)));
    s.expect_nothing();
    s.inject(ack(place(6)));
    s.expect_silence(ms(5_000));
}

// [8985-7.2-2]
#[test]
fn there_is_no_probe_during_recovery() {
    let mut s = sent(10);
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(1), place(4))]));
    s.expect(data(place(0), FULL));
    s.expect_after(ms(200) - RTT, data(place(0), FULL));
    assert_eq!(s.info().subflows[0].counters.loss_probes, 0);
}

// [8985-7.4-1]
#[test]
fn a_loss_that_only_the_probe_repaired_makes_the_window_smaller() {
    let mut s = sent(10);
    s.expect_after(ms(42), data(place(9), FULL));
    s.advance(RTT);
    s.inject(ack(place(10)));
    assert_eq!(cwnd(&mut s), 7);
    assert_eq!(s.info().subflows[0].counters.loss_probe_recoveries, 1);
}

/// A client with NewReno that has 20 segments in flight.
fn twenty_in_flight() -> Script {
    let config = Config { congestion: CongestionKind::Reno, ..Config::default() };
    let mut s = Script::plain_client(&ScriptOptions { config, ..ScriptOptions::default() });
    s.write(0, 30 * FULL);
    s.advance(RTT);
    s.inject(ack(place(10)));
    s.clear();
    assert_eq!((cwnd(&mut s), s.info().subflows[0].in_flight), (20, 20 * u64::from(MSS)));
    s.advance(RTT);
    s
}

fn packets(s: &mut Script) -> usize {
    core::iter::from_fn(|| s.next_packet()).count()
}

// [6937-3-1]
#[test]
fn in_recovery_one_segment_goes_for_every_two_that_arrive() {
    let mut s = twenty_in_flight();
    // Number 10 is lost; the others are reported one by one.
    let mut report = |end| {
        s.inject(ack(place(10)).sack(&[(place(11), place(end))]));
        if end == 14 {
            s.write(u64::from(30 * MSS), 20 * FULL);
        }
        packets(&mut s)
    };
    let sent: Vec<usize> = (12..=30).map(&mut report).collect();
    // From 18 in flight to a half: half of what arrives, in whole segments, the first at once; then one for one.
    assert_eq!(sent, [0, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1]);
}

// [6937-3-2]
#[test]
fn after_many_losses_no_more_goes_than_arrived_and_one_if_the_hole_moves() {
    let mut s = twenty_in_flight();
    // Numbers 10 to 24 are lost.
    for end in [26, 27] {
        s.inject(ack(place(10)).sack(&[(place(25), place(end))]));
        assert_eq!(packets(&mut s), 0);
    }
    s.inject(ack(place(10)).sack(&[(place(25), place(28))]));
    // Two are in flight, ten would be allowed: one for one.
    assert_eq!(packets(&mut s), 1);
    s.inject(ack(place(10)).sack(&[(place(25), place(29))]));
    assert_eq!(packets(&mut s), 1);
    s.advance(RTT);
    // Two more arrived, and nothing more was lost: three.
    s.inject(ack(place(11)).sack(&[(place(25), place(30))]));
    assert_eq!(packets(&mut s), 3);
}
