//! Plain TCP instead of Multipath TCP, whenever the path or the peer wants it so (RFC 8684, section 3.7).

use crate::support::*;
use polypath_proto::{
    CloseReason, Config, ConnectOptions, ConnectionError, FallbackReason, MultipathState, SubflowEvent,
};
use polypath_wire::{CapableFlags, MpCapable, MpFail, MpJoin, MptcpOption, ResetReason};

fn fallback(reason: FallbackReason) -> MultipathState {
    MultipathState::Fallback(reason)
}

/// The connection works as plain TCP, both ways and to its end; `seq` and `ack` are the next numbers.
#[track_caller]
fn assert_plain_tcp_works(s: &mut Script, seq: u32, peer_seq: u32) {
    s.clear();
    s.write(u64::from(seq) - 1, 100);
    s.expect(data(seq, 100).payload(&stream(u64::from(seq) - 1, 100)).plain());
    assert_plain_tcp_goes_on(s, seq, peer_seq);
}

/// The same where the peer may still believe in Multipath TCP: our first data says that it is over.
#[track_caller]
fn assert_plain_tcp_works_with_a_farewell(s: &mut Script, seq: u32, peer_seq: u32) {
    s.clear();
    s.write(u64::from(seq) - 1, 100);
    s.expect(data(seq, 100).payload(&stream(u64::from(seq) - 1, 100)).opt(farewell(1, 1)));
    assert_plain_tcp_goes_on(s, seq, peer_seq);
}

#[track_caller]
fn assert_plain_tcp_goes_on(s: &mut Script, seq: u32, peer_seq: u32) {
    s.inject(ack(seq + 100));
    s.read();
    s.inject(data(peer_seq, 50));
    // Where an answer might have carried it, the acknowledgement is delayed.
    s.advance(ms(40));
    s.expect(ack(peer_seq + 50).plain());
    assert_eq!(s.read(), (stream(u64::from(peer_seq) - 1, 50), false));
    s.shutdown();
    s.expect(fin(seq + 100).plain());
    s.inject(fin(peer_seq + 50).ack(seq + 101));
    assert_eq!(s.read(), (Vec::new(), true));
    assert_eq!(s.closed(), Some(None));
}

// [8684-3.1-9, 8684-3.1-17, 8684-3.7-1]
#[test]
fn a_syn_ack_without_mp_capable_makes_plain_tcp() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn().opt(capable_syn()));
    s.inject(syn_ack());
    s.expect(ack(1).seq(1).plain());
    assert_eq!(s.multipath(), fallback(FallbackReason::NotOffered));
    assert_plain_tcp_works(&mut s, 1, 1);
}

// [8684-3.1-18, 8684-3.7-1]
#[test]
fn a_syn_without_mp_capable_makes_plain_tcp() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    s.expect(syn_ack().plain());
    s.inject(ack(1));
    s.accept();
    assert_eq!(s.multipath(), fallback(FallbackReason::NotOffered));
    assert_plain_tcp_works(&mut s, 1, 1);
}

// [8684-3.1-8]
#[test]
fn an_unknown_version_makes_plain_tcp() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(MpCapable { version: 0, ..capable_syn_ack(PEER_KEY) }));
    s.expect(syn_ack().plain());
}

// [8684-3.1-19, 8684-3.1-21]
#[test]
fn a_third_ack_without_mp_capable_makes_plain_tcp() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    assert_eq!(s.multipath(), fallback(FallbackReason::ThirdAckWithoutCapable));
    assert_plain_tcp_works(&mut s, 1, 1);
}

// [8684-3.1-6]
#[test]
fn a_third_ack_with_a_foreign_key_makes_plain_tcp() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    s.inject(ack(1).opt(capable_ack(PEER_KEY, PEER_KEY)));
    s.accept();
    assert_eq!(s.multipath(), fallback(FallbackReason::ThirdAckWithoutCapable));
}

// [8684-3.7-15]
#[test]
fn first_data_without_dss_makes_a_client_plain() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.inject(data(1, 100));
    s.expect(ack(101).plain());
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.read(), (stream(0, 100), false));
    assert_plain_tcp_works_with_a_farewell(&mut s, 1, 101);
}

#[test]
fn first_data_without_dss_makes_a_server_plain() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100));
    s.expect(ack(101).plain());
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.read(), (stream(0, 100), false));
    assert_plain_tcp_works_with_a_farewell(&mut s, 1, 101);
}

// [8684-3.7-3, 8684-3.7-6, 8684-3.7-15, 8684-3.7-16]
#[test]
fn an_acknowledgement_of_first_data_without_dss_makes_a_client_plain() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    let key = s.stack_key();
    s.expect(ack(1));
    s.write(0, 100);
    s.expect(data(1, 100).opt(capable_data(key, PEER_KEY, 100)));
    s.inject(ack(101));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.info().bytes_acked, 100);
    assert_plain_tcp_works_with_a_farewell(&mut s, 101, 1);
}

#[test]
fn what_was_sent_with_keys_and_lost_is_sent_again_plain_after_a_fallback() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.write(0, 100);
    s.expect(data(1, 100));
    s.inject(data(1, 10).ack(1));
    s.expect(ack(11).plain());
    let again = s.expect_after(ms(200), data(1, 100).opt(farewell(1, 1)));
    assert_eq!(again.payload, stream(0, 100));
}

#[test]
fn a_fin_before_any_dss_makes_a_client_plain() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.inject(fin(1));
    s.expect(ack(2).plain());
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.read(), (Vec::new(), true));
    s.shutdown();
    s.expect(fin(1).ack(2).opt(farewell(1, 1)));
    s.inject(ack(2));
    assert_eq!(s.closed(), Some(None));
}

#[test]
fn a_data_fin_that_said_nothing_becomes_a_fin() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.write(0, 100);
    s.expect(data(1, 100));
    s.shutdown();
    s.clear();
    s.inject(ack(101));
    s.expect(fin(101).opt(farewell(1, 1)));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
}

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

/// Something drops SYN/ACKs with options: the client gives up on them, and so does the server.
#[test]
fn a_syn_that_comes_again_without_mp_capable_is_answered_without() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    s.inject(syn());
    s.expect(syn_ack().plain());
    s.inject(ack(1));
    s.accept();
    assert_eq!(s.multipath(), fallback(FallbackReason::NotOffered));
    assert_plain_tcp_works(&mut s, 1, 1);
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
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    s.advance(RTT);
    s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
    s.accept();
    s.inject(data(1, 100).opt(capable_data(PEER_KEY, key, 100)));
    s.write(0, 100);
    s.clear();
    s.inject(fin(101).ack(1));
    s.inject(ack(101).seq(102));
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    assert_eq!(s.read(), (stream(0, 100), true));
}

/// The peer may still believe in Multipath TCP, and would wait for a DATA_FIN.
// [8684-3.7-6]
#[test]
fn an_end_without_any_data_says_that_multipath_tcp_is_over() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.inject(data(1, 100));
    s.expect(ack(101).plain());
    s.shutdown();
    s.expect(fin(1).opt(farewell(1, 1)));
    s.expect_after(ms(200), fin(1).opt(farewell(1, 1)));
    s.inject(ack(2));
    s.expect_silence(ms(1_000));
}

/// A join that never got further than its SYN has carried nothing, and ends with Multipath TCP.
// [8684-3.7-3]
#[test]
fn a_join_under_way_does_not_keep_a_connection_from_falling_back() {
    let joining = || {
        let mut s = Script::active_client(&ScriptOptions::two_addresses());
        let (second, _) = s.take_syn();
        s.on(0);
        (s, second)
    };
    // The peer acknowledges as plain TCP does.
    let (mut s, second) = joining();
    for n in 0..3 {
        s.write(n * 100, 100);
        s.on(0).expect(data(1 + n as u32 * 100, 100));
        s.inject(ack(101 + n as u32 * 100));
    }
    assert_eq!(s.multipath(), fallback(FallbackReason::NoDss));
    s.expect_silence(ms(30_000));
    s.on(second).inject(syn_ack());
    s.on(second).expect(rst(1));
    // Once is not enough; but a peer that reads plain TCP must not get the bytes twice.
    let (mut s, _) = joining();
    s.write(0, 100);
    s.on(0).expect(data(1, 100));
    s.inject(ack(101));
    s.advance(ms(5_000));
    while let Some(p) = s.next_packet() {
        assert!(p.payload.is_empty(), "{}", s.describe(&p));
    }
    // It sends as plain TCP does.
    let (mut s, _) = joining();
    s.inject(data(1, 100));
    s.expect(ack(101).plain());
    assert_eq!(s.read(), (stream(0, 100), false));
    s.expect_silence(ms(30_000));
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

#[test]
// [8684-3.1-13]
fn with_the_c_flag_a_client_joins_only_announced_addresses() {
    let mut s = Script::client(&ScriptOptions::two_addresses());
    s.expect(syn());
    let flags = CapableFlags::HMAC_SHA256 | CapableFlags::NO_JOIN_INITIAL;
    s.inject(syn_ack().opt(MpCapable { flags, ..capable_syn_ack(PEER_KEY) }));
    s.expect(ack(1));
    s.inject(ack(1).opt(dack(1)));
    s.expect_silence(ms(2_000));
    let hmac = polypath_wire::add_addr_hmac(PEER_KEY, s.stack_key(), 3, PEER_2, None);
    s.inject(ack(1).opt(add_addr(3, PEER_2, hmac)));
    s.expect(ack(1).opt(add_addr_echo(3, PEER_2)));
    let (_, join) = s.take_syn();
    assert_eq!((join.seg.ip.src, join.seg.ip.dst), (LTE, PEER_2));
}

#[test]
fn a_connection_can_ask_for_plain_tcp() {
    let connect = ConnectOptions { no_multipath: true, ..ConnectOptions::default() };
    let mut s = Script::client(&ScriptOptions { connect, ..ScriptOptions::default() });
    s.expect(syn().plain());
    s.inject(syn_ack());
    s.expect(ack(1).plain());
    assert_eq!(s.multipath(), fallback(FallbackReason::Disabled));
    assert_plain_tcp_works(&mut s, 1, 1);
}

// [8684-3.7-17]
#[test]
fn a_plain_connection_opens_and_accepts_no_joins() {
    let mut s = Script::plain_client(&ScriptOptions::two_addresses());
    s.inject(data(1, 10));
    s.expect(ack(11));
    s.expect_silence(ms(5_000));
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

// [8684-3.1-12]
#[test]
fn flag_b_makes_plain_tcp() {
    let unknown = MpCapable { flags: CapableFlags::HMAC_SHA256 | CapableFlags::EXTENSIBILITY, ..capable_syn() };
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(unknown));
    s.expect(syn_ack().plain());
}

// [8684-3.1-15]
#[test]
fn an_offer_without_an_algorithm_that_we_know_makes_plain_tcp() {
    let unknown = |option: MpCapable| MpCapable { flags: CapableFlags::from_bits_retain(0x02), ..option };
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(unknown(capable_syn())));
    s.expect(syn_ack().plain());
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(unknown(capable_syn_ack(PEER_KEY))));
    s.expect(ack(1).plain());
}

// [8684-3.1-16]
#[test]
fn of_several_algorithms_the_one_we_know_is_chosen() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(MpCapable { flags: CapableFlags::from_bits_retain(0x1f), ..capable_syn() }));
    let packet = s.expect(syn_ack());
    let answer = capable_syn_ack(s.stack_key());
    assert_eq!(packet.seg.options.mptcp[..], [MptcpOption::MpCapable(answer)]);
}

// [8684-3.1-13]
#[test]
fn with_the_c_flag_the_only_address_of_a_client_joins_an_announced_one() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    let flags = CapableFlags::HMAC_SHA256 | CapableFlags::NO_JOIN_INITIAL;
    s.inject(syn_ack().opt(MpCapable { flags, ..capable_syn_ack(PEER_KEY) }));
    s.expect(ack(1));
    s.inject(ack(1).opt(dack(1)));
    let hmac = polypath_wire::add_addr_hmac(PEER_KEY, s.stack_key(), 2, PEER_2, None);
    s.inject(ack(1).opt(add_addr(2, PEER_2, hmac)));
    let (_, packet) = s.take_syn();
    assert_eq!((packet.seg.ip.src, packet.seg.ip.dst), (WIFI, PEER_2));
}

#[test]
fn our_own_c_flag_stands_in_the_whole_handshake() {
    let flags = CapableFlags::HMAC_SHA256 | CapableFlags::NO_JOIN_INITIAL;
    let config = Config { allow_join_initial: false, ..Config::default() };
    let mut s = Script::server(&ScriptOptions { config, ..ScriptOptions::default() });
    s.inject(syn().opt(capable_syn()));
    let packet = s.expect(syn_ack());
    let answer = MpCapable { flags, ..capable_syn_ack(s.stack_key()) };
    assert_eq!(packet.seg.options.mptcp[..], [MptcpOption::MpCapable(answer)]);
}
