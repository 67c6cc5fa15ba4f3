//! Peers that want our memory: what they can take, of one connection and of the whole stack. Each figure is what is really
//! held, with what it costs to keep data in pieces.

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{Config, ConnectionError, SubflowEvent};

const KIB: usize = 1024;
/// What any connection may hold in one direction, however full the stack is.
const GUARANTEED: usize = 64 * KIB;
/// A connection and a subflow without any data.
const EMPTY: usize = 16 * KIB;

/// A server whose receive buffer is at most so large.
fn with_buffer(recv_buffer_max: usize) -> ScriptOptions {
    ScriptOptions { config: Config { recv_buffer_max, ..Config::default() }, ..ScriptOptions::default() }
}

/// Segments of `len` bytes, each `step` after the one before, from `first` on, with a mapping where `mapped`.
fn flood(s: &mut Script, first: u32, (len, step): (usize, u32), count: u32, mapped: bool) {
    for n in 0..count {
        let seq = first + n * step;
        let seg = data(seq, len);
        s.inject(if mapped { seg.opt(map(seq.into(), seq, len, 1)) } else { seg });
        s.clear();
    }
}

#[test]
fn in_plain_tcp_a_peer_that_ignores_the_window_fills_no_more_than_two_buffers_and_a_half() {
    let mut s = Script::plain_server(&with_buffer(64 * KIB));
    flood(&mut s, 1, (1_000, 1_000), 1_000, false);
    assert!(s.info().recv_queue <= 5 * 32 * KIB, "{} bytes to read", s.info().recv_queue);
    // What was not taken was not acknowledged: the stream goes on where it stands.
    let (read, _) = s.read();
    let next = read.len() as u32;
    s.inject(data(1 + next, 100));
    assert_eq!(s.read().0, stream(next.into(), 100));
}

// [9293-MUST-39]
#[test]
fn in_multipath_tcp_it_loses_the_subflow() {
    let mut s = Script::active_server(&with_buffer(64 * KIB));
    flood(&mut s, 1, (1_000, 1_000), 200, true);
    assert!(s.info().recv_queue <= 5 * 32 * KIB);
    assert!(s.subflow_events().iter().any(|e| matches!(e, SubflowEvent::Closed(_))));
}

#[test]
fn single_bytes_in_order_cost_little_more_than_bytes() {
    for mapped in [false, true] {
        let options = with_buffer(1 << 20);
        let mut s = if mapped { Script::active_server(&options) } else { Script::plain_server(&options) };
        flood(&mut s, 1, (1, 1), 20_000, mapped);
        assert_eq!(s.info().recv_queue, 20_000);
        assert!(s.stack.memory() < 2 * 20_000 + EMPTY, "{} bytes", s.stack.memory());
        assert_eq!(s.read().0, stream(0, 20_000));
    }
}

/// The sparse bytes of the kernel's CVE-2018-5390 (SegmentSmack), in a subflow's numbers.
#[test]
fn sparse_bytes_on_a_subflow_are_limited_in_number() {
    for mapped in [false, true] {
        let options = ScriptOptions::default();
        let mut s = if mapped { Script::active_server(&options) } else { Script::plain_server(&options) };
        flood(&mut s, 3, (1, 2), 30_000, mapped);
        let pieces = 16 * KIB;
        // A piece costs 128 bytes, and its mapping less than as much.
        assert!(s.stack.memory() < pieces * 256 + EMPTY, "{} bytes", s.stack.memory());
    }
}

/// The same where the subflow's numbers are complete, and those of the connection have holes.
#[test]
fn sparse_bytes_in_the_connections_numbers_are_limited_in_number_too() {
    let mut s = Script::active_server(&ScriptOptions::default());
    for n in 0..70_000 {
        s.inject(data(1 + n, 1).opt(map(3 + 2 * u64::from(n), 1 + n, 1, 1)));
        s.clear();
        if s.info().subflows.is_empty() {
            break;
        }
    }
    assert!(s.info().subflows.is_empty(), "more crumbs than an honest sender could have under way");
    assert!(s.stack.memory() < 64 * KIB * 130 + EMPTY, "{} bytes", s.stack.memory());
}

/// Each subflow has numbers of its own, and could hold a window of its own.
#[test]
fn what_waits_out_of_order_on_all_subflows_together_is_limited() {
    let mut s = Script::active_server(&with_buffer(64 * KIB));
    let mut flows = vec![0];
    for n in 0..6 {
        let flow = s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000 + n).into());
        let token = s.stack_key().token();
        let syn = syn().opt(join(polypath_wire::MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE }));
        s.inject(syn);
        let answer = s.expect(syn_ack());
        let [polypath_wire::MptcpOption::MpJoin(polypath_wire::MpJoin::SynAck { nonce, .. })] =
            answer.seg.options.mptcp[..]
        else {
            panic!("{answer:?}")
        };
        let third = third_ack_of_peer(&s, nonce);
        s.inject(ack(1).opt(third));
        flows.push(flow);
    }
    for flow in flows {
        s.on(flow);
        flood(&mut s, 1_001, (1_000, 1_000), 60, true);
    }
    assert!(s.stack.memory() < 3 * 64 * KIB + 4 * EMPTY, "{} bytes", s.stack.memory());
}

/// A stack that may hold little, and `n` connections of which the first is in hand.
fn full(n: u16) -> (Script, Vec<usize>) {
    let config = Config { memory_max: 1 << 20, ..Config::default() };
    let mut s = Script::plain_server(&ScriptOptions { config, ..ScriptOptions::default() });
    let mut flows = vec![0];
    for port in 1..n {
        flows.push(s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_000 + port).into()));
        s.inject(syn());
        s.expect(syn_ack());
        s.inject(ack(1));
        s.stack.accept(s.listener.unwrap()).unwrap();
    }
    (s, flows)
}

#[test]
fn the_whole_stack_holds_no_more_than_it_may_and_begins_nothing_new() {
    let (mut s, flows) = full(10);
    for flow in &flows {
        s.on(*flow);
        flood(&mut s, 1, (1_000, 1_000), 500, false);
    }
    let most = (1 << 20) + flows.len() * 2 * GUARANTEED;
    assert!((1 << 20..most).contains(&s.stack.memory()), "{} bytes", s.stack.memory());
    // The last one came when all was taken: it has its share all the same.
    let queues: Vec<usize> = s.stack.connections().map(|(_, info)| info.recv_queue).collect();
    assert!(queues.iter().all(|queue| *queue >= GUARANTEED * 9 / 10 - 1_000), "{queues:?}");
    // SYNs of others go unanswered, and are counted.
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 60_000).into());
    s.inject(syn());
    s.expect_nothing();
    assert_eq!(s.stack.mib().get(Counter::TcpExtListenOverflows), 1);
    // Reading makes room.
    s.on(0);
    assert!(s.read().0.len() > GUARANTEED);
    s.clear();
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 60_001).into());
    s.inject(syn());
    s.expect(syn_ack());
}

#[test]
fn what_is_dropped_for_want_of_memory_is_sent_again_and_arrives() {
    let (mut s, flows) = full(4);
    for flow in &flows[1..] {
        s.on(*flow);
        flood(&mut s, 1, (1_000, 1_000), 500, false);
    }
    s.on(0);
    flood(&mut s, 1, (1_000, 1_000), 100, false);
    // What it has is a whole number of segments: the rest is as if it had been lost.
    let (first, _) = s.read();
    assert!(first.len() < 100_000, "{}", first.len());
    s.clear();
    flood(&mut s, 1 + first.len() as u32, (1_000, 1_000), 50, false);
    assert_eq!(s.read().0, stream(first.len() as u64, 50_000));
}

#[test]
fn writes_take_no_more_than_there_is_and_always_a_little() {
    let (mut s, _) = full(4);
    let ids: Vec<_> = s.stack.connections().map(|(id, _)| id).collect();
    let piece = vec![0; 32 * KIB];
    let mut taken = vec![0; ids.len()];
    for (i, id) in ids.iter().enumerate() {
        for _ in 0..64 {
            let now = s.now;
            taken[i] += s.stack.connection(now, *id).unwrap().write(&piece).unwrap();
            s.drain();
            s.clear();
        }
    }
    assert!(s.stack.memory() < (1 << 20) + ids.len() * 2 * GUARANTEED, "{} bytes", s.stack.memory());
    assert!(taken.iter().all(|taken| *taken >= GUARANTEED), "{taken:?}");
}

#[test]
fn single_bytes_written_without_delay_take_no_more_than_a_bounded_number_of_segments() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.act(|connection| connection.set_nodelay(true));
    let mut sent = 0;
    for n in 0..5_000 {
        s.write(n, 1);
        while s.next_packet().is_some() {
            sent += 1;
        }
    }
    assert_eq!(sent, 128);
    assert!(s.stack.memory() < 64 << 10, "{} bytes", s.stack.memory());
    // The rest goes in full segments.
    s.inject(ack(129).opt(dack(129)));
    s.expect(data(129, 1_428));
}

#[test]
fn everything_is_given_back() {
    let mut s = Script::active_server(&ScriptOptions::default());
    flood(&mut s, 1, (1_000, 1_000), 50, true);
    flood(&mut s, 100_001, (1_000, 2_000), 50, true);
    s.write(0, 10_000);
    assert!(s.stack.memory() > 100_000);
    s.abort();
    assert_eq!(s.closed(), Some(Some(ConnectionError::Aborted)));
    s.close();
    s.advance(ms(100));
    assert_eq!((s.stack.memory(), s.stack.connection_count()), (0, 0));
}
