//! Round trips measured and the timeout made of them (RFC 6298; RFC 7323, section 4).

use crate::support::*;
use polypath_proto::Duration;

const FULL: usize = MSS as usize;

/// A plain client whose handshake took `rtt`. Its peer has no SACK, so that only the timeout sends again.
fn client_with_rtt(rtt: Duration) -> Script {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(rtt);
    s.inject(Seg { sack_permitted: false, ..syn_ack() });
    s.expect(ack(1));
    s
}

fn srtt(s: &mut Script) -> Duration {
    s.info().subflows[0].srtt.expect("it was measured")
}

// [6298-2.2-1]
#[test]
fn the_first_sample_makes_a_timeout_of_three_round_trips() {
    let mut s = client_with_rtt(ms(400));
    s.write(0, 100);
    s.expect(data(1, 100));
    // SRTT + 4 * SRTT / 2.
    s.expect_after(ms(1_200), data(1, 100));
}

// [6298-2.3-1, 6298-2.3-2]
#[test]
fn further_samples_move_the_variation_first() {
    let mut s = client_with_rtt(ms(400));
    s.write(0, 100);
    s.expect(data(1, 100));
    s.advance(ms(300));
    s.inject(ack(101));
    // RTTVAR = 3/4 * 200 + 1/4 * |400 - 300| = 175; SRTT = 7/8 * 400 + 1/8 * 300 = 387.5.
    assert_eq!(srtt(&mut s), Duration::from_micros(387_500));
    s.write(100, 100);
    s.expect(data(101, 100));
    s.expect_after(Duration::from_micros(387_500 + 4 * 175_000), data(101, 100));
}

// [6298-3-2]
#[test]
fn every_round_trip_is_measured() {
    let mut s = client_with_rtt(ms(400));
    s.act(|c| c.set_nodelay(true));
    let mut last = srtt(&mut s);
    for i in 0..5 {
        s.write(200 * i, 100);
        s.write(200 * i + 100, 100);
        s.clear();
        s.advance(ms(300));
        s.inject(ack(200 * (i as u32 + 1) + 1));
        assert!(srtt(&mut s) < last, "{:?}", srtt(&mut s));
        last = srtt(&mut s);
    }
}

// [7323-4.2-1]
#[test]
fn many_samples_in_a_round_trip_weigh_as_one() {
    let mut s = client_with_rtt(ms(100));
    for (round, rtt) in [(0, 100), (1, 150)] {
        let first = 10 * round;
        s.write(u64::from(first * MSS), 10 * FULL);
        s.clear();
        s.advance(ms(rtt));
        for i in 1..=10 {
            s.inject(ack(1 + (first + i) * MSS));
        }
    }
    // One sample of 150 ms would make it 106.25; ten of full weight 137.
    let srtt = srtt(&mut s);
    assert!(srtt > ms(105) && srtt < ms(107), "{srtt:?}");
}

// [6298-5-3]
#[test]
fn an_acknowledgement_just_before_the_timeout_starts_it_anew() {
    let mut s = client_with_rtt(ms(20));
    s.write(0, 2 * FULL);
    s.clear();
    s.advance(ms(190));
    s.inject(ack(1 + MSS));
    // RTTVAR = 3/4 * 10 + 1/4 * 170 = 50; SRTT = 7/8 * 20 + 1/8 * 190 = 41.25.
    s.expect_after(Duration::from_micros(241_250), data(1 + MSS, FULL));
}

// [6298-5-7, 5681-3.1-2]
#[test]
fn after_a_syn_timed_out_data_begins_with_three_seconds_and_one_segment() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.expect_after(ms(1_000), syn());
    s.advance(ms(50));
    // Without timestamps nobody knows which of the two is answered.
    s.inject(syn_ack().no_timestamps());
    s.expect(ack(1));
    s.write(0, 5_000);
    s.expect(data(1, FULL + 12));
    s.expect_after(ms(3_000), data(1, FULL + 12));
}

// [9293-MUST-18]
#[test]
fn timestamps_tell_which_syn_was_answered() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.expect_after(ms(1_000), syn());
    s.advance(ms(50));
    s.inject(syn_ack());
    s.expect(ack(1));
    assert_eq!(srtt(&mut s), ms(50));
    // That of the first says when it was sent, and not how long its answer was lost.
    let mut s = Script::client(&ScriptOptions::default());
    let first = s.expect(syn()).seg.options.timestamps.unwrap().val;
    s.expect_after(ms(1_000), syn());
    s.inject(syn_ack().tsecr(first));
    s.expect(ack(1));
    assert_eq!(s.info().subflows[0].srtt, None);
}

#[test]
fn a_syn_that_the_network_delivers_twice_was_not_lost() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    s.expect(syn_ack());
    s.advance(ms(10));
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    s.write(0, 15_000);
    assert_eq!(core::iter::from_fn(|| s.next_packet()).count(), 10);
}

// [5681-3.1-2]
#[test]
fn after_a_lost_syn_ack_the_server_begins_with_one_segment() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    s.expect(syn_ack());
    s.expect_after(ms(1_000), syn_ack());
    s.inject(ack(1));
    s.accept();
    s.write(0, 5_000);
    s.expect(data(1, FULL));
    s.expect_nothing();
}
