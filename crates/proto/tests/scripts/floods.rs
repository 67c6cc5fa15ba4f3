//! What strangers can take from a server: how many handshakes, subflows and answers they get, and that others get in all
//! the while.

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{Config, MultipathState, State, SubflowEvent};
use polypath_wire::{MpJoin, MptcpOption};
use std::net::Ipv4Addr;

/// So many packets, each of another sender.
const FLOOD: u32 = 4_000;
/// Half-open connections of a listener (Linux: tcp_max_syn_backlog).
const HALF_OPEN: usize = 1_024;
/// Answers without a connection that may wait to be sent.
const REPLIES: usize = 256;

/// A flow of the `n`th stranger's.
fn stranger(s: &mut Script, n: u32) -> usize {
    s.add_flow((WIFI, STACK_PORT).into(), (Ipv4Addr::from(0x0b00_0000 + n), 40_000).into())
}

/// Lets the stack send, and forgets it; how much it was.
fn send(s: &mut Script) -> usize {
    s.act_on_stack(|_, _| ());
    std::iter::from_fn(|| s.next_packet()).count()
}

fn join_syn(s: &Script, nonce: u32) -> Seg {
    let token = s.stack_key().token();
    syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce }))
}

#[test]
fn syns_of_nobody_hold_a_bounded_number_of_places() {
    let mut s = Script::server(&ScriptOptions::default());
    for n in 0..FLOOD {
        stranger(&mut s, n);
        s.inject_unanswered(syn());
        assert!(s.stack.connection_count() <= HALF_OPEN, "after {n}");
        if n % 64 == 0 {
            send(&mut s);
        }
    }
    send(&mut s);
    assert_eq!(s.stack.connection_count(), HALF_OPEN);
    // In the midst of it, one who answers.
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_001).into());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
    // The places come free again.
    s.advance(ms(200_000));
    send(&mut s);
    assert_eq!(s.stack.connection_count(), 1);
}

#[test]
fn joins_of_nobody_do_not_keep_the_peer_out() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.take_events();
    let most = Config::default().max_subflows;
    for n in 0..FLOOD {
        stranger(&mut s, n);
        let seg = join_syn(&s, n);
        s.inject_unanswered(seg);
        s.advance(ms(1));
        assert!(s.info().subflows.len() <= most, "after {n}");
        if n % 64 == 0 {
            send(&mut s);
        }
    }
    send(&mut s);
    let flow = s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000).into());
    let seg = join_syn(&s, NONCE);
    s.inject(seg);
    let answer = s.expect(syn_ack().seq(0).ack(1));
    let [MptcpOption::MpJoin(MpJoin::SynAck { nonce, .. })] = answer.seg.options.mptcp[..] else {
        panic!("{answer:?}")
    };
    // More of them do not hurt, as long as fewer come in a round trip than there are places.
    for n in 0..most as u32 - 2 {
        stranger(&mut s, FLOOD + n);
        let seg = join_syn(&s, n);
        s.inject_unanswered(seg);
        s.advance(ms(1));
    }
    send(&mut s);
    s.on(flow);
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third));
    assert!(s.subflow_events().contains(&SubflowEvent::Established));
    // Those that are established never have to go.
    for n in 0..FLOOD / 10 {
        stranger(&mut s, 2 * FLOOD + n);
        let seg = join_syn(&s, n);
        s.inject_unanswered(seg);
        s.advance(ms(1));
    }
    assert_eq!(s.info().subflows.iter().filter(|subflow| subflow.state == State::Established).count(), 2);
}

#[test]
fn joins_with_unknown_tokens_get_a_bounded_number_of_answers() {
    let mut s = Script::active_server(&ScriptOptions::default());
    let before = s.stack.mib().get(Counter::MPTcpExtMPJoinNoTokenFound);
    for n in 0..FLOOD {
        stranger(&mut s, n);
        let token = polypath_wire::Token(n);
        s.inject_unanswered(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: n })));
    }
    assert_eq!(s.stack.mib().get(Counter::MPTcpExtMPJoinNoTokenFound) - before, u64::from(FLOOD));
    assert!(send(&mut s) <= REPLIES);
    assert_eq!(s.info().subflows.len(), 1);
}
