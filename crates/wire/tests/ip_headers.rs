//! What is skipped in an IP header, and what is refused.

use polypath_wire::{
    ChecksumMode, Ecn, HeaderBuf, IpHeader, ParseError, Segment, SeqNum, TcpFlags, TcpHeader, TcpOptions, emit_headers,
    header_len, parse_headers, verify_checksum,
};

fn segment(addr: &str) -> Segment {
    let addr = addr.parse().expect("an address");
    Segment {
        ip: IpHeader { hop_limit: 17, ecn: Ecn::Ect0, dscp: 0x2e, ..IpHeader::new(addr, addr) },
        tcp: TcpHeader { src_port: 1, dst_port: 2, flags: TcpFlags::ACK, ..TcpHeader::default() },
        options: TcpOptions::default(),
    }
}

fn emitted(addr: &str) -> Vec<u8> {
    let mut out = HeaderBuf::new();
    emit_headers(&segment(addr), &[], ChecksumMode::Full, &mut out);
    out.to_vec()
}

fn v4() -> Vec<u8> {
    emitted("192.0.2.1")
}

fn v6() -> Vec<u8> {
    emitted("2001:db8::1")
}

fn fix_ipv4_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let mut sum = polypath_wire::Checksum::new();
    sum.add_bytes(&packet[..usize::from(packet[0] & 0xf) * 4]);
    packet[10..12].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Puts an IPv6 extension header between the IPv6 and the TCP header.
fn with_extension(kind: u8, body: [u8; 7], words: usize) -> Vec<u8> {
    let mut packet = v6();
    let mut extension = vec![packet[6]];
    extension.extend(body);
    extension.resize(8 + 8 * words, 0);
    extension[1] = words as u8;
    packet[6] = kind;
    packet[5] += extension.len() as u8;
    packet.splice(40..40, extension);
    packet
}

// [8899-3-2]
#[test]
fn ipv4_as_emitted() {
    let bytes = v4();
    assert_eq!(bytes[..2], [0x45, 0x2e << 2 | 0b10]);
    assert_eq!(bytes[2..4], [0, 40], "total length");
    assert_eq!(bytes[4..8], [0, 0, 0x40, 0], "no identification, DF");
    assert_eq!(bytes[8..10], [17, 6]);
    assert_eq!(bytes[12..20], [192, 0, 2, 1, 192, 0, 2, 1]);
}

#[test]
fn ipv6_as_emitted() {
    let bytes = v6();
    // Version 6, traffic class 0xba across two bytes, flow label 0.
    assert_eq!(bytes[..4], [0x6b, 0xa0, 0, 0]);
    assert_eq!(bytes[4..8], [0, 20, 6, 17]);
}

#[test]
fn ecn_codepoints() {
    for (bits, ecn) in [(0, Ecn::NotEct), (1, Ecn::Ect1), (2, Ecn::Ect0), (3, Ecn::Ce)] {
        assert_eq!(Ecn::from_bits(bits | 0xfc), ecn);
        assert_eq!(ecn.bits(), bits);
    }
}

// [9293-MUST-50]
#[test]
fn ipv4_options_are_skipped() {
    let mut packet = v4();
    packet.splice(20..20, [1; 8]);
    packet[0] = 0x47;
    packet[3] += 8;
    fix_ipv4_checksum(&mut packet);
    assert_eq!(parse_headers(&packet), Ok((segment("192.0.2.1"), 48, 0)));
    assert!(verify_checksum(&packet, b""));
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    for kind in [0, 43, 60] {
        for words in [0, 1, 5] {
            let packet = with_extension(kind, [0; 7], words);
            let expected = (segment("2001:db8::1"), 68 + 8 * words, 0);
            assert_eq!(parse_headers(&packet), Ok(expected), "kind {kind}, {words} words more");
            assert!(verify_checksum(&packet, b""));
        }
    }
}

#[test]
fn a_chain_of_extension_headers_is_followed() {
    let mut packet = with_extension(60, [0; 7], 0);
    packet.splice(40..40, [60, 0, 0, 0, 0, 0, 0, 0]);
    packet[6] = 0;
    packet[5] += 8;
    assert_eq!(header_len(&packet), Ok(76));
    assert!(parse_headers(&packet).is_ok());
}

#[test]
fn a_packet_that_is_to_travel_on_is_refused() {
    let packet = with_extension(43, [0, 0, 2, 0, 0, 0, 0], 0);
    assert_eq!(parse_headers(&packet), Err(ParseError::SegmentsLeft(2)));
}

#[test]
fn fragments_are_refused() {
    for fragment in [[0x20, 0], [0, 1], [0x3f, 0xff]] {
        let mut packet = v4();
        packet[6..8].copy_from_slice(&fragment);
        fix_ipv4_checksum(&mut packet);
        assert_eq!(parse_headers(&packet), Err(ParseError::Fragment));
    }
    assert_eq!(parse_headers(&with_extension(44, [0; 7], 0)), Err(ParseError::Fragment));
}

#[test]
fn without_df_a_whole_datagram_is_fine() {
    let mut packet = v4();
    packet[6] = 0;
    fix_ipv4_checksum(&mut packet);
    assert!(parse_headers(&packet).is_ok());
}

#[test]
fn other_protocols_are_refused() {
    let mut packet = v4();
    packet[9] = 17;
    fix_ipv4_checksum(&mut packet);
    assert_eq!(parse_headers(&packet), Err(ParseError::NotTcp(17)));
    assert_eq!(parse_headers(&with_extension(59, [0; 7], 0)), Err(ParseError::NotTcp(59)));
    assert_eq!(parse_headers(&[0x55; 60]), Err(ParseError::IpVersion(5)));
}

#[test]
fn a_wrong_ipv4_checksum_is_refused() {
    // Bytes whose change is not noticed for another reason first.
    for at in [1, 2, 3, 4, 5, 8, 10, 11, 12, 19] {
        let mut packet = v4();
        packet[at] ^= 0x04;
        assert_eq!(parse_headers(&packet), Err(ParseError::Ipv4Checksum), "byte {at}");
    }
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let mut packet = v4();
    packet[3] = 39;
    fix_ipv4_checksum(&mut packet);
    assert_eq!(parse_headers(&packet), Err(ParseError::TotalLength { total: 39, headers: 40 }));
    let mut packet = v6();
    packet[5] = 0;
    assert_eq!(parse_headers(&packet), Err(ParseError::TotalLength { total: 40, headers: 60 }));
    let mut packet = v4();
    packet[0] = 0x44;
    assert_eq!(parse_headers(&packet), Err(ParseError::Ipv4HeaderLength(4)));
    let mut packet = v4();
    packet[32] = 0x40;
    assert_eq!(parse_headers(&packet), Err(ParseError::DataOffset(4)));
}

#[test]
fn errors_say_what_is_wrong() {
    let error = parse_headers(&v4()[..30]).expect_err("cut");
    assert_eq!(error.to_string(), "the packet ends inside its TCP header: 30 bytes where at least 40 are needed");
}

#[test]
#[should_panic(expected = "addresses of two families")]
fn two_families_in_one_header_are_a_bug() {
    let mut seg = segment("192.0.2.1");
    seg.ip.dst = "::1".parse().expect("an address");
    seg.tcp.seq = SeqNum(1);
    emit_headers(&seg, &[], ChecksumMode::Full, &mut HeaderBuf::new());
}
