//! The internet checksum (RFC 1071) and what TCP and MPTCP compute with it.

use core::net::IpAddr;

/// A running sum of 16-bit words in ones' complement.
///
/// Pieces may have odd lengths: the sum is that of all bytes laid end to end.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Checksum {
    /// Sum of words in the machine's own byte order, which RFC 1071 section 2(B) allows: only the final
    /// value has to be swapped. Each addition is below 2^17, so it does not overflow in practice.
    sum: u64,
    /// An odd number of bytes has been added: the next one is the lower half of a word.
    odd: bool,
}

impl Checksum {
    /// The sum of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Checksum { sum: 0, odd: false }
    }

    /// Adds the next bytes.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let sum = fold_to_u16(sum_words(bytes));
        // A piece at an odd offset has its words' halves exchanged, and so has its sum.
        let sum = if self.odd { sum.swap_bytes() } else { sum };
        self.sum += u64::from(sum);
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds the next two bytes, given as a number.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        let word = value.to_be();
        self.sum += u64::from(if self.odd { word.swap_bytes() } else { word });
    }

    /// Adds the next four bytes, given as a number.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        self.add_u16((value >> 16) as u16);
        self.add_u16(value as u16);
    }

    /// The checksum: the ones' complement of the sum, as the header field's value.
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// The sum itself, not inverted: what a header field holds while hardware is still to add the rest.
    #[must_use]
    pub fn fold(self) -> u16 {
        u16::from_be(fold_to_u16(self.sum))
    }
}

/// Sums `bytes` in 32-bit halves of 64-bit words, native order, a last odd byte padded with zero. Adding
/// halves needs no carry, so the compiler can do several at once. No overflow below 8 GiB.
fn sum_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (mut low, mut high) = (0_u64, 0_u64);
    for word in words {
        let word = u64::from_ne_bytes(*word);
        low += word & 0xffff_ffff;
        high += word >> 32;
    }
    let mut sum = low + high;
    let (words, rest) = rest.as_chunks::<2>();
    for word in words {
        sum += u64::from(u16::from_ne_bytes(*word));
    }
    if let [last] = rest {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

const fn fold_to_u16(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum over TCP's pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1). `tcp_len` is the length
/// of TCP header and payload in bytes.
#[must_use]
pub fn pseudo_header(src: IpAddr, dst: IpAddr, tcp_len: u32) -> Checksum {
    let mut sum = Checksum::new();
    for addr in [src, dst] {
        match addr {
            IpAddr::V4(v4) => sum.add_u32(v4.to_bits()),
            IpAddr::V6(v6) => sum.add_bytes(&v6.octets()),
        }
    }
    // Protocol 6, TCP, in a word of its own.
    sum.add_u16(6);
    sum.add_u32(tcp_len);
    sum
}

/// The checksum of a DSS mapping or of MP_CAPABLE with data (RFC 8684 section 3.3.1).
///
/// `dsn` is always the full 64 bits, whatever is sent; `ssn` and `len` are as in the mapping (so `len`
/// counts a DATA_FIN). MP_CAPABLE with data has no numbers of its own: its data begins at IDSN + 1 and
/// subflow sequence number 1.
pub fn dss_checksum<'a>(dsn: u64, ssn: u32, len: u16, payload: impl Iterator<Item = &'a [u8]>) -> u16 {
    let mut sum = Checksum::new();
    // [8684-3.3.1-5]
    sum.add_u32((dsn >> 32) as u32);
    sum.add_u32(dsn as u32);
    sum.add_u32(ssn);
    sum.add_u16(len);
    for piece in payload {
        sum.add_bytes(piece);
    }
    sum.finish()
}
