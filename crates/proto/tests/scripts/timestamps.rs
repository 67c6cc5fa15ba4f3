//! The timestamps option (RFC 7323, sections 3 and 5).

use crate::support::*;
use polypath_wire::Timestamps;

fn timestamps(packet: &Packet) -> Timestamps {
    packet.seg.options.timestamps.expect("timestamps")
}

// [7323-3.2-6]
#[test]
fn a_syn_has_nothing_to_echo() {
    let mut s = Script::client(&ScriptOptions::default());
    assert_eq!(timestamps(&s.expect(syn())).ecr, 0);
}

// [7323-3.2-3]
#[test]
fn a_reset_has_timestamps_too() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    let clock = s.peer_clock();
    s.abort();
    assert_eq!(timestamps(&s.expect(rst_ack())).ecr, clock);
}

// [7323-3.2-5]
#[test]
fn timestamps_that_were_not_agreed_on_are_ignored() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().no_timestamps());
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    let now = s.peer_clock();
    s.with_timestamps();
    s.inject(data(1, 10).tsval(now));
    assert_eq!(s.expect(ack(11)).seg.options.timestamps, None);
    // From the past, were there a past.
    s.inject(data(11, 10).tsval(now - 5_000));
    s.expect(ack(21));
    assert_eq!(s.read().0, stream(0, 20));
}

// [7323-5.4-1]
#[test]
fn the_clock_of_timestamps_ticks_in_milliseconds_and_never_backwards() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    let mut values = Vec::new();
    for i in 0..4 {
        s.write(10 * i, 10);
        values.push(timestamps(&s.expect(data(1 + 10 * i as u32, 10))).val);
        s.inject(ack(11 + 10 * i as u32));
        s.advance(ms(250));
    }
    let steps: Vec<u32> = values.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert_eq!(steps, [250, 250, 250]);
}

// [7323-5.5-1]
#[test]
fn after_twenty_five_silent_days_an_old_timestamp_is_believed() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 10));
    s.expect(ack(11));
    let old = s.peer_clock() - 1_000;
    s.advance(ms(23 * 24 * 3_600_000));
    s.inject(data(11, 10).tsval(old));
    s.expect(ack(11));
    s.advance(ms(2 * 24 * 3_600_000));
    s.inject(data(11, 10).tsval(old));
    s.expect(ack(21));
    assert_eq!(s.read().0, stream(0, 20));
}
