//! Checksums over the data (RFC 8684, section 3.3.1): who asks for them, what they cover, and what follows where one is
//! wrong (section 3.7).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{CloseReason, Config, FallbackReason, MultipathState, SubflowEvent};
use polypath_wire::{CapableKeys, MpFail, MptcpOption, ResetReason};

fn asking() -> ScriptOptions {
    ScriptOptions { config: Config { dss_checksum: true, ..Config::default() }, ..ScriptOptions::default() }
}

/// A client whose connection uses checksums, because the peer asked for them.
fn client(options: &ScriptOptions) -> Script {
    let mut s = Script::client(options);
    s.expect(syn());
    s.advance(RTT);
    s.inject(syn_ack().opt(capable_with_sum(CapableKeys::SynAck { sender: PEER_KEY })));
    s.expect(ack(1).seq(1));
    s.inject(ack(1).opt(dack(1)));
    s.take_events();
    s
}

fn mp_fail(peers: bool, s: &Script, dsn: u64) -> MpFail {
    let idsn = if peers { PEER_KEY.idsn() } else { s.stack_key().idsn() };
    MpFail { dsn: idsn.wrapping_add(dsn) }
}

fn counted(s: &Script, counter: Counter) -> u64 {
    s.stack.mib().get(counter)
}

// [8684-3.1-29]
#[test]
fn whoever_asks_gets_them_and_all_of_the_handshake_says_so() {
    // We ask, the peer does not.
    let mut s = Script::client(&asking());
    s.expect(syn().opt(capable_with_sum(CapableKeys::Syn)));
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    let key = s.stack_key();
    s.expect(ack(1).opt(capable_with_sum(CapableKeys::Ack { sender: key, receiver: PEER_KEY })));
    // The peer asks, we do not.
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_with_sum(CapableKeys::Syn)));
    let packet = s.expect(syn_ack());
    let key = s.stack_key();
    let answer = capable_with_sum(CapableKeys::SynAck { sender: key });
    assert_eq!(packet.seg.options.mptcp[..], [MptcpOption::MpCapable(answer)]);
    s.inject(ack(1).opt(capable_with_sum(CapableKeys::Ack { sender: PEER_KEY, receiver: key })));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
    s.inject(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.write(0, 100);
    s.expect(data(1, 100).opt(map_sum(1, 1, 100, 101)));
}

#[test]
fn the_first_data_of_a_client_has_one_too() {
    let mut s = Script::client(&asking());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.write(0, 100);
    let packet = s.expect(data(1, 100));
    let MptcpOption::MpCapable(capable) = &packet.seg.options.mptcp[0] else { panic!("{packet:?}") };
    let idsn = s.stack_key().idsn();
    let sum = polypath_wire::dss_checksum(idsn.wrapping_add(1), 1, 100, [&stream(0, 100)[..]].into_iter());
    let CapableKeys::Data { data_len, checksum, .. } = capable.keys else { panic!("{capable:?}") };
    assert_eq!((data_len, checksum), (100, Some(sum)));
}

#[test]
fn a_server_verifies_the_first_data() {
    for error in [0, 1] {
        let mut s = Script::server(&asking());
        s.inject(syn().opt(capable_syn()));
        s.expect(syn_ack());
        let key = s.stack_key();
        let sum =
            polypath_wire::dss_checksum(PEER_KEY.idsn().wrapping_add(1), 1, 100, [&stream(0, 100)[..]].into_iter());
        let keys = CapableKeys::Data { sender: PEER_KEY, receiver: key, data_len: 100, checksum: Some(sum + error) };
        s.inject(data(1, 100).ack(1).opt(capable_with_sum(keys)));
        s.accept();
        assert_eq!(counted(&s, Counter::MPTcpExtDataCsumErr), u64::from(error));
        assert_eq!(s.multipath() == MultipathState::Active, error == 0);
        // A middlebox that changes data is part of the path in plain TCP.
        assert_eq!(s.read().0, stream(0, 100));
    }
}

#[test]
fn a_mapping_is_delivered_when_all_of_it_is_there_and_right() {
    let mut s = client(&asking());
    let whole = || map_sum(1, 1, 300, 1);
    s.inject(data(1, 100).opt(whole()));
    s.inject(data(201, 100).opt(whole()));
    assert_eq!(s.read().0, []);
    s.inject(data(101, 100).opt(whole()));
    assert_eq!(s.read().0, stream(0, 300));
    assert_eq!(counted(&s, Counter::MPTcpExtDataCsumErr), 0);
}

#[test]
fn a_retransmission_carries_the_checksum_of_the_whole_mapping() {
    let mut s = client(&asking());
    s.write(0, 100);
    s.expect(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.inject(data(1, 10).ack(1).opt(map_sum(1, 1, 10, 1)));
    s.expect(ack(11));
    s.expect_after(ms(200), data(1, 100).opt(map_sum(1, 1, 100, 11)));
}

#[test]
fn a_data_fin_has_one_and_it_is_verified() {
    let mut s = client(&asking());
    s.shutdown();
    let fin = |ack, error| Opt::SumDss { ack: Some(ack), map: (1, 0, 1), fin: true, error };
    s.expect(ack(1).opt(fin(1, 0)));
    s.inject(ack(1).opt(fin(2, 0)));
    assert_eq!(s.read(), (vec![], true));
    let mut s = client(&asking());
    s.inject(ack(1).opt(fin(1, 1)));
    assert!(s.expect(rst_ack()).seg.options.mptcp.len() == 1);
    assert_eq!(counted(&s, Counter::MPTcpExtDataCsumErr), 1);
}

// [8684-3.3-4, 8684-3.3-5, 8684-3.3-6]
#[test]
fn a_missing_checksum_resets_the_subflow_and_so_does_one_that_was_not_agreed_on() {
    let mut s = client(&asking());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(rst_ack().opt(tcprst(ResetReason::MptcpSpecific)));
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.expect(rst_ack().opt(tcprst(ResetReason::MptcpSpecific)));
}

#[test]
fn a_wrong_one_on_the_only_subflow_makes_plain_tcp_and_mp_fail_says_from_where_on() {
    let mut s = client(&asking());
    s.inject(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(data(101, 100).opt(map_wrong_sum(101, 101, 100, 1)));
    let fail = mp_fail(true, &s, 101);
    s.expect(ack(201).opt(fail));
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::ChecksumFailed));
    assert_eq!(s.read().0, stream(0, 200));
    // Until the peer answers, every acknowledgement repeats it.
    s.inject(data(201, 100).opt(map_wrong_sum(201, 201, 100, 1)));
    s.expect(ack(301).opt(fail));
    let answer = mp_fail(false, &s, 1);
    s.inject(ack(1).opt(answer));
    s.inject(data(301, 100).opt(infinite_map(101, 101, 1)));
    s.expect(ack(401).plain());
    assert_eq!(s.read().0, stream(200, 200));
    // Our own data begins with an infinite mapping, until some of it is acknowledged.
    s.write(0, 100);
    let farewell = Opt::SumDss { ack: Some(201), map: (1, 1, 0), fin: false, error: 0 };
    let packet = s.expect(data(1, 100));
    let MptcpOption::Dss(dss) = &packet.seg.options.mptcp[0] else { panic!("{packet:?}, not {farewell:?}") };
    let mapping = dss.mapping.expect("a mapping");
    assert_eq!((mapping.ssn, mapping.len, mapping.checksum), (1, 0, Some(0)));
    s.inject(ack(101));
    s.write(100, 100);
    s.expect(data(101, 100).plain());
}

// [8684-3.7-12]
#[test]
fn mp_fail_is_answered_in_kind_and_ends_multipath_both_ways() {
    let mut s = client(&asking());
    s.write(0, 100);
    s.expect(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    let fail = mp_fail(false, &s, 1);
    s.inject(ack(101).opt(fail));
    let answer = mp_fail(true, &s, 1);
    s.expect(ack(1).opt(answer));
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::ChecksumFailed));
    s.inject(ack(101));
    assert_eq!(s.info().bytes_acked, 100, "plain TCP's acknowledgement counts");
    s.write(100, 100);
    let packet = s.expect(data(101, 100));
    let MptcpOption::Dss(dss) = &packet.seg.options.mptcp[0] else { panic!("{packet:?}") };
    // Retroactive: from the last byte known to be intact on.
    let mapping = dss.mapping.expect("a mapping");
    assert_eq!((mapping.ssn, mapping.len), (1, 0));
    s.inject(data(1, 50).ack(201));
    assert_eq!(s.read().0, stream(0, 50));
    assert_eq!((counted(&s, Counter::MPTcpExtMPFailRx), counted(&s, Counter::MPTcpExtMPFailTx)), (1, 1));
}

#[test]
fn an_infinite_mapping_on_the_only_subflow_makes_plain_tcp() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(data(101, 100).opt(infinite_map(101, 101, 1)));
    s.expect(ack(201).plain());
    s.inject(data(201, 100));
    s.expect(ack(301).plain());
    assert_eq!(s.read().0, stream(0, 300));
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::PeerFellBack));
    assert_eq!(counted(&s, Counter::MPTcpExtInfiniteMapRx), 1);
}

/// A client with a second subflow, both with checksums; which flow is which.
fn with_two_subflows() -> (Script, usize) {
    let options = ScriptOptions { addresses: vec![WIFI, LTE], ..asking() };
    let mut s = client(&options);
    let second = let_join(&mut s);
    s.take_events();
    (s, second)
}

// [8684-3.7-9, 8684-3.7-10, 8684-3.7-11]
#[test]
fn beside_another_subflow_a_wrong_one_resets_its_subflow_with_mp_fail() {
    let (mut s, second) = with_two_subflows();
    s.on(0);
    s.inject(data(1, 100).opt(map_wrong_sum(1, 1, 100, 1)));
    let packet = s.expect(rst_ack());
    let fail = MptcpOption::MpFail(mp_fail(true, &s, 1));
    let reset = MptcpOption::MpTcprst(tcprst(ResetReason::MiddleboxInterference));
    assert_eq!(packet.seg.options.mptcp[..], [reset, fail]);
    assert_eq!(s.read().0, [], "what is wrong is not delivered");
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ProtocolError)]);
    assert_eq!(s.multipath(), MultipathState::Active);
    // It comes again where it can be verified.
    s.on(second).inject(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    assert_eq!(s.read().0, stream(0, 100));
}

#[test]
fn data_that_the_peer_could_not_verify_goes_again_at_once_on_another_subflow() {
    let (mut s, second) = with_two_subflows();
    s.write(0, 100);
    // Both have the same round trip: the first one is taken.
    s.on(0).expect(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.inject(ack(101));
    let fail = mp_fail(false, &s, 1);
    s.inject(rst(1).opt(fail).opt(tcprst(ResetReason::MiddleboxInterference)));
    s.on(second).expect(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    assert_eq!(counted(&s, Counter::MPTcpExtMPFailRx), 1);
}

// [8684-3.7-13]
#[test]
fn a_wrong_one_on_the_only_subflow_where_plain_tcp_could_not_go_on_resets_it_with_mp_fail() {
    let mut s = client(&asking());
    // The connection's second hundred bytes stand first on the subflow.
    s.inject(data(1, 100).payload(&stream(100, 100)).opt(map_sum(101, 1, 100, 1)));
    s.expect(ack(101).opt(dack(1)));
    s.inject(data(101, 100).payload(&stream(0, 100)).opt(map_wrong_sum(1, 101, 100, 1)));
    let packet = s.expect(rst_ack());
    let fail = MptcpOption::MpFail(mp_fail(true, &s, 1));
    assert!(packet.seg.options.mptcp.contains(&fail), "{packet:?}");
    assert_eq!(s.closed(), None, "the connection waits for another subflow");
}

/// Bytes that wait for the rest of their mapping are not lost when it ends, whoever ends it.
#[test]
fn what_waited_to_be_verified_is_taken_when_the_peer_falls_back() {
    let half = |s: &mut Script| s.inject(data(1, 100).opt(map_sum(1, 1, 300, 1)));
    let mut s = client(&asking());
    half(&mut s);
    s.inject(data(101, 100).opt(infinite_map(1, 1, 1)));
    s.inject(data(201, 100));
    assert_eq!(s.read(), (stream(0, 300), false));
    let mut s = client(&asking());
    half(&mut s);
    let fail = mp_fail(false, &s, 1);
    s.inject(ack(1).opt(fail));
    s.inject(data(101, 200).opt(map_sum(1, 1, 300, 1)));
    assert_eq!(s.read(), (stream(0, 300), false));
}
