//! Windows of either end: shut, shrunk, scaled, rounded (RFC 9293, section 3.8.6; RFC 7323, section 2).

use crate::support::*;
use polypath_proto::{Config, ConnectionError};

const FULL: usize = MSS as usize;

/// The sequence number of the full segment number `i`, counted from 0.
fn place(i: u32) -> u32 {
    1 + i * MSS
}

/// A plain client whose peer scales no windows, with so much of a window.
fn unscaled_client(window: u16) -> Script {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(Seg { window_scale: None, ..syn_ack().window(window) });
    s.expect(ack(1));
    s.take_events();
    s
}

// [9293-MUST-34, 9293-SHLD-15, 7323-2.4-3]
#[test]
fn new_data_keeps_to_the_latest_window_although_an_earlier_one_reached_further() {
    let mut s = unscaled_client(10_000);
    s.write(0, 2 * FULL);
    s.expect(data(place(0), FULL));
    s.expect(data(place(1), FULL));
    // Of 10,000 bytes 1,000 more than are in flight are left.
    s.inject(ack(1).window(2 * MSS as u16 + 1_000));
    s.write(2 * u64::from(MSS), 5_000);
    s.expect_nothing();
    s.inject(ack(place(2)).window(1_000));
    s.expect(data(place(2), 1_000));
    s.expect_nothing();
    // An acknowledgement that was overtaken does not open it again.
    s.inject(ack(place(1)).window(20_000));
    s.expect_nothing();
    s.inject(ack(place(2) + 1_000).window(10_000));
    s.expect(data(place(2) + 1_000, FULL));
}

// [9293-MUST-34, 9293-SHLD-16, 7323-2.4-4]
#[test]
fn what_is_in_flight_beyond_a_shrunk_window_is_sent_again_as_ever() {
    let mut s = unscaled_client(20_000);
    s.write(0, 5 * FULL);
    for i in 0..5 {
        s.expect(data(place(i), FULL));
    }
    s.advance(RTT);
    s.inject(ack(place(1)).window(0));
    s.expect_nothing();
    s.inject(ack(place(1)).window(0).sack(&[(place(2), place(5))]));
    s.expect(data(place(1), FULL));
    s.inject(ack(place(5)).window(0));
    s.expect_nothing();
}

// [9293-SHLD-17]
#[test]
fn a_peer_that_took_its_window_back_and_answers_is_not_given_up() {
    let mut s = unscaled_client(20_000);
    s.write(0, FULL);
    s.expect(data(place(0), FULL));
    // An hour of retransmissions, each answered with a shut window before it.
    let until = s.now + ms(3_600_000);
    let mut repeated = 0;
    while s.now < until {
        s.inject(ack(1).window(0));
        s.advance(ms(1_000));
        while s.next_packet().is_some() {
            repeated += 1;
        }
    }
    assert_eq!(s.closed(), None);
    assert!(repeated > 50, "{repeated}");
    // Then it falls silent.
    s.advance(ms(20 * 60_000));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

/// A plain client with data that waits for a shut window.
fn shut_out() -> Script {
    let mut s = unscaled_client(1_000);
    s.write(0, 3_000);
    s.expect(data(1, 1_000));
    s.inject(ack(1_001).window(0));
    s.expect_nothing();
    s
}

// [9293-MUST-37]
#[test]
fn zero_window_probes_that_are_answered_go_on_for_ever() {
    let mut s = shut_out();
    let until = s.now + ms(3_600_000);
    while s.now < until {
        s.advance(ms(1_000));
        while s.closed().is_none() && s.next_packet().is_some() {
            s.inject(ack(1_001).window(0));
        }
    }
    assert_eq!(s.closed(), None);
    s.inject(ack(1_001).window(5_000));
    s.expect(data(1_001, FULL));
}

// [9293-MUST-20]
#[test]
fn zero_window_probes_without_an_answer_end_the_connection() {
    let mut s = shut_out();
    s.advance(ms(14 * 60_000));
    assert_eq!(s.closed(), None);
    s.advance(ms(3 * 60_000));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

// [9293-MUST-38]
#[test]
fn a_sliver_of_window_is_not_used_while_data_is_in_flight() {
    let mut s = unscaled_client(20_000);
    s.act(|c| c.set_nodelay(true));
    s.write(0, 2 * FULL);
    s.expect(data(place(0), FULL));
    s.expect(data(place(1), FULL));
    s.write(2 * u64::from(MSS), 5_000);
    for i in 2..5 {
        s.expect(data(place(i), FULL));
    }
    s.expect(data(place(5), 5_000 - 3 * FULL));
    s.write(2 * u64::from(MSS) + 5_000, 5_000);
    for _ in 0..4 {
        s.next_packet().expect("the window is large");
    }
    s.inject(ack(place(2)).window(8_072));
    // 968 bytes beyond what is in flight.
    s.write(2 * u64::from(MSS) + 10_000, 5_000);
    s.expect_nothing();
}

// [9293-MUST-66]
#[test]
fn a_reset_counts_while_our_window_is_shut() {
    let config = Config { recv_buffer_max: 2_000, ..Config::default() };
    let mut s = Script::plain_server(&ScriptOptions { config, ..ScriptOptions::default() });
    s.inject(data(1, 1_000));
    s.expect(ack(1_001).window(1_000));
    s.inject(data(1_001, 1_000));
    s.expect(ack(2_001).window(0));
    s.inject(rst(2_001));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
}

// [7323-2.4-1]
#[test]
fn data_up_to_an_edge_offered_before_is_taken() {
    let config = Config { recv_buffer_max: 10_000, ..Config::default() };
    let mut s = Script::plain_server(&ScriptOptions { config, ..ScriptOptions::default() });
    for i in 0..6 {
        s.inject(data(place(i), FULL));
        s.expect(ack(place(i + 1)));
    }
    // The first offer was up to 10,001.
    s.inject(data(place(6), 10_000 - 6 * FULL));
    s.expect(ack(10_001).window(0));
    assert_eq!(s.read().0, stream(0, 10_000));
}

// [8684-3.3.4-1, 9293-SHLD-14]
#[test]
fn the_edge_that_a_scaled_window_shows_is_never_taken_back() {
    // 16 MB at most: the unit of the field is 512 bytes.
    let mut s = Script::plain_server(&ScriptOptions::default());
    let (mut edge, mut at) = (0, 1);
    while at < 200_000 {
        // Nobody reads, and no length is a multiple of the unit.
        s.inject(data(at, 777));
        at += 777;
        while let Some(packet) = s.next_packet() {
            let (ack, window) = (packet.seg.tcp.ack.wrapping_sub(PEER_ISN).0, u32::from(packet.seg.tcp.window));
            let shown = ack + window * 512;
            assert!(shown >= edge, "{shown} is before {edge}, at {ack}");
            edge = shown;
        }
    }
}

#[test]
fn segments_smaller_than_the_unit_of_the_window_shut_it_too() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    let mut at = 1;
    let mut window = 1;
    while window > 0 {
        assert!(at < 1_000_000, "it never shuts");
        s.inject(data(at, 300));
        at += 300;
        window = s.next_packet().map_or(window, |p| p.seg.tcp.window);
        s.advance(ms(50));
        window = s.next_packet().map_or(window, |p| p.seg.tcp.window);
    }
    assert!(at > 256 * 1024, "{at}");
}

// [7323-2.2-2]
#[test]
fn the_window_of_a_syn_is_not_scaled() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn().window(65_535));
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    s.expect(syn_ack().window(65_535));
    // The peer's neither: 1,000 bytes, and not 256,000.
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().window(1_000));
    s.expect(ack(1));
    s.write(0, 5_000);
    s.expect(data(1, 1_000));
    s.expect_nothing();
}

// [7323-2.2-3]
#[test]
fn windows_are_scaled_only_where_both_ends_offered_it() {
    let mut s = unscaled_client(1_000);
    // Our own field counts bytes, as the peer's does.
    s.inject(data(1, 10));
    assert_eq!(s.next_packet().map(|p| p.seg.tcp.window), Some(65_535));
    s.write(0, 5_000);
    s.expect(data(1, 1_000));
    s.inject(ack(1_001).window(2_000));
    s.expect(data(1_001, FULL));
    s.expect_nothing();

    // With the option a unit of the peer's field is 256 bytes.
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().window(1_000));
    s.expect(ack(1).window(1_024));
}
