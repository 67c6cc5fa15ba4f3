//! What somebody may send who is not on the path, or a peer that means harm: each class, and what comes of it. Floods have
//! a file of their own, as have memory and segments that do not belong (`floods`, `attacks_memory`, `strangers`).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{Config, ConnectionError, MultipathState, SynCookies};
use polypath_wire::{Dss, DssMapping, MpJoin, MptcpOption, WireDsn, add_addr_hmac};
use std::net::{IpAddr, Ipv4Addr};

/// A client with a second subflow, and the nonce of its join.
fn joined_server() -> (Script, usize, u32) {
    let mut s = Script::active_server(&ScriptOptions::default());
    let flow = s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000).into());
    let token = s.stack_key().token();
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
    let answer = s.expect(syn_ack());
    let [MptcpOption::MpJoin(MpJoin::SynAck { nonce, .. })] = answer.seg.options.mptcp[..] else {
        panic!("{answer:?}")
    };
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third));
    s.expect(ack(1).opt(dack(1)));
    s.take_events();
    (s, flow, nonce)
}

fn sent_syns(s: &mut Script) -> usize {
    std::iter::from_fn(|| s.next_packet()).filter(|p| p.seg.tcp.flags == polypath_wire::TcpFlags::SYN).count()
}

/// Somebody who owns a connection has us send SYNs to whom he likes.
#[test]
fn announced_addresses_of_third_parties_get_few_syns() {
    let config = Config { max_subflows: 4, ..Config::default() };
    let mut s = Script::active_client(&ScriptOptions { config, ..ScriptOptions::default() });
    let key = s.stack_key();
    for n in 1..=255u8 {
        let victim: IpAddr = Ipv4Addr::new(203, 0, 113, n).into();
        s.inject(ack(1).opt(add_addr(n, victim, add_addr_hmac(PEER_KEY, key, n, victim, None))));
        s.advance(ms(5));
    }
    let info = s.info();
    assert!(info.subflows.len() <= 4, "{}", info.subflows.len());
    let at_once = sent_syns(&mut s);
    s.advance(ms(60_000));
    let later = sent_syns(&mut s);
    // Three at a time, each with the pace of a join's SYN: no flood, wherever it is pointed to.
    assert!(at_once <= 3 * 8 && later <= 3 * 8, "{at_once} at once, {later} in the minute after");
}

#[test]
fn announcements_with_a_forged_hmac_change_nothing_however_many() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let before = s.info().session.unwrap().announced;
    for n in 0..1_000u64 {
        let addr: IpAddr = Ipv4Addr::new(203, 0, 113, n as u8).into();
        s.inject(ack(1).opt(add_addr(n as u8, addr, n)));
    }
    assert_eq!((s.info().session.unwrap().announced, sent_syns(&mut s)), (before, 0));
}

/// The kernel's CVE of a third ACK that comes twice: the subflow is established once, and stays.
#[test]
fn a_third_ack_of_a_join_may_come_twice_and_be_wrong_the_second_time() {
    let (mut s, flow, nonce) = joined_server();
    let third = third_ack_of_peer(&s, nonce);
    for _ in 0..3 {
        s.on(flow).inject(ack(1).seq(1).opt(third.clone()));
        s.expect(ack(1));
    }
    s.inject(ack(1).seq(1).opt(join(MpJoin::Ack { hmac: [7; 20] })));
    assert_eq!(s.subflow_events(), []);
    assert_eq!(s.info().subflows.len(), 2);
    s.inject(data(1, 100).payload(&stream(0, 100)).opt(map(1, 1, 100, 1)));
    assert_eq!(s.read().0, stream(0, 100));
}

/// A join asked for on a four-tuple that is in use already, or with the token of another connection's peer.
#[test]
fn a_join_on_a_living_subflow_is_challenged() {
    let (mut s, flow, _) = joined_server();
    let token = s.stack_key().token();
    for target in [0, flow] {
        s.on(target).inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 9, token, nonce: 1 })));
        s.expect(ack(1));
    }
    assert_eq!(s.info().subflows.len(), 2);
    assert_eq!(s.subflow_events(), []);
}

/// Mappings that are nonsense cost the subflow, or are ignored; they never get past the window or into the stream.
#[test]
fn a_corrupt_dss_puts_no_byte_anywhere() {
    type Change = fn(&mut DssMapping, &mut Dss);
    let corrupt: [(&str, Change); 7] = [
        ("a length beyond the segment", |m, _| m.len = u16::MAX),
        ("far before the stream", |m, _| m.dsn = WireDsn::Long(0)),
        ("at the end of all numbers", |m, _| m.dsn = WireDsn::Long(u64::MAX)),
        ("half the numbers away", |m, _| m.dsn = WireDsn::Long(PEER_KEY.idsn() ^ 1 << 63)),
        ("the subflow's last number", |m, _| m.ssn = u32::MAX),
        ("a checksum that nobody agreed on", |m, _| m.checksum = Some(0)),
        ("an end of stream in its midst", |_, dss| dss.data_fin = true),
    ];
    for (what, change) in corrupt {
        let mut s = Script::active_server(&ScriptOptions::default());
        let dsn = WireDsn::Short(PEER_KEY.idsn().wrapping_add(1) as u32);
        let mut mapping = DssMapping { dsn, ssn: 1, len: 100, checksum: None };
        let mut dss = Dss { data_ack: None, mapping: None, data_fin: false };
        change(&mut mapping, &mut dss);
        dss.mapping = Some(mapping);
        s.inject(data(1, 100).opt(Opt::Raw(dss.into())));
        let (read, _) = s.read();
        // Bytes that were mapped where they belong may be read; nothing else.
        assert_eq!(read, stream(0, read.len()), "{what}");
        assert!(s.stack.memory() < 64 * 1024, "{what}");
        s.clear();
        // The stack is alive and takes a next connection.
        s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_009).into());
        s.inject(syn().opt(capable_syn()));
        s.expect(syn_ack());
    }
}

/// The kernel's CVE of a fallback while bytes are sent again: what was sent on two subflows has two places, and plain TCP
/// has one. So there is no way back to it.
#[test]
fn after_a_reinjection_there_is_no_fallback() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    s.on(0).write(0, 100);
    let first_on = if s.info().subflows[0].bytes_sent > 0 { 0 } else { second };
    s.clear();
    // Nobody answers: it goes on the other one, too.
    s.advance(ms(1_000));
    assert!(s.info().bytes_reinjected > 0);
    s.clear();
    s.on(first_on).inject(rst(1));
    s.on(if first_on == 0 { second } else { 0 });
    s.inject(data(1, 100).opt(infinite_map(1, 1, 1)));
    assert_eq!(s.multipath(), MultipathState::Active);
    assert_eq!(s.read().0, []);
    s.expect(rst_ack());
}

/// The kernel's CVE of a zero MSS: whatever the peer says, segments have a size.
#[test]
fn a_tiny_mss_in_any_handshake_still_leaves_room_for_data() {
    for mss in [0, 1, 40, 64] {
        let mut s = Script::server(&ScriptOptions::default());
        s.inject(Seg { mss: Some(mss), ..syn() }.opt(capable_syn()));
        s.expect(syn_ack());
        let key = s.stack_key();
        s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
        s.accept();
        s.write(0, 100);
        let packet = s.next_packet().expect("data");
        assert!(!packet.payload.is_empty() && packet.payload.len() <= 88, "MSS {mss}: {}", packet.payload.len());
    }
    // After a change of state: in the SYN/ACK of a join.
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let (flow, packet) = s.take_syn();
    let [MptcpOption::MpJoin(MpJoin::Syn { nonce, .. })] = packet.seg.options.mptcp[..] else { panic!("{packet:?}") };
    let answer = Seg { mss: Some(0), ..join_syn_ack(&s, nonce) };
    s.inject(answer);
    s.inject(ack(1).opt(dack(1)));
    s.on(0).inject(rst(1));
    s.clear();
    s.write(0, 1_000);
    s.on(flow);
    assert!(!s.next_packet().expect("data").payload.is_empty());
}

/// A DATA_ACK for what is still on its way frees the buffer, and nothing else: the subflow's own window stays, and what is
/// missing there is sent until its numbers are complete.
#[test]
fn optimistic_data_acks_do_not_make_a_sender_faster() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100_000);
    let window = s.info().subflows[0].cwnd;
    let mut sent = 0;
    for round in 1..=50u64 {
        while let Some(packet) = s.next_packet() {
            sent += packet.payload.len() as u64;
        }
        // Of all that was sent, and (ignored) of much more.
        s.inject(ack(1).opt(dack(1 + sent)));
        s.inject(ack(1).opt(dack(1 + sent + 50_000 * round)));
    }
    assert_eq!(sent, window, "one window, not acknowledged");
    assert_eq!((s.info().bytes_acked, s.info().subflows[0].cwnd), (sent, window));
}

/// RFC 3465: a window grows by the bytes that are acknowledged, in however many acknowledgements (Savage et al. 1999).
#[test]
fn an_acknowledgement_in_many_pieces_makes_the_window_no_larger() {
    let after = |pieces: u32| {
        let mut s = Script::plain_server(&ScriptOptions::default());
        s.write(0, 100_000);
        s.clear();
        s.advance(RTT);
        for n in 1..=pieces {
            s.inject(ack(1 + MSS * n / pieces));
        }
        s.info().subflows[0].cwnd
    };
    assert!(after(100) <= after(1), "{} and {}", after(100), after(1));
}

/// Duplicates that nothing has caused (Savage et al. 1999) make no more than one retransmission, and no larger window.
#[test]
fn forged_duplicate_acknowledgements_do_not_make_a_sender_faster() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.write(0, 100_000);
    let window = s.info().subflows[0].cwnd;
    s.clear();
    for _ in 0..1_000 {
        s.inject(ack(1));
    }
    let mut sent = 0;
    while let Some(packet) = s.next_packet() {
        sent += packet.payload.len() as u64;
    }
    assert!(sent <= window && s.info().subflows[0].cwnd <= window, "{sent} bytes");
}

/// All that a segment could carry at once: timestamps, holes, a wide DATA_ACK, an address. Nothing is ever put over the
/// 40 bytes (the script checks every packet).
#[test]
fn options_never_overflow_their_space() {
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    let mut s = Script::active_client(&ScriptOptions::default());
    let key = s.stack_key();
    for n in 0..6u32 {
        // The peer's wide numbers make our DATA_ACKs wide.
        s.inject(
            data(101 + 200 * n, 100)
                .opt(Opt::LongDss { ack: Some(1), map: Some((101 + 200 * u64::from(n), 101 + 200 * n, 100)) }),
        );
        let hmac = add_addr_hmac(PEER_KEY, key, n as u8 + 1, v6, Some(n as u16 + 1));
        let add = polypath_wire::AddAddr { port: Some(n as u16 + 1), ..add_addr(n as u8 + 1, v6, hmac) };
        s.inject(ack(1).seq(1).opt(add));
        s.write(10 * u64::from(n), 10);
        s.advance(RTT);
    }
    let packets: Vec<Packet> = std::iter::from_fn(|| s.next_packet()).collect();
    assert!(packets.iter().any(|p| !p.seg.options.sack.is_empty()), "holes are told");
    assert!(packets.iter().any(|p| p.payload.len() == 10), "data goes");
    assert!(packets.iter().all(|p| p.seg.options.emitted_len() <= 40));
}

/// A timestamp from the future would have all later segments thrown away (RFC 7323, section 5.3): it counts only from a
/// segment that belongs.
#[test]
fn a_forged_timestamp_outside_the_window_poisons_nothing() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 10));
    let future = s.peer_clock().wrapping_add(1 << 30);
    s.inject(data(200_000_000, 10).tsval(future));
    s.inject(data(11, 10).ack(90_000).tsval(future));
    s.clear();
    s.inject(data(11, 10));
    assert_eq!(s.read().0, stream(0, 20));
}

/// Data from somebody who has guessed a number in the window, but not the keys or data numbers, is not read. Whoever goes on
/// with it ends the subflow: as in plain TCP, only worse for the attacker, who could have put bytes into that.
#[test]
fn injected_data_without_a_mapping_does_not_get_into_the_stream() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.clear();
    for _ in 0..3 {
        s.inject(data(101, 50).payload(&[b'!'; 50]));
        s.expect(ack(101));
    }
    s.inject(data(101, 50).payload(&[b'!'; 50]));
    assert_eq!(s.read().0, stream(0, 100));
    s.expect(rst_ack());
}

/// Found by fuzzing: a forged SYN makes a client believe that SYNs crossed. Two ends in SYN-RECEIVED then answered each
/// other's SYN/ACK for ever.
#[test]
fn a_syn_ack_that_is_no_answer_is_not_answered() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn());
    s.expect(syn_ack());
    for _ in 0..10 {
        s.inject(syn_ack().ack(4));
    }
    s.expect_nothing();
    // A SYN that comes again is.
    s.inject(syn());
    s.expect(syn_ack());
}

/// Found by fuzzing: a box that takes options off acknowledgements, and lets all else pass, left both ends repeating their
/// DATA_FIN for ever.
#[test]
fn a_data_fin_that_is_never_acknowledged_is_given_up() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.shutdown();
    // The peer's subflow is alive: it answers, but nothing gets through of what it says to the connection.
    for _ in 0..2_000 {
        s.advance(ms(1_000));
        if s.closed().is_some() {
            break;
        }
        s.inject(ack(1));
    }
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
    let packets = std::iter::from_fn(|| s.next_packet()).count();
    assert!((5..200).contains(&packets), "{packets} packets in 15 minutes");
}

/// Found by fuzzing: a box that takes options off data let subflows come up and break, and the same bytes were sent again
/// on each, 40 times a second and for ever.
#[test]
fn subflows_that_break_whenever_they_come_up_are_given_up() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.clear();
    // Four times the same without a place: it will never have one.
    for _ in 0..4 {
        s.on(0).inject(data(101, 100));
    }
    for _ in 0..3 {
        s.expect(ack(101));
    }
    s.expect(rst_ack());
    let mut joins = 0;
    for _ in 0..600 {
        if s.closed().is_some() {
            break;
        }
        s.advance(ms(100));
        let begins = |p: &Packet| p.seg.tcp.flags == polypath_wire::TcpFlags::SYN;
        let Some(packet) = s.next_packet().filter(begins) else { continue };
        joins += 1;
        s.put_back(packet);
        let (flow, packet) = s.take_syn();
        let [MptcpOption::MpJoin(MpJoin::Syn { nonce, .. })] = packet.seg.options.mptcp[..] else {
            panic!("{packet:?}")
        };
        let answer = join_syn_ack(&s, nonce);
        s.on(flow).inject(answer);
        s.inject(ack(1).opt(dack(1)));
        for _ in 0..4 {
            s.inject(data(1, 100).payload(&stream(100, 100)));
        }
        s.clear();
    }
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
    assert!((3..=8).contains(&joins), "{joins} joins");
}

/// Found by fuzzing: where a box took the options off acknowledgements while the window was shut, nobody learned that it had
/// opened.
#[test]
fn a_window_that_opens_without_a_word_on_data_opens() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.clear();
    s.write(0, 262_144);
    // All that the first window allows, which does not move: 256,000 bytes.
    let mut sent = 0;
    loop {
        let more: u32 = std::iter::from_fn(|| s.next_packet()).map(|p| p.payload.len() as u32).sum();
        if more == 0 {
            break;
        }
        sent += more;
        s.inject(ack(1 + sent).window(((256_000 - sent) >> 8) as u16).opt(dack(1 + u64::from(sent))));
    }
    assert!(sent > 250_000, "{sent}");
    s.inject(ack(1 + sent).window(1_000));
    assert_eq!(s.next_packet().expect("data").payload.len(), DSS_MSS as usize);
}

/// Found by fuzzing: where the third ACK of a cookie's handshake is lost, later segments met a reset.
#[test]
fn what_follows_a_lost_third_ack_of_a_cookie_is_not_reset() {
    let config = Config { syn_cookies: SynCookies::Always, ..Config::default() };
    let mut s = Script::server(&ScriptOptions { config, ..ScriptOptions::default() });
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(data(101, 100).ack(1));
    s.inject(ack(1).seq(201));
    s.expect_nothing();
    // Nor is a guess: it belongs to nothing.
    s.inject(data(1, 100).ack(1));
    s.expect(ack(101));
    s.accept();
    s.inject(data(101, 100).ack(1));
    assert_eq!(s.read().0, stream(0, 200));
    // After a minute and a half nothing was promised lately.
    s.advance(ms(300_000));
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_007).into());
    s.inject(data(101, 100).ack(1));
    s.expect(Seg { ack: None, ..rst(1) }.seq(1));
}

/// Found by fuzzing: with small buffers the SYN/ACK of a cookie promised more than they hold.
#[test]
fn a_cookie_offers_no_more_window_than_there_is() {
    let config = Config { syn_cookies: SynCookies::Always, recv_buffer_max: 10_000, ..Config::default() };
    let mut s = Script::server(&ScriptOptions { config, ..ScriptOptions::default() });
    s.inject(syn());
    assert_eq!(s.expect(syn_ack()).seg.tcp.window, 10_000);
}

/// A REMOVE_ADDR or MP_PRIO cannot be told from a forged one by whoever is on the path; one that is not has to know a
/// number in the window.
#[test]
fn signals_from_off_the_path_are_not_heard() {
    let (mut s, flow, _) = joined_server();
    for seg in [
        ack(1).seq(50_000_000).opt(remove_addr(4)),
        ack(90_000).seq(1).opt(remove_addr(4)),
        ack(1).seq(50_000_000).opt(prio(true)),
        ack(1).seq(50_000_000).opt(fastclose(polypath_wire::Key(1))),
        rst_ack().seq(1).opt(fastclose(polypath_wire::Key(1))).seq(50_000_000),
    ] {
        s.on(flow).inject(seg);
    }
    s.advance(ms(2_000));
    assert_eq!(s.subflow_events(), []);
    assert!(s.info().subflows.iter().all(|subflow| !subflow.backup));
    assert_eq!(s.stack.mib().get(Counter::MPTcpExtMPFastcloseRx), 0);
}

/// With a wrong key MP_FASTCLOSE ends nothing, even on a segment that belongs.
#[test]
fn a_fastclose_without_the_key_is_ignored() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(ack(1).opt(fastclose(PEER_KEY)));
    assert_eq!(s.closed(), None);
    let key = s.stack_key();
    s.inject(ack(1).opt(fastclose(key)));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
}
