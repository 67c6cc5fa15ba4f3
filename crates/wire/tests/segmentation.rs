//! Super-segments: split as a network card does, and put together again as GRO does.

use bytes::Bytes;
use polypath_wire::{
    ChecksumMode, Coalesced, Coalescer, HeaderBuf, IpHeader, Payload, Segment, SeqNum, TcpFlags, TcpHeader, TcpOptions,
    Timestamps, emit_headers, parse_headers, split, verify_checksum,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::segment;

const QUIET: TcpFlags = TcpFlags::ACK;

fn emitted(seg: &Segment, payload: &[Bytes], mode: ChecksumMode) -> HeaderBuf {
    let mut out = HeaderBuf::new();
    emit_headers(seg, payload, mode, &mut out);
    out
}

fn pieces() -> impl Strategy<Value = Vec<Bytes>> {
    vec(vec(any::<u8>(), 0..400).prop_map(Bytes::from), 0..6)
}

fn split_all(headers: &[u8], payload: &[Bytes], size: u16) -> Vec<(Vec<u8>, Payload)> {
    let mut segments = Vec::new();
    let count = split(headers, payload, size, ChecksumMode::Full, |headers, payload| {
        segments.push((headers.to_vec(), payload));
    });
    assert_eq!(count, segments.len());
    segments
}

fn coalesce_all(segments: &[(Vec<u8>, Payload)]) -> Vec<Coalesced> {
    let mut coalescer = Coalescer::new(ChecksumMode::Full);
    let mut packets: Vec<_> =
        segments.iter().filter_map(|(headers, payload)| coalescer.push(headers, payload.concat().into())).collect();
    packets.extend(coalescer.flush());
    assert_eq!(coalescer.flush(), None);
    packets
}

/// A plain segment of one flow.
fn plain(seq: u32, flags: TcpFlags) -> Segment {
    let addr = "192.0.2.1".parse().expect("an address");
    let timestamps = Some(Timestamps { val: 1, ecr: 2 });
    Segment {
        ip: IpHeader::new(addr, addr),
        tcp: TcpHeader { seq: SeqNum(seq), flags, window: 9, ..TcpHeader::default() },
        options: TcpOptions { timestamps, ..TcpOptions::default() },
    }
}

fn with_payload(seg: &Segment, len: usize) -> (Vec<u8>, Payload) {
    let payload = Payload::from_iter([Bytes::from(vec![7; len])]);
    (emitted(seg, &payload, ChecksumMode::Full).to_vec(), payload)
}

proptest! {
    #[test]
    fn every_piece_is_a_packet_of_its_own_with_the_same_options(
        seg in segment(), payload in pieces(), size in 1..600_u16,
    ) {
        let headers = emitted(&seg, &payload, ChecksumMode::Partial);
        let whole = payload.concat();
        let segments = split_all(&headers, &payload, size);
        let last = segments.len() - 1;
        let mut offset = 0;
        for (index, (headers, payload)) in segments.iter().enumerate() {
            let payload = payload.concat();
            let (piece, headers_len, payload_len) = parse_headers(headers).expect("a packet");
            prop_assert_eq!((headers_len, payload_len), (headers.len(), payload.len()));
            prop_assert!(verify_checksum(headers, &payload));
            prop_assert!(index == last || payload.len() == usize::from(size));
            prop_assert_eq!(&payload, &whole[offset..offset + payload.len()]);

            let mut flags = seg.tcp.flags;
            if index > 0 {
                flags.remove(TcpFlags::CWR);
            }
            if index < last {
                flags.remove(TcpFlags::FIN | TcpFlags::PSH);
            }
            let tcp = TcpHeader { seq: seg.tcp.seq.wrapping_add(offset as u32), flags, ..seg.tcp };
            prop_assert_eq!(piece, Segment { tcp, ..seg.clone() });
            offset += payload.len();
        }
        prop_assert_eq!(offset, whole.len());
    }

    #[test]
    fn coalescing_undoes_splitting(mut seg in segment(), payload in pieces(), size in 1..600_u16) {
        seg.tcp.flags.remove(TcpFlags::SYN | TcpFlags::RST | TcpFlags::URG);
        let headers = emitted(&seg, &payload, ChecksumMode::Full);
        let segments = split_all(&headers, &payload, size);
        let packets = coalesce_all(&segments);
        prop_assert_eq!(packets.len(), 1);
        prop_assert_eq!(&packets[0].headers[..], &headers[..], "lengths, flags and checksums too");
        prop_assert_eq!(packets[0].payload.concat(), payload.concat());
        prop_assert_eq!(packets[0].segment_size, (segments.len() > 1).then_some(size));
    }

    #[test]
    fn nothing_is_lost_or_reordered_whatever_comes(
        segments in vec((0..4_u32, 0..3_usize, prop::sample::select(vec![0x10_u8, 0x18, 0x11, 0x14, 0x90])), 0..20),
    ) {
        let mut next = 0;
        let segments: Vec<_> = segments
            .into_iter()
            .map(|(gap, len, flags)| {
                // Mostly in sequence, so that much can be merged.
                let seq = next + gap / 3;
                next = seq + 100 * len as u32;
                with_payload(&plain(seq, TcpFlags::from_bits_retain(flags)), 100 * len)
            })
            .collect();
        let mut again = Vec::new();
        for packet in coalesce_all(&segments) {
            prop_assert!(verify_checksum(&packet.headers, &packet.payload.concat()));
            again.extend(split_all(&packet.headers, &packet.payload, packet.segment_size.unwrap_or(0)));
        }
        let flat = |segments: &[(Vec<u8>, Payload)]| -> Vec<_> {
            segments.iter().map(|(headers, payload)| (headers.clone(), payload.concat())).collect()
        };
        prop_assert_eq!(flat(&again), flat(&segments));
    }
}

#[test]
fn without_a_segment_size_nothing_is_split() {
    let payload = [Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 5000])];
    let headers = emitted(&plain(1, QUIET), &payload, ChecksumMode::Full);
    for size in [0, 10_000, 65_535] {
        let segments = split_all(&headers, &payload, size);
        assert_eq!(segments, [(headers.to_vec(), Payload::from_iter(payload.clone()))]);
    }
}

#[test]
fn a_segment_without_payload_is_one_segment() {
    let headers = emitted(&plain(1, QUIET | TcpFlags::FIN), &[], ChecksumMode::Full);
    assert_eq!(split_all(&headers, &[], 1000), [(headers.to_vec(), Payload::new())]);
}

#[test]
fn pieces_share_the_memory_of_the_payload() {
    let payload = [Bytes::from(vec![1; 3000])];
    let headers = emitted(&plain(1, QUIET), &payload, ChecksumMode::Full);
    let segments = split_all(&headers, &payload, 1000);
    assert_eq!(segments[1].1[0].as_ptr(), payload[0][1000..].as_ptr());
}

#[test]
fn a_super_segment_may_be_longer_than_its_length_field_says() {
    let payload = [Bytes::from(vec![1; 100_000])];
    let headers = emitted(&plain(u32::MAX, QUIET), &[], ChecksumMode::Full);
    let segments = split_all(&headers, &payload, 1400);
    assert_eq!(segments.len(), 72);
    assert_eq!(split_all(&headers, &payload, 0), [], "but no single segment may");
}

#[test]
fn checksums_of_pieces_are_left_to_the_device_if_asked() {
    let payload = [Bytes::from(vec![1; 3000])];
    let seg = plain(1, QUIET);
    let headers = emitted(&seg, &payload, ChecksumMode::Full);
    split(&headers, &payload, 2000, ChecksumMode::Partial, |headers, payload| {
        let tcp_len = 32 + payload[0].len() as u32;
        let pseudo = polypath_wire::pseudo_header(seg.ip.src, seg.ip.dst, tcp_len);
        assert_eq!(headers[36..38], pseudo.fold().to_be_bytes());
    });
}

#[test]
fn ipv4_identification_counts_up_unless_df_is_set() {
    let payload = [Bytes::from(vec![1; 300])];
    let mut headers = emitted(&plain(1, QUIET), &payload, ChecksumMode::Full);
    let ids = |headers: &[u8]| -> Vec<_> {
        let segments = split_all(headers, &payload, 100);
        segments.iter().map(|(headers, _)| [headers[4], headers[5]]).collect()
    };
    headers[4..6].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(ids(&headers), [[0xff, 0xff]; 3]);
    headers[6] = 0;
    assert_eq!(ids(&headers), [[0xff, 0xff], [0, 0], [0, 1]]);
}

/// How many packets come out of two segments of 100 bytes in sequence, the second one changed.
fn packets_after(change: impl Fn(&mut Segment)) -> usize {
    let mut second = plain(101, QUIET);
    change(&mut second);
    coalesce_all(&[with_payload(&plain(1, QUIET), 100), with_payload(&second, 100)]).len()
}

#[test]
fn only_what_belongs_together_is_merged() {
    assert_eq!(packets_after(|_| {}), 1);
    assert_eq!(packets_after(|s| s.tcp.flags |= TcpFlags::PSH), 1);
    assert_eq!(packets_after(|s| s.tcp.flags |= TcpFlags::FIN), 1);
    let others: [&dyn Fn(&mut Segment); 16] = [
        &|s| s.tcp.seq = SeqNum(100),
        &|s| s.tcp.seq = SeqNum(102),
        &|s| s.tcp.ack = SeqNum(1),
        &|s| s.tcp.window = 8,
        &|s| s.tcp.urgent = 1,
        &|s| s.tcp.src_port = 1,
        &|s| s.tcp.dst_port = 1,
        &|s| s.tcp.flags |= TcpFlags::CWR,
        &|s| s.tcp.flags |= TcpFlags::ECE,
        &|s| s.tcp.flags |= TcpFlags::RST,
        &|s| s.options.timestamps = Some(Timestamps { val: 3, ecr: 2 }),
        &|s| s.options.timestamps = None,
        &|s| s.ip.src = "192.0.2.2".parse().expect("an address"),
        &|s| s.ip.hop_limit = 1,
        &|s| s.ip.ecn = polypath_wire::Ecn::Ce,
        &|s| {
            s.ip.src = "::1".parse().expect("an address");
            s.ip.dst = s.ip.src;
        },
    ];
    for (number, change) in others.into_iter().enumerate() {
        assert_eq!(packets_after(change), 2, "change {number}");
    }
}

#[test]
fn a_cwr_may_be_on_the_first_segment_only() {
    let cwr = QUIET | TcpFlags::CWR;
    let packets = |first, second| {
        let segments = [with_payload(&plain(1, first), 100), with_payload(&plain(101, second), 100)];
        coalesce_all(&segments).len()
    };
    assert_eq!(packets(cwr, QUIET), 1);
    assert_eq!(packets(cwr, cwr), 2);
    assert_eq!(packets(QUIET, cwr), 2);
}

#[test]
fn a_push_or_a_short_segment_ends_the_packet() {
    let push = TcpFlags::PSH | QUIET;
    let three = |first, second, middle| {
        let segments = [
            with_payload(&plain(1, first), 100),
            with_payload(&plain(101, second), middle),
            with_payload(&plain(101 + middle as u32, QUIET), 50),
        ];
        let packets = coalesce_all(&segments);
        packets.iter().map(|packet| packet.payload.len()).collect::<Vec<_>>()
    };
    assert_eq!(three(QUIET, QUIET, 100), [3]);
    assert_eq!(three(push, QUIET, 100), [1, 2]);
    assert_eq!(three(QUIET, push, 100), [2, 1]);
    assert_eq!(three(QUIET, QUIET, 99), [2, 1]);
    assert_eq!(three(QUIET, QUIET, 101), [1, 2]);
}

#[test]
fn merged_packets_stay_within_the_length_field() {
    let segments: Vec<_> = (0..100).map(|i| with_payload(&plain(1 + 1000 * i, QUIET), 1000)).collect();
    let packets = coalesce_all(&segments);
    assert_eq!(packets.iter().map(|p| p.payload.len()).collect::<Vec<_>>(), [65, 35]);
    assert_eq!(packets[0].segment_size, Some(1000));
}

#[test]
fn pure_acks_are_never_merged() {
    let ack = with_payload(&plain(1, QUIET), 0);
    assert_eq!(coalesce_all(&[ack.clone(), ack.clone(), ack]).len(), 3);
}

#[test]
fn what_is_no_packet_passes_through() {
    let mut coalescer = Coalescer::new(ChecksumMode::Full);
    assert_eq!(coalescer.push(b"nonsense", Bytes::from_static(b"x")), None);
    let out = coalescer.push(&with_payload(&plain(1, QUIET), 1).0, Bytes::from_static(b"y"));
    let out = out.expect("the nonsense");
    assert_eq!((&out.headers[..], &out.payload[0][..]), (&b"nonsense"[..], &b"x"[..]));
}
