//! How random values are made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polypath_wire::{
    AddAddr, CapableFlags, CapableKeys, Dss, DssMapping, Ecn, FastOpenCookie, IpHeader, Key, MAX_OPTIONS_LEN,
    MpCapable, MpFail, MpFastclose, MpJoin, MpPrio, MpTcprst, MptcpOption, RemoveAddr, ResetReason, SackBlock, Segment,
    SeqNum, TcpFlags, TcpHeader, TcpOptions, Timestamps, Token, UnknownOption, WireDsn,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn seq_num() -> impl Strategy<Value = SeqNum> {
    any::<u32>().prop_map(SeqNum)
}

pub(crate) fn timestamps() -> impl Strategy<Value = Timestamps> {
    any::<(u32, u32)>().prop_map(|(val, ecr)| Timestamps { val, ecr })
}

pub(crate) fn sack_block() -> impl Strategy<Value = SackBlock> {
    (seq_num(), seq_num()).prop_map(|(left, right)| SackBlock { left, right })
}

fn key() -> impl Strategy<Value = Key> {
    any::<u64>().prop_map(Key)
}

fn mp_capable() -> impl Strategy<Value = MpCapable> {
    let data = (key(), key(), any::<u16>(), any::<Option<u16>>())
        .prop_map(|(sender, receiver, data_len, checksum)| CapableKeys::Data { sender, receiver, data_len, checksum });
    let keys = prop_oneof![
        Just(CapableKeys::Syn),
        key().prop_map(|sender| CapableKeys::SynAck { sender }),
        (key(), key()).prop_map(|(sender, receiver)| CapableKeys::Ack { sender, receiver }),
        data,
    ];
    (0..16_u8, any::<u8>(), keys).prop_map(|(version, flags, keys)| {
        let flags = CapableFlags::from_bits_retain(flags);
        MpCapable { version, flags, keys }
    })
}

fn mp_join() -> impl Strategy<Value = MpJoin> {
    prop_oneof![
        any::<(bool, u8, u32, u32)>().prop_map(|(backup, address_id, token, nonce)| MpJoin::Syn {
            backup,
            address_id,
            token: Token(token),
            nonce
        }),
        any::<(bool, u8, u64, u32)>()
            .prop_map(|(backup, address_id, hmac, nonce)| { MpJoin::SynAck { backup, address_id, hmac, nonce } }),
        any::<[u8; 20]>().prop_map(|hmac| MpJoin::Ack { hmac }),
    ]
}

fn wire_dsn() -> impl Strategy<Value = WireDsn> {
    prop_oneof![any::<u32>().prop_map(WireDsn::Short), any::<u64>().prop_map(WireDsn::Long)]
}

pub(crate) fn dss() -> impl Strategy<Value = Dss> {
    let mapping = (wire_dsn(), any::<u32>(), any::<u16>(), any::<Option<u16>>())
        .prop_map(|(dsn, ssn, len, checksum)| DssMapping { dsn, ssn, len, checksum });
    (option::of(wire_dsn()), option::of(mapping), any::<bool>()).prop_map(|(data_ack, mapping, data_fin)| Dss {
        data_ack,
        mapping,
        data_fin,
    })
}

pub(crate) fn add_addr() -> impl Strategy<Value = AddAddr> {
    (any::<Option<u64>>(), any::<u8>(), any::<IpAddr>(), any::<Option<u16>>())
        .prop_map(|(hmac, address_id, addr, port)| AddAddr { echo: hmac.is_none(), address_id, addr, port, hmac })
}

fn remove_addr() -> impl Strategy<Value = RemoveAddr> {
    vec(any::<u8>(), 1..=17).prop_map(RemoveAddr::from_iter)
}

fn mp_tcprst() -> impl Strategy<Value = MpTcprst> {
    any::<(bool, u8)>().prop_map(|(transient, code)| MpTcprst { transient, reason: ResetReason::from(code) })
}

/// An option that signals: what need not go at once.
pub(crate) fn signal() -> impl Strategy<Value = MptcpOption> {
    prop_oneof![
        add_addr().prop_map(MptcpOption::AddAddr),
        remove_addr().prop_map(MptcpOption::RemoveAddr),
        any::<bool>().prop_map(|backup| MptcpOption::MpPrio(MpPrio { backup })),
        any::<u64>().prop_map(|dsn| MptcpOption::MpFail(MpFail { dsn })),
    ]
}

/// An option a segment is about.
pub(crate) fn mandatory() -> impl Strategy<Value = MptcpOption> {
    prop_oneof![
        1 => mp_capable().prop_map(MptcpOption::MpCapable),
        1 => mp_join().prop_map(MptcpOption::MpJoin),
        3 => dss().prop_map(MptcpOption::Dss),
        1 => key().prop_map(|receiver_key| MptcpOption::MpFastclose(MpFastclose { receiver_key })),
        1 => mp_tcprst().prop_map(MptcpOption::MpTcprst),
    ]
}

pub(crate) fn mptcp_option() -> impl Strategy<Value = MptcpOption> {
    prop_oneof![mandatory(), signal()]
}

/// An option that nobody knows, or one known by its kind but not of the length it has to have.
pub(crate) fn unknown_option() -> impl Strategy<Value = UnknownOption> {
    let unknown = prop_oneof![Just(6_u8), 9..=29_u8, 31..=33_u8, 35..=255_u8];
    prop_oneof![
        (unknown, vec(any::<u8>(), 0..=12)),
        (prop_oneof![Just(2), Just(3), Just(4), Just(5), Just(8)], vec(any::<u8>(), 3..=7)),
        (Just(34), prop_oneof![vec(any::<u8>(), 1..=3), vec(any::<u8>(), 5..=5)]),
        // The subtype that RFC 8684 leaves to experiments.
        (Just(30), vec(any::<u8>(), 0..=6).prop_map(|tail| [&[0xf0], tail.as_slice()].concat())),
    ]
    .prop_map(|(kind, data)| UnknownOption { kind, data: data.into_iter().collect() })
}

pub(crate) fn cookie() -> impl Strategy<Value = FastOpenCookie> {
    prop_oneof![Just(0), 2..=8_usize]
        .prop_flat_map(|words| vec(any::<u8>(), 2 * words))
        .prop_map(|bytes| FastOpenCookie::new(&bytes).expect("an even number of bytes, not two"))
}

/// Any options that fit into a header.
pub(crate) fn tcp_options() -> impl Strategy<Value = TcpOptions> {
    (
        any::<Option<u16>>(),
        option::of(0..=14_u8),
        any::<bool>(),
        option::of(timestamps()),
        vec(sack_block(), 0..=4),
        option::of(cookie()),
        vec(mptcp_option(), 0..=4),
        vec(unknown_option(), 0..=4),
    )
        .prop_map(|(mss, window_scale, sack_permitted, timestamps, sack, fast_open, mptcp, unknown)| {
            let mut options = TcpOptions::default();
            let mut add = |change: &dyn Fn(&mut TcpOptions)| {
                let mut more = options.clone();
                change(&mut more);
                if more.emitted_len() <= MAX_OPTIONS_LEN {
                    options = more;
                }
            };
            for option in &mptcp {
                add(&|o| o.mptcp.push(option.clone()));
            }
            for option in &unknown {
                add(&|o| o.unknown.push(option.clone()));
            }
            add(&|o| o.mss = mss);
            add(&|o| o.window_scale = window_scale);
            add(&|o| o.sack_permitted = sack_permitted);
            add(&|o| o.timestamps = timestamps);
            add(&|o| o.fast_open = fast_open);
            for block in &sack {
                add(&|o| o.sack.push(*block));
            }
            options
        })
}

pub(crate) fn tcp_header() -> impl Strategy<Value = TcpHeader> {
    (any::<(u16, u16)>(), seq_num(), seq_num(), any::<u8>(), any::<(u16, u16)>()).prop_map(
        |((src_port, dst_port), seq, ack, flags, (window, urgent))| TcpHeader {
            src_port,
            dst_port,
            seq,
            ack,
            flags: TcpFlags::from_bits_retain(flags),
            window,
            urgent,
        },
    )
}

pub(crate) fn ip_header() -> impl Strategy<Value = IpHeader> {
    let addresses = prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (IpAddr::V4(a), IpAddr::V4(b))),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (IpAddr::V6(a), IpAddr::V6(b))),
    ];
    (addresses, any::<u8>(), any::<u8>(), 0..64_u8).prop_map(|((src, dst), hop_limit, ecn, dscp)| IpHeader {
        src,
        dst,
        hop_limit,
        ecn: Ecn::from_bits(ecn),
        dscp,
    })
}

pub(crate) fn segment() -> impl Strategy<Value = Segment> {
    (ip_header(), tcp_header(), tcp_options()).prop_map(|(ip, tcp, options)| Segment { ip, tcp, options })
}
