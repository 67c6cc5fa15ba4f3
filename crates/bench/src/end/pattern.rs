//! What is sent: 8-byte words that say where they stand, made once and compared as they come.
//!
//! Sending costs nothing beyond the write, checking one pass over memory that the read has just filled.

use std::io;

use bytes::Bytes;

/// Bytes after which the words come again: a prime number of words, so that no segment, mapping or buffer fits into it.
const PERIOD: usize = 8_191 * 8;

/// Bytes that any slice of the pattern can have.
pub(crate) const LONGEST: usize = 256 * 1024;

/// The pattern, long enough for a slice at any place in it.
pub(crate) struct Pattern(Bytes);

impl Pattern {
    pub(crate) fn new() -> Self {
        let words = (PERIOD + LONGEST) / 8;
        // An odd factor: each word of a period differs from all others in it.
        let word = |at: usize| ((at % (PERIOD / 8)) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        Self((0..words).flat_map(word).collect::<Vec<u8>>().into())
    }

    /// `len` bytes from `at` on, at most [`LONGEST`].
    pub(crate) fn slice(&self, at: u64, len: usize) -> &[u8] {
        let from = (at % PERIOD as u64) as usize;
        &self.0[from..from + len]
    }

    /// The same, as memory that is shared.
    pub(crate) fn piece(&self, at: u64, len: usize) -> Bytes {
        self.0.slice_ref(self.slice(at, len))
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
        Err(io::Error::new(io::ErrorKind::InvalidData, self.wrong(at, bytes)))
    }

    /// What is wrong with these bytes, where something is.
    fn wrong(&self, at: u64, bytes: &[u8]) -> String {
        let right = (at..).map(|at| self.slice(at, 1)[0]);
        let good = bytes.iter().zip(right).take_while(|(byte, right)| **byte == *right).count();
        let bad = &bytes[good..];
        let place =
            bad.first_chunk::<8>().and_then(|word| self.0[..PERIOD + 8].windows(8).position(|other| other == word));
        let from = at + good as u64;
        match place {
            Some(place) => {
                let period = from - from % PERIOD as u64;
                format!(
                    "at {from} is what was sent at {} (or multiples of {PERIOD} before or after it)",
                    period + place as u64
                )
            }
            None => format!("at {from} is what was never sent: {:02x?}", &bad[..bad.len().min(16)]),
        }
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
    fn it_says_where_bytes_belong() {
        let pattern = Pattern::new();
        let bytes = [pattern.slice(70_000, 100), pattern.slice(80_000, 100)].concat();
        let error = pattern.check(70_000, &bytes).unwrap_err().to_string();
        assert!(error.starts_with("at 70100 is what was sent at 80000 "), "{error}");
        let error = pattern.check(70_000, &[0; 100]).unwrap_err().to_string();
        assert!(error.starts_with("at 70000 is what was never sent: [00, "), "{error}");
    }

    #[test]
    fn slices_follow_each_other() {
        let pattern = Pattern::new();
        let joined: Vec<u8> = (0..40).flat_map(|n| pattern.slice(n * 10_001, 10_001).to_vec()).collect();
        assert!(pattern.check(0, &joined).is_ok());
    }
}
