//! Bytes as options, as a whole packet, and as an ICMP error: what is read is read the same way again.

use bytes::Bytes;
use polypath_wire::{
    ChecksumMode, Coalescer, HeaderBuf, IcmpError, IpHeader, MAX_OPTIONS_LEN, Segment, TcpHeader, TcpOptions,
    emit_headers, header_len, parse_headers, split, verify_checksum,
};
use std::net::Ipv4Addr;

/// The first byte says what the others are.
pub fn options(data: &[u8]) {
    let Some((what, bytes)) = data.split_first() else { return };
    match what % 4 {
        0 | 1 => read_options(bytes),
        2 => read_packet(bytes, u16::from(*what)),
        _ => drop(IcmpError::parse(bytes)),
    }
}

/// Parse, emit, parse: the same values, in the room there is.
fn read_options(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_OPTIONS_LEN)];
    let options = TcpOptions::parse(bytes);
    let mut out = [0; MAX_OPTIONS_LEN];
    let len = options.emit(&mut out);
    assert_eq!(len, options.emitted_len());
    assert!(len <= MAX_OPTIONS_LEN, "{options:?} takes {len} bytes, and came in {}", bytes.len());
    assert_eq!(options, TcpOptions::parse(&out[..len]));
    let (src, dst) = (Ipv4Addr::new(10, 1, 0, 2).into(), Ipv4Addr::new(10, 9, 0, 1).into());
    let seg = Segment { ip: IpHeader::new(src, dst), tcp: TcpHeader::default(), options };
    let mut headers = HeaderBuf::new();
    emit_headers(&seg, &[], ChecksumMode::Full, &mut headers);
    assert_eq!(parse_headers(&headers), Ok((seg, headers.len(), 0)));
}

/// A whole packet, its headers cut up and merged as offload does.
fn read_packet(bytes: &[u8], segment_size: u16) {
    let Ok((seg, headers, payload_len)) = parse_headers(bytes) else {
        return;
    };
    assert_eq!(header_len(bytes), Ok(headers));
    // Options that came tightly packed take more room when they leave, and a packet has at most 65,535 bytes.
    let payload_len = payload_len.min(65_000);
    let payload = [Bytes::from(vec![7; payload_len])];
    let mut out = HeaderBuf::new();
    emit_headers(&seg, &payload, ChecksumMode::Full, &mut out);
    assert_eq!(parse_headers(&out), Ok((seg, out.len(), payload_len)));
    assert!(verify_checksum(&out, &payload[0]));
    let mut coalescer = Coalescer::new(ChecksumMode::Full);
    let mut total = 0;
    split(&bytes[..headers], &payload, segment_size, ChecksumMode::Full, |headers, piece| {
        let piece = piece.concat();
        assert!(verify_checksum(headers, &piece));
        total += piece.len();
        coalescer.push(headers, piece.into());
    });
    assert_eq!(total, payload_len);
    coalescer.flush();
}
