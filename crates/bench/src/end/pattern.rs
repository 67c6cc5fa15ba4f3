//! What is sent: 8-byte words that say where they stand, made once and compared as they come.
//!
//! Sending costs nothing beyond the write, checking one pass over memory that the read has just filled.

use std::io;

/// Bytes after which the words come again: a prime number of words, so that no segment, mapping or buffer fits into it.
const PERIOD: usize = 8_191 * 8;

/// Bytes that any slice of the pattern can have.
pub(crate) const LONGEST: usize = 256 * 1024;

/// The pattern, long enough for a slice at any place in it.
pub(crate) struct Pattern(Box<[u8]>);

impl Pattern {
    pub(crate) fn new() -> Self {
        let words = (PERIOD + LONGEST) / 8;
        // An odd factor: each word of a period differs from all others in it.
        let word = |at: usize| ((at % (PERIOD / 8)) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        Self((0..words).flat_map(word).collect())
    }

    /// `len` bytes from `at` on, at most [`LONGEST`].
    pub(crate) fn slice(&self, at: u64, len: usize) -> &[u8] {
        let from = (at % PERIOD as u64) as usize;
        &self.0[from..from + len]
    }

    /// Whether these bytes stand at `at`.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn check(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.chunks(LONGEST).enumerate().all(|(n, part)| part == self.slice(at + (n * LONGEST) as u64, part.len()))
        {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("bytes from {at} on are not those that were sent")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_wrong_or_out_of_place_is_seen() {
        let pattern = Pattern::new();
        for at in [0, 5, PERIOD as u64 - 3, 10_000_000_007] {
            let mut bytes = pattern.slice(at, 5_000).to_vec();
            assert!(pattern.check(at, &bytes).is_ok());
            for out in [1, 8, 1_428, 1_460, 64_000, 65_536] {
                assert!(pattern.check(at + out, &bytes).is_err(), "at {at}, by {out}");
            }
            bytes[4_999] ^= 1;
            assert!(pattern.check(at, &bytes).is_err());
        }
    }

    #[test]
    fn slices_follow_each_other() {
        let pattern = Pattern::new();
        let joined: Vec<u8> = (0..40).flat_map(|n| pattern.slice(n * 10_001, 10_001).to_vec()).collect();
        assert!(pattern.check(0, &joined).is_ok());
    }
}
