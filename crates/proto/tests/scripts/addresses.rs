//! Addresses that are told and withdrawn (RFC 8684, section 3.4).

use crate::paths::{UPLOAD, busy, when};
use crate::support::*;
use polypath_proto::{
    ChecksumMode, CloseReason, Config, ConnectionError, Duration, LinkConfig, LocalAddress, SubflowEvent,
};
use polypath_wire::{AddAddr, MpJoin, MptcpOption, ResetReason, TcpFlags, add_addr_hmac};
use std::net::IpAddr;

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
    let config = Config { max_subflows: 1, ..Config::default() };
    let mut s = Script::active_client(&ScriptOptions { config, ..ScriptOptions::default() });
    for n in 1..=5 {
        let addr = format!("203.0.113.{n}").parse().unwrap();
        let hmac = add_addr_hmac(PEER_KEY, s.stack_key(), n, addr, None);
        s.inject(ack(1).opt(add_addr(n, addr, hmac)));
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

// A Linux peer drops what comes while it is busy with another announcement.
#[test]
fn addresses_are_announced_one_after_the_other_those_of_the_same_family_first() {
    let (v6, v4): (IpAddr, IpAddr) = ("fd00:2::2".parse().unwrap(), "10.0.3.2".parse().unwrap());
    let mut s = Script::active_server(&ScriptOptions { addresses: vec![WIFI, v6, LTE, v4], ..Default::default() });
    let key = s.stack_key();
    let said = |id: u8, addr: IpAddr| ack(1).opt(add_addr(id, addr, add_addr_hmac(key, PEER_KEY, id, addr, None)));
    // IDs are in the order of addresses. The others wait for its echo...
    s.expect(said(2, LTE));
    s.inject(ack(1).opt(add_addr_echo(2, LTE)));
    s.expect(said(3, v4));
    // ...or for a second.
    s.expect_after(ms(1_000), said(1, v6));
    s.inject(ack(1).opt(add_addr_echo(1, v6)));
    s.expect(said(3, v4));
    s.inject(ack(1).opt(add_addr_echo(3, v4)));
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

// [9293-MUST-20]
#[test]
fn a_join_that_nobody_answers_does_not_keep_a_connection_for_ever() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let joined = let_join(&mut s);
    s.on(joined).inject(rst(1));
    s.advance(ms(2_000));
    // Nothing is left but the join's SYN, which goes on and on.
    s.act_on_stack(|stack, now| stack.remove_address(now, WIFI));
    s.advance(Duration::from_secs(14 * 60));
    assert_eq!(s.closed(), None, "the peer may wait as long");
    s.advance(Duration::from_secs(3 * 60));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}
