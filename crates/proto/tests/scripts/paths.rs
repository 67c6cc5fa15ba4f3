//! Paths that stall, vanish, fall silent and come back; addresses told and withdrawn (RFC 8684, section 3.4).

use crate::support::*;
use polypath_proto::{
    ChecksumMode, CloseReason, Config, ConnectOptions, Duration, Instant, LinkConfig, LinkId, LocalAddress, Mechanisms,
    SubflowEvent,
};
use polypath_wire::{AddAddr, MpJoin, MptcpOption, ResetReason, TcpFlags, add_addr_hmac};
use std::net::IpAddr;

/// Both paths in use: one packet with data in 50 is lost, so no window grows to carry everything alone.
fn busy(options: &PairOptions, by: Side, bytes: u64) -> Pair {
    let mut pair = Pair::connected(options);
    let mut n = 0;
    pair.lose(move |p| {
        n += u32::from(!p.payload.is_empty());
        !p.payload.is_empty() && n.is_multiple_of(50)
    });
    pair.send(by, bytes);
    pair.drive(ms(500));
    assert!(pair.end(by.other()).received.len() as u64 * 3 < bytes * 2, "too little to send");
    for path in [WIFI, LTE] {
        assert!(pair.data_packets(by, path, before(pair.now, 100)) > 0, "{path} is idle");
    }
    pair
}

/// When the side was told that of the path, after `since`.
fn when(pair: &mut Pair, side: Side, path: IpAddr, since: Instant, what: SubflowEvent) -> Option<Duration> {
    let events = pair.subflow_events(side);
    events.into_iter().find(|(at, p, w)| *at >= since && *p == path && *w == what).map(|(at, ..)| at - since)
}

fn before(now: Instant, millis: u64) -> Instant {
    Instant::from_millis(now.as_millis() - millis)
}

const UPLOAD: u64 = 10_000_000;

/// Both ends wait for timeouts, as the kernel does.
fn patient() -> PairOptions {
    let config = Config { mechanisms: Mechanisms::OFF, ..Config::default() };
    PairOptions { client: config.clone(), server: config, ..PairOptions::default() }
}

#[test]
fn what_is_overdue_goes_over_the_other_subflow_long_before_a_timeout() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    let cut = pair.now;
    pair.cut(WIFI);
    let before = pair.info(Side::Client).bytes_reinjected;
    pair.drive_until(ms(1_000), |p| p.info(Side::Client).bytes_reinjected > before);
    // The round trip is 20 ms, and the acknowledgement of what was sent just before the cut is not overdue sooner.
    assert!(pair.now - cut <= ms(60), "{:?}", pair.now - cut);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
    // What was in flight on one path, and once.
    let again = pair.info(Side::Client).bytes_reinjected;
    assert!(again < UPLOAD / 20, "{again}");
}

// [9293-SHLD-9]
#[test]
fn what_a_stalled_subflow_holds_goes_over_the_other_within_a_timeout() {
    let mut pair = busy(&patient(), Side::Client, UPLOAD);
    let cut = pair.now;
    pair.cut(WIFI);
    let before = pair.info(Side::Client).bytes_reinjected;
    pair.drive_until(ms(1_000), |p| p.info(Side::Client).bytes_reinjected > before);
    // The timeout is 200 ms, counted from the tail probe that came first (42 ms after the last packet).
    let stalled = when(&mut pair, Side::Client, WIFI, cut, SubflowEvent::Stalled).expect("it stalls");
    assert!(stalled <= ms(200 + 42 + 20), "{stalled:?}");
    // As soon as the other subflow's window has room: within its round trip.
    assert!(pair.now - cut <= stalled + ms(20), "{:?}", pair.now - cut);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
}

// [8684-3.3.6-1, 6298-5-5]
#[test]
fn a_stalled_subflow_is_probed_at_a_steady_pace_and_used_again_when_it_answers() {
    let mut pair = busy(&PairOptions::default(), Side::Client, 40_000_000);
    pair.cut(WIFI);
    pair.drive(ms(3_000));
    // Four probes a second; the first second holds what had been in flight.
    let probes = pair.data_packets(Side::Client, WIFI, before(pair.now, 2_000));
    assert!((7..=9).contains(&probes), "{probes}");
    let mended = pair.now;
    pair.mend(WIFI);
    pair.lose(|_| false);
    pair.drive(ms(1_000));
    let recovered = when(&mut pair, Side::Client, WIFI, mended, SubflowEvent::Recovered).expect("it recovers");
    // The pace of the probes, the round trip, and the acknowledgement of a lone segment, which is delayed.
    assert!(recovered <= ms(250 + 20 + 40), "{recovered:?}");
    assert!(pair.data_packets(Side::Client, WIFI, before(pair.now, 500)) > 20, "it carries data again");
}

// [8684-3.4.2-10]
#[test]
fn a_server_with_one_address_never_withdraws_it() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    pair.cut(WIFI);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    assert!(pair.log.iter().all(|p| p.by == Side::Client || p.remove_addr_ids().is_empty()));
}

// [8684-3.2-3, 9293-MUST-29, 9293-SHLD-12]
#[test]
fn a_silent_path_under_a_download_is_asked_given_up_and_joined_again() {
    const DOWNLOAD: u64 = 10_000_000;
    let mut pair = busy(&patient(), Side::Server, DOWNLOAD);
    let cut = pair.now;
    pair.cut(WIFI);
    pair.drive(ms(1_000));
    let log: Vec<_> = pair.log.iter().filter(|p| p.by == Side::Client && p.at >= cut).collect();
    let asked = log.iter().filter(|p| p.path() == WIFI && p.payload.len() == 1).count();
    assert!(asked >= 2, "the question is asked twice: {asked}");
    let withdrawn: Vec<_> = log.iter().filter(|p| !p.remove_addr_ids().is_empty()).collect();
    let first = withdrawn.first().expect("a REMOVE_ADDR");
    // ID 0 is the first subflow's address. Round trip 20 ms: much sooner than the sender's timeout.
    assert_eq!((first.remove_addr_ids(), first.path()), (vec![0], LTE));
    assert!(first.at - cut < ms(150), "{:?}", first.at - cut);
    assert_eq!(withdrawn.len(), 2, "there is no echo: it is said twice");
    // The SYNs of the join are the probes, four a second.
    let joins = log.iter().filter(|p| p.is_join_syn() && p.path() == WIFI).count();
    assert!((3..=5).contains(&joins), "{joins}");
    let closed = when(&mut pair, Side::Client, WIFI, cut, SubflowEvent::Closed(CloseReason::Silent));
    assert!(closed.is_some_and(|after| after < ms(150)), "{closed:?}");

    let mended = pair.now;
    pair.mend(WIFI);
    pair.drive(ms(600));
    let joined = when(&mut pair, Side::Client, WIFI, mended, SubflowEvent::Established);
    assert!(joined.is_some_and(|after| after <= ms(250 + 40)), "{joined:?}");
    pair.drive_until(ms(60_000), |p| p.client.received.len() as u64 == DOWNLOAD);
    pair.assert_received(Side::Client, DOWNLOAD);
}

// [8684-3.2-3, 8684-3.4.2-1, 8684-3.4.2-3]
#[test]
fn a_removed_address_is_withdrawn_and_its_data_goes_elsewhere() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    let (removed, since) = (pair.now, pair.log.len());
    pair.client.stack.remove_address(removed, WIFI);
    pair.drain();
    let told = pair.log[since..].iter().find(|p| !p.remove_addr_ids().is_empty()).expect("a REMOVE_ADDR");
    assert_eq!((told.at, told.path(), told.remove_addr_ids()), (removed, LTE, vec![0]));
    assert_eq!(
        when(&mut pair, Side::Client, WIFI, removed, SubflowEvent::Closed(CloseReason::AddressRemoved)),
        Some(ms(0))
    );
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
    assert_eq!(
        when(&mut pair, Side::Server, WIFI, removed, SubflowEvent::Closed(CloseReason::RemoteAddressRemoved)),
        Some(ms(10 + 200)),
        "told after one way, and asked for one timeout"
    );
    assert!(pair.info(Side::Client).bytes_reinjected > 0);
    assert!(pair.log[since..].iter().all(|p| p.by == Side::Server || p.path() == LTE));
}

// [8684-3.2-4, 8684-3.4.2-1]
#[test]
fn the_second_address_is_withdrawn_under_its_own_id() {
    let mut pair = Pair::connected(&PairOptions::default());
    let join = pair.log.iter().find(|p| p.by == Side::Client && p.is_join_syn()).expect("a join");
    let Some(MptcpOption::MpJoin(MpJoin::Syn { address_id, .. })) = join.seg.options.mptcp.first().cloned() else {
        panic!("{join:?}")
    };
    let since = pair.log.len();
    pair.client.stack.remove_address(pair.now, LTE);
    pair.drain();
    let told = pair.log[since..].iter().find(|p| !p.remove_addr_ids().is_empty()).expect("a REMOVE_ADDR");
    assert_eq!((told.path(), told.remove_addr_ids()), (WIFI, vec![address_id]));
}

#[test]
fn an_address_that_appears_is_joined_at_once() {
    let mut pair = Pair::connected(&PairOptions { client_addresses: vec![(WIFI, false)], ..PairOptions::default() });
    let added = pair.now;
    let link = pair.client.stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum: ChecksumMode::Full });
    pair.client.stack.add_address(added, LocalAddress { addr: LTE, link, backup: false, name: Some("lte".into()) });
    pair.drain();
    pair.drive(ms(100));
    // SYN, SYN/ACK, third ACK, fourth ACK.
    assert_eq!(when(&mut pair, Side::Client, LTE, added, SubflowEvent::Established), Some(ms(40)));
    let info = pair.info(Side::Client);
    assert_eq!(info.subflows.iter().find(|s| s.local.ip() == LTE).and_then(|s| s.name.as_deref()), Some("lte"));
}

// [8684-3.4.1-5, 8684-3.4.1-10, 8684-3.9.1-1]
#[test]
fn an_announced_address_is_echoed_and_joined() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), 3, PEER_2, None);
    s.inject(ack(1).opt(add_addr(3, PEER_2, hmac)));
    // The echo comes alone, without HMAC.
    s.expect(ack(1).opt(add_addr_echo(3, PEER_2)));
    let (_, join) = s.take_syn();
    // No port was named: that of the subflow it came on.
    assert_eq!((join.seg.ip.dst, join.seg.tcp.dst_port), (PEER_2, PEER_PORT));
    assert!(matches!(join.seg.options.mptcp[..], [MptcpOption::MpJoin(MpJoin::Syn { .. })]));
    // A repeated announcement is echoed, and not joined again.
    s.on(0).inject(ack(1).opt(add_addr(3, PEER_2, hmac)));
    s.expect(ack(1).opt(add_addr_echo(3, PEER_2)));
    s.expect_nothing();
}

// [8684-3.9.1-1]
#[test]
fn an_announced_port_is_joined() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), 3, PEER_2, Some(8080));
    s.inject(ack(1).opt(AddAddr { port: Some(8080), ..add_addr(3, PEER_2, hmac) }));
    let (_, join) = s.take_syn();
    assert_eq!((join.seg.ip.dst, join.seg.tcp.dst_port), (PEER_2, 8080));
}

// [8684-3.4.1-7]
#[test]
fn an_announcement_with_a_wrong_hmac_is_silently_ignored() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), 3, PEER_2, None);
    s.inject(ack(1).opt(add_addr(3, PEER_2, hmac ^ 1)));
    s.inject(ack(1).opt(add_addr(4, PEER_2, hmac)));
    s.expect_silence(ms(5_000));
}

// [8684-3.2-4, 8684-3.4.2-3, 8684-3.4.2-4, 8684-3.4.2-8, 8684-3.4.2-9, 8684-3.8-3]
#[test]
fn a_withdrawn_address_is_asked_and_its_subflow_reset_when_it_does_not_answer() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(ack(1).opt(remove_addr(9)));
    s.expect_nothing();
    s.inject(ack(1).opt(remove_addr(0)));
    // A keep-alive: its number lies below the window.
    s.expect(data(0, 1).ack(1));
    assert_eq!(s.subflow_events(), []);
    // The question may have been lost. [9293-MUST-29]
    s.expect_after(ms(100), data(0, 1).ack(1));
    s.expect_after(ms(100), rst_ack().seq(1).opt(tcprst(ResetReason::Unspecified)));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::RemoteAddressRemoved)]);
    assert_eq!(s.closed(), None);
}

// [8684-3.4.2-5]
#[test]
fn a_path_that_answers_is_not_removed_whoever_says_that_its_address_is_gone() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(ack(1).opt(remove_addr(0)));
    s.expect(data(0, 1).ack(1));
    s.advance(RTT);
    s.inject(ack(1).opt(dack(1)));
    s.expect_silence(ms(2_000));
    assert!(!s.subflow_events().iter().any(|e| matches!(e, SubflowEvent::Closed(_))));
    s.write(0, 100);
    s.expect(data(1, 100));
    // It may be joined again, too.
    s.act_on_stack(|stack, now| {
        let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum: ChecksumMode::Full });
        stack.add_address(now, LocalAddress { addr: LTE, link, backup: false, name: None });
    });
    let_join(&mut s);
}

// [8684-3.4.2-6]
#[test]
fn the_first_address_is_not_joined_again_once_it_is_withdrawn() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(ack(1).opt(remove_addr(0)));
    s.expect(data(0, 1).ack(1));
    s.advance(ms(300));
    s.clear();
    s.act_on_stack(|stack, now| {
        let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum: ChecksumMode::Full });
        stack.add_address(now, LocalAddress { addr: LTE, link, backup: false, name: None });
    });
    s.expect_silence(ms(30_000));
}

// [8684-3.4.2-2]
#[test]
fn an_announced_address_that_was_never_used_is_withdrawn_too() {
    let mut s = Script::active_server(&ScriptOptions::two_addresses());
    s.clear();
    s.act_on_stack(|stack, now| stack.remove_address(now, LTE));
    s.advance(RTT);
    s.expect(ack(1).opt(dack(1)).opt(remove_addr(1)));
}

// [8684-3.4.1-16]
#[test]
fn another_port_of_a_known_address_is_another_subflow() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let key = s.stack_key();
    let announce = |port| {
        let hmac = add_addr_hmac(PEER_KEY, key, 3, PEER_2, Some(port));
        AddAddr { port: Some(port), ..add_addr(3, PEER_2, hmac) }
    };
    for port in [8080, 8081] {
        s.on(0).inject(ack(1).opt(announce(port)));
        let (_, packet) = s.take_syn();
        assert_eq!((packet.seg.ip.dst, packet.seg.tcp.dst_port), (PEER_2, port));
        s.advance(ms(100));
        s.clear();
    }
}

// [8684-3.4.1-14, 8684-3.9.3-3]
#[test]
fn an_announced_address_that_fails_is_tried_again_only_when_announced_again() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), 3, PEER_2, None);
    s.inject(ack(1).opt(add_addr(3, PEER_2, hmac)));
    s.take_syn();
    s.inject(rst_ack().seq(0).ack(1));
    s.on(0).expect(ack(1).opt(add_addr_echo(3, PEER_2)));
    s.expect_silence(ms(100_000));
    s.inject(ack(1).opt(add_addr(3, PEER_2, hmac)));
    s.take_syn();
}

// [8684-3.4.1-11]
#[test]
fn addresses_that_nobody_can_reach_are_not_announced() {
    let mut s = Script::active_server(&ScriptOptions::default());
    for addr in ["127.0.0.1", "169.254.7.7"] {
        s.act_on_stack(|stack, now| {
            let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum: ChecksumMode::Full });
            stack.add_address(now, LocalAddress { addr: addr.parse().unwrap(), link, backup: false, name: None });
        });
    }
    s.expect_silence(ms(10_000));
}

#[test]
fn an_address_can_be_announced_with_a_port() {
    let config = Config { announce_port: Some(8443), ..Config::default() };
    let mut s = Script::active_server(&ScriptOptions { config, ..ScriptOptions::two_addresses() });
    let hmac = add_addr_hmac(s.stack_key(), PEER_KEY, 1, LTE, Some(8443));
    s.expect(ack(1).opt(AddAddr { port: Some(8443), ..add_addr(1, LTE, hmac) }));
}

#[test]
fn a_path_that_becomes_a_backup_is_said_so_on_itself_and_back_again() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    for backup in [true, false] {
        s.act_on_stack(|stack, now| stack.set_backup(now, LTE, backup));
        s.on(second).expect(ack(1).opt(dack(1)).opt(prio(backup)));
        s.on(0).expect_nothing_on_current();
        s.advance(ms(1_000));
        s.write(if backup { 0 } else { 100 }, 100);
        s.on(0).expect(data(if backup { 1 } else { 101 }, 100));
        s.inject(ack(if backup { 101 } else { 201 }).opt(dack(if backup { 101 } else { 201 })));
    }
}

#[test]
fn a_path_that_becomes_a_backup_while_it_is_joined_is_said_so_when_it_is_there() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    s.act_on_stack(|stack, now| stack.set_backup(now, LTE, true));
    let second = let_join(&mut s);
    s.on(second).expect(ack(1).opt(dack(1)).opt(prio(true)));
    s.on(0).expect_nothing_on_current();
}

/// MP_CAPABLE cannot say it (RFC 8684, section 3.1).
#[test]
fn a_first_path_that_is_a_backup_is_said_so_once_the_connection_is_there() {
    let mut s = Script::client(&ScriptOptions::default());
    s.act_on_stack(|stack, now| stack.set_backup(now, WIFI, true));
    s.expect(syn().opt(capable_syn()));
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.expect_nothing();
    s.inject(ack(1).opt(dack(1)));
    s.expect(ack(1).opt(dack(1)).opt(prio(true)));
    s.expect_silence(ms(10_000));
}

// [8684-3.4.1-10]
#[test]
fn a_flood_of_the_same_announcement_is_answered_a_few_times() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), 5, [198, 51, 100, 7].into(), None);
    for _ in 0..1_000 {
        s.inject(ack(1).opt(add_addr(5, [198, 51, 100, 7].into(), hmac)));
    }
    s.advance(ms(100_000));
    let mut echoes = 0;
    while let Some(p) = s.next_packet() {
        echoes += p.seg.options.mptcp.iter().filter(|o| matches!(o, MptcpOption::AddAddr(_))).count();
    }
    assert!((1..=3).contains(&echoes), "{echoes}");
}

// [8684-3-4, 8684-4-3, 8684-3.4.1-13]
#[test]
fn no_more_than_two_signals_go_in_a_round_trip() {
    let mut s = Script::active_server(&ScriptOptions::default());
    for n in 1..=5 {
        let addr = format!("203.0.113.{n}").parse().unwrap();
        s.act_on_stack(|stack, now| {
            let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum: ChecksumMode::Full });
            stack.add_address(now, LocalAddress { addr, link, backup: false, name: None });
        });
    }
    for expected in [2, 2, 1] {
        for _ in 0..expected {
            let packet = s.expect(ack(1));
            assert!(matches!(packet.seg.options.mptcp[..], [MptcpOption::AddAddr(_)]), "{packet:?}");
        }
        s.expect_nothing();
        s.advance(RTT);
    }
}

// [8684-3.4.1-4, 8684-3.4.1-15]
#[test]
fn a_server_announces_its_second_address_until_it_is_echoed() {
    let mut s = Script::active_server(&ScriptOptions::two_addresses());
    let hmac = add_addr_hmac(s.stack_key(), PEER_KEY, 1, LTE, None);
    let announcement = || ack(1).opt(add_addr(1, LTE, hmac));
    s.expect(announcement());
    // Doubling pauses.
    s.expect_after(ms(1_000), announcement());
    s.expect_after(ms(2_000), announcement());
    // An echo of something else is none.
    s.inject(ack(1).opt(add_addr_echo(2, LTE)));
    s.expect_after(ms(4_000), announcement());
    s.inject(ack(1).opt(add_addr_echo(1, LTE)));
    s.expect_silence(ms(60_000));
}

#[test]
fn an_announcement_does_not_take_the_place_of_a_data_ack() {
    let mut s = Script::server(&ScriptOptions::two_addresses());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    // The third ACK and the first data in one: both an announcement and an acknowledgement are due.
    s.inject(data(1, 30).ack(1).opt(capable_data(PEER_KEY, key, 30)));
    s.advance(ms(500));
    let mut data_ack = None;
    while let Some(packet) = s.next_packet() {
        data_ack = data_ack.or(packet.seg.options.dss().and_then(|d| d.data_ack));
    }
    assert_eq!(data_ack, Some(polypath_wire::WireDsn::Short((PEER_KEY.idsn() as u32).wrapping_add(31))));
}

// [7323-3.2-4, 7323-3.2-7]
#[test]
fn an_echo_does_not_take_the_place_of_a_data_ack() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), 3, PEER_2, None);
    // Without timestamps, both options have room.
    s.inject(data(1, 30).no_timestamps().opt(map(1, 1, 30, 1)).opt(add_addr(3, PEER_2, hmac)));
    s.advance(ms(500));
    let mut acks = core::iter::from_fn(|| s.next_packet()).filter_map(|p| p.seg.options.dss().and_then(|d| d.data_ack));
    let wanted = polypath_wire::WireDsn::Short((PEER_KEY.idsn() as u32).wrapping_add(31));
    assert!(acks.any(|a| a == wanted));
}

#[test]
fn an_echo_at_once_is_the_end_of_it() {
    let mut s = Script::active_server(&ScriptOptions::two_addresses());
    let hmac = add_addr_hmac(s.stack_key(), PEER_KEY, 1, LTE, None);
    s.expect(ack(1).opt(add_addr(1, LTE, hmac)));
    s.inject(ack(1).opt(add_addr_echo(1, LTE)));
    s.expect_silence(ms(60_000));
}

#[test]
fn a_server_that_shall_not_announce_does_not() {
    let config = Config { announce_addresses: false, ..Config::default() };
    let mut s = Script::active_server(&ScriptOptions { config, ..ScriptOptions::two_addresses() });
    s.expect_silence(ms(10_000));
}

#[test]
fn two_addresses_at_each_end_make_a_subflow_to_each() {
    let mut pair = Pair::new(&PairOptions { server_addresses: vec![PEER, PEER_2], ..PairOptions::default() });
    pair.send(Side::Client, 100);
    pair.drive(ms(1_000));
    let subflows = pair.info(Side::Client).subflows;
    let mut remotes: Vec<_> = subflows.iter().map(|s| s.remote.ip()).collect();
    remotes.sort();
    remotes.dedup();
    assert_eq!(remotes, [PEER, PEER_2]);
    assert!(pair.established(Side::Client) == subflows.len() && pair.established(Side::Server) == subflows.len());
}

// [8684-3.3.8-1]
#[test]
fn a_backup_is_idle_while_another_works_and_used_when_it_dies() {
    for by in [Side::Client, Side::Server] {
        let addresses = vec![(WIFI, false), (LTE, true)];
        let mut pair = Pair::connected(&PairOptions { client_addresses: addresses, ..PairOptions::default() });
        let start = pair.now;
        let mut n = 0;
        pair.lose(move |p| {
            n += u32::from(!p.payload.is_empty());
            !p.payload.is_empty() && n.is_multiple_of(50)
        });
        pair.send(by, UPLOAD);
        pair.drive(ms(500));
        assert_eq!(pair.data_packets(by, LTE, start), 0, "{by:?}");
        let cut = pair.now;
        pair.cut(WIFI);
        let other = if by == Side::Client { Side::Server } else { Side::Client };
        pair.drive_until(ms(60_000), |p| {
            let end = if other == Side::Client { &p.client } else { &p.server };
            end.received.len() as u64 == UPLOAD
        });
        assert!(pair.data_packets(by, LTE, cut) > 1_000, "{by:?}");
        pair.assert_received(other, UPLOAD);
    }
}

// [8684-3.3.8-2]
#[test]
fn mp_prio_makes_a_subflow_a_backup() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(ack(1).opt(prio(true)));
    assert!(s.info().subflows[0].backup);
    // The only one there is carries data all the same.
    s.write(0, 10);
    s.expect(data(1, 10));
    s.inject(ack(11).opt(prio(false)));
    assert!(!s.info().subflows[0].backup);
}

#[test]
fn a_connection_without_any_path_goes_on_when_one_comes_back() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    pair.cut(WIFI);
    pair.cut(LTE);
    pair.drive(ms(10_000));
    pair.mend(LTE);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
    assert_eq!(pair.closed(Side::Client), None);
}

#[test]
fn plain_tcp_waits_for_its_address_to_come_back() {
    let connect = ConnectOptions { no_multipath: true, ..ConnectOptions::default() };
    let mut pair = Pair::connected(&PairOptions { connect, ..PairOptions::default() });
    pair.send(Side::Client, UPLOAD);
    pair.drive(ms(60));
    assert!((pair.server.received.len() as u64) < UPLOAD, "too little to send");
    let now = pair.now;
    pair.client.stack.remove_address(now, WIFI);
    pair.cut(WIFI);
    pair.drive(ms(3_000));
    assert_eq!(pair.closed(Side::Client), None, "the address may come back");
    let now = pair.now;
    let address = LocalAddress { addr: WIFI, link: LinkId(0), backup: false, name: None };
    pair.client.stack.add_address(now, address);
    pair.mend(WIFI);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
}

// [8684-3.3.6-4]
#[test]
fn a_subflow_that_stays_dead_beside_a_living_one_is_given_up_in_the_end() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    pair.cut(LTE);
    let cut = pair.now;
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.drive(Duration::from_secs(14 * 60));
    let closed = SubflowEvent::Closed(CloseReason::TimedOut);
    assert_eq!(when(&mut pair, Side::Client, LTE, cut, closed), None);
    pair.drive(Duration::from_secs(3 * 60));
    assert!(when(&mut pair, Side::Client, LTE, cut, closed).is_some());
    assert_eq!(pair.closed(Side::Client), None);
}

// [8684-3.4.1-2, 8684-3.4.1-17]
#[test]
fn an_address_id_names_one_address_at_a_time_however_many_come_and_go() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let mut before = 0;
    for n in 0..300u32 {
        let addr = std::net::Ipv4Addr::from(0x0a02_0000 + n).into();
        s.act_on_stack(|stack, now| {
            let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum: ChecksumMode::Full });
            stack.add_address(now, LocalAddress { addr, link, backup: false, name: None });
        });
        let (_, packet) = s.take_syn();
        let [MptcpOption::MpJoin(MpJoin::Syn { address_id, .. })] = packet.seg.options.mptcp[..] else {
            panic!("{packet:?}")
        };
        assert!(address_id != 0 && address_id != before, "{address_id} again");
        before = address_id;
        s.act_on_stack(|stack, now| stack.remove_address(now, addr));
        s.advance(ms(50));
        s.on(0).expect(ack(1).opt(dack(1)).opt(remove_addr(address_id)));
        s.clear();
    }
}

// [8684-3.4.1-12]
#[test]
fn an_address_is_withdrawn_on_every_subflow_that_works() {
    let third = "10.2.0.1".parse().unwrap();
    let client_addresses = vec![(WIFI, false), (LTE, false), (third, false)];
    let mut pair = Pair::connected(&PairOptions { client_addresses, ..PairOptions::default() });
    let (now, since) = (pair.now, pair.log.len());
    pair.client.stack.remove_address(now, LTE);
    pair.drain();
    pair.drive(ms(100));
    let told = pair.log[since..].iter().filter(|p| p.remove_addr_ids() == [1]).map(Sent::path);
    assert_eq!(told.collect::<Vec<_>>(), [WIFI, third]);
}

// [8684-4-6]
#[test]
fn a_connection_is_known_by_its_first_subflow_even_when_that_is_gone() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let_join(&mut s);
    let before = (s.info().local, s.info().remote);
    s.on(0).inject(rst(1));
    assert_eq!(s.info().subflows.len(), 1);
    assert_eq!((s.info().local, s.info().remote), before);
}

#[test]
fn a_dead_path_keeps_no_more_of_what_the_peer_has_than_half_a_send_buffer() {
    let client = Config { send_buffer_max: 128 * 1024, ..Config::default() };
    let mut pair = Pair::connected(&PairOptions { client, ..PairOptions::default() });
    pair.drive(ms(100));
    pair.send(Side::Client, UPLOAD);
    pair.drive(ms(200));
    // All that the buffer holds is under way on one path.
    let on =
        |p: &Pair, path| p.info(Side::Client).subflows.iter().any(|s| s.local.ip() == path && s.in_flight > 65_536);
    let used = if on(&pair, WIFI) { WIFI } else { LTE };
    assert!(on(&pair, used));
    pair.cut(used);
    let cut = pair.now;
    pair.drive(ms(500));
    let closed = when(&mut pair, Side::Client, used, cut, SubflowEvent::Closed(CloseReason::Silent));
    assert!(closed.is_some_and(|after| after < ms(300)), "{closed:?}");
    let reset = pair.log.iter().find(|p| p.path() == used && p.seg.tcp.flags.contains(TcpFlags::RST));
    assert!(reset.is_some_and(|p| p.by == Side::Client));
    pair.drive(ms(60_000));
    pair.assert_received(Side::Server, UPLOAD);
}

// [8684-3.3.6-2]
#[test]
fn a_subflow_delivers_what_it_was_given_even_when_another_has_delivered_it_too() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    pair.drive_until(ms(10_000), |p| {
        let in_flight = p.info(Side::Client).subflows.iter().find(|s| s.local.ip() == LTE).map_or(0, |s| s.in_flight);
        in_flight > 0
    });
    pair.cut(LTE);
    pair.drive_until(ms(60_000), |p| p.info(Side::Client).bytes_acked >= UPLOAD);
    let (mended, since) = (pair.now, pair.log.len());
    pair.mend(LTE);
    pair.drive(ms(20_000));
    let again: Vec<&Sent> = pair.log[since..].iter().filter(|p| p.path() == LTE && !p.payload.is_empty()).collect();
    assert!(!again.is_empty(), "nothing was left to deliver at {mended:?}");
    for sent in again {
        // In smaller segments: so long a silence may be a black hole.
        let offset = |p: &Sent| sent.seg.tcp.seq.wrapping_sub(p.seg.tcp.seq.0).0 as usize;
        let holds = |p: &&Sent| p.by == Side::Client && p.path() == LTE && offset(p) < p.payload.len();
        let original = pair.log[..since].iter().find(holds).expect("it was sent before");
        let rest = &original.payload[offset(original)..];
        let len = sent.payload.len().min(rest.len());
        assert_eq!(sent.payload[..len], rest[..len]);
    }
    let info = pair.info(Side::Client);
    assert!(info.subflows.iter().all(|s| s.in_flight == 0 && !s.stalled), "{info:?}");
}

#[test]
fn once_an_end_of_stream_has_been_said_a_silent_path_is_left_to_the_sender() {
    const DOWNLOAD: u64 = 10_000_000;
    let mut pair = busy(&PairOptions::default(), Side::Server, DOWNLOAD);
    // Linux takes no join any more: what is given up now is lost for good.
    pair.finish(Side::Client);
    pair.drive(ms(50));
    pair.cut(WIFI);
    pair.drive_until(ms(60_000), |p| p.client.received.len() as u64 == DOWNLOAD);
    assert!(pair.log.iter().all(|p| p.remove_addr_ids().is_empty()));
    pair.assert_received(Side::Client, DOWNLOAD);
}

// [8684-3-3, 8684-4-2]
#[test]
fn acknowledgements_that_come_to_signal_something_are_no_sign_of_loss() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    // Without SACK three duplicates mean loss.
    s.inject(Seg { sack_permitted: false, ..syn_ack().opt(capable_syn_ack(PEER_KEY)) });
    s.expect(ack(1));
    s.inject(ack(1).opt(dack(1)));
    s.write(0, 3 * DSS_MSS as usize);
    s.clear();
    for backup in [true, false, true, false] {
        s.inject(ack(1).opt(dack(1)).opt(prio(backup)));
    }
    s.expect_nothing();
    for _ in 0..3 {
        s.inject(ack(1).opt(dack(1)));
    }
    s.expect(data(1, DSS_MSS as usize));
}

// [8684-3-1, 8684-3.4.1-1, 8684-3.4.2-7]
#[test]
fn signals_of_segments_that_tcp_does_not_accept_are_not_heard() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.clear();
    s.advance(ms(1_000));
    let key = s.stack_key();
    let hmac = add_addr_hmac(PEER_KEY, key, 3, PEER_2, None);
    // Beyond the window, before it, and one that acknowledges what was never sent.
    let bad = [ack(1).seq(100_000_000), ack(1).seq(1), ack(50_000)];
    for seg in bad {
        s.inject(seg.clone().opt(remove_addr(0)));
        s.inject(seg.clone().opt(add_addr(3, PEER_2, hmac)));
        s.inject(seg.clone().opt(prio(true)));
        s.inject(seg.opt(fastclose(key)));
        s.advance(ms(1_000));
    }
    assert_eq!(s.closed(), None);
    let info = s.info();
    assert_eq!((info.subflows.len(), info.subflows[0].backup), (1, false));
    let heard = |p: &Packet| p.seg.tcp.flags.contains(TcpFlags::SYN) || !p.payload.is_empty();
    while let Some(packet) = s.next_packet() {
        assert!(!heard(&packet), "a join or a question: {packet:?}");
    }
}
