//! Randomness: every draw comes from one printed seed.
//!
//! Each part (a link's direction, a host, a scenario) has a stream of its own, so that one more draw in one part
//! leaves all others as they were.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Who draws. The number keeps the streams of parts of the same kind apart.
#[derive(Copy, Clone, Debug)]
pub enum Stream {
    /// The scenario itself: rates, losses, sizes.
    Scenario,
    /// One direction of a link.
    Link(u32),
    /// The seed of a host's stack.
    Stack(u32),
    /// A host's application.
    Application(u32),
    /// A middlebox.
    Middlebox(u32),
}

impl Stream {
    fn number(self) -> u64 {
        let (kind, index) = match self {
            Self::Scenario => (0, 0),
            Self::Link(index) => (1, index),
            Self::Stack(index) => (2, index),
            Self::Application(index) => (3, index),
            Self::Middlebox(index) => (4, index),
        };
        (kind << 32) | u64::from(index)
    }
}

/// The generator of one part of the simulation with this seed.
pub fn stream(seed: u64, part: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(part.number());
    rng
}

/// The 32-byte seed of one part, for [`polypath_proto::Stack::new`].
pub fn seed_bytes(seed: u64, part: Stream) -> [u8; 32] {
    let mut bytes = [0; 32];
    stream(seed, part).fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_from_each_other() {
        assert_eq!(seed_bytes(7, Stream::Stack(1)), seed_bytes(7, Stream::Stack(1)));
        assert_ne!(seed_bytes(7, Stream::Stack(1)), seed_bytes(7, Stream::Stack(2)));
        assert_ne!(seed_bytes(7, Stream::Stack(1)), seed_bytes(7, Stream::Link(1)));
        assert_ne!(seed_bytes(7, Stream::Stack(1)), seed_bytes(8, Stream::Stack(1)));
    }
}
