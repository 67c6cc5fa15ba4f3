//! Content that anyone can generate again: a pseudo-random stream from a seed, and its SHA-256.

use std::fmt;
use std::io::{self, Read, Write};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

/// Generated at once; a multiple of the generator's block, so that a stream does not depend on how it is read.
const BLOCK: usize = 64 * 1024;

/// The endless stream of a seed. Two streams of one seed are equal byte for byte however they are read.
pub struct Payload {
    generator: ChaCha8Rng,
    block: Box<[u8]>,
    used: usize,
}

impl Payload {
    /// The stream of `seed`, from its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed), block: vec![0; BLOCK].into(), used: BLOCK }
    }

    /// SHA-256 of the first `len` bytes of the stream of `seed`.
    #[must_use]
    pub fn sha256(seed: u64, len: u64) -> Sha256Digest {
        let mut hasher = Hasher::default();
        let mut payload = Self::new(seed);
        let mut left = len;
        while left > 0 {
            let piece = payload.next_piece(left);
            hasher.update(piece);
            left -= piece.len() as u64;
        }
        hasher.finish()
    }

    /// Writes the next `len` bytes of the stream to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&mut self, out: &mut impl Write, len: u64) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            let piece = self.next_piece(left);
            out.write_all(piece)?;
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Whether the next bytes of the stream are these. Afterwards it stands behind them, or anywhere if they are not.
    #[must_use]
    pub fn continues_with(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let piece = self.next_piece(bytes.len() as u64);
            let (front, rest) = bytes.split_at(piece.len());
            if front != piece {
                return false;
            }
            bytes = rest;
        }
        true
    }

    /// The next bytes of the stream: at least one, at most `max` (which is not zero).
    fn next_piece(&mut self, max: u64) -> &[u8] {
        if self.used == self.block.len() {
            self.generator.fill_bytes(&mut self.block);
            self.used = 0;
        }
        let from = self.used;
        let room = self.block.len() - from;
        self.used += usize::try_from(max).map_or(room, |max| max.min(room));
        &self.block[from..self.used]
    }
}

impl Read for Payload {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let piece = self.next_piece(buf.len() as u64);
        buf[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

/// A SHA-256 value, shown as 64 hexadecimal digits.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Counts and hashes bytes as they come.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    len: u64,
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no byte has come yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of everything taken.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.state.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_does_not_depend_on_how_it_is_read() {
        let mut at_once = vec![0; 200_000];
        Payload::new(7).read_exact(&mut at_once).unwrap();
        let mut in_pieces = Vec::new();
        let mut payload = Payload::new(7);
        for len in (1..).step_by(97) {
            let take = len.min(at_once.len() - in_pieces.len());
            payload.write_to(&mut in_pieces, take as u64).unwrap();
            if in_pieces.len() == at_once.len() {
                break;
            }
        }
        assert!(at_once == in_pieces);
        let mut hasher = Hasher::default();
        hasher.update(&at_once);
        assert_eq!(hasher.len(), 200_000);
        assert_eq!(hasher.finish(), Payload::sha256(7, 200_000));
        assert_ne!(Payload::sha256(7, 200_000), Payload::sha256(8, 200_000));
    }

    #[test]
    fn a_stream_is_recognised_and_a_changed_byte_is_not() {
        let mut bytes = vec![0; 150_000];
        Payload::new(3).read_exact(&mut bytes).unwrap();
        let mut payload = Payload::new(3);
        assert!(payload.continues_with(&bytes[..70_001]) && payload.continues_with(&bytes[70_001..140_000]));
        bytes[149_999] ^= 1;
        assert!(!payload.continues_with(&bytes[140_000..]));
    }

    #[test]
    fn the_hash_is_the_standard_one() {
        // FIPS 180-4: the empty message.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Payload::sha256(1, 0).to_string(), empty);
    }
}
