//! Nagle's algorithm (RFC 9293, section 3.7.4), as Minshall changed it.

use crate::support::*;
use polypath_proto::Config;

const FULL: usize = MSS as usize;

// [9293-SHLD-7]
#[test]
fn a_small_piece_waits_while_an_earlier_one_is_unacknowledged() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.write(100, 10);
    s.write(110, 10);
    s.expect_nothing();
    s.inject(ack(101));
    // What has gathered goes together.
    s.expect(data(101, 20));
}

// [9293-SHLD-7]
#[test]
fn what_has_gathered_goes_as_soon_as_it_fills_a_segment() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.write(100, FULL + 30);
    s.expect(data(101, FULL));
    s.expect_nothing();
    s.inject(ack(101 + MSS));
    s.expect(data(101 + MSS, 30));
}

#[test]
fn the_end_of_a_bulk_of_full_segments_does_not_wait() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 2 * FULL + 10);
    s.expect(data(1, FULL));
    s.expect(data(1 + MSS, FULL));
    s.expect(data(1 + 2 * MSS, 10));
}

#[test]
fn the_end_of_the_stream_does_not_wait() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.write(100, 10);
    s.expect_nothing();
    s.shutdown();
    s.expect(data(101, 10));
    s.expect(fin(111));
}

// [9293-MUST-17]
#[test]
fn it_can_be_switched_off() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.write(100, 10);
    s.expect_nothing();
    assert!(!s.conn().nodelay());
    // What waits goes at once.
    s.act(|c| c.set_nodelay(true));
    assert!(s.conn().nodelay());
    s.expect(data(101, 10));
    s.write(110, 10);
    s.expect(data(111, 10));

    let config = Config { nodelay: true, ..Config::default() };
    let mut s = Script::plain_client(&ScriptOptions { config, ..ScriptOptions::default() });
    s.write(0, 100);
    s.expect(data(1, 100));
    s.write(100, 10);
    s.expect(data(101, 10));
}

// [9293-SHLD-7]
#[test]
fn a_small_piece_waits_for_one_on_another_subflow_too() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    s.on(0).write(0, 100);
    s.expect(data(1, 100));
    // The other one is idle, and of no use for it.
    s.write(100, 10);
    s.on(second).expect_nothing();
    s.on(0).inject(ack(101).opt(dack(101)));
    s.expect(data(101, 10));
}

#[test]
fn where_data_acks_are_removed_on_the_way_the_subflow_counts() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.write(100, 10);
    s.expect_nothing();
    s.inject(ack(101).opt(dack(1)));
    s.expect(data(101, 10).opt(map(101, 101, 10, 1)));
}
