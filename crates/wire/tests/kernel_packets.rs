//! Packets that two Linux kernels exchanged, captured by us: we read them, agree with every checksum, token
//! and HMAC in them, and would have emitted the same bytes.

use std::net::IpAddr;

use bytes::Bytes;
use polypath_wire::{
    AddAddr, CapableFlags, CapableKeys, ChecksumMode, Dss, DssMapping, HeaderBuf, IpHeader, Key, MpFastclose, MpJoin,
    MpPrio, MpTcprst, MptcpOption, RemoveAddr, ResetReason, Segment, TcpFlags, WireDsn, add_addr_hmac, dss_checksum,
    emit_headers, join_ack_hmac, join_synack_hmac, parse_headers, verify_checksum,
};

struct Packet {
    bytes: Vec<u8>,
    headers: usize,
    seg: Segment,
}

impl Packet {
    fn payload(&self) -> &[u8] {
        &self.bytes[self.headers..]
    }
}

struct Capture {
    name: &'static str,
    packets: Vec<Packet>,
}

fn capture(name: &'static str, text: &str) -> Capture {
    let packets = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let bytes: Vec<u8> = line
            .as_bytes()
            .chunks(2)
            .map(|digits| {
                let digits = std::str::from_utf8(digits).expect("text");
                u8::from_str_radix(digits, 16).expect("hexadecimal")
            })
            .collect();
        let (seg, headers, payload_len) = parse_headers(&bytes).expect("a packet");
        assert_eq!(bytes.len(), headers + payload_len, "{name}: {line}");
        Packet { bytes, headers, seg }
    });
    Capture { name, packets: packets.collect() }
}

macro_rules! captures {
    ($($name:ident),*) => {$(
        fn $name() -> Capture {
            let file = concat!(stringify!($name), ".hex");
            capture(file, include_str!(concat!("captures/", stringify!($name), ".hex")))
        }
    )*
        fn all() -> Vec<Capture> {
            vec![$($name()),*]
        }
    };
}

captures!(ipv4, ipv6_checksum, ipv4_port_checksum, ipv4_capable_data, ipv4_remove);

impl Capture {
    /// The first option for which `pick` gives something, with its packet.
    fn find<T>(&self, pick: impl Fn(&MptcpOption) -> Option<T>) -> (&Packet, T) {
        self.packets
            .iter()
            .find_map(|packet| packet.seg.options.mptcp.iter().find_map(&pick).map(|found| (packet, found)))
            .unwrap_or_else(|| panic!("no such option in {}", self.name))
    }

    /// The keys of client and server, from the client's third ACK.
    fn keys(&self) -> (Key, Key) {
        let (_, keys) = self.find(|option| match option {
            MptcpOption::MpCapable(capable) => match capable.keys {
                CapableKeys::Ack { sender, receiver } => Some((sender, receiver)),
                _ => None,
            },
            _ => None,
        });
        keys
    }

    fn join(&self, pick: impl Fn(&MpJoin) -> bool) -> (&Packet, MpJoin) {
        self.find(|option| match option {
            MptcpOption::MpJoin(join) if pick(join) => Some(*join),
            _ => None,
        })
    }

    fn add_addr(&self, echo: bool) -> (&Packet, AddAddr) {
        self.find(|option| match option {
            MptcpOption::AddAddr(add_addr) if add_addr.echo == echo => Some(*add_addr),
            _ => None,
        })
    }
}

/// Headers without what the kernel chooses freely: IPv4 identification (and so the header checksum) and
/// IPv6 flow label.
fn comparable(headers: &[u8]) -> Vec<u8> {
    let mut headers = headers.to_vec();
    if headers[0] >> 4 == 4 {
        headers[4..6].fill(0);
        headers[10..12].fill(0);
    } else {
        headers[1] &= 0xf0;
        headers[2..4].fill(0);
    }
    headers
}

#[test]
fn every_byte_is_as_we_would_have_emitted_it() {
    for capture in all() {
        for (number, packet) in capture.packets.iter().enumerate() {
            let mut headers = HeaderBuf::new();
            let payload = [Bytes::copy_from_slice(packet.payload())];
            emit_headers(&packet.seg, &payload, ChecksumMode::Full, &mut headers);
            let sent = &packet.bytes[..packet.headers];
            assert_eq!(comparable(&headers), comparable(sent), "{} {number}", capture.name);
        }
    }
}

#[test]
fn no_option_is_unknown_and_every_checksum_right() {
    for capture in all() {
        for (number, packet) in capture.packets.iter().enumerate() {
            let (headers, payload) = packet.bytes.split_at(packet.headers);
            assert!(verify_checksum(headers, payload), "{} {number}", capture.name);
            assert!(packet.seg.options.unknown.is_empty(), "{} {number}", capture.name);
        }
    }
}

#[test]
fn the_syn_of_linux() {
    let capture = ipv4();
    let Segment { ip, tcp, options } = &capture.packets[0].seg;
    let addr = |last| IpAddr::from([10, 9, 0, last]);
    assert_eq!(*ip, IpHeader::new(addr(1), addr(2)));
    assert_eq!((tcp.flags, tcp.dst_port, tcp.window), (TcpFlags::SYN, 7000, 64_240));
    assert_eq!((options.mss, options.window_scale), (Some(1460), Some(10)));
    assert!(options.sack_permitted && options.timestamps.is_some());
    let capable = options.mp_capable().expect("MP_CAPABLE");
    assert_eq!((capable.version, capable.flags), (1, CapableFlags::HMAC_SHA256));
    assert_eq!(capable.keys, CapableKeys::Syn);

    let flags = ipv6_checksum().packets[0].seg.options.mp_capable().map(|capable| capable.flags);
    assert_eq!(flags, Some(CapableFlags::HMAC_SHA256 | CapableFlags::CHECKSUM_REQUIRED));
}

// [8684-3.2-1, 8684-3.2-9]
#[test]
fn joins_prove_themselves() {
    for capture in [ipv4(), ipv6_checksum(), ipv4_port_checksum()] {
        let (client, server) = capture.keys();
        let (_, syn) = capture.join(|join| matches!(join, MpJoin::Syn { .. }));
        let (_, synack) = capture.join(|join| matches!(join, MpJoin::SynAck { .. }));
        let (_, ack) = capture.join(|join| matches!(join, MpJoin::Ack { .. }));
        let MpJoin::Syn { token, nonce: client_nonce, backup: false, .. } = syn else {
            panic!("{syn:?}");
        };
        let MpJoin::SynAck { hmac, nonce: server_nonce, address_id: 1, .. } = synack else {
            panic!("{synack:?}");
        };
        assert_eq!(token, server.token(), "{}", capture.name);
        assert_eq!(hmac, join_synack_hmac(server, client, server_nonce, client_nonce));
        let hmac = join_ack_hmac(client, server, client_nonce, server_nonce);
        assert_eq!(ack, MpJoin::Ack { hmac });
    }
}

// [8684-3.4.1-6]
#[test]
fn announcements_prove_themselves_and_are_echoed() {
    let cases = [
        (ipv4(), "10.9.1.2", None),
        (ipv6_checksum(), "fd00:1::2", None),
        (ipv4_port_checksum(), "10.9.1.2", Some(7001)),
    ];
    for (capture, addr, port) in cases {
        let addr: IpAddr = addr.parse().expect("an address");
        let (client, server) = capture.keys();
        let (packet, announced) = capture.add_addr(false);
        let hmac = Some(add_addr_hmac(server, client, 1, addr, port));
        assert_eq!(announced, AddAddr { echo: false, address_id: 1, addr, port, hmac });
        assert_eq!(packet.seg.options.dss(), None, "it travels without a DSS");
        let (packet, echo) = capture.add_addr(true);
        assert_eq!(echo, AddAddr { echo: true, hmac: None, ..announced });
        assert_eq!(packet.seg.options.dss(), None, "and so does its echo");
    }
}

// [8684-3.1-22]
#[test]
fn data_begins_after_the_initial_data_sequence_number() {
    for capture in all() {
        let (client, _) = capture.keys();
        let from_client = |packet: &&Packet| packet.seg.tcp.dst_port == 7000;
        let mapping = |packet: &Packet| packet.seg.options.dss().and_then(|dss| dss.mapping);
        let first = capture.packets.iter().filter(from_client).find_map(mapping);
        let DssMapping { dsn: WireDsn::Long(dsn), ssn, .. } = first.expect("a mapping") else {
            panic!("{}: not 64 bits", capture.name);
        };
        // One of the captures begins with MP_CAPABLE and three octets instead.
        let before = if ssn == 4 { 3 } else { 0 };
        assert_eq!(dsn, client.idsn() + 1 + before, "{}", capture.name);
    }
}

// [8684-3.3.1-5]
#[test]
fn mp_capable_with_data_has_the_checksum_of_the_first_mapping() {
    let capture = ipv4_capable_data();
    let (client, server) = capture.keys();
    let (packet, keys) = capture.find(|option| match option {
        MptcpOption::MpCapable(capable) if matches!(capable.keys, CapableKeys::Data { .. }) => Some(capable.keys),
        _ => None,
    });
    let payload = std::iter::once(packet.payload());
    let checksum = Some(dss_checksum(client.idsn() + 1, 1, 3, payload));
    let expected = CapableKeys::Data { sender: client, receiver: server, data_len: 3, checksum };
    assert_eq!((keys, packet.payload()), (expected, &b"odd"[..]));
}

// [8684-3.3.1-5]
#[test]
fn every_dss_checksum_is_right() {
    let mut seen = 0;
    let mut fins = 0;
    for capture in [ipv6_checksum(), ipv4_port_checksum()] {
        for packet in &capture.packets {
            let Some(Dss { mapping: Some(mapping), data_fin, .. }) = packet.seg.options.dss() else {
                continue;
            };
            // A 32-bit number needs its upper half; the only ones here are those of packets with data_fin,
            // which the 64-bit ones cover.
            let WireDsn::Long(dsn) = mapping.dsn else {
                continue;
            };
            let payload = std::iter::once(packet.payload());
            let checksum = dss_checksum(dsn, mapping.ssn, mapping.len, payload);
            assert_eq!(mapping.checksum, Some(checksum), "{}", capture.name);
            assert_eq!(usize::from(mapping.len), packet.payload().len() + usize::from(*data_fin));
            seen += 1;
            fins += usize::from(*data_fin);
        }
    }
    assert!(seen >= 10 && fins >= 4, "{seen} mappings, {fins} with DATA_FIN");
}

// [8684-3.3.3-3]
#[test]
fn a_data_fin_of_its_own_maps_one_octet_of_no_subflow() {
    let capture = ipv4();
    let (_, dss) = capture.find(|option| match option {
        MptcpOption::Dss(dss) if dss.data_fin => Some(*dss),
        _ => None,
    });
    let mapping = dss.mapping.expect("a mapping");
    assert_eq!((mapping.ssn, mapping.len), (0, 1));
}

#[test]
fn priority_and_the_abrupt_end() {
    let capture = ipv4();
    let (_, prio) = capture.find(|option| match option {
        MptcpOption::MpPrio(prio) => Some(*prio),
        _ => None,
    });
    assert_eq!(prio, MpPrio { backup: true });
    let (packet, fastclose) = capture.find(|option| match option {
        MptcpOption::MpFastclose(fastclose) => Some(*fastclose),
        _ => None,
    });
    let (_, server) = capture.keys();
    assert_eq!(fastclose, MpFastclose { receiver_key: server });
    assert!(packet.seg.tcp.flags.contains(TcpFlags::RST));
    let reason = MpTcprst { transient: false, reason: ResetReason::Unspecified };
    assert_eq!(packet.seg.options.mptcp[1], reason.into());
}

#[test]
fn an_address_withdrawn() {
    let capture = ipv4_remove();
    let (packet, remove) = capture.find(|option| match option {
        MptcpOption::RemoveAddr(remove) => Some(remove.clone()),
        _ => None,
    });
    assert_eq!(remove, RemoveAddr::from_iter([1]));
    assert!(packet.seg.options.dss().is_some(), "beside a DATA_ACK");
}
