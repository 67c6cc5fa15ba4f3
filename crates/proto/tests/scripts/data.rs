//! Data at two levels: mappings, acknowledgements, order, buffers (RFC 8684, section 3.3).

use crate::support::*;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{Config, ConnectionError, Duration, Event};
use polypath_wire::{MpJoin, MptcpOption, ResetReason, TcpFlags, WireDsn};

const FULL: usize = DSS_MSS as usize;

/// A super-segment's mapping.
fn mapping(packet: &Packet) -> (u32, u16) {
    match packet.seg.options.mptcp[..] {
        [MptcpOption::Dss(dss)] => dss.mapping.map(|m| (m.ssn, m.len)).expect("a mapping"),
        _ => panic!("not one DSS: {packet:?}"),
    }
}

// [8684-3.3.1-3, 8684-3.3.1-6, 8684-3.3.2-1, 8684-3.7-2, 9293-MUST-14, 9293-MUST-16, 9293-SHLD-28, 9293-MUST-60]
#[test]
fn data_carries_its_mapping_and_the_data_ack_in_32_bits() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 2 * FULL + 100);
    // The width is part of the comparison.
    s.expect(data(1, FULL).payload(&stream(0, FULL)).opt(map(1, 1, FULL, 1)));
    s.expect(data(1 + DSS_MSS, FULL).opt(map(1 + FULL as u64, 1 + DSS_MSS, FULL, 1)));
    s.expect(data(1 + 2 * DSS_MSS, 100).opt(map(1 + 2 * FULL as u64, 1 + 2 * DSS_MSS, 100, 1)));
    s.expect_nothing();
}

// [8684-3.3.1-11, 8684-3.3.2-3]
// [8684-3.3.2-2]
#[test]
fn both_widths_of_the_peer_are_understood() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.inject(data(1, 50).ack(101).opt(Opt::LongDss { ack: Some(101), map: Some((1, 1, 50)) }));
    // A 64-bit DSN is answered with a 64-bit DATA_ACK (RFC 8684, section 3.3.2).
    s.expect(ack(51).opt(Opt::LongDss { ack: Some(51), map: None }));
    assert_eq!((s.info().bytes_acked, s.read().0), (100, stream(0, 50)));
    s.inject(data(51, 50).opt(map(51, 51, 50, 101)));
    s.expect(ack(101).opt(dack(101)));
    assert_eq!(s.read().0, stream(50, 50));
}

// [8684-3.3.1-1]
#[test]
fn a_timeout_repeats_the_original_mapping() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100).opt(map(1, 1, 100, 1)));
    // Meanwhile more was received: only the DATA_ACK differs.
    s.inject(data(1, 10).ack(1).opt(map(1, 1, 10, 1)));
    s.expect(ack(11));
    s.expect_after(ms(200), data(1, 100).opt(map(1, 1, 100, 11)));
}

// [8684-3.3.1-1, 8684-3.3.1-15]
#[test]
fn a_part_that_is_sent_again_after_sack_carries_the_whole_mapping() {
    let mut s = Script::active_client(&ScriptOptions { max_segment: 65_535, ..ScriptOptions::default() });
    s.write(0, 10 * FULL);
    let sent = s.expect(data(1, 10 * FULL).opt(map(1, 1, 10 * FULL, 1)));
    assert_eq!(sent.segment_size, Some(DSS_MSS as u16));
    // The third and fourth of its ten segments are lost.
    let (hole, end) = (1 + 2 * DSS_MSS, 1 + 4 * DSS_MSS);
    s.advance(ms(20));
    s.inject(ack(hole).opt(dack(u64::from(hole))).sack(&[(end, 1 + 10 * DSS_MSS)]));
    let mut at = hole;
    while at < end {
        let again = s.expect(Seg { len: None, ..data(at, 0) }.opt(map(1, 1, 10 * FULL, 1)));
        assert_eq!(again.payload, stream(u64::from(at) - 1, again.payload.len()));
        at += again.payload.len() as u32;
        assert!(at <= end, "more was sent again than was missing");
    }
    s.expect_nothing();
}

// [8684-3.3.1-15]
#[test]
fn a_super_segment_is_one_mapping_of_at_most_65535_bytes() {
    let mut s = Script::active_client(&ScriptOptions { max_segment: 65_535, ..ScriptOptions::default() });
    s.write(0, 250_000);
    let mut next = 1u32;
    let mut largest = 0;
    // Slow start: what is acknowledged doubles, until a super-segment could be larger than is allowed.
    for _ in 0..6 {
        while let Some(packet) = s.next_packet() {
            let len = packet.payload.len();
            assert_eq!(mapping(&packet), (next, len as u16));
            assert!(len + 20 + 20 + 12 + 20 <= 65_535);
            assert_eq!(packet.segment_size, (len > FULL).then_some(DSS_MSS as u16));
            largest = largest.max(len);
            next += len as u32;
        }
        s.advance(ms(20));
        s.inject(ack(next).opt(dack(u64::from(next))));
    }
    assert!(largest > 60_000, "only {largest} bytes");
    assert_eq!(next, 250_001);
}

#[test]
fn super_segments_carry_nothing_but_dss_and_timestamps() {
    let mut s = Script::active_client(&ScriptOptions { max_segment: 65_535, ..ScriptOptions::default() });
    // There is something to report selectively, but not here.
    s.inject(data(11, 10).opt(map(11, 11, 10, 1)));
    s.expect(ack(1).sack(&[(11, 21)]));
    s.write(0, 5 * FULL);
    let sent = s.expect(data(1, 5 * FULL).opt(map(1, 1, 5 * FULL, 1)));
    assert!(sent.seg.options.sack.is_empty());
}

// [9293-SHLD-31, 2018-4-1, 2018-4-2]
#[test]
fn out_of_order_on_the_subflow_waits_and_is_reported() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(101, 100).opt(map(101, 101, 100, 1)));
    s.expect(ack(1).sack(&[(101, 201)]).opt(dack(1)));
    assert_eq!(s.read().0, []);
    s.inject(data(301, 100).opt(map(301, 301, 100, 1)));
    // The latest comes first (RFC 2018, section 4).
    s.expect(ack(1).sack(&[(301, 401), (101, 201)]).opt(dack(1)));
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(201).sack(&[(301, 401)]).opt(dack(201)));
    assert_eq!(s.read().0, stream(0, 200));
    s.inject(data(201, 100).opt(map(201, 201, 100, 1)));
    s.expect(ack(401).sack(&[]).opt(dack(401)));
    assert_eq!(s.read().0, stream(200, 200));
}

// [8684-3.3.2-1]
#[test]
fn out_of_order_in_the_connection_waits_without_sack() {
    let mut s = Script::active_server(&ScriptOptions::default());
    // In order on the subflow, but the connection's bytes 101..201 come first.
    s.inject(data(1, 100).payload(&stream(100, 100)).opt(map(101, 1, 100, 1)));
    s.expect(ack(101).sack(&[]).opt(dack(1)));
    assert_eq!(s.read().0, []);
    s.inject(data(101, 100).payload(&stream(0, 100)).opt(map(1, 101, 100, 1)));
    s.expect(ack(201).opt(dack(201)));
    assert_eq!(s.read().0, stream(0, 200));
}

// [8684-6-3]
#[test]
fn a_mapping_may_come_in_many_segments_that_all_repeat_it() {
    let mut s = Script::active_server(&ScriptOptions::default());
    for i in 0..4u32 {
        s.inject(data(1 + 100 * i, 100).opt(map(1, 1, 400, 1)));
        s.expect(ack(101 + 100 * i).opt(dack(101 + 100 * u64::from(i))));
    }
    assert_eq!(s.read().0, stream(0, 400));
}

// [8684-3.3.1-16]
#[test]
fn segments_within_a_mapping_need_not_repeat_it() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 200, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(data(101, 100).opt(dack(1)));
    s.expect(ack(201).opt(dack(201)));
    assert_eq!(s.read().0, stream(0, 200));
}

// [8684-3.3.1-2]
#[test]
fn a_duplicate_is_reported_and_delivered_once() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    // RFC 2883: the duplicate stands in the first SACK block.
    s.expect(ack(101).opt(dack(101)).sack(&[(1, 101)]));
    // The same bytes of the connection over other bytes of the subflow: a reinjection that was not needed.
    s.inject(data(101, 100).payload(&stream(0, 100)).opt(map(1, 101, 100, 1)));
    s.expect(ack(201).opt(dack(101)));
    assert_eq!(s.read().0, stream(0, 100));
}

// [8684-3.6-1]
#[test]
fn a_mapping_that_contradicts_another_resets_the_subflow() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(1, 1, 300, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.inject(data(101, 100).opt(map(501, 101, 100, 1)));
    s.expect(rst_ack().opt(tcprst(ResetReason::MptcpSpecific)));
    assert_eq!(s.read().0, stream(0, 100));
}

// [8684-3.8-2]
#[test]
fn data_far_beyond_the_window_resets_the_subflow() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 100).opt(map(100_000_001, 1, 100, 1)));
    s.expect(rst_ack().opt(tcprst(ResetReason::MptcpSpecific)));
}

#[test]
fn a_data_ack_for_what_was_never_sent_is_ignored() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.inject(ack(1).opt(dack(5_000)));
    assert_eq!(s.info().bytes_acked, 0);
    s.inject(ack(101).opt(dack(101)));
    assert_eq!(s.info().bytes_acked, 100);
}

// [8684-3.3.2-5, 8684-3.3.6-3, 8684-4-1, 8684-6-4]
#[test]
fn what_only_the_subflow_acknowledged_is_kept_and_sent_again() {
    let mut s = Script::active_client(&ScriptOptions::default());
    // Subflow and connection differ: it is certain that the peer reads mappings.
    s.inject(data(1, 10).opt(map(11, 1, 10, 1)));
    s.expect(ack(11).opt(dack(1)));
    s.write(0, 100);
    s.expect(data(1, 100).opt(map(1, 1, 100, 1)));
    s.inject(ack(101).opt(dack(1)));
    assert_eq!((s.info().bytes_acked, s.info().send_queue), (0, 100));
    // Under a mapping of its own: the subflow has the old bytes.
    s.advance(ms(3_000));
    let again = s.expect(data(101, 100).opt(map(1, 101, 100, 1)));
    assert_eq!(again.payload, stream(0, 100));
    s.inject(ack(201).opt(dack(101)));
    assert_eq!((s.info().bytes_acked, s.info().send_queue), (100, 0));
}

// [8684-3.3.5-4, 9293-REC-1, 7323-2.2-2]
#[test]
fn the_connections_window_holds_back_what_the_subflow_would_take() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(syn_ack().window(1_000).opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.write(0, 3_000);
    s.expect(data(1, 1_000));
    // 4 * 256 bytes, in the connection counted from the DATA_ACK (RFC 8684, section 3.3.5): 24 more.
    s.inject(ack(1_001).opt(dack(1)).window(4));
    s.expect(data(1_001, 24).opt(map(1_001, 1_001, 24, 1)));
    s.expect_nothing();
    s.inject(ack(1_025).opt(dack(1_025)).window(4));
    s.expect(data(1_025, 1_024).opt(map(1_025, 1_025, 1_024, 1)));
    s.expect_nothing();
}

#[test]
fn zero_lengths_do_nothing() {
    let mut s = Script::active_client(&ScriptOptions::default());
    assert_eq!(s.act(|c| c.write(&[])), Ok(0));
    assert_eq!(s.act(|c| c.read_into(&mut [])), Ok(Some(0)));
    assert_eq!(s.act(|c| c.read(100)), Ok(None));
    s.expect_silence(ms(1_000));
    s.inject(data(1, 10).opt(map(1, 1, 10, 1)));
    assert_eq!(s.act(|c| c.read_into(&mut [])), Ok(Some(0)));
    assert_eq!(s.read().0, stream(0, 10));
}

#[test]
fn reads_take_what_they_have_room_for() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 10).opt(map(1, 1, 10, 1)));
    s.inject(data(11, 10).opt(map(11, 11, 10, 1)));
    assert_eq!(s.act(|c| c.read(4)).unwrap().unwrap(), stream(0, 4));
    let mut buf = [0; 12];
    assert_eq!(s.act(|c| c.read_into(&mut buf)), Ok(Some(12)));
    assert_eq!(buf[..], stream(4, 12));
    assert_eq!(s.act(|c| c.read_into(&mut buf)), Ok(Some(4)));
    assert_eq!(s.act(|c| c.read_into(&mut buf)), Ok(None));
}

/// A client whose send buffer of 20,000 bytes is full, its first packets forgotten.
fn with_full_buffer() -> Script {
    let config = Config { send_buffer_max: 20_000, ..Config::default() };
    let mut s = Script::active_client(&ScriptOptions { config, ..ScriptOptions::default() });
    assert_eq!(s.act(|c| c.write(&stream(0, 30_000))), Ok(20_000));
    assert_eq!(s.act(|c| c.write(&[1])), Ok(0));
    assert_eq!(s.conn().write_room(), 0);
    s.take_events();
    s
}

fn is_writable(e: &Event) -> bool {
    matches!(e, Event::Writable(_))
}

// [8684-3.3.2-5]
#[test]
fn a_full_send_buffer_takes_less_and_says_when_there_is_room() {
    let mut s = with_full_buffer();
    // The subflow's acknowledgement makes no room: the DATA_ACK does. Slivers are not worth an event.
    s.inject(ack(1 + 4 * DSS_MSS).opt(dack(1)));
    s.inject(ack(1 + 4 * DSS_MSS).opt(dack(1 + u64::from(DSS_MSS))));
    assert!(!s.take_events().iter().any(is_writable));
    s.inject(ack(1 + 4 * DSS_MSS).opt(dack(1 + 4 * u64::from(DSS_MSS))));
    assert_eq!(s.take_events().into_iter().filter(is_writable).count(), 1);
    assert_eq!(s.conn().write_room(), 4 * FULL);
    assert_eq!(s.act(|c| c.write(&stream(20_000, 100))), Ok(100));
    s.inject(ack(1 + 8 * DSS_MSS).opt(dack(1 + 8 * u64::from(DSS_MSS))));
    assert!(!s.take_events().iter().any(is_writable), "nobody waits for room any more");
}

#[test]
fn an_empty_write_does_not_take_back_the_wish_for_room() {
    let mut s = with_full_buffer();
    assert_eq!(s.act(|c| c.write(&[])), Ok(0));
    s.inject(ack(1 + 4 * DSS_MSS).opt(dack(1 + 4 * u64::from(DSS_MSS))));
    assert!(s.take_events().iter().any(is_writable));
}

#[test]
fn shared_bytes_are_taken_without_copying() {
    let mut s = Script::active_client(&ScriptOptions::default());
    let whole = bytes::Bytes::from(stream(0, 500));
    let mut rest = whole.clone();
    assert_eq!(s.act(|c| c.write_bytes(&mut rest)), Ok(500));
    assert!(rest.is_empty());
    s.expect(data(1, 500).payload(&whole));
}

#[test]
fn after_the_end_writes_are_errors_and_reads_go_on() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.inject(data(1, 10).opt(map(1, 1, 10, 1)));
    s.shutdown();
    assert_eq!(s.act(|c| c.write(b"x")), Err(ConnectionError::Closed));
    assert_eq!(s.read().0, stream(0, 10));
    s.inject(data(11, 10).opt(map(11, 11, 10, 1)));
    assert_eq!(s.read().0, stream(10, 10));
}

// [9293-MUST-12]
#[test]
fn what_arrived_before_a_reset_can_still_be_read() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.inject(data(1, 10));
    s.inject(rst(11));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
    assert_eq!(s.act(|c| c.read(100)).unwrap().unwrap(), stream(0, 10));
    assert_eq!(s.act(|c| c.read(100)), Err(ConnectionError::Reset));
    assert_eq!(s.act(|c| c.write(b"x")), Err(ConnectionError::Reset));
}

#[test]
fn two_stacks_carry_a_stream_each_way_under_segmentation_offload() {
    let mut pair = Pair::connected(&PairOptions { max_segment: 65_535, ..PairOptions::default() });
    pair.send(Side::Client, 3_000_000);
    pair.send(Side::Server, 2_000_000);
    pair.drive_until(ms(20_000), |p| p.server.received.len() == 3_000_000 && p.client.received.len() == 2_000_000);
    pair.assert_received(Side::Server, 3_000_000);
    pair.assert_received(Side::Client, 2_000_000);
}

// [8684-3.3.1-12]
#[test]
fn numbers_are_64_bits_wide_while_32_could_wrap_within_a_segments_lifetime() {
    let options = PairOptions {
        max_segment: 65_535,
        delay: Duration::from_millis(1),
        client_addresses: vec![(WIFI, false)],
        ..PairOptions::default()
    };
    let mut pair = Pair::connected(&options);
    pair.send(Side::Client, 100 << 20);
    pair.drive_until(Duration::from_secs(60), |p| p.server.received.len() == 100 << 20);
    let long = |sent: &Sent| {
        sent.has_option(
            |o| matches!(o, MptcpOption::Dss(dss) if dss.mapping.is_some_and(|m| matches!(m.dsn, WireDsn::Long(_)))),
        )
    };
    let data = |sent: &&Sent| sent.by == Side::Client && !sent.payload.is_empty();
    assert!(!pair.log.iter().filter(data).take(10).any(long), "nobody knows yet how fast it is");
    assert!(pair.log.iter().rev().filter(data).take(10).all(long));
    pair.assert_received(Side::Server, 100 << 20);
    // As wide as the data is, so are the acknowledgements.
    let acknowledged = pair.log.iter().rev().find(|sent| sent.by == Side::Server).expect("an acknowledgement");
    assert!(
        acknowledged
            .has_option(|o| { matches!(o, MptcpOption::Dss(dss) if matches!(dss.data_ack, Some(WireDsn::Long(_)))) })
    );
}

// [8684-3.3.1-7]
#[test]
fn urgent_data_is_data() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(Seg { flags: TcpFlags::ACK | TcpFlags::URG, ..data(1, 100).opt(map(1, 1, 100, 1)) });
    assert_eq!(s.read().0, stream(0, 100));
}

// [8684-3.3.2-4]
#[test]
fn the_window_of_a_segment_without_data_ack_says_nothing_of_the_connections() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(syn_ack().window(1_000).opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    s.write(0, 3_000);
    s.expect(data(1, 1_000));
    s.inject(ack(1).opt(dack(1)).window(3));
    s.inject(ack(1).opt(prio(false)).window(1_000));
    s.expect_nothing();
}

// [8684-3.3.5-1]
#[test]
fn a_data_ack_whose_window_reaches_less_far_takes_nothing_back() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    // The connection's edge was told on the first subflow: the second one's smaller window does not move it.
    s.on(second).inject(ack(1).opt(dack(1)).window(1));
    s.on(0).write(0, DSS_MSS as usize);
    s.on(0).expect(data(1, DSS_MSS as usize));
}

// [8684-3.3.5-2, 8684-4-4]
#[test]
fn of_the_windows_on_several_subflows_the_largest_counts() {
    let mut s = Script::client(&ScriptOptions::two_addresses());
    s.expect(syn());
    s.advance(RTT);
    s.inject(syn_ack().window(1_000).opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1));
    // 1,024 bytes on the first one, 256,000 on the second: the connection may send as far as the latter says.
    s.inject(ack(1).opt(dack(1)).window(4));
    let second = let_join(&mut s);
    s.write(0, 3_000);
    s.on(second).expect(data(1, FULL).opt(map(1, 1, FULL, 1)));
    s.expect(data(FULL as u32 + 1, FULL));
    s.on(0).expect(data(1, 3_000 - 2 * FULL).opt(map(2 * FULL as u64 + 1, 1, 3_000 - 2 * FULL, 1)));
}

// [8684-3.3.5-3, 8684-4-4]
#[test]
fn a_subflow_is_kept_to_its_own_window() {
    let mut options = ScriptOptions::two_addresses();
    // One that does not wait for the faster one.
    options.config.scheduler = SchedulerKind::MinRtt;
    let mut s = Script::active_client(&options);
    let (flow, packet) = s.take_syn();
    let [MptcpOption::MpJoin(MpJoin::Syn { nonce, .. })] = packet.seg.options.mptcp[..] else { panic!("{packet:?}") };
    // The faster one, with room for 1,000 bytes only.
    s.advance(ms(5));
    let answer = join_syn_ack(&s, nonce);
    s.inject(answer.window(1_000));
    s.expect(ack(1));
    s.inject(ack(1).opt(dack(1)).window(3));
    s.act(|c| c.set_nodelay(true));
    s.write(0, 900);
    s.on(flow).expect(data(1, 900));
    s.write(900, 900);
    s.on(0).expect(data(1, 900).opt(map(901, 1, 900, 1)));
}

// [8684-3.3.4-3]
#[test]
fn the_window_offered_is_one_for_all_subflows() {
    let mut s = Script::active_client(&ScriptOptions::two_addresses());
    let second = let_join(&mut s);
    s.on(0).inject(data(1, 1_000).opt(map(1, 1, 1_000, 1)));
    let first = s.expect(ack(1_001).opt(dack(1_001)));
    s.on(second).inject(data(1, 1_000).payload(&stream(2_000, 1_000)).opt(map(2_001, 1, 1_000, 1)));
    let other = s.expect(ack(1_001).opt(dack(1_001)));
    assert_eq!(first.seg.tcp.window, other.seg.tcp.window, "counted from the same DATA_ACK");
}

// [8684-3.1-27]
#[test]
fn every_segment_of_the_first_mapping_may_carry_the_keys() {
    let mut s = Script::active_server(&ScriptOptions::default());
    let key = s.stack_key();
    s.inject(data(1, 20).ack(1).opt(capable_data(PEER_KEY, key, 50)));
    s.inject(data(21, 30).ack(1).opt(capable_data(PEER_KEY, key, 50)));
    assert_eq!(s.read().0, stream(0, 50));
}
