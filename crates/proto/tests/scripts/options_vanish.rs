//! Options that vanish in mid-connection, and lengths that change: plain TCP where there is a way back, and a reset where
//! there is none (RFC 8684, section 3.7).

use crate::fallback::{assert_plain_tcp_works_with_a_farewell, fallback};
use crate::support::*;
use polypath_proto::{CloseReason, ConnectionError, FallbackReason, MultipathState, SubflowEvent};
use polypath_wire::{MpFail, MpJoin, MptcpOption, ResetReason};

/// The peer may not know that its options are removed now: hearing nothing of them in our DATA_ACKs, it sends the same
/// bytes again at another place of the subflow (Linux does), and a plain stream would hold them twice. So it is asked, and
/// nothing is taken before it has answered.
#[test]
fn data_without_dss_after_mappings_is_not_taken_before_the_peer_agrees_to_plain_tcp() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    let fail = MpFail { dsn: PEER_KEY.idsn().wrapping_add(101) };
    s.inject(data(101, 100));
    s.expect(ack(101).opt(dack(101)).opt(fail));
    assert_eq!(s.multipath(), MultipathState::Active);
    let answer = MpFail { dsn: s.stack_key().idsn().wrapping_add(1) };
    s.inject(ack(1).seq(101).opt(answer));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    s.clear();
    s.inject(data(101, 100));
    s.expect(ack(201));
    assert_eq!(s.read(), (stream(0, 200), false));
    assert_plain_tcp_works_with_a_farewell(&mut s, 1, 201);
}

/// A full segment tells that more is to come. Linux may be unable to send it: the infinite mapping that its answer is due
/// makes it longer than packets may be.
#[test]
fn a_peer_that_falls_silent_in_the_midst_of_sending_when_asked_for_plain_tcp_is_given_up() {
    let mut s = asked_for_plain_tcp(1_428);
    s.inject(data(101, 1_428));
    // An application that takes its time is none of the peer's doing.
    s.advance(ms(3_600_000));
    assert_eq!(s.closed(), None);
    assert_eq!(s.read(), (stream(0, 1_528), false));
    s.advance(ms(61_000));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

/// One that has nothing to send is not.
#[test]
fn a_peer_that_was_asked_for_plain_tcp_may_be_silent_where_it_was_not_in_the_midst_of_sending() {
    let mut s = asked_for_plain_tcp(1_428);
    s.inject(data(101, 1_428));
    s.inject(data(1_529, 1_000));
    s.advance(ms(3_600_000));
    assert_eq!(s.read(), (stream(0, 2_528), false));
    s.advance(ms(3_600_000));
    assert_eq!(s.closed(), None);
    s.clear();
    assert_plain_tcp_works_with_a_farewell(&mut s, 1, 2_529);
}

/// A server whose peer sent its first hundred bytes with a mapping, was asked for plain TCP by what came then, and agreed.
fn asked_for_plain_tcp(len: u32) -> Script {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.inject(data(101, len as usize));
    let answer = MpFail { dsn: s.stack_key().idsn().wrapping_add(1) };
    s.inject(ack(1).seq(101).opt(answer));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    s.clear();
    s
}

/// Nor is one of another subflow, once that one was given up.
#[test]
fn nothing_is_left_of_a_question_for_plain_tcp_when_its_subflow_is_gone() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    for _ in 0..4 {
        s.inject(data(101, 1_428));
    }
    s.advance(ms(100));
    let_join(&mut s);
    s.advance(ms(3_600_000));
    assert_eq!(s.closed(), None);
}

// [8684-3.7-7, 8684-3.7-8]
#[test]
fn data_that_never_has_a_dss_again_resets_the_subflow() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    for _ in 0..3 {
        s.inject(data(101, 100));
        s.expect(ack(101));
    }
    s.inject(data(101, 100));
    s.expect(rst_ack().ack(101).opt(tcprst_for_now(ResetReason::MiddleboxInterference)));
    assert_eq!(s.read(), (stream(0, 100), false));
    assert_eq!(s.multipath(), MultipathState::Active);
}

/// Two segments were put together, and the options of one of them are gone. Alone, each has its own.
#[test]
fn a_segment_that_lies_in_two_mappings_is_not_taken_and_each_part_of_it_is() {
    for kept in [map(1, 1, 100, 1), map(101, 101, 100, 1)] {
        let mut s = Script::active_server(&ScriptOptions::default());
        s.inject(data(1, 200).opt(kept));
        s.expect(ack(1));
        assert_eq!(s.read(), (Vec::new(), false));
        s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
        s.expect(ack(101));
        s.inject(data(101, 100).opt(map(101, 101, 100, 1)));
        s.expect(ack(201));
        assert_eq!(s.read(), (stream(0, 200), false));
    }
}

/// A middlebox made the payload longer. What came before may be anything; another subflow must not complete it.
#[test]
fn lengths_that_change_on_the_way_abort_a_connection_with_several_subflows() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    s.clear();
    s.on(0).inject(data(1, 100).opt(map(1, 1, 200, 1)));
    assert_eq!(s.read(), (stream(0, 100), false));
    // Six bytes more than the mapping has.
    s.inject(data(101, 106).opt(map(1, 1, 200, 1)));
    s.on(second).inject(data(1, 100).opt(map(101, 1, 100, 1)).payload(&stream(100, 100)));
    assert_eq!(s.read(), (Vec::new(), false));
    for _ in 0..3 {
        s.on(0).inject(data(101, 106).opt(map(1, 1, 200, 1)));
    }
    assert_eq!(s.closed(), Some(Some(ConnectionError::Aborted)));
}

/// A FIN has no bytes that could come twice. A peer in plain TCP would take a FIN of ours for the end of our stream.
#[test]
fn a_peer_whose_stream_ends_without_dss_after_mappings_still_gets_the_answer() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(fin(101).ack(1));
    s.expect(ack(102).seq(1).plain());
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.read(), (stream(0, 100), true));
    s.advance(ms(1_000));
    s.write(0, 100);
    s.expect(data(1, 100).payload(&stream(0, 100)).opt(farewell(1, 1)));
    s.inject(ack(101));
    s.shutdown();
    s.expect(fin(101).plain());
    s.inject(ack(102));
    assert_eq!(s.closed(), Some(None));
}

#[test]
fn an_end_without_dss_counts_when_all_before_it_has_come() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(fin(201).ack(1));
    assert_eq!(s.multipath(), MultipathState::Active);
    s.clear();
    s.inject(data(101, 100).opt(map(101, 101, 100, 1)));
    s.expect(ack(202).seq(1).plain());
    assert_eq!(s.read(), (stream(0, 200), true));
    // What was missing may be a second copy, if it comes without a mapping.
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(fin(201).ack(1));
    s.clear();
    s.inject(data(101, 100));
    s.expect(ack(101).opt(dack(101)).opt(MpFail { dsn: PEER_KEY.idsn().wrapping_add(101) }));
    assert_eq!(s.read(), (stream(0, 100), false));
}

/// Where there is no way back to plain TCP, a FIN of ours would still look like the end of our stream.
#[test]
fn an_end_without_dss_where_there_is_no_way_back_is_answered_with_a_reset() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    s.on(second).inject(rst(1));
    s.clear();
    s.on(0).inject(fin(1).ack(1));
    s.expect(rst_ack().ack(2).opt(tcprst_for_now(ResetReason::MiddleboxInterference)));
    assert_eq!(s.read(), (Vec::new(), false));
    assert_eq!(s.multipath(), MultipathState::Active);
}

/// The peer spoke Multipath TCP when it closed its only subflow: its stream goes on elsewhere.
// [8684-3.3.3-1]
#[test]
fn the_end_of_a_subflow_becomes_no_end_of_the_stream_by_a_fallback() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.write(0, 100);
    s.clear();
    s.inject(fin(101).ack(1).opt(dack(1)));
    s.expect(ack(102).opt(dack(101)));
    s.inject(ack(101).seq(102));
    assert_eq!(s.read(), (stream(0, 100), false));
    for n in 1..3 {
        s.write(n * 100, 100);
        s.clear();
        s.inject(ack(101 + n as u32 * 100).seq(102));
    }
    s.expect(rst_ack().ack(102).opt(tcprst_for_now(ResetReason::MiddleboxInterference)));
    assert_eq!(s.read(), (Vec::new(), false));
}

#[test]
fn a_plain_end_and_a_plain_acknowledgement_after_it_end_the_stream() {
    let mut s = Script::active_server(&ScriptOptions::default());
    let key = s.stack_key();
    s.inject(data(1, 100).opt(capable_data(PEER_KEY, key, 100)));
    s.write(0, 100);
    s.clear();
    s.inject(fin(101).ack(1));
    s.inject(ack(101).seq(102));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.read(), (stream(0, 100), true));
}

#[test]
fn a_stream_that_had_ended_before_the_fallback_ends_with_a_fin() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.shutdown();
    s.inject(ack(1).opt(dack(2)));
    s.clear();
    s.inject(data(1, 100));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    s.expect(fin(1));
    s.inject(fin(101).ack(2));
    assert_eq!(s.read(), (stream(0, 100), true));
    assert_eq!(s.closed(), Some(None));
}

// [8684-3.3.1-9, 8684-3.7-7, 8684-3.7-8]
#[test]
fn data_without_dss_after_a_mapping_to_elsewhere_resets_the_subflow() {
    let mut s = Script::active_server(&ScriptOptions::default());
    // The connection's second hundred bytes stand first on the subflow: no plain stream can continue it.
    s.inject(data(1, 100).opt(map(101, 1, 100, 1)));
    s.expect(ack(101).opt(dack(1)));
    s.inject(data(101, 100));
    s.expect(rst_ack().ack(201).opt(tcprst_for_now(ResetReason::MiddleboxInterference)));
}

// [8684-3.3.2-7]
#[test]
fn one_bare_acknowledgement_after_a_data_ack_is_nothing_and_three_are_a_path_that_removes_options() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let mut acknowledge = |n: u32, dss: bool| {
        s.write(u64::from(n) * 100, 100);
        s.expect(data(n * 100 + 1, 100));
        let end = n * 100 + 101;
        s.inject(if dss { ack(end).opt(dack(u64::from(end))) } else { ack(end) });
        s.multipath()
    };
    // Two bare ones, then a good one: the count begins anew.
    for (n, dss) in [(0, true), (1, false), (2, false), (3, true), (4, false), (5, false)] {
        assert_eq!(acknowledge(n, dss), MultipathState::Active);
    }
    assert_eq!(acknowledge(6, false), fallback(FallbackReason::NoDss));
    assert_eq!(s.info().bytes_acked, 700);
}

// [8684-3.7-4, 8684-3.7-5]
#[test]
fn a_joined_subflow_whose_options_vanish_is_reset() {
    let options = ScriptOptions::two_addresses();
    let mut s = Script::active_client(&options);
    let (flow, packet) = s.take_syn();
    let [MptcpOption::MpJoin(MpJoin::Syn { nonce, .. })] = packet.seg.options.mptcp[..] else { panic!("{packet:?}") };
    // Its round trip is the shorter one: it is the one that data takes.
    s.advance(ms(5));
    let answer = join_syn_ack(&s, nonce);
    s.inject(answer);
    s.expect(ack(1));
    s.inject(ack(1));
    s.take_events();
    s.write(0, 100);
    s.on(flow).expect(data(1, 100));
    s.inject(ack(101));
    s.expect(rst_ack().opt(tcprst(ResetReason::MiddleboxInterference)));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ProtocolError)]);
    s.on(0).expect(data(1, 100).opt(map(1, 1, 100, 1)));
}

/// The last one cannot fall back any more. One acknowledgement without options is not enough to reset it, unless nothing
/// else comes.
// [8684-3.3.6-3, 8684-3.7-5]
#[test]
fn a_last_subflow_whose_options_vanish_gives_way_to_another() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    s.on(second).inject(rst(1).opt(tcprst(ResetReason::AdministrativelyProhibited)));
    s.clear();
    s.write(0, 100);
    s.on(0).expect(data(1, 100).opt(map(1, 1, 100, 1)));
    // A proxy acknowledged it by itself, and lost it.
    s.inject(ack(101));
    s.expect_nothing();
    s.advance(ms(600));
    s.expect(rst_ack().seq(101).opt(tcprst_for_now(ResetReason::MiddleboxInterference)));
    let third = let_join(&mut s);
    s.advance(ms(1_000));
    s.on(third).expect(data(1, 100).opt(map(1, 1, 100, 1)));
    assert_eq!(s.closed(), None);
}
