//! The device against the kernel: what we write is what it takes, and the other way round.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use polypath_wire::{
    ChecksumMode, Ecn, HeaderBuf, IpHeader, Segment, SeqNum, TcpFlags, TcpHeader, TcpOptions, Timestamps, emit_headers,
    parse_headers, verify_checksum,
};

use super::*;
use crate::poller::Poller;
use crate::testing::{in_namespace, ip, run, wait_until_gone};

/// Payload of a full packet with timestamps at MTU 1,500.
const fn mss(v6: bool) -> usize {
    if v6 { 1428 } else { 1448 }
}

const LONG: Option<Duration> = Some(Duration::from_secs(5));

/// Two devices with the kernel forwarding from one to the other.
struct Pair {
    from: Tun,
    to: Tun,
    to_poller: Poller,
}

impl Pair {
    fn new(v6: bool) -> Self {
        Self::with(v6, None, Offload::Segmentation)
    }

    /// With a bound on what is under way, and with what the receiving end leaves to the kernel.
    fn with(v6: bool, send_buffer: Option<u32>, receiving: Offload) -> Self {
        let from = Tun::open("a%d", send_buffer, Offload::Segmentation).unwrap();
        let to = Tun::open("b%d", None, receiving).unwrap();
        for (tun, number) in [(&from, 1), (&to, 2)] {
            let mut interface = Interface::find(tun.name()).unwrap();
            interface.bring_up(1500).unwrap();
            interface.add_route(address(v6, number)).unwrap();
        }
        run("sysctl", "-qw net.ipv4.ip_forward=1");
        run("sysctl", "-qw net.ipv6.conf.all.forwarding=1");
        let to_poller = Poller::new(&to).unwrap();
        Self { from, to, to_poller }
    }

    /// The next packet that arrives, with its virtio header.
    fn read(&self) -> (VirtioNetHdr, Vec<u8>) {
        loop {
            let mut buf = vec![0; READ_LEN];
            match self.to.read(&mut buf) {
                Ok(len) => {
                    let packet = buf[VIRTIO_NET_HDR_LEN..len].to_vec();
                    // The kernel has things of its own to say on an IPv6 interface.
                    if polypath_wire::header_len(&packet).is_ok() {
                        return (VirtioNetHdr::decode(&buf).unwrap(), packet);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.to_poller.wait(LONG).unwrap();
                    assert!(ready.readable, "nothing arrives");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Waits until `tun` takes packets again, reading what the kernel says on it meanwhile.
fn wait_for_room(tun: &Tun, poller: &Poller) {
    poller.want_write(tun, true).unwrap();
    loop {
        let ready = poller.wait(LONG).unwrap();
        if ready.writable {
            return poller.want_write(tun, false).unwrap();
        }
        assert!(ready.readable, "never room again");
        while tun.read(&mut vec![0; READ_LEN]).is_ok() {}
    }
}

fn address(v6: bool, number: u8) -> std::net::IpAddr {
    if v6 { [0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()].into() } else { [10, 1, 0, number].into() }
}

fn segment(v6: bool, seq: u32) -> Segment {
    Segment {
        ip: IpHeader { src: address(v6, 1), dst: address(v6, 2), hop_limit: 64, ecn: Ecn::Ect0, dscp: 0 },
        tcp: TcpHeader {
            src_port: 1000,
            dst_port: 2000,
            seq: SeqNum(seq),
            ack: SeqNum(7),
            flags: TcpFlags::ACK | TcpFlags::PSH,
            window: 500,
            urgent: 0,
        },
        options: TcpOptions { timestamps: Some(Timestamps { val: 1, ecr: 2 }), ..TcpOptions::default() },
    }
}

/// Payload in uneven pieces, none of them repeating.
fn payload(len: usize) -> Vec<Bytes> {
    let all: Bytes = (0..len).map(|at| (at * 31 + at / 251) as u8).collect();
    let cut = len / 3;
    vec![all.slice(..cut), all.slice(cut..cut + 1), all.slice(cut + 1..)]
}

fn headers(segment: &Segment, payload: &[Bytes]) -> HeaderBuf {
    let mut headers = HeaderBuf::new();
    emit_headers(segment, payload, ChecksumMode::Partial, &mut headers);
    headers
}

#[test]
fn a_super_packet_crosses_the_kernel_whole() {
    for v6 in [false, true] {
        in_namespace(move || {
            let (pair, mss) = (Pair::new(v6), mss(v6));
            // The longest there is: 65,535 with the headers in IPv4, without the IP header in IPv6.
            let headers_len = headers(&segment(v6, 1), &[]).len();
            let payload = payload(MAX_PACKET - headers_len);
            let headers = headers(&segment(v6, 1), &payload);
            pair.from.write(&headers, &payload, Some(mss as u16)).unwrap();
            let (virtio, packet) = pair.read();
            assert!(virtio.is_super_packet() && virtio.checksum_is_good());
            assert_eq!(usize::from(virtio.gso_size), mss);
            assert_eq!(packet.len(), MAX_PACKET);
            assert_eq!(packet[headers.len()..], payload.concat());
        });
    }
}

// [3168-6.1.2-2]
#[test]
fn the_kernel_cuts_a_super_packet_into_the_segments_meant() {
    for v6 in [false, true] {
        in_namespace(move || {
            let (pair, mss) = (Pair::with(v6, None, Offload::None), mss(v6));
            let payload = payload(10 * mss + 17);
            let mut reduced = segment(v6, 5_000);
            reduced.tcp.flags |= TcpFlags::CWR;
            let headers = headers(&reduced, &payload);
            pair.from.write(&headers, &payload, Some(mss as u16)).unwrap();
            let mut arrived = Vec::new();
            while arrived.len() < 10 * mss + 17 {
                let (virtio, packet) = pair.read();
                assert!(!virtio.is_super_packet());
                let (cut, header_len, payload_len) = parse_headers(&packet).unwrap();
                let (headers, payload) = packet.split_at(header_len);
                assert_eq!(payload.len(), payload_len);
                assert!(verify_checksum(headers, payload), "the kernel's sum is right");
                let mut expected = segment(v6, 5_000 + arrived.len() as u32);
                let last = payload.len() == 17;
                expected.tcp.flags.set(TcpFlags::PSH, last);
                expected.tcp.flags.set(TcpFlags::CWR, arrived.is_empty());
                expected.ip.hop_limit = 63;
                assert_eq!(cut, expected);
                assert!(last || payload.len() == mss);
                arrived.extend_from_slice(payload);
            }
            assert_eq!(arrived, payload.concat());
        });
    }
}

#[test]
fn a_single_segment_and_a_pure_ack_cross_the_kernel() {
    for v6 in [false, true] {
        in_namespace(move || {
            let (pair, mss) = (Pair::new(v6), mss(v6));
            for len in [0, 1, mss] {
                let payload = payload(len.max(1)).concat()[..len].to_vec();
                let payload = [Bytes::from(payload)];
                let headers = headers(&segment(v6, 1), &payload);
                pair.from.write(&headers, &payload, Some(mss as u16)).unwrap();
                let (virtio, packet) = pair.read();
                assert!(!virtio.is_super_packet() && virtio.checksum_is_good());
                assert_eq!(packet[headers.len()..], payload[0]);
            }
        });
    }
}

#[test]
fn more_pieces_than_one_system_call_takes_are_one_packet() {
    in_namespace(|| {
        let (pair, mss) = (Pair::new(false), mss(false));
        let whole = payload(5_000).concat();
        let pieces: Vec<Bytes> = whole.chunks(2).map(Bytes::copy_from_slice).collect();
        let headers = headers(&segment(false, 1), &pieces);
        pair.from.write(&headers, &pieces, Some(mss as u16)).unwrap();
        let (_, packet) = pair.read();
        assert_eq!(packet[headers.len()..], whole);
    });
}

#[test]
fn a_full_device_says_so_and_says_when_there_is_room() {
    in_namespace(|| {
        let (pair, mss) = (Pair::with(false, Some(100_000), Offload::Segmentation), mss(false));
        // Redirection, unlike forwarding, leaves the packets charged to our device while they
        // queue for a slow link.
        let (a, b) = (pair.from.name(), pair.to.name());
        run("tc", &format!("qdisc add dev {b} root tbf rate 100mbit burst 70000 limit 9000000"));
        run("tc", &format!("qdisc add dev {a} ingress"));
        run(
            "tc",
            &format!(
                "filter add dev {a} parent ffff: protocol ip u32 match u32 0 0 \
                 action mirred egress redirect dev {b}"
            ),
        );
        let poller = Poller::new(&pair.from).unwrap();
        let payload = payload(20 * mss);
        let mut refused = 0;
        for number in 0..100 {
            let headers = headers(&segment(false, number), &payload);
            while let Err(error) = pair.from.write(&headers, &payload, Some(mss as u16)) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
                wait_for_room(&pair.from, &poller);
            }
        }
        assert!(refused > 5, "refused {refused} times");
        for number in 0..100 {
            let (_, packet) = pair.read();
            let (got, ..) = parse_headers(&packet).unwrap();
            assert_eq!(got.tcp.seq, SeqNum(number), "lost or out of order");
        }
    });
}

#[test]
fn the_interface_is_set_up_and_goes_with_the_device() {
    in_namespace(|| {
        let tun = Tun::open("pp7", None, Offload::Segmentation).unwrap();
        assert_eq!((tun.name(), tun.offload()), ("pp7", Offload::Segmentation));
        let mut interface = Interface::find("pp7").unwrap();
        interface.bring_up(1400).unwrap();
        interface.add_route(address(false, 2)).unwrap();
        interface.add_route(address(true, 2)).unwrap();

        let link = ip("-d link show pp7");
        for expected in ["UP", "mtu 1400", "qlen 2000", "addrgenmode none", "vnet_hdr on"] {
            assert!(link.contains(expected), "no `{expected}` in: {link}");
        }
        assert!(ip("route").contains("10.1.0.2 dev pp7"));
        assert!(ip("-6 route").contains("2001:db8:1::2 dev pp7"));
        let again = interface.add_route(address(false, 2)).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);

        interface.remove_route(address(false, 2)).unwrap();
        assert!(!ip("route").contains("10.1.0.2"));
        interface.remove_route(address(false, 2)).unwrap_err();
        drop(tun);
        wait_until_gone("pp7");
        assert!(!ip("-6 route").contains("2001:db8:1::2"));
    });
}

#[test]
fn a_name_that_is_taken_or_none_is_an_error_that_says_so() {
    in_namespace(|| {
        let _first = Tun::open("pp7", None, Offload::Segmentation).unwrap();
        let busy = Tun::open("pp7", None, Offload::Segmentation).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        assert!(busy.to_string().contains("pp7"), "{busy}");
        for name in ["", "sixteen-bytes-xx", "a\0b"] {
            let error = Tun::open(name, None, Offload::Segmentation).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    });
}
