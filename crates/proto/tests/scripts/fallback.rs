//! Plain TCP instead of Multipath TCP, whenever the path or the peer wants it so (RFC 8684, section 3.7).

use crate::support::*;
use polypath_proto::{Config, ConnectOptions, FallbackReason, MultipathState};
use polypath_wire::{CapableFlags, MpCapable, MptcpOption};

pub(crate) fn fallback(reason: FallbackReason) -> MultipathState {
    MultipathState::Fallback(reason)
}

/// The connection works as plain TCP, both ways and to its end; `seq` and `ack` are the next numbers.
#[track_caller]
pub(crate) fn assert_plain_tcp_works(s: &mut Script, seq: u32, peer_seq: u32) {
    s.clear();
    s.write(u64::from(seq) - 1, 100);
    s.expect(data(seq, 100).payload(&stream(u64::from(seq) - 1, 100)).plain());
    assert_plain_tcp_goes_on(s, seq, peer_seq);
}

/// The same where the peer may still believe in Multipath TCP: our first data says that it is over.
#[track_caller]
pub(crate) fn assert_plain_tcp_works_with_a_farewell(s: &mut Script, seq: u32, peer_seq: u32) {
    s.clear();
    s.write(u64::from(seq) - 1, 100);
    s.expect(data(seq, 100).payload(&stream(u64::from(seq) - 1, 100)).opt(farewell(1, 1)));
    assert_plain_tcp_goes_on(s, seq, peer_seq);
}

#[track_caller]
pub(crate) fn assert_plain_tcp_goes_on(s: &mut Script, seq: u32, peer_seq: u32) {
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
