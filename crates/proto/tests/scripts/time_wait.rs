//! TIME-WAIT: how long, what it answers, and what opens the pair again (RFC 9293, section 3.6.1; RFC 6191).

use crate::support::*;
use polypath_proto::{Config, ConnectError, ConnectOptions, ConnectionId};
use polypath_wire::TcpFlags;

/// A server that closed first, and waits. Its peer has sent its FIN at 1.
fn waiting(timestamps: bool) -> Script {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(if timestamps { syn() } else { syn().no_timestamps() });
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    s.shutdown();
    s.expect(fin(1));
    s.inject(fin(1).ack(2));
    s.expect(ack(2).seq(2));
    s.close();
    assert_eq!(s.stack.connection_count(), 0);
    s.advance(ms(10));
    s
}

// [9293-3.10.7.4-5]
#[test]
fn a_fin_that_comes_again_starts_the_time_anew() {
    let mut s = waiting(true);
    for _ in 0..5 {
        s.advance(ms(50_000));
        s.inject(fin(1).ack(2));
        s.expect(ack(2).seq(2));
    }
    s.advance(ms(60_000));
    s.inject(fin(1).ack(2));
    assert_eq!(s.next_packet().map(|p| p.seg.tcp.flags), Some(TcpFlags::RST));
}

/// All our acknowledgements were lost.
// [9293-3.10.7.4-1]
#[test]
fn what_comes_again_is_acknowledged_and_a_new_pure_acknowledgement_is_not() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.shutdown();
    s.expect(fin(1));
    s.inject(data(1, 100).ack(2));
    s.inject(fin(101).ack(2));
    s.clear();
    s.advance(ms(200));
    s.inject(data(1, 100).ack(2));
    s.expect(ack(102).seq(2));
    // A keep-alive.
    s.inject(ack(2).seq(101));
    s.expect(ack(102).seq(2));
    s.inject(ack(2).seq(102));
    s.inject(rst(1));
    s.expect_nothing();
}

// [5961-7-1]
#[test]
fn strangers_get_few_answers() {
    for stranger in [data(0, 1).ack(2), syn().seq(0).tsval(1)] {
        let mut s = waiting(true);
        for _ in 0..100 {
            s.inject(stranger.clone());
        }
        assert_eq!(core::iter::from_fn(|| s.next_packet()).count(), 10);
        // The peer's end is acknowledged whatever they do.
        s.inject(fin(1).ack(2));
        s.expect(ack(2).seq(2));
        s.advance(ms(5_000));
        s.inject(stranger);
        s.expect(ack(2).seq(2));
    }
}

/// The answer to a SYN.
fn answer(s: &mut Script, syn: Seg) -> TcpFlags {
    s.inject(syn);
    s.next_packet().expect("an answer").seg.tcp.flags
}

const SYN_ACK: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);

// [9293-MAY-2]
#[test]
fn a_syn_beyond_the_old_numbers_opens_the_pair_again() {
    for (seq, flags) in [(1, TcpFlags::ACK), (2, SYN_ACK), (70_000, SYN_ACK)] {
        let mut s = waiting(false);
        assert_eq!(answer(&mut s, syn().seq(seq).no_timestamps()), flags, "{seq}");
    }
}

// [9293-MAY-2]
#[test]
fn our_new_number_is_beyond_the_old_ones() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    let old = s.expect(syn_ack()).seg.tcp.seq;
    s.inject(ack(1));
    s.accept();
    // More than the clock of initial numbers goes on in the meantime.
    for i in 0..100 {
        s.write(i * 10_000, 10_000);
        s.clear();
        s.inject(ack(1 + (i as u32 + 1) * 10_000));
    }
    s.shutdown();
    s.expect(fin(1_000_001));
    s.inject(fin(1).ack(1_000_002));
    s.clear();
    s.close();
    s.advance(ms(10));
    s.inject(syn().seq(5));
    let new = s.next_packet().expect("a SYN/ACK").seg.tcp;
    assert_eq!(new.flags, SYN_ACK);
    assert!(new.seq.distance(old) > 1_000_002, "{}", new.seq.distance(old));
}

// [9293-SHLD-4]
#[test]
fn timestamps_decide_on_a_syn() {
    let mut s = waiting(true);
    let now = s.peer_clock();
    // Later, whatever its number.
    assert_eq!(answer(&mut s, syn().seq(0).tsval(now)), SYN_ACK);
    // At the same time: a higher number.
    let old = now - 10;
    assert_eq!(answer(&mut waiting(true), syn().seq(2).tsval(old)), SYN_ACK);
    assert_eq!(answer(&mut waiting(true), syn().seq(1).tsval(old)), TcpFlags::ACK);
    // Earlier: never.
    assert_eq!(answer(&mut waiting(true), syn().seq(70_000).tsval(old - 1)), TcpFlags::ACK);
}

/// A client with one port, whose first connection, closed from here, waits; the SYN of that.
fn client_waiting(timestamps: bool) -> (Script, Packet) {
    let config = Config { multipath: false, client_ports: 40_000..=40_000, ..Config::default() };
    let mut s = Script::client(&ScriptOptions { config, ..ScriptOptions::default() });
    let first = s.expect(syn());
    s.inject(if timestamps { syn_ack() } else { syn_ack().no_timestamps() });
    s.shutdown();
    s.clear();
    s.inject(fin(1).ack(2));
    s.close();
    s.clear();
    assert_eq!(s.stack.connection_count(), 0);
    (s, first)
}

fn connect(s: &mut Script) -> Result<ConnectionId, ConnectError> {
    s.act_on_stack(|stack, now| stack.connect(now, (PEER, PEER_PORT).into(), ConnectOptions::default()))
}

/// A program that opens and closes connections fast must not run out of ports.
#[test]
fn a_client_takes_a_port_again_once_timestamps_have_moved_on() {
    let (mut s, first) = client_waiting(true);
    assert_eq!(connect(&mut s), Err(ConnectError::NoPort));
    s.advance(ms(999));
    assert_eq!(connect(&mut s), Err(ConnectError::NoPort));
    s.advance(ms(1));
    connect(&mut s).unwrap();
    let packet = s.next_packet().unwrap();
    assert_eq!((packet.seg.tcp.src_port, packet.seg.tcp.flags), (40_000, TcpFlags::SYN));
    // Later than anything of the old connection, by both measures.
    let of = |packet: &Packet| (packet.seg.tcp.seq, packet.seg.options.timestamps.unwrap().val);
    let ((before, then), (after, now)) = (of(&first), of(&packet));
    assert!(after.distance(before) > 2, "{after:?} after {before:?}");
    assert!(now.wrapping_sub(then) as i32 >= 1000, "{now} after {then}");
}

#[test]
fn without_timestamps_a_port_is_left_alone() {
    let (mut s, _) = client_waiting(false);
    s.advance(ms(59_000));
    assert_eq!(connect(&mut s), Err(ConnectError::NoPort));
    s.advance(ms(2_000));
    connect(&mut s).unwrap();
}
