//! The internet checksum, whole and in pieces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polypath_wire::{Checksum, dss_checksum, pseudo_header};
use proptest::collection::vec;
use proptest::prelude::*;

/// The definition in RFC 1071, word by word.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for word in bytes.chunks(2) {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (total, carry) = sum.overflowing_add(word);
        sum = total + u16::from(carry);
    }
    sum
}

fn sum_of(bytes: &[u8]) -> u16 {
    let mut sum = Checksum::new();
    sum.add_bytes(bytes);
    sum.fold()
}

#[test]
fn the_example_of_rfc_1071() {
    // Section 3: the bytes and their sum.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(sum_of(&bytes), 0xddf2);
    let mut sum = Checksum::new();
    sum.add_bytes(&bytes);
    assert_eq!(sum.finish(), !0xddf2);
}

#[test]
fn carries_survive_long_runs_of_ones() {
    assert_eq!(sum_of(&[0xff; 65_536]), 0xffff);
    assert_eq!(sum_of(&[0xff; 65_535]), naive(&[0xff; 65_535]));
    assert_eq!(sum_of(&[]), 0);
    assert_eq!(sum_of(&[0; 1000]), 0);
}

// [8684-3.3.1-5]
#[test]
fn dss_checksums_computed_elsewhere() {
    // Python: struct.pack('>QIHH', dsn, ssn, length, 0) + payload, summed as 16-bit words.
    let pieces: [&[u8]; 3] = [b"h", b"", b"ello"];
    let sum = dss_checksum(0x0102_0304_0506_0708, 0x0a0b_0c0d, 5, pieces.into_iter());
    assert_eq!(sum, 0x95fc);
    assert_eq!(dss_checksum(u64::MAX, u32::MAX, u16::MAX, std::iter::empty()), 0);
}

proptest! {
    #[test]
    fn fast_equals_naive(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(sum_of(&bytes), naive(&bytes));
    }

    #[test]
    fn pieces_of_any_length_add_up_to_the_whole(pieces in vec(vec(any::<u8>(), 0..40), 0..12)) {
        let mut sum = Checksum::new();
        for piece in &pieces {
            sum.add_bytes(piece);
        }
        prop_assert_eq!(sum.fold(), naive(&pieces.concat()));
    }

    #[test]
    fn numbers_count_as_their_bytes(before in vec(any::<u8>(), 0..4), a: u16, b: u32, after: u8) {
        let mut sum = Checksum::new();
        sum.add_bytes(&before);
        sum.add_u16(a);
        sum.add_u32(b);
        sum.add_bytes(&[after]);
        let bytes = [&before[..], &a.to_be_bytes(), &b.to_be_bytes(), &[after]].concat();
        prop_assert_eq!(sum.fold(), naive(&bytes));
    }

    #[test]
    fn the_pseudo_header_has_addresses_length_and_protocol(v4: [[u8; 4]; 2], v6: [[u8; 16]; 2], len: u32) {
        let tail = [&len.to_be_bytes()[..], &[0, 0, 0, 6]].concat();
        let [src, dst] = v4.map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
        let expected = naive(&[v4.as_flattened(), &tail].concat());
        prop_assert_eq!(pseudo_header(src, dst, len).fold(), expected);
        let [src, dst] = v6.map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
        let expected = naive(&[v6.as_flattened(), &tail].concat());
        prop_assert_eq!(pseudo_header(src, dst, len).fold(), expected);
    }

    #[test]
    fn one_changed_bit_is_noticed(mut bytes in vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8) {
        let before = sum_of(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_ne!(sum_of(&bytes), before);
    }
}
