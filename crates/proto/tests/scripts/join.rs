//! MP_JOIN in both roles (RFC 8684, section 3.2).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{CloseReason, Config, Event, SubflowEvent};
use polypath_wire::{MpJoin, MpTcprst, MptcpOption, ResetReason, Token, join_ack_hmac, join_synack_hmac};

/// A client whose join's SYN the peer has seen; the nonce of it.
fn client_with_join() -> (Script, usize, u32) {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let (flow, packet) = s.take_syn();
    assert_eq!((packet.seg.ip.src, packet.seg.ip.dst), (LTE, PEER));
    let [MptcpOption::MpJoin(MpJoin::Syn { backup: false, address_id, token, nonce })] = packet.seg.options.mptcp[..]
    else {
        panic!("{packet:?}")
    };
    assert_ne!(address_id, 0);
    assert_eq!(token, PEER_KEY.token());
    (s, flow, nonce)
}

/// A server with a listener, whose peer has sent a join; the stack's nonce.
fn server_with_join(options: &ScriptOptions) -> (Script, usize, u32) {
    let mut s = Script::active_server(options);
    let flow = s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000).into());
    let token = s.stack_key().token();
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
    let packet = s.expect(syn_ack().seq(0).ack(1));
    let [MptcpOption::MpJoin(MpJoin::SynAck { backup: false, address_id: 0, hmac, nonce })] =
        packet.seg.options.mptcp[..]
    else {
        panic!("{packet:?}")
    };
    assert_eq!(hmac, join_synack_hmac(s.stack_key(), PEER_KEY, nonce, NONCE));
    (s, flow, nonce)
}

// [8684-3.2-12]
#[test]
fn a_client_joins_and_sends_no_data_before_the_fourth_ack() {
    let (mut s, flow, nonce) = client_with_join();
    let answer = join_syn_ack(&s, nonce);
    s.inject(answer);
    let third = third_ack_of_stack(&s, nonce);
    s.expect(ack(1).seq(1).opt(third));

    // The first subflow's window takes ten segments; the rest must wait, although the second one is there.
    let window = 10 * DSS_MSS as usize;
    s.write(0, 3 * window);
    for _ in 0..10 {
        s.on(0).expect(data_any());
    }
    s.expect_nothing();
    assert_eq!(s.subflow_events(), []);

    s.on(flow).inject(ack(1).opt(dack(1)));
    assert_eq!(s.subflow_events(), [SubflowEvent::Established]);
    let dsn = window as u64 + 1;
    let packet = s.expect(data(1, DSS_MSS as usize).opt(map(dsn, 1, DSS_MSS as usize, 1)));
    assert_eq!(packet.payload, stream(dsn - 1, DSS_MSS as usize));
}

/// Data of whatever length.
fn data_any() -> Seg {
    Seg { len: None, seq: None, ..data(0, 0) }
}

// [8684-3.2-6, 8684-3.2-10]
#[test]
fn a_server_takes_a_join_and_answers_with_a_fourth_ack() {
    let (mut s, _, nonce) = server_with_join(&ScriptOptions::default());
    s.take_events();
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third));
    s.expect(ack(1).seq(1).opt(dack(1)));
    assert_eq!(s.subflow_events(), [SubflowEvent::Established]);
    // Data comes over the new subflow into the one stream.
    s.inject(data(1, 100).payload(&stream(0, 100)).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    assert_eq!(s.read().0, stream(0, 100));
}

// [8684-3.2-13, 8684-3.6-1, 8684-3.8-1, 8684-3.9.3-2]
#[test]
fn a_syn_ack_with_a_wrong_hmac_is_reset() {
    let (mut s, _, nonce) = client_with_join();
    let hmac = join_synack_hmac(PEER_KEY, s.stack_key(), NONCE, nonce) ^ 1;
    s.inject(syn_ack().opt(join(MpJoin::SynAck { backup: false, address_id: 9, hmac, nonce: NONCE })));
    s.expect(rst_ack().seq(1).ack(1).opt(tcprst(ResetReason::MptcpSpecific)));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ProtocolError)]);
    // The connection goes on.
    s.on(0).write(0, 10);
    s.expect(data(1, 10));
}

// [8684-3.2-16, 8684-3.8-1]
#[test]
fn a_syn_ack_without_mp_join_is_reset() {
    let (mut s, ..) = client_with_join();
    s.inject(syn_ack());
    let packet = s.expect(rst_ack().seq(1).ack(1));
    assert!(matches!(packet.seg.options.mptcp[..], [MptcpOption::MpTcprst(_)]), "{packet:?}");
}

// [8684-3.2-14, 8684-3.9.3-2]
#[test]
fn a_third_ack_with_a_wrong_hmac_is_reset() {
    let (mut s, _, nonce) = server_with_join(&ScriptOptions::default());
    s.take_events();
    let mut hmac = join_ack_hmac(PEER_KEY, s.stack_key(), NONCE, nonce);
    hmac[19] ^= 1;
    s.inject(ack(1).opt(join(MpJoin::Ack { hmac })));
    let packet = s.expect(Seg { ack: None, ..rst_ack() }.seq(1));
    // RFC 8684, section 3.6: an error in the use of Multipath TCP.
    assert_eq!(packet.seg.options.mptcp[..], [MptcpOption::MpTcprst(tcprst(ResetReason::MptcpSpecific))]);
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ProtocolError)]);
}

// [8684-3.2-15, 8684-3.2-17]
#[test]
fn a_third_ack_without_mp_join_is_reset() {
    let (mut s, ..) = server_with_join(&ScriptOptions::default());
    s.take_events();
    s.inject(ack(1).opt(dack(1)));
    s.expect(rst_ack().opt(tcprst(ResetReason::MptcpSpecific)));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ProtocolError)]);
}

// [8684-3.2-7, 8684-3.2-8, 8684-3.8-1]
#[test]
fn a_join_with_an_unknown_token_is_reset() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000).into());
    let token = Token(s.stack_key().token().0 ^ 1);
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
    let packet = s.next_packet().expect("a reset");
    assert_eq!(packet.seg.tcp.flags, polypath_wire::TcpFlags::RST | polypath_wire::TcpFlags::ACK);
    assert_eq!(packet.seg.tcp.ack.0, PEER_ISN + 1);
    // RFC 8684, section 3.2: with a "MPTCP specific error" reason code.
    assert_eq!(packet.seg.options.mptcp[..], [MptcpOption::MpTcprst(tcprst(ResetReason::MptcpSpecific))]);
    assert_eq!(s.stack.mib().get(Counter::MPTcpExtMPJoinNoTokenFound), 1);
}

// [8684-3.2-7, 8684-3.2-8]
#[test]
fn a_join_beyond_the_limit_of_subflows_is_reset() {
    let config = Config { max_subflows: 2, ..Config::default() };
    let (mut s, _, nonce) = server_with_join(&ScriptOptions { config, ..ScriptOptions::default() });
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third));
    s.expect(ack(1).seq(1).opt(dack(1)));
    s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_001).into());
    let token = s.stack_key().token();
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 5, token, nonce: NONCE })));
    let packet = s.next_packet().expect("a reset");
    assert!(packet.seg.tcp.flags.contains(polypath_wire::TcpFlags::RST));
    // The same section, the same reason: "the host wants to refuse subflow establishment".
    assert_eq!(packet.seg.options.mptcp[..], [MptcpOption::MpTcprst(tcprst_for_now(ResetReason::MptcpSpecific))]);
}

// [8684-3.2-11]
#[test]
fn a_client_repeats_its_third_ack_until_the_fourth_comes() {
    let (mut s, _, nonce) = client_with_join();
    let answer = join_syn_ack(&s, nonce);
    s.inject(answer.clone());
    let third = third_ack_of_stack(&s, nonce);
    let first = s.expect(ack(1).seq(1).opt(third.clone()));
    s.advance(ms(2_000));
    let again = s.expect(ack(1).seq(1).opt(third.clone()));
    // RFC 8684, section 3.2: a retransmission as if it occupied sequence space.
    assert!(again.at - first.at >= ms(200) && again.at - first.at <= ms(1_000), "after {:?}", again.at - first.at);
    s.clear();
    // A repeated SYN/ACK asks for it too.
    s.inject(answer);
    s.expect(ack(1).seq(1).opt(third));
    s.inject(ack(1).opt(dack(1)));
    assert!(s.subflow_events().contains(&SubflowEvent::Established));
    s.clear();
    s.expect_silence(ms(5_000));
}

// [8684-3.2-10]
#[test]
fn a_server_answers_a_repeated_third_ack_again() {
    let (mut s, _, nonce) = server_with_join(&ScriptOptions::default());
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third.clone()));
    s.expect(ack(1).seq(1).opt(dack(1)));
    // The fourth ACK was lost.
    s.inject(ack(1).opt(third));
    s.expect(ack(1).seq(1).opt(dack(1)));
}

#[test]
fn a_server_repeats_its_syn_ack_when_the_third_ack_is_lost() {
    let (mut s, _, nonce) = server_with_join(&ScriptOptions::default());
    let again = s.expect_after(ms(1_000), syn_ack().seq(0).ack(1));
    let MptcpOption::MpJoin(MpJoin::SynAck { nonce: same, .. }) = again.seg.options.mptcp[0] else {
        panic!("{again:?}")
    };
    assert_eq!(same, nonce);
    let third = third_ack_of_peer(&s, nonce);
    s.take_events();
    s.inject(ack(1).opt(third));
    assert_eq!(s.subflow_events(), [SubflowEvent::Established]);
}

#[test]
fn data_is_a_fourth_ack_too() {
    let (mut s, _, nonce) = client_with_join();
    let answer = join_syn_ack(&s, nonce);
    s.inject(answer);
    s.expect(ack(1).seq(1));
    s.inject(data(1, 10).payload(&stream(0, 10)).opt(map(1, 1, 10, 1)));
    s.expect(ack(11).opt(dack(11)));
    assert_eq!(s.read().0, stream(0, 10));
}

// [8684-3.6-2, 8684-3.6-3]
#[test]
fn a_join_that_is_refused_for_now_is_tried_again_and_one_refused_for_good_is_not() {
    for transient in [true, false] {
        let (mut s, ..) = client_with_join();
        let refusal = MpTcprst { transient, reason: ResetReason::AdministrativelyProhibited };
        s.inject(rst_ack().seq(0).ack(1).opt(refusal));
        assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ResetByPeer)]);
        s.expect_silence(ms(900));
        if transient {
            s.advance(ms(200));
            let (_, again) = s.take_syn();
            assert!(matches!(again.seg.options.mptcp[..], [MptcpOption::MpJoin(MpJoin::Syn { .. })]));
        } else {
            s.expect_silence(ms(100_000));
        }
        assert_eq!(s.closed(), None);
    }
}

/// Each refusal in a row doubles the pause. A subflow that has held for long begins anew.
#[test]
fn a_subflow_that_held_is_joined_again_soon_however_often_it_was_refused_before() {
    let (mut s, mut flow, _) = client_with_join();
    for pause in [1, 2, 4, 8, 16] {
        s.on(flow).inject(rst_ack().seq(0).ack(1).opt(tcprst_for_now(ResetReason::LackOfResources)));
        s.advance(ms(pause * 1_000 + 100));
        flow = s.take_syn().0;
    }
    s.on(flow).inject(rst_ack().seq(0).ack(1).opt(tcprst_for_now(ResetReason::LackOfResources)));
    s.expect_silence(ms(31_000));
    s.advance(ms(1_100));
    let joined = let_join(&mut s);
    s.advance(ms(300_000));
    s.clear();
    s.on(joined).inject(rst(1).opt(tcprst_for_now(ResetReason::LackOfResources)));
    s.advance(ms(1_100));
    s.take_syn();
}

// [8684-3.2-2]
#[test]
fn every_join_has_a_nonce_of_its_own() {
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let (mut s, _, first) = client_with_join();
        s.inject(rst_ack().seq(0).ack(1));
        s.advance(ms(2_000));
        let (_, packet) = s.take_syn();
        let [MptcpOption::MpJoin(MpJoin::Syn { nonce, .. })] = packet.seg.options.mptcp[..] else {
            panic!("{packet:?}")
        };
        nonces.extend([first, nonce]);
    }
    // The script's stack draws the same numbers each time; the two of one connection differ.
    assert_eq!(nonces.len(), 2);
}

// [8684-3.2-18]
#[test]
fn a_join_is_told_by_its_token_whatever_its_port() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.add_flow((WIFI, 9).into(), (PEER_2, 50_000).into());
    let token = s.stack_key().token();
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
    s.expect(syn_ack());
}

// [8684-3.1-5]
#[test]
fn a_client_joins_only_when_a_dss_has_come() {
    let mut s = Script::client(&ScriptOptions::two_addresses());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.expect_silence(ms(300));
    s.inject(ack(1).opt(dack(1)));
    s.take_syn();
}

// [8684-3.3.8-1, 8684-3.3.8-2]
#[test]
fn a_backup_flag_in_a_join_is_obeyed() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000).into());
    let key = s.stack_key();
    s.inject(syn().opt(join(MpJoin::Syn { backup: true, address_id: 4, token: key.token(), nonce: NONCE })));
    let packet = s.expect(syn_ack());
    let MptcpOption::MpJoin(MpJoin::SynAck { nonce, .. }) = packet.seg.options.mptcp[0] else { panic!("{packet:?}") };
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third));
    s.expect(ack(1).opt(dack(1)));
    // Three windows of data: all that goes, goes on the first subflow.
    s.write(0, 30 * DSS_MSS as usize);
    s.expect_nothing_on_current();
    // MP_PRIO takes it back: now the second one carries data too.
    s.inject(ack(1).opt(prio(false)));
    s.on(0).inject(ack(1).opt(dack(1)));
    s.on(1).expect(data(1, DSS_MSS as usize));
}

#[test]
fn a_pair_of_stacks_uses_all_the_paths() {
    let mut pair = Pair::connected(&PairOptions::default());
    assert!(pair.server.events.iter().filter(|(_, e)| matches!(e, Event::Acceptable(_))).count() == 1);
    pair.send(Side::Client, 500_000);
    pair.drive_until(ms(5_000), |p| p.server.received.len() == 500_000);
    pair.assert_received(Side::Server, 500_000);
    let start = polypath_proto::Instant::ZERO;
    assert!(pair.data_packets(Side::Client, WIFI, start) > 50 && pair.data_packets(Side::Client, LTE, start) > 50);
}

/// The only place is held by a subflow that has gone silent. Who joins gets it by showing its HMAC, not by asking.
#[test]
fn a_silent_subflow_goes_when_its_successor_has_shown_its_hmac() {
    let config = Config { max_subflows: 1, ..Config::default() };
    let mut s = Script::active_server(&ScriptOptions { config, ..ScriptOptions::default() });
    s.write(0, 100);
    s.expect(data_any());
    // Nobody acknowledges it.
    s.advance(ms(1_000));
    s.take_events();
    s.clear();
    let joiner = |s: &mut Script, n: u16| {
        let flow = s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000 + n).into());
        let token = s.stack_key().token();
        s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
        let packet = s.expect(syn_ack().seq(0).ack(1));
        let [MptcpOption::MpJoin(MpJoin::SynAck { nonce, .. })] = packet.seg.options.mptcp[..] else {
            panic!("{packet:?}")
        };
        (flow, nonce)
    };
    // Two paths are tried at once, and neither takes the other's place.
    let (first, nonce) = joiner(&mut s, 1);
    joiner(&mut s, 2);
    assert_eq!(s.subflow_events(), []);
    assert_eq!(s.info().subflows.len(), 3);
    let third = third_ack_of_peer(&s, nonce);
    s.on(first).inject(ack(1).opt(third));
    let events = s.subflow_events();
    assert!(
        matches!(events[..], [SubflowEvent::Established, SubflowEvent::Closed(CloseReason::TimedOut)]),
        "{events:?}"
    );
    // What was lost with the old one goes on the new one.
    s.expect(data_any());
}

/// Its subflows are gone. One join is refused for now while another is under way: that is no end.
#[test]
fn a_join_refused_for_now_is_no_end_of_the_connection() {
    let (mut s, flow, _) = client_with_join();
    s.on(0).inject(rst(1));
    s.take_events();
    s.clear();
    s.on(flow).inject(rst_ack().seq(0).ack(1).opt(tcprst_for_now(ResetReason::MptcpSpecific)));
    assert!(s.take_events().iter().all(|event| !matches!(event, Event::Closed { .. })));
    // It is asked again.
    s.advance(ms(1_000));
    let syns = std::iter::from_fn(|| s.next_packet()).filter(|p| p.seg.tcp.flags == polypath_wire::TcpFlags::SYN);
    assert!(syns.count() > 0);
}

/// Who only listens does not see that a path is dead. It asks when somebody else wants the place.
#[test]
fn a_join_that_finds_no_place_has_idle_subflows_asked_whether_they_live() {
    let config = Config { max_subflows: 1, ..Config::default() };
    let mut s = Script::active_server(&ScriptOptions { config, ..ScriptOptions::default() });
    let ask = |s: &mut Script| {
        let token = s.stack_key().token();
        s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
    };
    // Just heard: no question.
    let flow = s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_001).into());
    ask(&mut s);
    s.expect(rst_ack().opt(tcprst_for_now(ResetReason::MptcpSpecific)));
    s.on(0).expect_nothing();
    // It answers, and keeps its place.
    s.advance(ms(5_000));
    s.on(flow);
    ask(&mut s);
    s.expect(rst_ack());
    s.on(0).expect(ack(1));
    s.inject(ack(1).opt(dack(1)));
    for pause in [2_000, 2_000] {
        s.advance(ms(pause));
        s.on(flow);
        ask(&mut s);
        s.expect(rst_ack());
        s.on(0).expect(ack(1));
    }
    // It does not.
    s.advance(ms(2_000));
    s.on(flow);
    ask(&mut s);
    s.expect(syn_ack().seq(0).ack(1));
}
