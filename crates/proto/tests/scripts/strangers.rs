//! Segments that do not belong: outside the window, forged, old, damaged (RFC 9293, section 3.10.7.4; RFC 5961; RFC 7323).

use crate::recovery::{FULL, place};
use crate::support::*;
use polypath_proto::ConnectionError;
use polypath_proto::mib::Counter;

// [9293-MUST-12, 5961-3.2-1, 5961-3.2-2, 5961-3.2-3]
#[test]
fn a_reset_is_believed_only_at_the_expected_number() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    // RFC 5961, section 3.2: in the window, elsewhere: challenged. Outside: dropped.
    s.inject(rst(500));
    s.expect(ack(1).seq(1));
    s.inject(rst(100_000_000));
    s.expect_nothing();
    assert_eq!(s.closed(), None);
    s.inject(rst(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
}

// [5961-4.2-1]
#[test]
fn a_syn_in_an_open_connection_is_challenged() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.write(0, 10);
    s.expect(data(1, 10));
    // RFC 5961, section 4.2: whatever its number.
    s.inject(syn().seq(1));
    s.expect(ack(1).seq(11));
    s.inject(syn().seq(50_000_000));
    s.expect(ack(1).seq(11));
    assert_eq!(s.closed(), None);
}

// [5961-5.2-1]
#[test]
fn an_acknowledgement_of_what_was_never_sent_is_challenged() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 10).ack(5_000));
    s.expect(ack(1).seq(1));
    assert_eq!(s.read().0, []);
}

// [9293-3.10.7.4-1]
#[test]
fn an_old_segment_acknowledges_nothing() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 100));
    s.expect(ack(101));
    s.write(0, 3_000);
    s.expect(data(1, FULL));
    s.expect(data(place(1), FULL));
    s.expect(data(place(2), 3_000 - 2 * FULL));
    // Before the window, with an acknowledgement of all and another window.
    s.inject(data(1, 100).ack(3_001).window(1));
    s.expect(ack(101).seq(3_001).sack(&[(1, 101)]));
    s.inject(ack(3_001).seq(50).window(1));
    s.expect(ack(101));
    assert_eq!(s.info().bytes_acked, 0);
    s.inject(ack(3_001));
    assert_eq!(s.info().bytes_acked, 3_000);
}

// [5961-5.2-2]
#[test]
fn an_acknowledgement_older_than_the_largest_window_is_challenged() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(Seg { window_scale: None, ..syn_ack().window(5_000) });
    s.expect(ack(1));
    for i in 0..4 {
        s.write(u64::from(i) * u64::from(MSS), FULL);
        s.expect(data(place(i), FULL));
        s.inject(ack(place(i + 1)).window(5_000));
    }
    // 5,792 bytes are acknowledged; the window was never more than 5,000.
    s.inject(data(1, 10).ack(place(0)));
    s.expect(ack(1));
    assert_eq!(s.read().0, []);
    s.inject(data(1, 10).ack(place(1)));
    s.expect(ack(11));
}

/// Lets a stranger try `n` times; returns how often it was answered.
fn answers_to(s: &mut Script, n: u32, segment: impl Fn(u32) -> Seg) -> usize {
    for i in 0..n {
        s.inject(segment(i));
    }
    core::iter::from_fn(|| s.next_packet()).count()
}

// [5961-7-1]
#[test]
fn challenges_are_ten_in_five_seconds() {
    let strangers: [fn(u32) -> Seg; 5] = [
        |i| syn().seq(1_000 + i),
        |i| rst(1_000 + i),
        |i| data(100_000_000 + i, 10),
        |i| data(1, 10).ack(5_000 + i),
        |i| data(1, 10).tsval(1 + i),
    ];
    for segment in strangers {
        let mut s = Script::plain_server(&ScriptOptions::default());
        // What is answered there is a timestamp from the past.
        s.inject(ack(1).tsval(s.peer_clock()));
        assert_eq!(answers_to(&mut s, 50, segment), 10, "{:?}", segment(0));
        s.advance(ms(5_000));
        assert_eq!(answers_to(&mut s, 50, segment), 10);
        assert_eq!(s.stack.mib().get(Counter::TcpExtTCPChallengeACK), 20);
        assert_eq!(s.stack.mib().get(Counter::TcpExtTCPACKSkippedChallenge), 80);
    }
}

// [9293-3.10.7.4-1]
#[test]
fn segments_outside_the_window_are_answered_and_dropped() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(100_000_000, 10));
    s.expect(ack(1));
    // A keep-alive.
    s.inject(ack(1).seq(0));
    s.expect(ack(1));
    assert_eq!(s.read().0, []);
}

// [9293-3.10.7.4-2]
#[test]
fn a_segment_that_overlaps_is_trimmed() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 100));
    s.inject(data(51, 100));
    s.inject(data(141, 60));
    assert_eq!(s.read().0, stream(0, 200));
}

// [7323-5.3-1, 7323-5.2-1]
#[test]
fn old_timestamps_are_not_accepted() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 10));
    s.expect(ack(11));
    let old = s.peer_clock() - 1_000;
    // RFC 7323, section 5.3: dropped, and acknowledged.
    s.inject(data(11, 10).tsval(old));
    s.expect(ack(11));
    assert_eq!(s.read().0, stream(0, 10));
    s.inject(data(11, 10));
    s.expect(ack(21));
    // A reset is not subject to it.
    s.inject(rst(21).tsval(old));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
}

#[test]
fn what_is_no_packet_is_counted_and_forgotten() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.act_on_stack(|stack, now| {
        let headers = [0x45; 40];
        let rx = polypath_proto::Received {
            headers: &headers,
            payload: bytes::Bytes::new(),
            checksum: polypath_proto::RxChecksum::Unverified,
        };
        stack.handle_packet(now, polypath_proto::LinkId(0), rx);
    });
    assert_eq!(s.stack.mib().get(Counter::TcpInErrs), 1);
    s.expect_nothing();
}

// [9293-MUST-3]
#[test]
fn a_segment_with_a_wrong_checksum_is_dropped_and_counted() {
    use polypath_proto::{LinkId, Received, RxChecksum};
    let mut s = Script::plain_server(&ScriptOptions::default());
    let ip = polypath_wire::IpHeader::new(PEER, WIFI);
    let flags = polypath_wire::TcpFlags::ACK | polypath_wire::TcpFlags::FIN;
    let tcp = polypath_wire::TcpHeader { src_port: 50_000, dst_port: STACK_PORT, flags, ..Default::default() };
    let segment = polypath_wire::Segment { ip, tcp, options: polypath_wire::TcpOptions::default() };
    let mut headers = polypath_proto::HeaderBuf::new();
    polypath_wire::emit_headers(&segment, &[], polypath_proto::ChecksumMode::Full, &mut headers);
    let last = headers.len() - 1;
    headers[last] ^= 1;
    s.act_on_stack(|stack, now| {
        let (payload, checksum) = (bytes::Bytes::new(), RxChecksum::Unverified);
        stack.handle_packet(now, LinkId(0), Received { headers: &headers, payload, checksum });
    });
    assert_eq!(s.stack.mib().get(Counter::TcpInCsumErrors), 1);
    s.expect_nothing();
}
