//! IP, TCP and options together: emitted, read back, with checksums.

use bytes::Bytes;
use polypath_wire::{
    ChecksumMode, HeaderBuf, ParseError, Segment, emit_headers, header_len, parse_headers, pseudo_header,
    verify_checksum,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::segment;

fn emitted(seg: &Segment, payload: &[Bytes], mode: ChecksumMode) -> HeaderBuf {
    let mut out = HeaderBuf::new();
    emit_headers(seg, payload, mode, &mut out);
    out
}

fn pieces() -> impl Strategy<Value = Vec<Bytes>> {
    vec(vec(any::<u8>(), 0..50).prop_map(Bytes::from), 0..5)
}

fn tcp_checksum(headers: &[u8], ip_len: usize) -> u16 {
    u16::from_be_bytes([headers[ip_len + 16], headers[ip_len + 17]])
}

proptest! {
    // [9293-MUST-1, 9293-MUST-5]
    #[test]
    fn what_is_emitted_is_read_back(seg in segment(), payload in pieces()) {
        let headers = emitted(&seg, &payload, ChecksumMode::Full);
        let payload = payload.concat();
        let expected = (seg, headers.len(), payload.len());
        prop_assert_eq!(parse_headers(&headers), Ok(expected.clone()), "headers alone");
        let packet = [&headers[..], &payload].concat();
        prop_assert_eq!(parse_headers(&packet), Ok(expected.clone()), "the whole packet");
        let padded = [&packet[..], &[0; 9]].concat();
        prop_assert_eq!(parse_headers(&padded), Ok(expected), "with padding of the link");
        prop_assert_eq!(header_len(&packet), Ok(headers.len()));
    }

    // [9293-MUST-2]
    #[test]
    fn the_full_checksum_is_right_and_notices_any_changed_bit(
        seg in segment(), payload in pieces(), at: prop::sample::Index, bit in 0..8,
    ) {
        let headers = emitted(&seg, &payload, ChecksumMode::Full);
        let payload = payload.concat();
        prop_assert!(verify_checksum(&headers, &payload));
        let ip_len = seg.ip.emitted_len();
        let mut packet = [&headers[..], &payload].concat();
        // Not the data offset: another header length is another header.
        let at = ip_len + at.index(packet.len() - ip_len);
        prop_assume!(at != ip_len + 12);
        packet[at] ^= 1_u8 << bit;
        prop_assert!(!verify_checksum(&packet[..headers.len()], &packet[headers.len()..]));
    }

    #[test]
    fn a_device_completes_the_partial_checksum(seg in segment(), payload in pieces()) {
        let mut headers = emitted(&seg, &payload, ChecksumMode::Partial);
        let ip_len = seg.ip.emitted_len();
        let payload = payload.concat();
        let tcp_len = headers.len() - ip_len + payload.len();
        let pseudo = pseudo_header(seg.ip.src, seg.ip.dst, tcp_len as u32);
        prop_assert_eq!(tcp_checksum(&headers, ip_len), pseudo.fold());
        // What the device does: sum from the TCP header on, the field included, and put the complement in.
        let mut sum = polypath_wire::Checksum::new();
        sum.add_bytes(&headers[ip_len..]);
        sum.add_bytes(&payload);
        headers[ip_len + 16..][..2].copy_from_slice(&sum.finish().to_be_bytes());
        prop_assert!(verify_checksum(&headers, &payload));
    }

    #[test]
    fn a_cut_header_is_refused_at_every_length(seg in segment()) {
        let headers = emitted(&seg, &[], ChecksumMode::Zero);
        for len in 0..headers.len() {
            let error = parse_headers(&headers[..len]);
            let truncated = matches!(error, Err(ParseError::Truncated { have, .. }) if have == len);
            prop_assert!(truncated, "{error:?} at {len}");
            prop_assert!(header_len(&headers[..len]).is_err());
        }
    }
}

proptest! {
    #[test]
    fn checksum_zero_leaves_the_field_alone(seg in segment()) {
        let headers = emitted(&seg, &[Bytes::from_static(b"x")], ChecksumMode::Zero);
        prop_assert_eq!(tcp_checksum(&headers, seg.ip.emitted_len()), 0);
        prop_assert!(parse_headers(&headers).is_ok());
    }
}

#[test]
fn the_longest_packets_fit_and_longer_ones_do_not() {
    for (ip, most) in [("10.0.0.1", 65_535 - 40), ("fd00::1", 65_535 - 20)] {
        let addr = ip.parse().expect("an address");
        let seg = Segment {
            ip: polypath_wire::IpHeader::new(addr, addr),
            tcp: Default::default(),
            options: Default::default(),
        };
        let payload = [Bytes::from(vec![1; most])];
        let headers = emitted(&seg, &payload, ChecksumMode::Full);
        assert_eq!(parse_headers(&headers).map(|(_, _, len)| len), Ok(most));
        assert!(verify_checksum(&headers, &payload[0]));
        let too_long = [Bytes::from(vec![1; most + 1])];
        let result = std::panic::catch_unwind(|| emitted(&seg, &too_long, ChecksumMode::Zero));
        assert!(result.is_err(), "a bug of the caller is not sent");
    }
}

#[test]
fn an_old_header_leaves_no_trace_in_the_buffer() {
    let long = "fd00::1".parse().expect("an address");
    let short = "10.0.0.1".parse().expect("an address");
    let seg = |addr| Segment {
        ip: polypath_wire::IpHeader::new(addr, addr),
        tcp: Default::default(),
        options: Default::default(),
    };
    let mut out = HeaderBuf::new();
    emit_headers(&seg(long), &[], ChecksumMode::Full, &mut out);
    emit_headers(&seg(short), &[], ChecksumMode::Full, &mut out);
    assert_eq!(out, emitted(&seg(short), &[], ChecksumMode::Full));
}
