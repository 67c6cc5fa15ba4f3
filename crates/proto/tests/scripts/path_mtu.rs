//! How large packets are: what routers say (RFC 1191, RFC 8201), and what is found out where they do not (RFC 8899).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::trace::{MtuReason, TraceEvent};
use polypath_proto::{ConnectOptions, HeaderBuf, SubflowEvent};
use polypath_wire::{ChecksumMode, Segment, SeqNum, emit_headers};
use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

const FULL: usize = MSS as usize;
/// IP and TCP headers with timestamps.
const HEADERS: u32 = 52;

/// A router's Packet Too Big about a segment, of which it quotes the first eight bytes of TCP.
fn too_big(seg: &Segment, mtu: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    match (seg.ip.src, seg.ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            packet.extend([0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 254]);
            packet.extend(src.octets());
            packet.extend([3, 4, 0, 0, 0, 0]);
            packet.extend((mtu as u16).to_be_bytes());
            packet.extend([0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            packet.extend([0x60, 0, 0, 0, 0, 56, 58, 64]);
            packet.extend(dst.octets());
            packet.extend(src.octets());
            packet.extend([2, 0, 0, 0]);
            packet.extend(mtu.to_be_bytes());
            packet.extend([0x60, 0, 0, 0, 5, 180, 6, 64]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
        }
        ends => panic!("{ends:?}"),
    }
    packet.extend(seg.tcp.src_port.to_be_bytes());
    packet.extend(seg.tcp.dst_port.to_be_bytes());
    packet.extend(seg.tcp.seq.0.to_be_bytes());
    packet
}

fn tell(s: &mut Script, seg: &Segment, mtu: u32) {
    s.act_on_stack(|stack, now| stack.handle_icmp(now, &too_big(seg, mtu)));
}

/// A plain client that has sent so many full segments, and the first of them.
fn sent(n: u32, options: &ScriptOptions) -> (Script, Segment) {
    let mut s = Script::plain_client(options);
    s.write(0, (n * MSS) as usize);
    let first = s.next_packet().expect("a segment").seg;
    s.clear();
    (s, first)
}

fn path_mtu(s: &mut Script) -> u32 {
    s.info().subflows[0].path_mtu
}

// [8201-4-2, 8201-5.4-1, 8899-3-1]
#[test]
fn what_a_router_calls_too_big_goes_again_in_smaller_segments_and_the_window_stays() {
    let (mut s, first) = sent(2, &ScriptOptions::default());
    let cwnd = s.info().subflows[0].cwnd;
    tell(&mut s, &first, 1300);
    let size = 1300 - HEADERS;
    for (at, len) in [(1, size), (1 + size, MSS - size), (1 + MSS, size), (1 + MSS + size, MSS - size)] {
        s.expect(data(at, len as usize));
    }
    s.expect_nothing();
    assert_eq!((s.info().subflows[0].cwnd, path_mtu(&mut s)), (cwnd, 1300));
    s.advance(RTT);
    s.inject(ack(1 + 2 * MSS));
    s.write(u64::from(2 * MSS), 2 * size as usize);
    s.expect(data(1 + 2 * MSS, size as usize));
    s.expect(data(1 + 2 * MSS + size, size as usize));
    let counters = s.info().subflows[0].counters;
    assert_eq!((counters.timeouts, counters.sack_recoveries), (0, 0));
}

// [8201-4-2]
#[test]
fn super_segments_are_cut_to_the_path_mtu() {
    let (mut s, first) = sent(10, &ScriptOptions { max_segment: 65_535, ..ScriptOptions::default() });
    tell(&mut s, &first, 1300);
    let mut sent = 0;
    while let Some(packet) = s.next_packet() {
        sent += packet.payload.len();
        assert!(packet.segment_size.map_or(packet.payload.len(), usize::from) <= 1300 - HEADERS as usize);
    }
    // What is less than a segment waits for room.
    assert_eq!(sent, 11 * (1300 - HEADERS as usize));
}

// [8201-4-1]
#[test]
fn a_router_is_believed_only_about_what_is_in_flight() {
    let (mut s, first) = sent(2, &ScriptOptions::default());
    let about = |offset: u32| {
        let mut seg = first.clone();
        seg.tcp.seq = SeqNum(first.tcp.seq.0.wrapping_add(offset));
        seg
    };
    s.inject(ack(1 + MSS));
    // Acknowledged; not yet sent; on another connection.
    let mut stranger = about(MSS);
    stranger.tcp.src_port ^= 1;
    for seg in [about(0), about(2 * MSS), about(1 << 31), stranger] {
        tell(&mut s, &seg, 1300);
        s.expect_nothing();
        assert_eq!(path_mtu(&mut s), 1500);
    }
    tell(&mut s, &about(MSS), 1300);
    assert_eq!(path_mtu(&mut s), 1300);
}

// [8201-4-5]
#[test]
fn a_router_never_makes_packets_larger() {
    let (mut s, first) = sent(1, &ScriptOptions::default());
    for (said, mtu) in [(9000, 1500), (1500, 1500), (1300, 1300), (1400, 1300), (1200, 1200)] {
        tell(&mut s, &first, said);
        assert_eq!(path_mtu(&mut s), mtu, "after {said}");
    }
}

#[test]
fn an_ipv4_router_that_does_not_say_how_large_means_576() {
    for said in [0, 68, 575] {
        let (mut s, first) = sent(1, &ScriptOptions::default());
        tell(&mut s, &first, said);
        assert_eq!(path_mtu(&mut s), 576);
    }
}

// [8201-4-3, 8201-4-4]
#[test]
fn less_than_ipv6_guarantees_is_not_believed() {
    let v6 = |n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let mut pair = Pair::connected(&PairOptions {
        client_addresses: vec![(v6(1), false)],
        server_addresses: vec![v6(2)],
        ..PairOptions::default()
    });
    pair.send(Side::Client, 1000);
    let sent = pair.log.last().expect("data").seg.clone();
    assert_eq!(sent.ip.src, v6(1));
    let now = pair.now;
    for (said, mtu) in [(0, 1500), (100, 1500), (1279, 1500), (1400, 1400), (1280, 1280), (1279, 1280)] {
        pair.client.stack.handle_icmp(now, &too_big(&sent, said));
        pair.drain();
        assert_eq!(pair.info(Side::Client).subflows[0].path_mtu, mtu, "after {said}");
    }
}

/// The path MTU of a new connection from an address.
fn mtu_of_new_connection(s: &mut Script, local: IpAddr) -> u32 {
    let options =
        ConnectOptions { local: Some(SocketAddr::new(local, 0)), no_multipath: true, ..ConnectOptions::default() };
    let id = s.act_on_stack(|stack, now| stack.connect(now, SocketAddr::new(PEER, PEER_PORT), options)).unwrap();
    s.drain();
    let (_, syn) = s.take_syn();
    // What we can receive has nothing to do with it.
    assert_eq!(syn.seg.options.mss, Some(1460));
    s.inject(syn_ack());
    s.stack.connection_info(id).expect("it lives").subflows[0].path_mtu
}

// [8201-5.2-1, 8201-5.4-2]
#[test]
fn what_was_learned_holds_for_later_connections_on_the_same_path_for_ten_minutes() {
    let options = ScriptOptions {
        connect: ConnectOptions { no_multipath: true, ..ConnectOptions::default() },
        ..ScriptOptions::two_addresses()
    };
    let (mut s, first) = sent(1, &options);
    tell(&mut s, &first, 1300);
    s.inject(ack(1 + MSS));
    s.clear();
    assert_eq!(mtu_of_new_connection(&mut s, WIFI), 1300);
    assert_eq!(mtu_of_new_connection(&mut s, LTE), 1500, "another path");
    s.advance(ms(599_000));
    assert_eq!(mtu_of_new_connection(&mut s, WIFI), 1300);
    s.advance(ms(1_000));
    assert_eq!(mtu_of_new_connection(&mut s, WIFI), 1500);
}

/// Sends twelve segments more and acknowledges them; the largest payload.
fn transfer(s: &mut Script, from: &mut u32) -> usize {
    s.write(u64::from(*from), 12 * FULL);
    *from += 12 * MSS;
    let mut largest = 0;
    for _ in 0..20 {
        let mut end = None;
        while let Some(packet) = s.next_packet() {
            largest = largest.max(packet.payload.len());
            end = Some(());
        }
        s.advance(RTT);
        if end.is_some() {
            let seq = s.received();
            s.inject(ack(seq));
        }
    }
    assert_eq!(s.received(), 1 + *from);
    largest
}

// [8201-4-6, 8899-3-4]
#[test]
fn ten_minutes_after_a_router_spoke_a_larger_segment_is_tried() {
    let (mut s, first) = sent(1, &ScriptOptions::default());
    tell(&mut s, &first, 1300);
    s.advance(RTT);
    s.clear();
    s.inject(ack(1 + MSS));
    let mut at = MSS;
    assert_eq!(transfer(&mut s, &mut at), 1300 - HEADERS as usize);
    s.advance(ms(590_000));
    assert_eq!(transfer(&mut s, &mut at), 1300 - HEADERS as usize);
    s.advance(ms(10_000));
    // The whole of what the link carries: it passes, and so do all that follow.
    assert_eq!(transfer(&mut s, &mut at), FULL);
    assert_eq!(path_mtu(&mut s), 1500);
    assert_eq!(s.stack.mib().get(Counter::TcpExtTCPMTUPSuccess), 1);
}

/// A client that has sent, ten minutes after a router spoke of 1,300 bytes: a segment, a probe of all that the link
/// carries, and more segments. With the place of the probe.
fn with_probe(options: &ScriptOptions) -> (Script, u32) {
    let (mut s, first) = sent(1, options);
    tell(&mut s, &first, 1300);
    s.advance(RTT);
    s.clear();
    s.inject(ack(1 + MSS));
    s.advance(ms(600_000));
    s.write(u64::from(MSS), 1300 - HEADERS as usize);
    s.expect(data(1 + MSS, 1300 - HEADERS as usize));
    s.write(u64::from(MSS + 1300 - HEADERS), 8 * FULL);
    let probe = 1 + MSS + 1300 - HEADERS;
    // One segment, whatever the link would cut.
    assert_eq!(s.expect(data(probe, FULL)).segment_size, None);
    (s, probe)
}

// [8899-3-5]
#[test]
fn a_lost_probe_goes_again_in_pieces_and_is_no_sign_of_congestion() {
    let size = 1300 - HEADERS;
    let (mut s, probe) = with_probe(&ScriptOptions::default());
    let cwnd = s.info().subflows[0].cwnd;
    s.clear();
    s.advance(RTT);
    s.inject(ack(probe).sack(&[(probe + MSS, probe + MSS + 3 * size)]));
    s.expect(data(probe, size as usize));
    s.expect(data(probe + size, (MSS - size) as usize));
    assert!(s.info().subflows[0].cwnd >= cwnd);
    assert_eq!(s.stack.mib().get(Counter::TcpExtTCPMTUPFail), 1);
    s.advance(RTT);
    let all = s.received();
    s.inject(ack(all));
    assert_eq!((path_mtu(&mut s), s.info().subflows[0].counters.sack_recoveries), (1300, 0));

    // What is lost beside it is one.
    let (mut s, probe) = with_probe(&ScriptOptions::default());
    s.clear();
    s.advance(RTT);
    s.inject(ack(probe).sack(&[(probe + MSS + size, probe + MSS + 4 * size)]));
    assert!(s.info().subflows[0].cwnd < cwnd);
    assert_eq!(s.info().subflows[0].counters.sack_recoveries, 1);
}

// [8899-3-1]
#[test]
fn with_offload_a_probe_is_one_segment_and_all_others_are_cut_as_before() {
    let (mut s, _) = with_probe(&ScriptOptions { max_segment: 65_535, ..ScriptOptions::default() });
    let packet = s.next_packet().expect("a super-segment");
    assert_eq!(packet.segment_size.map(u32::from), Some(1300 - HEADERS));
}

/// One path, plain TCP or not, on which packets of more than `mtu` bytes vanish without a word.
fn black_hole(mtu: u32, multipath: bool) -> Pair {
    let connect = ConnectOptions { no_multipath: !multipath, ..ConnectOptions::default() };
    let options = PairOptions { client_addresses: vec![(WIFI, false)], connect, ..PairOptions::default() };
    let mut pair = Pair::connected(&options);
    pair.lose(move |p| p.payload.len() as u32 + HEADERS + if multipath { 20 } else { 0 } > mtu);
    pair.client.stack.set_tracing(true);
    pair
}

// [8899-3-1, 8899-3-3, 8899-3-4]
#[test]
fn a_black_hole_is_noticed_after_three_timeouts_and_what_it_lets_through_is_found() {
    for multipath in [false, true] {
        for mtu in [700, 1100, 1300, 1452] {
            let mut pair = black_hole(mtu, multipath);
            pair.send(Side::Client, 2_000_000);
            pair.drive_until(ms(60_000), |p| p.server.received.len() == 2_000_000);
            let subflow = pair.info(Side::Client).subflows[0].clone();
            assert!(subflow.path_mtu <= mtu && subflow.path_mtu + 32 >= mtu, "{} of {mtu}", subflow.path_mtu);
            let timeouts = if mtu < 1064 { 6 } else { 3 };
            assert_eq!(subflow.counters.timeouts, timeouts, "{subflow:?}");
            let noticed = pair.subflow_events(Side::Client).iter().any(|(.., what)| *what == SubflowEvent::Recovered);
            assert!(noticed);
            // From then on only probes are too large.
            let mib = pair.client.stack.mib();
            let (lost, passed) = (mib.get(Counter::TcpExtTCPMTUPFail), mib.get(Counter::TcpExtTCPMTUPSuccess));
            let traces: Vec<_> = std::iter::from_fn(|| pair.client.stack.poll_trace()).collect();
            let shrunk = |t: &&polypath_proto::trace::Trace| {
                matches!(t.event, TraceEvent::PathMtu { reason: MtuReason::BlackHole, .. })
            };
            let at = traces.iter().filter(shrunk).map(|t| t.at).max().expect("it was traced");
            let too_large = pair.log.iter().filter(|p| p.at > at && p.by == Side::Client && !p.delivered).count();
            assert_eq!(too_large as u64, lost);
            assert!(passed >= 1 && lost <= 30, "{passed} passed, {lost} lost");
        }
    }
}

// [8899-3-4]
#[test]
fn an_outage_that_looks_like_a_black_hole_costs_one_probe() {
    let mut pair = black_hole(1500, false);
    pair.send(Side::Client, 2_000_000);
    pair.drive(ms(30));
    pair.cut(WIFI);
    pair.drive(ms(1_800));
    assert_eq!(pair.info(Side::Client).subflows[0].path_mtu, 1064);
    pair.mend(WIFI);
    pair.drive_until(ms(60_000), |p| p.server.received.len() == 2_000_000);
    assert_eq!(pair.info(Side::Client).subflows[0].path_mtu, 1500);
    let mib = pair.client.stack.mib();
    assert_eq!((mib.get(Counter::TcpExtTCPMTUPSuccess), mib.get(Counter::TcpExtTCPMTUPFail)), (1, 0));
}

// [8899-3-3]
#[test]
fn a_path_that_swallows_small_segments_too_is_no_black_hole() {
    let mut pair = black_hole(1500, false);
    pair.send(Side::Client, 500);
    pair.cut(WIFI);
    pair.drive(ms(10_000));
    assert!(pair.info(Side::Client).subflows[0].counters.timeouts > 3);
    assert_eq!(pair.info(Side::Client).subflows[0].path_mtu, 1500);
}

// [8201-4-6, 8899-3-4]
#[test]
fn a_router_that_speaks_of_a_probe_shortens_the_search() {
    let mut pair = black_hole(1300, false);
    pair.send(Side::Client, 2_000_000);
    let is_probe = |p: &Sent| p.payload.len() > 1100 && p.by == Side::Client;
    pair.drive_until(ms(10_000), |p| {
        let mut now = p.log.iter().rev().take_while(|sent| sent.at == p.now);
        p.info(Side::Client).subflows[0].path_mtu == 1064 && now.any(is_probe)
    });
    let (now, probe) = (pair.now, pair.log.iter().rfind(|p| is_probe(p)).expect("a probe").seg.clone());
    pair.client.stack.handle_icmp(now, &too_big(&probe, 1300));
    pair.drive_until(ms(60_000), |p| p.server.received.len() == 2_000_000);
    assert_eq!(pair.info(Side::Client).subflows[0].path_mtu, 1300);
    let mib = pair.client.stack.mib();
    assert_eq!((mib.get(Counter::TcpExtTCPMTUPSuccess), mib.get(Counter::TcpExtTCPMTUPFail)), (1, 1));
}

fn size(p: &Segment, payload: &bytes::Bytes) -> usize {
    let mut headers = HeaderBuf::new();
    emit_headers(p, core::slice::from_ref(payload), ChecksumMode::Full, &mut headers);
    headers.len() + payload.len()
}

#[test]
fn the_first_data_with_its_keys_fits_when_it_is_sent_again() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.write(0, 20_000);
    let first = s.next_packet().expect("the first data");
    s.clear();
    tell(&mut s, &first.seg, 1400);
    for _ in 0..6 {
        while let Some(p) = s.next_packet() {
            assert!(size(&p.seg, &p.payload) <= 1400, "{}", s.describe(&p));
        }
        s.advance(ms(1_000));
    }
}

/// From 286 Mbit/s on DSNs have 64 bits (RFC 8684, section 3.3.1), and segments hold less.
// [8684-3.3.1-12]
#[test]
fn nothing_is_too_large_when_the_numbers_become_wider_or_narrower() {
    let options = PairOptions { client_addresses: vec![(WIFI, false)], delay: ms(1), ..PairOptions::default() };
    let mut pair = Pair::connected(&options);
    let largest = Rc::new(Cell::new(0));
    let seen = largest.clone();
    pair.lose(move |p| {
        seen.set(seen.get().max(size(&p.seg, &p.payload)));
        false
    });
    const BYTES: u64 = 72 << 20;
    pair.send(Side::Client, BYTES);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == BYTES);
    assert_eq!(largest.get(), 1500);
}
