//! Every option of Multipath TCP: its bytes, its lengths, its malformed forms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polypath_wire::{
    AddAddr, CapableFlags, CapableKeys, Dss, DssMapping, Key, MpCapable, MpFail, MpFastclose, MpJoin, MpPrio, MpTcprst,
    MptcpOption, RemoveAddr, ResetReason, TcpOptions, Token, WireDsn,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::mptcp_option;

/// The option alone, without the padding after it.
fn bytes_of(option: &MptcpOption) -> Vec<u8> {
    let options = TcpOptions { mptcp: [option.clone()].into_iter().collect(), ..Default::default() };
    let mut bytes = [0; 40];
    let len = options.emit(&mut bytes);
    assert_eq!(len, options.emitted_len());
    assert_eq!(len, option.wire_len().next_multiple_of(4));
    assert!(bytes[option.wire_len()..len].iter().all(|&byte| byte == 1), "padding is NOP");
    bytes[..option.wire_len()].to_vec()
}

#[track_caller]
fn is_on_the_wire(option: impl Into<MptcpOption>, expected: &[u8]) {
    let option = option.into();
    assert_eq!(bytes_of(&option), expected);
    assert_eq!(MptcpOption::parse(&expected[2..]), Some(option));
}

proptest! {
    #[test]
    fn what_is_emitted_is_read_back(option in mptcp_option()) {
        let bytes = bytes_of(&option);
        prop_assert_eq!(bytes[0], 30);
        prop_assert_eq!(usize::from(bytes[1]), bytes.len());
        prop_assert_eq!(MptcpOption::parse(&bytes[2..]), Some(option));
    }

    #[test]
    fn reading_and_emitting_any_bytes_is_stable(data in vec(any::<u8>(), 0..=38)) {
        if let Some(option) = MptcpOption::parse(&data) {
            let bytes = bytes_of(&option);
            prop_assert_eq!(bytes.len(), data.len() + 2, "no form changes its length");
            prop_assert_eq!(MptcpOption::parse(&bytes[2..]), Some(option));
        }
    }
}

// [8684-3.1-4, 8684-3.1-7]
#[test]
fn mp_capable_has_four_forms() {
    let capable = |keys| MpCapable { version: 1, flags: CapableFlags::HMAC_SHA256, keys };
    let sender = Key(0x0102_0304_0506_0708);
    let receiver = Key(0x1112_1314_1516_1718);
    let both = [1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
    is_on_the_wire(capable(CapableKeys::Syn), &[30, 4, 0x01, 0x01]);
    is_on_the_wire(capable(CapableKeys::SynAck { sender }), &[30, 12, 0x01, 0x01, 1, 2, 3, 4, 5, 6, 7, 8]);
    is_on_the_wire(capable(CapableKeys::Ack { sender, receiver }), &[&[30, 20, 0x01, 0x01], &both[..]].concat());
    let data = |checksum| CapableKeys::Data { sender, receiver, data_len: 0x1234, checksum };
    is_on_the_wire(capable(data(None)), &[&[30, 22, 0x01, 0x01], &both[..], &[0x12, 0x34]].concat());
    is_on_the_wire(
        capable(data(Some(0x5678))),
        &[&[30, 24, 0x01, 0x01], &both[..], &[0x12, 0x34, 0x56, 0x78]].concat(),
    );
}

// [8684-3.1-7]
#[test]
fn mp_capable_keeps_version_and_flags() {
    let flags = CapableFlags::CHECKSUM_REQUIRED
        | CapableFlags::EXTENSIBILITY
        | CapableFlags::NO_JOIN_INITIAL
        | CapableFlags::HMAC_SHA256;
    is_on_the_wire(MpCapable { version: 0, flags, keys: CapableKeys::Syn }, &[30, 4, 0x00, 0b1110_0001]);
}

// [8684-3.2-5]
#[test]
fn mp_join_has_three_forms() {
    is_on_the_wire(
        MpJoin::Syn { backup: true, address_id: 7, token: Token(0x0102_0304), nonce: 0x0a0b_0c0d },
        &[30, 12, 0x11, 7, 1, 2, 3, 4, 10, 11, 12, 13],
    );
    is_on_the_wire(
        MpJoin::SynAck { backup: false, address_id: 8, hmac: 0x0102_0304_0506_0708, nonce: 0x0a0b_0c0d },
        &[30, 16, 0x10, 8, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13],
    );
    is_on_the_wire(MpJoin::Ack { hmac: [0x5a; 20] }, &[&[30, 24, 0x10, 0][..], &[0x5a; 20]].concat());
}

// [8684-3.3-1, 8684-3.3-3]
#[test]
fn dss_in_every_combination() {
    let short = Some(WireDsn::Short(0xa1a2_a3a4));
    let long = Some(WireDsn::Long(0xb1b2_b3b4_b5b6_b7b8));
    for (data_ack, ack_flags, ack_len) in [(None, 0, 0), (short, 0x01, 4), (long, 0x03, 8)] {
        for (dsn, map_flags, dsn_len) in [(None, 0, 0), (short, 0x04, 4), (long, 0x0c, 8)] {
            for (data_fin, fin_flag) in [(false, 0), (true, 0x10)] {
                for checksum in [None, Some(0xc1c2)] {
                    let mapping = dsn.map(|dsn| DssMapping { dsn, ssn: 0xd1d2_d3d4, len: 0xe1e2, checksum });
                    let bytes = bytes_of(&Dss { data_ack, mapping, data_fin }.into());
                    let map_len = match (dsn, checksum) {
                        (None, _) => 0,
                        (Some(_), None) => dsn_len + 6,
                        (Some(_), Some(_)) => dsn_len + 8,
                    };
                    assert_eq!(bytes.len(), 4 + ack_len + map_len);
                    assert_eq!(bytes[2..4], [0x20, ack_flags | map_flags | fin_flag]);
                    let parsed = MptcpOption::parse(&bytes[2..]);
                    assert_eq!(parsed, Some(Dss { data_ack, mapping, data_fin }.into()));
                }
            }
        }
    }
}

// [8684-3.3-1]
#[test]
fn dss_fields_stand_in_order() {
    let mapping =
        DssMapping { dsn: WireDsn::Long(0x1112_1314_1516_1718), ssn: 0x2122_2324, len: 0x3132, checksum: Some(0x4142) };
    is_on_the_wire(
        Dss { data_ack: Some(WireDsn::Short(0x0102_0304)), mapping: Some(mapping), data_fin: true },
        &[
            30, 24, 0x20, 0x1d, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
            0x31, 0x32, 0x41, 0x42,
        ],
    );
}

// [8684-3.3-2]
#[test]
fn the_widths_mean_nothing_without_what_they_belong_to() {
    // `a` without `A` and `m` without `M`.
    assert_eq!(MptcpOption::parse(&[0x20, 0x0a]), Some(Dss::default().into()));
}

// [8684-3.3.1-17]
#[test]
fn a_length_of_zero_is_the_infinite_mapping() {
    let mapping = DssMapping { dsn: WireDsn::Short(9), ssn: 3, len: 0, checksum: None };
    assert!(mapping.is_infinite());
    assert!(!DssMapping { len: 1, ..mapping }.is_infinite());
    is_on_the_wire(
        Dss { data_ack: None, mapping: Some(mapping), data_fin: false },
        &[30, 14, 0x20, 0x04, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0],
    );
}

// [8684-3.4.1-8]
#[test]
fn add_addr_in_every_form() {
    let v4 = [192, 0, 2, 7];
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let families: [(IpAddr, &[u8]); 2] = [(Ipv4Addr::from(v4).into(), &v4), (Ipv6Addr::from(v6).into(), &v6)];
    for (addr, octets) in families {
        for port in [None, Some(0x1b59_u16)] {
            for hmac in [None, Some(0x0102_0304_0506_0708_u64)] {
                let mut expected = vec![30, 0, if hmac.is_none() { 0x31 } else { 0x30 }, 5];
                expected.extend(octets);
                expected.extend(port.map(u16::to_be_bytes).iter().flatten());
                expected.extend(hmac.map(u64::to_be_bytes).iter().flatten());
                expected[1] = expected.len() as u8;
                is_on_the_wire(AddAddr { echo: hmac.is_none(), address_id: 5, addr, port, hmac }, &expected);
            }
        }
    }
}

#[test]
fn add_addr_needs_an_hmac_unless_it_is_an_echo() {
    assert_eq!(MptcpOption::parse(&[0x30, 5, 192, 0, 2, 7]), None);
    assert_eq!(MptcpOption::parse(&[0x31, 5, 192, 0, 2, 7, 1, 2, 3, 4, 5, 6, 7, 8]), None);
    let addr = Ipv4Addr::new(192, 0, 2, 7).into();
    let echo = AddAddr { echo: true, address_id: 5, addr, port: None, hmac: Some(1) };
    assert_eq!(bytes_of(&echo.into()), [30, 8, 0x31, 5, 192, 0, 2, 7]);
}

#[test]
fn remove_addr_is_a_list() {
    is_on_the_wire(RemoveAddr::from_iter([3]), &[30, 4, 0x40, 3]);
    is_on_the_wire(RemoveAddr::from_iter([3, 0, 255]), &[30, 6, 0x40, 3, 0, 255]);
    let most: Vec<u8> = (1..=17).collect();
    is_on_the_wire(RemoveAddr::from_iter(most.clone()), &[&[30, 20, 0x40], &most[..]].concat());
    assert_eq!(MptcpOption::parse(&[0x40]), None, "an empty list");
    assert_eq!(MptcpOption::parse(&[0x40; 19]), None, "a longer one than there is room for");
}

// [8684-3.7-19]
#[test]
fn the_short_options() {
    is_on_the_wire(MpPrio { backup: true }, &[30, 3, 0x51]);
    is_on_the_wire(MpPrio { backup: false }, &[30, 3, 0x50]);
    is_on_the_wire(MpFail { dsn: 0x0102_0304_0506_0708 }, &[30, 12, 0x60, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    is_on_the_wire(
        MpFastclose { receiver_key: Key(0x0102_0304_0506_0708) },
        &[30, 12, 0x70, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    );
}

// [8684-3.6-4, 8684-3.6-6]
#[test]
fn mp_tcprst_knows_the_reasons_of_the_rfc() {
    let reasons = [
        ResetReason::Unspecified,
        ResetReason::MptcpSpecific,
        ResetReason::LackOfResources,
        ResetReason::AdministrativelyProhibited,
        ResetReason::TooMuchOutstandingData,
        ResetReason::UnacceptablePerformance,
        ResetReason::MiddleboxInterference,
        ResetReason::Unknown(7),
    ];
    for (code, reason) in (0..).zip(reasons) {
        is_on_the_wire(MpTcprst { transient: true, reason }, &[30, 4, 0x81, code]);
        is_on_the_wire(MpTcprst { transient: false, reason }, &[30, 4, 0x80, code]);
    }
}

// [8684-3.4.1-9, 8684-3.6-5]
#[test]
fn bits_without_a_meaning_are_ignored() {
    // U, V and W of MP_TCPRST; reserved bits of MP_JOIN, MP_PRIO, ADD_ADDR and MP_FAIL.
    let tcprst = MpTcprst { transient: false, reason: ResetReason::LackOfResources };
    assert_eq!(MptcpOption::parse(&[0x8e, 2]), Some(tcprst.into()));
    assert_eq!(MptcpOption::parse(&[0x5e]), Some(MpPrio { backup: false }.into()));
    let join = MpJoin::Syn { backup: false, address_id: 1, token: Token(2), nonce: 3 };
    assert_eq!(MptcpOption::parse(&[0x1e, 1, 0, 0, 0, 2, 0, 0, 0, 3]), Some(join.into()));
    let addr = Ipv4Addr::new(192, 0, 2, 7).into();
    let add = AddAddr { echo: false, address_id: 5, addr, port: None, hmac: Some(0x0102_0304_0506_0708) };
    assert_eq!(MptcpOption::parse(&[0x3e, 5, 192, 0, 2, 7, 1, 2, 3, 4, 5, 6, 7, 8]), Some(add.into()));
    let fail = MpFail { dsn: 4 };
    assert_eq!(MptcpOption::parse(&[0x6f, 0xff, 0, 0, 0, 0, 0, 0, 0, 4]), Some(fail.into()));
}

// [8684-3-5]
#[test]
fn any_other_length_is_malformed() {
    // Lengths (kind and length byte counted) that each subtype may have, flags being zero.
    let allowed: [(u8, &[usize]); 10] = [
        (0x0, &[4, 12, 20, 22, 24]),
        (0x1, &[12, 16, 24]),
        (0x2, &[4]),
        (0x3, &[16, 18, 28, 30]),
        (0x4, &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),
        (0x5, &[3]),
        (0x6, &[12]),
        (0x7, &[12]),
        (0x8, &[4]),
        (0xf, &[]),
    ];
    for (subtype, lengths) in allowed {
        for len in 3..=40 {
            let mut data = vec![0; len - 2];
            data[0] = subtype << 4;
            assert_eq!(
                MptcpOption::parse(&data).is_some(),
                lengths.contains(&len),
                "subtype {subtype:#x}, {len} bytes"
            );
        }
    }
    assert_eq!(MptcpOption::parse(&[]), None);
}
