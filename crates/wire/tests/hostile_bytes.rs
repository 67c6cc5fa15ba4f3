//! No bytes from the network make anything panic, and what can be read is read the same way twice.

use bytes::Bytes;
use polypath_wire::{
    ChecksumMode, Coalescer, HeaderBuf, emit_headers, header_len, parse_headers, split, verify_checksum,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::segment;

/// Feeds bytes to all that takes bytes.
fn exercise(bytes: &[u8], segment_size: u16) -> Result<(), TestCaseError> {
    let len = header_len(bytes);
    let parsed = parse_headers(bytes);
    if let Ok((seg, headers, payload_len)) = &parsed {
        prop_assert_eq!(len, Ok(*headers));
        prop_assert!(*headers <= bytes.len());
        let payload = [Bytes::from(vec![0; *payload_len])];
        let mut out = HeaderBuf::new();
        // IPv6 extension headers and IPv4 options are not emitted again, so the packet is no longer.
        emit_headers(seg, &payload, ChecksumMode::Full, &mut out);
        prop_assert_eq!(parse_headers(&out), Ok((seg.clone(), out.len(), *payload_len)));
        prop_assert!(verify_checksum(&out, &payload[0]));
    }
    // Whatever it says, it says it without a panic.
    let _ = verify_checksum(bytes, b"payload");
    let payload = [Bytes::from_static(b"some"), Bytes::new(), Bytes::from_static(b" payload")];
    let mut coalescer = Coalescer::new(ChecksumMode::Full);
    let mut total = 0;
    let count = split(bytes, &payload, segment_size, ChecksumMode::Full, |headers, payload| {
        total += payload.iter().map(Bytes::len).sum::<usize>();
        assert!(verify_checksum(headers, &payload.concat()));
        coalescer.push(headers, payload.concat().into());
    });
    prop_assert_eq!(count > 0, len.is_ok());
    prop_assert_eq!(total, if count > 0 { 12 } else { 0 });
    coalescer.push(bytes, payload[0].clone());
    coalescer.push(bytes, payload[0].clone());
    prop_assert!(coalescer.flush().is_some());
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200), segment_size in 0..20_u16) {
        exercise(&bytes, segment_size)?;
    }

    // [9293-MUST-7]
    #[test]
    fn arbitrary_bytes_that_begin_like_a_packet(
        mut bytes in vec(any::<u8>(), 1..200), v6: bool, next in prop::sample::select(vec![0_u8, 6, 43, 44, 60]),
    ) {
        bytes[0] = if v6 { 0x60 } else { 0x45 };
        if let Some(protocol) = bytes.get_mut(if v6 { 6 } else { 9 }) {
            *protocol = next;
        }
        exercise(&bytes, 5)?;
    }

    #[test]
    fn packets_with_a_few_bytes_changed(
        seg in segment(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
        segment_size in 0..20_u16,
    ) {
        let mut headers = HeaderBuf::new();
        emit_headers(&seg, &[Bytes::from_static(b"data")], ChecksumMode::Full, &mut headers);
        let mut packet = [&headers[..], b"data"].concat();
        for (at, value) in changes {
            // Behind the IPv4 header, which its checksum protects.
            let at = 20 + at.index(packet.len() - 20);
            packet[at] = value;
        }
        exercise(&packet, segment_size)?;
        exercise(&packet[..cut.index(packet.len())], segment_size)?;
    }
}
