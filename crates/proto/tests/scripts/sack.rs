//! Selective acknowledgements, sent and received (RFC 2018).

use crate::support::*;

const FULL: usize = MSS as usize;

/// The sequence number of the full segment number `i`, counted from 0.
fn place(i: u32) -> u32 {
    1 + i * MSS
}

// [2018-2-2]
#[test]
fn a_peer_that_did_not_permit_it_gets_no_sack() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(Seg { sack_permitted: false, ..syn() });
    s.expect(syn_ack());
    s.inject(ack(1));
    s.inject(data(101, 100));
    s.expect(ack(1).sack(&[]));
    s.inject(data(101, 100));
    s.expect(ack(1).sack(&[]));
}

// [2018-4-4]
#[test]
fn blocks_reported_last_are_repeated_first() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    let block = |i: u32| (100 * i + 1, 100 * i + 51);
    for i in [8, 2, 6, 4] {
        s.inject(data(block(i).0, 50));
        s.next_packet();
    }
    // The fifth hole: with timestamps there is room for three blocks.
    s.inject(data(block(10).0, 50));
    s.expect(ack(1).sack(&[block(10), block(4), block(6)]));
    // More for one of them: it comes first, longer, and once.
    s.inject(data(block(6).1, 50));
    s.expect(ack(1).sack(&[(601, 701), block(10), block(4)]));
    s.inject(data(block(2).0, 50));
    s.next_packet();
    // What is filled is forgotten.
    s.inject(data(1, 600));
    s.expect(ack(701).sack(&[block(10), block(8)]));
}

// [2018-5-2]
#[test]
fn after_a_timeout_the_first_segment_goes_again_although_the_peer_reported_it() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 3 * FULL);
    s.clear();
    s.advance(RTT);
    s.inject(ack(place(0)).sack(&[(place(0), place(3))]));
    s.expect_nothing();
    // The peer took it back.
    s.expect_after(ms(200) - RTT, data(place(0), FULL));
    s.inject(ack(place(1)));
    s.expect(data(place(1), FULL));
    s.expect(data(place(2), FULL));
}
