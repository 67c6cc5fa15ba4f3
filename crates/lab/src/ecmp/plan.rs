//! Who sends to whom, round by round: in each, every host sends one flow to the other side and takes one from there.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::network::{HOSTS, SIDE};

/// After so many rounds each host has sent to each of the other side once.
pub const ALL_TO_ALL: u64 = SIDE as u64;
/// Flows begin at random within this.
const BEGIN_WITHIN: Duration = Duration::from_millis(200);
/// The client's ports: all that a stack takes by itself are above.
const PORTS: std::ops::Range<u16> = 1_024..10_000;
/// Streams of the generator: permutations have those of their own.
const PERMUTATIONS: u64 = 1 << 32;

/// One flow of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Flow {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The sender's port: the first subflow takes the same path with every contender.
    pub(super) port: u16,
    /// When it begins to send.
    pub(super) begin: Duration,
    /// Of its payload.
    pub(super) seed: u64,
}

/// The flows of a round, counted from 0, by senders.
pub(super) fn round(seed: u64, number: u64) -> Vec<Flow> {
    let mut rng = generator(seed, PERMUTATIONS + number / ALL_TO_ALL);
    let orders = [shuffled(&mut rng), shuffled(&mut rng)];
    let turn = (number % ALL_TO_ALL) as usize;
    let mut rng = generator(seed, number);
    let flow = |from: usize| {
        let (side, place) = (from / SIDE, from % SIDE);
        let to = (1 - side) * SIDE + orders[side][(place + turn) % SIDE];
        let port = PORTS.start + (rng.next_u32() % PORTS.len() as u32) as u16;
        let begin = BEGIN_WITHIN.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        Flow { from, to, port, begin, seed: rng.next_u64() >> 1 }
    };
    (0..HOSTS).map(flow).collect()
}

fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// The places of a side in random order (Fisher and Yates).
fn shuffled(rng: &mut ChaCha8Rng) -> [usize; SIDE] {
    let mut places = std::array::from_fn(|place| place);
    for last in (1..SIDE).rev() {
        places.swap(last, rng.next_u32() as usize % (last + 1));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn pairs(rounds: std::ops::Range<u64>) -> Vec<(usize, usize)> {
        rounds.flat_map(|number| round(7, number)).map(|flow| (flow.from, flow.to)).collect()
    }

    #[test]
    fn every_host_sends_and_receives_once_in_a_round() {
        for number in 0..20 {
            let flows = round(7, number);
            assert!(flows.iter().map(|flow| flow.from).eq(0..HOSTS));
            assert_eq!(flows.iter().map(|flow| flow.to).collect::<BTreeSet<_>>().len(), HOSTS);
            assert!(flows.iter().all(|flow| flow.from / SIDE != flow.to / SIDE), "all cross the core: {flows:?}");
            assert!(flows.iter().all(|flow| flow.begin <= BEGIN_WITHIN && PORTS.contains(&flow.port)));
        }
    }

    #[test]
    fn four_rounds_are_all_to_all_and_the_next_four_are_others() {
        for first in [0, 4, 8] {
            let seen = pairs(first..first + ALL_TO_ALL);
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), HOSTS * SIDE);
        }
        let orders: BTreeSet<_> = (0..10).map(|block| pairs(block * ALL_TO_ALL..block * ALL_TO_ALL + 1)).collect();
        assert!(orders.len() > 5, "{orders:?}");
    }

    #[test]
    fn a_seed_decides_all_of_it() {
        assert_eq!(round(1, 5), round(1, 5));
        assert_ne!(round(1, 5), round(2, 5));
        let ports: BTreeSet<u16> = (0..20).flat_map(|number| round(1, number)).map(|flow| flow.port).collect();
        assert!(ports.len() > 140, "{}", ports.len());
    }
}
