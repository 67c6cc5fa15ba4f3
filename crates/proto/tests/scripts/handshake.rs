//! MP_CAPABLE, and the plain handshake beneath it (RFC 8684, section 3.1; RFC 9293, section 3.5).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{ConnectionError, Event, FallbackReason, MultipathState, SubflowEvent};
use polypath_wire::{CapableKeys, MptcpOption, TcpFlags};
use std::net::SocketAddr;

/// The client's key as it stands in what it sent.
fn keys_of(packet: &Packet) -> CapableKeys {
    match packet.seg.options.mptcp.as_slice() {
        [MptcpOption::MpCapable(c)] => c.keys,
        other => panic!("not one MP_CAPABLE: {other:?}"),
    }
}

// [8684-3.1-4, 8684-3.1-11, 8684-3.1-14, 8684-3.1-23, 8684-3.1-24, 8684-3.1-25, 9293-MUST-14, 9293-SHLD-5]
// [9293-MUST-67, 9293-MUST-45, 7323-3.2-1, 8201-5.4-2]
#[test]
fn a_client_goes_through_the_four_forms_of_mp_capable() {
    let mut s = Script::client(&ScriptOptions::default());
    let packet = s.expect(syn().opt(capable_syn()));
    let o = &packet.seg.options;
    assert_eq!(
        (o.mss, o.sack_permitted, o.window_scale.is_some(), o.timestamps.is_some()),
        (Some(1460), true, true, true)
    );

    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    let third = s.expect(ack(1).seq(1));
    let CapableKeys::Ack { sender, receiver } = keys_of(&third) else { panic!("{third:?}") };
    assert_eq!(receiver, PEER_KEY);
    assert_eq!(s.multipath(), MultipathState::Active);
    assert!(s.take_events().iter().any(|e| matches!(e, Event::Connected(_))));

    // The first data says the keys again, and is its own mapping: from IDSN + 1.
    s.write(0, 100);
    let first = s.expect(data(1, 100).payload(&stream(0, 100)).opt(capable_data(sender, PEER_KEY, 100)));
    assert_eq!(first.segment_size, None);
    // The peer's DATA_ACK counts from the IDSN that the client's key gives.
    s.inject(ack(101).opt(dack(101)));
    assert_eq!(s.info().bytes_acked, 100);
    s.write(100, 50);
    s.expect(data(101, 50).opt(map(101, 101, 50, 1)));
}

// [8684-3.1-4, 8684-3.1-28]
#[test]
fn a_server_goes_through_the_four_forms_of_mp_capable() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    let packet = s.expect(syn_ack().seq(0).ack(1));
    let CapableKeys::SynAck { sender } = keys_of(&packet) else { panic!("{packet:?}") };
    assert_ne!(sender.token().0, 0);
    s.inject(ack(1).opt(capable_ack(PEER_KEY, sender)));
    s.expect_nothing();
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);

    // Its own first data carries a DSS: it knows that the client has both keys.
    s.write(0, 10);
    s.expect(data(1, 10).opt(map(1, 1, 10, 1)));
    // The client's first data may carry its keys once more, and maps itself.
    s.inject(data(1, 20).ack(1).opt(capable_data(PEER_KEY, sender, 20)));
    s.expect(ack(21).opt(dack(21)));
    assert_eq!(s.read().0, stream(0, 20));
}

#[test]
fn a_mapping_by_mp_capable_may_be_longer_than_its_first_segment() {
    let mut s = Script::active_server(&ScriptOptions::default());
    let key = s.stack_key();
    s.inject(data(1, 20).ack(1).opt(capable_data(PEER_KEY, key, 50)));
    s.expect(ack(21).opt(dack(21)));
    s.inject(data(21, 30));
    s.expect(ack(51).opt(dack(51)));
    assert_eq!(s.read().0, stream(0, 50));
}

#[test]
fn the_third_ack_is_repeated_for_a_repeated_syn_ack() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1).seq(1));
    // It was lost: the SYN/ACK comes again.
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    let key = s.stack_key();
    s.expect(ack(1).seq(1).opt(capable_ack(key, PEER_KEY)));
    assert_eq!(s.multipath(), MultipathState::Active);
}

#[test]
fn acknowledgements_carry_both_keys_until_the_peer_sends_a_dss() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    let key = s.stack_key();
    s.expect(ack(1).opt(capable_ack(key, PEER_KEY)));
    // A keep-alive asks for an acknowledgement.
    s.inject(ack(1).seq(0));
    s.expect(ack(1).opt(capable_ack(key, PEER_KEY)));
    s.inject(data(1, 10).opt(map(1, 1, 10, 1)));
    s.expect(ack(11).opt(dack(11)));
}

// [8684-3.1-26]
#[test]
fn a_lost_third_ack_is_made_up_for_by_mp_capable_with_data() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    s.inject(data(1, 30).ack(1).opt(capable_data(PEER_KEY, key, 30)));
    s.expect(ack(31).opt(dack(31)));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
    assert_eq!(s.read().0, stream(0, 30));
}

#[test]
fn a_dss_that_overtakes_the_keys_is_not_taken_for_plain_tcp() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    s.inject(data(31, 10).ack(1).opt(map(31, 31, 10, 1)));
    s.expect_nothing();
    s.inject(data(1, 30).ack(1).opt(capable_data(PEER_KEY, key, 30)));
    s.expect(ack(31).opt(dack(31)));
    s.inject(data(31, 10).ack(1).opt(map(31, 31, 10, 1)));
    s.expect(ack(41).opt(dack(41)));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
}

#[test]
fn the_syn_ack_is_repeated_for_a_repeated_syn_and_after_a_second() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    let first = s.expect(syn_ack());
    s.inject(syn().opt(capable_syn()));
    let second = s.expect(syn_ack());
    assert_eq!(first.seg.tcp.seq, second.seg.tcp.seq);
    assert_eq!(first.seg.options.mptcp, second.seg.options.mptcp);
    s.expect_after(ms(1000), syn_ack());
    s.expect_after(ms(2000), syn_ack());
}

// [8684-3.1-20, 8684-3.9.3-1, 8684-6-1, 9293-MUST-22, 6298-2.1-1]
#[test]
fn an_unanswered_syn_is_repeated_with_doubling_pauses_and_ends_as_a_timeout() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn().opt(capable_syn()));
    s.expect_after(ms(1_000), syn().opt(capable_syn()));
    s.expect_after(ms(2_000), syn().opt(capable_syn()));
    // RFC 8684, section 3.7: after two repetitions, without the option.
    s.expect_after(ms(4_000), syn().plain());
    s.expect_after(ms(8_000), syn().plain());
    s.expect_after(ms(16_000), syn().plain());
    s.expect_after(ms(32_000), syn().plain());
    assert_eq!(s.closed(), None);
    s.advance(ms(64_000));
    s.expect_nothing();
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

// [8684-3.1-21, 8684-3.7-18, 8684-3.9.3-1]
#[test]
fn a_plain_syn_that_is_answered_makes_plain_tcp() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.expect_after(ms(1_000), syn());
    s.expect_after(ms(2_000), syn());
    s.expect_after(ms(4_000), syn().plain());
    // Even an answer to one of the first SYNs comes too late to be believed.
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1).seq(1).plain());
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::SynDropped));
}

// [9293-3.10.7.3-1]
#[test]
fn a_reset_for_the_syn_is_a_refusal() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    // A reset that does not acknowledge the SYN could come from anyone.
    s.inject(rst(0));
    s.inject(rst_ack().seq(0).ack(5));
    assert_eq!(s.closed(), None);
    s.inject(rst_ack().seq(0).ack(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Refused)));
    s.expect_silence(ms(10_000));
}

// [9293-3.10.7.1-1]
#[test]
fn a_syn_for_a_port_without_listener_is_reset() {
    let mut s = Script::new(&ScriptOptions::default());
    s.add_flow((WIFI, 81).into(), (PEER, 50_000).into());
    s.inject(syn().opt(capable_syn()));
    let packet = s.next_packet().expect("a reset");
    assert_eq!(packet.seg.tcp.flags, TcpFlags::RST | TcpFlags::ACK);
    assert_eq!((packet.seg.tcp.seq.0, packet.seg.tcp.ack.0), (0, PEER_ISN + 1));
}

#[test]
fn a_reset_ends_a_half_open_connection_and_frees_its_place() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    s.inject(rst(1));
    s.expect_silence(ms(5_000));
    assert_eq!(s.stack.connection_count(), 0);
}

#[test]
fn a_full_backlog_does_not_answer() {
    let mut s = Script::new(&ScriptOptions::default());
    s.act_on_stack(|stack, _| stack.listen(SocketAddr::new(WIFI, STACK_PORT), 1).unwrap());
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_000).into());
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(ack(1));
    // Nobody has accepted it yet.
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_001).into());
    s.inject(syn());
    s.expect_nothing();
    assert_eq!(s.stack.mib().get(Counter::TcpExtListenOverflows), 1);
}

// [7323-2.2-1, 7323-3.2-1]
#[test]
fn a_syn_ack_offers_only_what_the_syn_did() {
    let mut s = Script::server(&ScriptOptions::default());
    let bare = Seg { window_scale: None, sack_permitted: false, ..syn() };
    s.inject(bare.no_timestamps().opt(capable_syn()));
    let packet = s.expect(syn_ack());
    let o = &packet.seg.options;
    assert_eq!((o.window_scale, o.sack_permitted, o.timestamps), (None, false, None));
}

// [9293-MUST-44]
#[test]
fn two_stacks_connect_and_both_applications_are_told() {
    let mut pair = Pair::new(&PairOptions { client_addresses: vec![(WIFI, false)], ..PairOptions::default() });
    pair.drive(ms(50));
    assert_eq!(pair.info(Side::Client).multipath, MultipathState::Active);
    assert_eq!(pair.info(Side::Server).multipath, MultipathState::Active);
    assert!(pair.client.events.iter().any(|(_, e)| matches!(e, Event::Connected(_))));
    assert!(pair.server.events.iter().any(|(_, e)| matches!(e, Event::Acceptable(_))));
    for side in [Side::Client, Side::Server] {
        let up: Vec<_> = pair.subflow_events(side).into_iter().map(|(_, path, what)| (path, what)).collect();
        assert_eq!(up, [(WIFI, SubflowEvent::Established)]);
    }
}

/// A server that answers the data of a SYN has no key of the client's yet, and makes no DATA_ACK.
// [8684-3.1-25]
#[test]
fn data_without_a_data_ack_does_not_say_that_the_keys_have_arrived() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    let key = s.stack_key();
    s.inject(data(1, 100).opt(Opt::Dss { ack: None, map: Some((1, 1, 100)), fin: false }));
    assert_eq!(s.read(), (stream(0, 100), false));
    s.expect(ack(101).opt(capable_ack(key, PEER_KEY)));
    s.inject(ack(1).seq(101).opt(dack(1)));
    s.write(0, 100);
    s.expect(data(1, 100).opt(map(1, 1, 100, 101)));
}
