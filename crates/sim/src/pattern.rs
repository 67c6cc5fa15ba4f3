//! Payload whose every byte follows from a seed and its position.

use bytes::Bytes;

/// Bytes of a [`Pattern::Blank`] that are in memory; longer runs repeat them.
const BLANK: &[u8] = &[0; 1 << 16];

/// What an application sends: the byte at each position is known without having kept it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Pseudo-random bytes that differ from position to position and from seed to seed: a byte that is lost, doubled
    /// or out of place is seen.
    Seeded(u64),
    /// Zeros that nobody looks at: neither made nor compared, for simulations where only lengths matter.
    Blank,
}

/// The first byte that is not what it should be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Its position in the stream.
    pub at: u64,
    /// What was sent there.
    pub expected: u8,
    /// What was received.
    pub found: u8,
}

impl Pattern {
    /// The bytes at `at..at + len`. A blank pattern may give fewer, but never none, unless `len` is 0.
    pub fn bytes(self, at: u64, len: usize) -> Bytes {
        match self {
            Self::Blank => Bytes::from_static(&BLANK[..len.min(BLANK.len())]),
            Self::Seeded(_) => {
                let mut bytes = vec![0; len];
                self.fill(at, &mut bytes);
                Bytes::from(bytes)
            }
        }
    }

    /// Writes the bytes from `at` on into `out`.
    pub fn fill(self, at: u64, out: &mut [u8]) {
        let Self::Seeded(seed) = self else {
            return out.fill(0);
        };
        let mut word = at / 8;
        let skip = (at % 8) as usize;
        let head = if skip == 0 { 0 } else { (8 - skip).min(out.len()) };
        let (first, rest) = out.split_at_mut(head);
        if head > 0 {
            first.copy_from_slice(&mix(seed, word).to_le_bytes()[skip..skip + head]);
            word += 1;
        }
        let mut chunks = rest.chunks_exact_mut(8);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&mix(seed, word).to_le_bytes());
            word += 1;
        }
        let tail = chunks.into_remainder();
        let len = tail.len();
        tail.copy_from_slice(&mix(seed, word).to_le_bytes()[..len]);
    }

    /// Compares what was received at `at` with what was sent there.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn verify(self, at: u64, received: &[u8]) -> Result<(), Mismatch> {
        if self == Self::Blank {
            return Ok(());
        }
        let mut expected = [0; 4096];
        for (index, part) in received.chunks(expected.len()).enumerate() {
            let start = at + (index * expected.len()) as u64;
            let expected = &mut expected[..part.len()];
            self.fill(start, expected);
            if *expected == *part {
                continue;
            }
            let differs = expected.iter().zip(part).enumerate().find(|(_, (a, b))| a != b);
            if let Some((offset, (&expected, &found))) = differs {
                return Err(Mismatch { at: start + offset as u64, expected, found });
            }
        }
        Ok(())
    }

    /// Where in the first `limit` bytes of the stream these bytes belong, if anywhere: tells a byte out of place from
    /// a byte that was changed. Slow; for reports.
    pub fn find(self, bytes: &[u8], limit: u64) -> Option<u64> {
        if self == Self::Blank || bytes.len() < 8 {
            return None;
        }
        let probe = &bytes[..8];
        let mut stream = vec![0; usize::try_from(limit).ok()?];
        self.fill(0, &mut stream);
        stream.windows(8).position(|window| window == probe).map(|at| at as u64)
    }
}

/// The eight bytes at one position: `SplitMix64` (Steele, Lea, Flood 2014) as a counter.
fn mix(seed: u64, word: u64) -> u64 {
    let mut z = seed.wrapping_add(word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_stream_is_the_same_bytes() {
        let pattern = Pattern::Seeded(42);
        let whole = pattern.bytes(0, 300);
        for at in 0..40 {
            for len in [0, 1, 3, 7, 8, 9, 16, 100, 255] {
                assert_eq!(pattern.bytes(at as u64, len), whole[at..at + len], "at {at}, {len} bytes");
            }
        }
    }

    #[test]
    fn what_was_sent_verifies_and_one_changed_byte_is_found() {
        let pattern = Pattern::Seeded(3);
        let mut bytes = pattern.bytes(1_001, 10_000).to_vec();
        assert_eq!(pattern.verify(1_001, &bytes), Ok(()));
        bytes[7_777] ^= 0x10;
        let wrong = pattern.verify(1_001, &bytes).unwrap_err();
        assert_eq!((wrong.at, wrong.found), (8_778, bytes[7_777]));
    }

    #[test]
    fn bytes_out_of_place_do_not_verify_but_are_located() {
        let pattern = Pattern::Seeded(3);
        let bytes = pattern.bytes(5_000, 1_000);
        assert!(pattern.verify(5_001, &bytes).is_err());
        assert!(Pattern::Seeded(4).verify(5_000, &bytes).is_err());
        assert_eq!(pattern.find(&bytes, 10_000), Some(5_000));
    }
}
