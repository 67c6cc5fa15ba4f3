//! How large segments are, and which go together (RFC 9293, section 3.7).

use crate::support::*;
use polypath_wire::{ChecksumMode, HeaderBuf, Segment, TcpFlags};

/// A plain client on a link without offload whose peer takes segments of so many bytes.
fn client_with_mss(mss: u16) -> Script {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(Seg { mss: Some(mss), ..syn_ack() });
    s.expect(ack(1));
    s
}

/// A router's word that the packet was larger than `mtu`.
fn too_big(seg: &Segment, payload: &[u8], mtu: u16) -> Vec<u8> {
    let mut quoted = HeaderBuf::new();
    emit(seg, payload, &mut quoted);
    let mut icmp = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9, 10, 0, 0, 1];
    icmp.extend([3, 4, 0, 0, 0, 0]);
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(&quoted);
    icmp
}

fn emit(seg: &Segment, payload: &[u8], into: &mut HeaderBuf) {
    let payload = bytes::Bytes::copy_from_slice(payload);
    polypath_wire::emit_headers(seg, core::slice::from_ref(&payload), ChecksumMode::Full, into);
}

/// Takes what was sent; the lengths of its payloads.
fn lengths(s: &mut Script) -> Vec<usize> {
    let packets = core::iter::from_fn(|| s.next_packet());
    packets.inspect(|p| assert_eq!(p.segment_size, None)).map(|p| p.payload.len()).collect()
}

// [9293-MUST-16]
#[test]
fn without_offload_no_packet_is_larger_than_a_segment() {
    let mut s = client_with_mss(500);
    s.write(0, 1_400);
    // 12 bytes are for timestamps.
    assert_eq!(lengths(&mut s), [488, 488, 424]);
}

// [9293-MUST-16]
#[test]
fn without_offload_what_is_sent_after_a_smaller_path_mtu_fits_it() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 2_000);
    let first = s.expect(data(1, MSS as usize));
    s.expect(data(1 + MSS, 2_000 - MSS as usize));
    let icmp = too_big(&first.seg, &first.payload, 1_000);
    s.act_on_stack(|stack, now| stack.handle_icmp(now, &icmp));
    // 948 bytes are left of 1,000: what was too large goes again, in two.
    assert_eq!(lengths(&mut s), [948, 500]);
    s.inject(ack(2_001));
    s.write(2_000, 1_400);
    assert_eq!(lengths(&mut s), [948, 452]);
    // A timeout takes nothing back.
    s.advance(ms(1_000));
    assert!(lengths(&mut s).iter().all(|len| *len <= 948));
}

// [9293-MUST-15]
#[test]
fn a_peer_that_names_no_segment_size_gets_the_default() {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.inject(Seg { mss: None, ..syn_ack() });
    s.expect(ack(1));
    s.write(0, 1_000);
    assert_eq!(lengths(&mut s), [524, 476]);

    let (local, remote) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let mut s = Script::new(&ScriptOptions { addresses: vec![local], ..ScriptOptions::default() });
    let remote = std::net::SocketAddr::new(remote, PEER_PORT);
    s.id = Some(s.stack.connect(s.now, remote, Default::default()).unwrap());
    s.drain();
    s.take_syn();
    s.inject(Seg { mss: None, ..syn_ack() });
    s.expect(ack(1));
    s.write(0, 2_000);
    assert_eq!(lengths(&mut s), [1_208, 792]);
}

// [9293-SHLD-27, 9293-MUST-61]
#[test]
fn the_last_segment_of_what_was_written_has_psh() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    // Two writes before the stack may send: one push.
    s.act(|c| {
        c.write(&stream(0, 2_000)).unwrap();
        c.write(&stream(2_000, 1_000)).unwrap();
    });
    let pushes: Vec<bool> = core::iter::from_fn(|| s.next_packet())
        .filter(|p| !p.payload.is_empty())
        .map(|p| p.seg.tcp.flags.contains(TcpFlags::PSH))
        .collect();
    assert_eq!(pushes, [false, false, true]);
}

// [9293-MUST-58, 9293-MUST-59]
#[test]
fn several_segments_between_two_polls_make_one_acknowledgement() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject_unanswered(data(1, 100));
    s.inject_unanswered(data(101, 100));
    s.inject_unanswered(data(201, 100));
    s.drain();
    s.expect(ack(301));
    s.expect_nothing();
    // Data of ours takes the acknowledgement along.
    s.inject_unanswered(data(301, 100));
    s.write(0, 50);
    s.expect(data(1, 50).ack(401));
    s.expect_nothing();
}
