//! The option list: order, alignment, what is unknown and what is broken.

use polypath_wire::{
    Dss, MAX_OPTIONS_LEN, MpPrio, MptcpOption, SackBlock, SeqNum, TcpOptions, Timestamps, UnknownOption, WireDsn,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::tcp_options;

fn bytes_of(options: &TcpOptions) -> Vec<u8> {
    let mut bytes = [0xee; 64];
    let len = options.emit(&mut bytes);
    assert_eq!(len, options.emitted_len());
    assert!(bytes[len..].iter().all(|&byte| byte == 0xee), "nothing is written beyond the length");
    bytes[..len].to_vec()
}

fn block(left: u32, right: u32) -> SackBlock {
    SackBlock { left: SeqNum(left), right: SeqNum(right) }
}

/// Bytes that look like options: known and unknown kinds, lengths right and wrong.
fn option_like_bytes() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        1 => Just(0_u8),
        1 => Just(1),
        1 => Just(2),
        1 => Just(3),
        1 => Just(4),
        1 => Just(5),
        1 => Just(8),
        4 => Just(30),
        1 => any::<u8>(),
    ];
    let length = prop_oneof![
        4 => prop::sample::select(vec![2_u8, 3, 4, 8, 10, 12, 16, 18, 20]),
        1 => any::<u8>(),
    ];
    let option = (kind, length, any::<u8>(), any::<[u8; 20]>()).prop_map(|(kind, len, head, tail)| {
        let body = [&[head & 0x8f], &tail[..]].concat();
        let body = &body[..usize::from(len.saturating_sub(2)).min(body.len())];
        if kind < 2 { vec![kind] } else { [&[kind, len], body].concat() }
    });
    vec(option, 0..8).prop_map(|options| options.concat())
}

proptest! {
    // [9293-MUST-68]
    #[test]
    fn what_is_emitted_is_read_back(options in tcp_options()) {
        let bytes = bytes_of(&options);
        prop_assert!(bytes.len() <= MAX_OPTIONS_LEN && bytes.len().is_multiple_of(4));
        prop_assert_eq!(TcpOptions::parse(&bytes), options);
    }

    #[test]
    fn what_was_read_always_fits_again_and_stays_the_same(
        bytes in prop_oneof![option_like_bytes(), vec(any::<u8>(), 0..=60)],
    ) {
        let options = TcpOptions::parse(&bytes);
        let again = bytes_of(&options);
        prop_assert!(again.len() <= MAX_OPTIONS_LEN);
        prop_assert_eq!(TcpOptions::parse(&again), options);
    }
}

// [9293-MUST-4]
#[test]
fn the_order_and_alignment_of_linux() {
    let mut options = TcpOptions {
        mss: Some(1460),
        window_scale: Some(10),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 0x0102_0304, ecr: 0x0506_0708 }),
        ..TcpOptions::default()
    };
    options.mptcp.push(MpPrio { backup: true }.into());
    assert_eq!(
        bytes_of(&options),
        [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 10, 30, 3, 0x51, 1]
    );
    options = TcpOptions { sack_permitted: true, ..TcpOptions::default() };
    assert_eq!(bytes_of(&options), [1, 1, 4, 2]);
    options = TcpOptions { timestamps: Some(Timestamps { val: 1, ecr: 2 }), ..TcpOptions::default() };
    options.sack.push(block(0x1112_1314, 0x2122_2324));
    assert_eq!(
        bytes_of(&options),
        [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24]
    );
}

// [7413-4.1.1-1]
#[test]
fn a_fast_open_cookie_has_4_to_16_bytes_an_even_number_and_the_request_for_one_none() {
    for len in 0..=18_u8 {
        let bytes: Vec<u8> = [34, len + 2].into_iter().chain((0..len).map(|n| n + 1)).collect();
        let options = TcpOptions::parse(&bytes);
        let body = &bytes[2..];
        let good = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
        assert_eq!(options.fast_open.map(|cookie| cookie.as_bytes().to_vec()), good.then(|| body.to_vec()));
        assert_eq!(options.fast_open.is_some_and(|cookie| cookie.is_request()), len == 0);
        assert_eq!(options.unknown.len(), usize::from(!good), "{len}");
        assert_eq!(bytes_of(&options)[..bytes.len()], bytes);
    }
}

// [9293-MUST-64]
#[test]
fn options_packed_to_the_last_byte_can_be_emitted_again() {
    // Timestamps, one SACK block and 20 bytes of an unknown option: 40 bytes only without alignment.
    let mut bytes = vec![8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 10, 0, 0, 0, 3, 0, 0, 0, 4, 99, 20];
    bytes.extend([7; 18]);
    let options = TcpOptions::parse(&bytes);
    assert_eq!(options.timestamps, Some(Timestamps { val: 1, ecr: 2 }));
    assert_eq!(options.sack[..], [block(3, 4)]);
    assert_eq!(bytes_of(&options), bytes);
}

// [9293-MUST-69]
#[test]
fn what_is_left_of_the_last_word_is_zero() {
    // Four options that find room only one right after the other: 37 bytes, and three.
    let nine = [99, 9, 1, 2, 3, 4, 5, 6, 7];
    let four = [&nine[..], &nine, &nine, &[99, 10, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let padded = [&four[..], &[0; 3]].concat();
    assert_eq!(bytes_of(&TcpOptions::parse(&padded)), padded);
}

// [9293-MUST-4]
#[test]
fn the_end_of_list_ends_it() {
    let options = TcpOptions::parse(&[1, 0, 2, 4, 5, 0xb4]);
    assert_eq!(options, TcpOptions::default());
}

// [9293-MUST-7]
#[test]
fn a_bad_length_ends_the_list_and_spares_what_came_before() {
    let good = [2, 4, 5, 0xb4];
    let expected = TcpOptions { mss: Some(1460), ..TcpOptions::default() };
    for bad in [&[4, 0][..], &[4, 1], &[4, 3], &[4], &[30, 12, 0x20, 0x01], &[99, 255, 1, 2]] {
        let bytes = [&good[..], bad].concat();
        assert_eq!(TcpOptions::parse(&bytes), expected, "{bad:?}");
    }
    // What follows a length below two is not looked at.
    assert_eq!(TcpOptions::parse(&[99, 1, 2, 4, 5, 0xb4]), TcpOptions::default());
}

// [8684-3-5, 9293-MUST-6]
#[test]
fn malformed_and_unknown_options_are_kept_apart() {
    let bytes = [30, 4, 0xf0, 9, 3, 2, 30, 3, 0x51, 99, 5, 1, 2, 3, 5, 2, 8, 4, 1, 2];
    let options = TcpOptions::parse(&bytes);
    let unknown = |kind, data: &[u8]| UnknownOption { kind, data: data.iter().copied().collect() };
    assert_eq!(options.mptcp[..], [MpPrio { backup: true }.into()]);
    assert_eq!(
        options.unknown[..],
        [unknown(30, &[0xf0, 9]), unknown(3, &[]), unknown(99, &[1, 2, 3]), unknown(5, &[])],
        "in order, as many as there is room for"
    );
    assert_eq!((options.window_scale, options.timestamps), (None, None));
    assert!(options.sack.is_empty());
}

#[test]
fn a_fifth_multipath_option_is_kept_apart() {
    let options = TcpOptions::parse(&[30, 3, 0x51].repeat(5));
    assert_eq!(options.mptcp[..], vec![MptcpOption::from(MpPrio { backup: true }); 4]);
    assert_eq!(options.unknown.len(), 1);
}

#[test]
fn the_last_of_two_counts() {
    let options = TcpOptions::parse(&[2, 4, 0, 1, 2, 4, 0, 2, 3, 3, 4, 3, 3, 5]);
    assert_eq!((options.mss, options.window_scale), (Some(2), Some(5)));
}

// [7323-2.3-1]
#[test]
fn a_window_scale_is_at_most_14() {
    for (sent, meant) in [(13, 13), (14, 14), (15, 14), (255, 14)] {
        assert_eq!(TcpOptions::parse(&[3, 3, sent]).window_scale, Some(meant));
        let options = TcpOptions { window_scale: Some(sent), ..TcpOptions::default() };
        assert_eq!(bytes_of(&options), [1, 3, 3, meant]);
    }
}

// [2018-3-1]
#[test]
fn sack_has_one_to_four_whole_blocks() {
    for blocks in 0..=4_usize {
        for extra in [0, 1, 7] {
            let len = 2 + 8 * blocks + extra;
            let mut bytes = vec![0; len];
            (bytes[0], bytes[1]) = (5, len as u8);
            let options = TcpOptions::parse(&bytes);
            let valid = extra == 0 && blocks > 0;
            assert_eq!(options.sack.len(), if valid { blocks } else { 0 }, "{len} bytes");
            assert_eq!(options.unknown.is_empty(), valid || len > 40, "{len} bytes");
        }
    }
}

#[test]
fn the_first_of_each_multipath_option_is_at_hand() {
    let dss = Dss { data_ack: Some(WireDsn::Short(5)), ..Dss::default() };
    let mut options = TcpOptions::default();
    assert_eq!((options.dss(), options.mp_capable(), options.mp_join()), (None, None, None));
    options.mptcp.push(MpPrio { backup: true }.into());
    options.mptcp.push(dss.into());
    options.mptcp.push(Dss::default().into());
    assert_eq!(options.dss(), Some(&dss));
}
