//! Which paths are taken for ones that drop SYNs with MP_CAPABLE (RFC 8684, section 3.7), and which were only down.

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{ConnectOptions, Duration, FallbackReason, MultipathState};
use polypath_wire::MptcpOption;
use std::net::SocketAddr;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Three SYNs with MP_CAPABLE are not answered, the fourth is without.
fn dropped(s: &mut Script) {
    for wait in [1_000, 2_000, 4_000] {
        s.expect(syn().opt(capable_syn()));
        s.advance(ms(wait));
    }
    s.expect(syn().plain());
    s.inject(syn_ack());
    s.expect(ack(1));
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::SynDropped));
    again(s);
}

/// The SYN with MP_CAPABLE is answered.
fn let_through(s: &mut Script) {
    s.expect(syn().opt(capable_syn()));
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    again(s);
}

/// A connection is plain TCP from the start.
#[track_caller]
fn avoided(s: &mut Script) {
    s.expect(syn().plain());
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::Blackhole));
    again(s);
}

fn again(s: &mut Script) {
    s.abort();
    s.clear();
    s.reconnect();
}

/// The next connection begins after so long.
fn after(s: &mut Script, time: Duration) {
    s.abort();
    s.advance(time);
    again(s);
}

/// How often a path was found to be one, and how many connections did without for it.
fn counted(s: &Script) -> (u64, u64) {
    let mib = s.stack.mib();
    (mib.get(Counter::MPTcpExtBlackhole), mib.get(Counter::MPTcpExtMPCapableSYNTXDisabled))
}

#[test]
fn a_path_that_drops_mp_capable_is_remembered_ever_longer_until_it_lets_one_through() {
    let mut s = Script::client(&ScriptOptions::default());
    dropped(&mut s);
    avoided(&mut s);
    // The first time it may have been something else.
    after(&mut s, MINUTE);
    for hours in [1, 2, 4] {
        dropped(&mut s);
        after(&mut s, HOUR * hours - ms(1));
        avoided(&mut s);
        after(&mut s, ms(1));
    }
    let_through(&mut s);
    assert_eq!(counted(&s).0, 4);
    // All is forgotten, and more: the path is trusted.
    dropped(&mut s);
    s.expect(syn().opt(capable_syn()));
    assert_eq!(counted(&s).0, 4);
}

#[test]
fn a_path_that_let_mp_capable_through_within_the_hour_has_to_be_found_twice() {
    let mut s = Script::client(&ScriptOptions::default());
    let_through(&mut s);
    dropped(&mut s);
    assert_eq!(counted(&s), (0, 0));
    dropped(&mut s);
    avoided(&mut s);
    after(&mut s, MINUTE);
    let_through(&mut s);
    // Long ago is no reason to trust it.
    after(&mut s, HOUR);
    dropped(&mut s);
    avoided(&mut s);
}

#[test]
fn without_an_answer_to_any_syn_it_was_not_the_option() {
    let mut s = Script::client(&ScriptOptions::default());
    for wait in [1_000, 2_000, 4_000] {
        s.expect(syn().opt(capable_syn()));
        s.advance(ms(wait));
    }
    s.expect(syn().plain());
    s.expect_after(ms(8_000), syn().plain());
    s.inject(syn_ack());
    s.expect(ack(1));
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::SynDropped));
    again(&mut s);
    s.expect(syn().opt(capable_syn()));
    assert_eq!(counted(&s), (0, 0));
}

#[test]
fn a_late_answer_with_mp_capable_shows_that_the_path_lets_it_through() {
    let mut s = Script::client(&ScriptOptions::default());
    for wait in [1_000, 2_000, 4_000] {
        s.expect(syn().opt(capable_syn()));
        s.advance(ms(wait));
    }
    s.expect(syn().plain());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1).plain());
    again(&mut s);
    s.expect(syn().opt(capable_syn()));
    assert_eq!(counted(&s), (0, 0));
}

#[test]
fn an_answer_without_mp_capable_shows_it_as_well() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn().opt(capable_syn()));
    s.inject(syn_ack());
    s.expect(ack(1).plain());
    again(&mut s);
    dropped(&mut s);
    s.expect(syn().opt(capable_syn()));
    assert_eq!(counted(&s), (0, 0));
}

/// A connection more, beside those there are.
fn connect(pair: &mut Pair) -> polypath_proto::ConnectionId {
    let remote: SocketAddr = pair.info(Side::Client).remote;
    let id = pair.client.stack.connect(pair.now, remote, ConnectOptions::default()).unwrap();
    pair.drain();
    id
}

fn multipath(pair: &mut Pair, id: polypath_proto::ConnectionId) -> MultipathState {
    pair.client.stack.connection(pair.now, id).unwrap().info().multipath
}

fn found(pair: &Pair) -> (u64, u64) {
    let mib = pair.client.stack.mib();
    (mib.get(Counter::MPTcpExtBlackhole), mib.get(Counter::MPTcpExtMPCapableSYNTXDisabled))
}

/// Connections are opened in an outage that ends just before the first of them tries without the option.
fn outage(pair: &mut Pair) -> Vec<polypath_proto::ConnectionId> {
    let path = pair.info(Side::Client).local.ip();
    pair.cut(path);
    let mut opened = Vec::new();
    for _ in 0..5 {
        opened.push(connect(pair));
        pair.drive(ms(500));
    }
    pair.drive(ms(4_000));
    pair.mend(path);
    opened
}

#[test]
fn on_a_path_that_was_down_new_connections_are_of_multipath_tcp_again() {
    let mut pair = Pair::connected(&PairOptions::default());
    let opened = outage(&mut pair);
    pair.drive(ms(5_000));
    // Those that were opened meanwhile have found out what they could.
    for id in opened {
        assert_eq!(multipath(&mut pair, id), MultipathState::Fallback(FallbackReason::SynDropped));
    }
    let next = connect(&mut pair);
    pair.drive(ms(1_000));
    assert!(matches!(multipath(&mut pair, next), MultipathState::Active));
    assert_eq!(found(&pair), (0, 0));
}

#[test]
fn however_many_connections_an_outage_hits_it_counts_once() {
    // The path was never seen to work before.
    let mut pair = Pair::new(&PairOptions::default());
    outage(&mut pair);
    pair.drive(ms(5_000));
    assert_eq!(found(&pair), (1, 0));
    pair.drive(MINUTE);
    let next = connect(&mut pair);
    pair.drive(ms(1_000));
    assert!(matches!(multipath(&mut pair, next), MultipathState::Active));
}

#[test]
fn what_gets_through_meanwhile_speaks_for_the_path() {
    let mut pair = Pair::new(&PairOptions::default());
    // All but the latest are lost.
    let opened = outage(&mut pair);
    let other = connect(&mut pair);
    pair.drive(ms(400));
    assert!(matches!(multipath(&mut pair, other), MultipathState::Active));
    pair.drive(ms(5_000));
    assert_eq!(multipath(&mut pair, opened[0]), MultipathState::Fallback(FallbackReason::SynDropped));
    assert_eq!(found(&pair), (0, 0));
}

#[test]
fn a_box_that_drops_the_option_costs_one_connection_its_time() {
    let mut pair = Pair::new(&PairOptions::default());
    pair.lose(|sent| sent.has_option(|option| matches!(option, MptcpOption::MpCapable(_))));
    let first = connect(&mut pair);
    pair.drive(ms(8_000));
    assert_eq!(multipath(&mut pair, first), MultipathState::Fallback(FallbackReason::SynDropped));
    for n in 1..10 {
        let next = connect(&mut pair);
        pair.drive(ms(100));
        assert_eq!(multipath(&mut pair, next), MultipathState::Fallback(FallbackReason::Blackhole));
        assert_eq!(found(&pair), (1, n));
    }
}
