//! Paths that stall, vanish, fall silent and come back, and backups.

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{
    CloseReason, Config, ConnectOptions, ConnectionError, Duration, Event, Instant, LinkId, LocalAddress, Mechanisms,
    SubflowEvent,
};
use polypath_wire::{MptcpOption, TcpFlags};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

/// Both paths in use: one packet with data in 50 is lost, so no window grows to carry everything alone.
pub(crate) fn busy(options: &PairOptions, by: Side, bytes: u64) -> Pair {
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
pub(crate) fn when(pair: &mut Pair, side: Side, path: IpAddr, since: Instant, what: SubflowEvent) -> Option<Duration> {
    let events = pair.subflow_events(side);
    events.into_iter().find(|(at, p, w)| *at >= since && *p == path && *w == what).map(|(at, ..)| at - since)
}

fn before(now: Instant, millis: u64) -> Instant {
    Instant::from_millis(now.as_millis() - millis)
}

pub(crate) const UPLOAD: u64 = 10_000_000;

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

#[test]
fn what_a_live_path_has_delivered_is_delivered_though_a_dead_one_never_closes() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    pair.cut(WIFI);
    pair.finish(Side::Client);
    pair.finish(Side::Server);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.drive(ms(100));
    let (now, id) = (pair.now, pair.client.id.unwrap());
    pair.client.stack.connection(now, id).unwrap().close();
    let stack = &mut pair.client.stack;
    // The cut subflow's FIN is never acknowledged.
    assert_eq!((stack.connection_count(), stack.undelivered_count()), (1, 0));
    // Both ends know all: there is nobody to tell.
    stack.abandon_ended(now);
    assert_eq!(stack.mib().get(Counter::MPTcpExtMPFastcloseTx), 0);
}

#[test]
fn who_lets_go_with_data_on_the_way_has_not_delivered_it() {
    let mut pair = busy(&PairOptions::default(), Side::Client, UPLOAD);
    let (now, id) = (pair.now, pair.client.id.unwrap());
    pair.client.stack.connection(now, id).unwrap().close();
    assert_eq!(pair.client.stack.undelivered_count(), 1);
    // The peer's own end is not waited for.
    pair.drive_until(ms(60_000), |p| p.client.stack.undelivered_count() == 0);
    assert_eq!((pair.client.stack.connection_count(), pair.server.ended), (1, true));
    let now = pair.now;
    pair.client.stack.abandon_ended(now);
    pair.drive(ms(100));
    assert!(
        pair.server.events.iter().any(|(_, e)| matches!(e, Event::Closed { error: Some(ConnectionError::Reset), .. }))
    );
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
fn a_backup_is_asked_twice_a_second_while_data_flows_and_then_left_alone() {
    let asked = |probe: Option<Duration>| {
        let mechanisms = Mechanisms { backup_probe: probe, ..Mechanisms::default() };
        let client = Config { mechanisms, ..Config::default() };
        let client_addresses = vec![(WIFI, false), (LTE, true)];
        let mut pair = Pair::connected(&PairOptions { client, client_addresses, ..PairOptions::default() });
        // Fifty messages a second, for five seconds.
        let begun = pair.now;
        for _ in 0..250 {
            pair.send(Side::Client, 100);
            pair.drive(ms(20));
        }
        let ended = pair.now;
        pair.drive(ms(5_000));
        assert_eq!(pair.data_packets(Side::Client, LTE, begun), 0);
        let on_lte = |p: &&Sent| p.by == Side::Client && p.path() == LTE && p.at > begun;
        let times: Vec<_> = pair.log.iter().filter(on_lte).map(|p| p.at).collect();
        assert!(times.iter().all(|at| *at <= ended + ms(450)), "asked when all is delivered: {times:?}");
        times.len()
    };
    assert!((10..=12).contains(&asked(Mechanisms::default().backup_probe)));
    assert_eq!(asked(None), 0);
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

// [8684-3.4.1-17]
#[test]
fn a_server_announces_an_address_again_that_it_gave_up_as_silent() {
    let client_addresses = vec![(WIFI, false)];
    let server_addresses = vec![PEER, PEER_2];
    let mut pair = Pair::connected(&PairOptions { client_addresses, server_addresses, ..patient() });
    let there = |p: &Sent| [p.seg.ip.src, p.seg.ip.dst].contains(&PEER_2);
    let (dead, mut n) = (Rc::new(Cell::new(false)), 0);
    let is_dead = dead.clone();
    pair.lose(move |p| {
        // No window grows to carry everything alone.
        n += u32::from(!p.payload.is_empty());
        (is_dead.get() && there(p)) || (!p.payload.is_empty() && n.is_multiple_of(50))
    });
    pair.send(Side::Client, 4 * UPLOAD);
    pair.drive(ms(500));
    let since = pair.log.len();
    dead.set(true);
    pair.drive(ms(500));
    let mut said = pair.log[since..].iter().filter(|p| p.by == Side::Server);
    assert!(said.any(|p| p.remove_addr_ids() == [1]), "it was not given up");
    let again = |o: &MptcpOption| matches!(o, MptcpOption::AddAddr(add) if add.addr == PEER_2 && add.address_id == 2);
    assert!(said.any(|p| p.has_option(again)), "it was not announced again");
    dead.set(false);
    let since = pair.log.len();
    pair.drive(ms(1_000));
    assert!(pair.server.received.len() as u64 <= 4 * UPLOAD - 100_000, "too little to send");
    assert!(pair.log[since..].iter().any(|p| p.by == Side::Client && there(p) && !p.payload.is_empty()));
}
