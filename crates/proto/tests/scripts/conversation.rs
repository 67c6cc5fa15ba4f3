//! Packets that are saved: the acknowledgement that travels with an answer, the end of a write that waits for the next.

use crate::support::*;
use polypath_proto::{Duration, Event};

/// What the peer asks, and the application answers.
const QUESTION: u32 = 100;
const ANSWER: u32 = 50;

/// A client with two subflows, and more questions answered than those that are acknowledged at once for being the first.
fn in_conversation() -> Script {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let_join(&mut s);
    s.on(0);
    for n in 0..20 {
        ask(&mut s, n);
        s.write(u64::from(n * ANSWER), ANSWER as usize);
        s.clear();
    }
    s
}

/// The next question, which acknowledges the answer to the one before.
fn ask(s: &mut Script, n: u32) {
    let (seq, ack) = (1 + n * QUESTION, 1 + n * ANSWER);
    s.advance(RTT);
    s.inject(data(seq, QUESTION as usize).ack(ack).opt(map(seq.into(), seq, QUESTION as usize, ack.into())));
}

#[test]
fn an_answer_carries_the_acknowledgement() {
    let mut s = in_conversation();
    for n in 20..24 {
        ask(&mut s, n);
        s.expect_nothing();
        s.write(u64::from(n * ANSWER), ANSWER as usize);
        s.expect(data(1 + n * ANSWER, ANSWER as usize).ack(1 + (n + 1) * QUESTION));
        s.expect_nothing();
    }
}

#[test]
fn without_an_answer_in_time_acknowledgements_go_at_once_again() {
    let mut s = in_conversation();
    ask(&mut s, 20);
    s.expect_nothing();
    s.expect_after(RTT / 4, ack(1 + 21 * QUESTION));
    // What is said so late is no answer.
    s.write(u64::from(20 * ANSWER), ANSWER as usize);
    s.expect(data(1 + 20 * ANSWER, ANSWER as usize));
    ask(&mut s, 21);
    s.expect(ack(1 + 22 * QUESTION));
}

/// A path with a round trip of 0.3 ms and a large window; what was written to it so far, and the longest super-segment.
fn near_peer() -> (Script, u64, usize) {
    let mut s = Script::plain_client(&ScriptOptions { max_segment: 65_535, ..ScriptOptions::default() });
    let (mut written, mut longest, mut next) = (0, 0, 1);
    for _ in 0..60 {
        let room = s.conn().write_room().min(100_000);
        s.write(written, room);
        written += room as u64;
        // Acknowledged in a few pieces: the round trip is soon known.
        while let Some(packet) = s.next_packet() {
            longest = longest.max(packet.payload.len());
            s.advance(Duration::from_micros(300));
            next += packet.payload.len() as u32;
            s.inject(ack(next));
        }
    }
    (s, written, longest)
}

#[test]
fn less_than_a_super_segment_waits_where_an_acknowledgement_is_due_at_once() {
    let (mut s, written, longest) = near_peer();
    assert!(longest > 60_000, "{longest}");
    s.write(written, 2 * longest);
    let next = written as u32 + 1;
    s.expect(data(next, longest));
    s.expect(data(next + longest as u32, longest));
    let end = next + 2 * longest as u32;
    s.write(written + 2 * longest as u64, 5_000);
    s.expect_nothing();
    s.write(written + 2 * longest as u64 + 5_000, 2_000);
    s.expect_nothing();
    s.inject(ack(next + longest as u32));
    s.expect(data(end, 7_000));
}

#[test]
fn nothing_waits_for_who_wants_no_delay() {
    let (mut s, written, longest) = near_peer();
    s.act(|connection| connection.set_nodelay(true));
    s.write(written, 2 * longest + 5_000);
    let next = written as u32 + 1;
    s.expect(data(next, longest));
    s.expect(data(next + longest as u32, longest));
    s.expect(data(next + 2 * longest as u32, 5_000));
}

#[test]
fn to_a_near_peer_little_waits_to_be_sent_and_more_is_asked_for_when_it_is() {
    let (mut s, written, _) = near_peer();
    let room = s.conn().write_room();
    assert!(room <= 512 * 1_024, "{room} bytes of room");
    s.take_events();
    let bytes = stream(written, 2 * room);
    assert_eq!(s.act(|connection| connection.write(&bytes)), Ok(room));
    // The window takes it at once, and then there is room again.
    assert!(s.next_packet().is_some());
    assert!(s.take_events().iter().any(|event| matches!(event, Event::Writable(_))));
    assert!(s.conn().write_room() > 0);
}
