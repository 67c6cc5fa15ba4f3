//! Who may be connected to, from where SYNs are taken, initial sequence numbers, and both ends opening at once
//! (RFC 9293, sections 3.4.1, 3.5 and 3.9.2.3; RFC 6528).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{ConnectError, ConnectionError, Event, FallbackReason, MultipathState, State};
use polypath_wire::{SeqNum, TcpFlags};
use std::net::{IpAddr, SocketAddr};

// [9293-MUST-10]
#[test]
fn both_ends_may_open_at_once() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn().opt(capable_syn()));
    s.inject(syn().opt(capable_syn()));
    // Our SYN again, with an ACK; and plain TCP from here on.
    s.expect(syn_ack().seq(0).plain());
    assert_eq!(s.info().subflows[0].state, State::SynReceived);
    s.inject(syn_ack().seq(0));
    s.expect(ack(1).seq(1).plain());
    assert_eq!(s.info().subflows[0].state, State::Established);
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::SimultaneousOpen));
    assert_eq!(s.stack.mib().get(Counter::MPTcpExtSimultConnectFallback), 1);
    assert!(s.take_events().iter().any(|e| matches!(e, Event::Connected(_))));
    s.write(0, 100);
    s.expect(data(1, 100).plain());
    s.inject(data(1, 50).ack(101));
    s.expect(ack(51));
    assert_eq!(s.read().0, stream(0, 50));
}

// [9293-MUST-10]
#[test]
fn a_crossing_syn_may_be_acknowledged_without_a_syn_ack() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn());
    s.expect(syn_ack());
    // It was lost, as ours to the peer was.
    s.expect_after(ms(1_000), syn_ack());
    s.inject(ack(1).seq(1));
    assert_eq!(s.info().subflows[0].state, State::Established);
    // The peer repeats its SYN/ACK.
    s.inject(syn_ack().seq(0));
    s.expect(ack(1).seq(1));
}

// [9293-MUST-10]
#[test]
fn two_stacks_that_open_at_once_talk() {
    let mut s = Script::client(&ScriptOptions::default());
    let here = s.next_packet().expect("a SYN");
    let mut peer = Script::new(&ScriptOptions { addresses: vec![PEER], ..ScriptOptions::default() });
    let remote = SocketAddr::new(here.seg.ip.src, here.seg.tcp.src_port);
    let local = Some(SocketAddr::new(PEER, PEER_PORT));
    let connect = polypath_proto::ConnectOptions { local, ..Default::default() };
    peer.id = Some(peer.stack.connect(peer.now, remote, connect).unwrap());
    peer.drain();
    let there = peer.next_packet().expect("a SYN");
    peer.forward(&here);
    s.forward(&there);
    for _ in 0..4 {
        let (from_here, from_there) = (s.next_packet(), peer.next_packet());
        from_here.iter().for_each(|p| peer.forward(p));
        from_there.iter().for_each(|p| s.forward(p));
    }
    for end in [&mut s, &mut peer] {
        assert_eq!(end.info().subflows[0].state, State::Established);
        assert_eq!(end.multipath(), MultipathState::Fallback(FallbackReason::SimultaneousOpen));
    }
}

// [9293-MUST-11]
#[test]
fn a_reset_in_syn_received_refuses_an_active_open() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(rst(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Refused)));
    // A passive open is forgotten, and nobody is told.
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(rst(1));
    assert_eq!(s.stack.connection_count(), 0);
    assert!(!s.take_events().iter().any(|e| matches!(e, Event::Acceptable(_))));
    s.inject(syn());
    s.expect(syn_ack());
}

// [9293-3.10.7.3-2]
#[test]
fn an_old_connection_of_the_peer_is_reset_first() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    // It thinks that it has one: it acknowledges something else.
    s.inject(ack(5_000).seq(700));
    let reset = s.next_packet().expect("a reset");
    assert_eq!(reset.seg.tcp.flags, TcpFlags::RST);
    assert_eq!(s.closed(), None);
    s.inject(ack(0).seq(700));
    assert_eq!(s.next_packet().map(|p| p.seg.tcp.flags), Some(TcpFlags::RST));
    s.expect_after(ms(1_000), syn());
    s.inject(syn_ack().seq(0));
    s.expect(ack(1));
}

// [9293-MUST-46]
#[test]
fn only_one_host_can_be_connected_to() {
    let mut s = Script::new(&ScriptOptions { addresses: vec![WIFI, v6("2001:db8::1")], ..ScriptOptions::default() });
    for addr in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"] {
        let addr: IpAddr = addr.parse().unwrap();
        let result = s.act_on_stack(|stack, now| stack.connect(now, SocketAddr::new(addr, 80), Default::default()));
        assert_eq!(result, Err(ConnectError::NotUnicast(addr)));
    }
    s.expect_nothing();
}

fn v6(addr: &str) -> IpAddr {
    addr.parse().unwrap()
}

// [9293-MUST-63, 9293-MUST-57]
#[test]
fn a_syn_from_or_to_many_hosts_is_discarded() {
    let mut s = Script::server(&ScriptOptions::default());
    for from in ["224.0.0.1", "255.255.255.255", "0.0.0.0"] {
        s.add_flow((WIFI, STACK_PORT).into(), (from.parse::<IpAddr>().unwrap(), 50_000).into());
        s.inject(syn());
        s.expect_nothing();
    }
    for to in ["224.0.0.1", "255.255.255.255", "10.0.0.255"] {
        s.add_flow((to.parse::<IpAddr>().unwrap(), STACK_PORT).into(), (PEER, 50_000).into());
        s.inject(syn());
        s.expect_nothing();
    }
    assert_eq!(s.stack.connection_count(), 0);
}

// [9293-MUST-41]
#[test]
fn listening_does_not_disturb_connections_on_the_port() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    let local = s.info().local;
    s.act_on_stack(|stack, _| stack.listen(local, 16).unwrap());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.inject(data(1, 100).ack(101));
    s.expect(ack(101));
    assert_eq!(s.read().0, stream(0, 100));
    // Another peer gets the listener.
    s.add_flow(local, (PEER_2, 50_000).into());
    s.inject(syn());
    s.expect(syn_ack());
}

/// The initial sequence number of a stack with this seed, at this time, for a connection between these ports.
fn isn(seed: u8, after_ms: u64, ports: (u16, u16)) -> SeqNum {
    let mut s = Script::seeded(&ScriptOptions::default(), seed);
    s.advance(ms(after_ms));
    let local = Some(SocketAddr::new(WIFI, ports.0));
    let connect = polypath_proto::ConnectOptions { local, ..Default::default() };
    s.act_on_stack(|stack, now| stack.connect(now, SocketAddr::new(PEER, ports.1), connect).unwrap());
    s.next_packet().expect("a SYN").seg.tcp.seq
}

// [9293-MUST-8, 9293-SHLD-1, 6528-3-1, 8684-3-2]
#[test]
fn the_initial_sequence_number_of_a_pair_moves_with_the_clock() {
    let first = isn(1, 0, (2_000, 80));
    // Every 4 microseconds.
    assert_eq!(isn(1, 1, (2_000, 80)).distance(first), 250);
    assert_eq!(isn(1, 60_000, (2_000, 80)).distance(first), 15_000_000);
}

// [8684-3-2]
#[test]
fn so_does_that_of_a_join() {
    let isn = |after| {
        let mut s = Script::client(&ScriptOptions::two_addresses());
        s.expect(syn());
        s.advance(ms(after));
        s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
        s.inject(ack(1).opt(dack(1)));
        s.take_syn().1.seg.tcp
    };
    let (first, second) = (isn(100), isn(300));
    assert_eq!(first.src_port, second.src_port);
    assert_eq!(second.seq.distance(first.seq), 50_000);
}

// [9293-MUST-9, 6528-3-2]
#[test]
fn the_initial_sequence_numbers_of_pairs_and_stacks_tell_nothing_of_each_other() {
    let first = isn(1, 0, (2_000, 80));
    let others = [isn(1, 0, (2_001, 80)), isn(1, 0, (2_000, 81)), isn(2, 0, (2_000, 80))];
    let distances = others.map(|other| other.distance(first).unsigned_abs());
    assert!(distances.iter().all(|d| *d > 1_000_000), "{distances:?}");
    assert_ne!(others[0].distance(first), isn(2, 0, (2_001, 80)).distance(others[2]));
}

// [9293-SHLD-2]
#[test]
fn a_reset_may_bring_data() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(rst(1).payload(b"go away"));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
    assert_eq!(s.read().0, []);
}
