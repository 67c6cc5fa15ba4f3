//! All pairs: the few cells in which every two values of different dimensions meet, where they can.

use std::collections::HashMap;
use std::hash::Hash;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::cell::{Cell, SIZES};
use crate::gaps::{self, KNOWN_GAPS};

/// Decides between cells that are worth the same; of the first fifteen the one that needs the fewest.
const SEED: u64 = 3;

/// A value of one dimension together with one of another.
type Pair = [(usize, usize); 2];

/// Every cell that exists.
pub(crate) fn product() -> Vec<Cell> {
    numbers().map(|numbers| Cell::at(&numbers)).filter(|cell| cell.impossible().is_none()).collect()
}

/// Cells that together have every pair of values that exists. The same cells each time.
///
/// A gap hides whatever else its cell would show. So a pair counts only in cells with as few gaps as it can have, and
/// not at all where two gaps meet. Of cells that have as many new pairs the one is taken that has most new pairs for
/// its role: what polypath does as client it does not do as server. Each gap has a cell of its own.
pub(crate) fn pairwise() -> Vec<Cell> {
    let mut candidates: Vec<Candidate> = numbers().filter_map(|numbers| Candidate::new(&numbers)).collect();
    let mut order = ChaCha8Rng::seed_from_u64(SEED);
    candidates.sort_by_cached_key(|_| order.next_u64());
    let mut missing = Missing::new(&candidates, |candidate| &candidate.pairs);
    let mut missing_for_role = Missing::new(&candidates, |candidate| &candidate.pairs_of_role);
    let mut chosen = Vec::new();
    while !missing.is_empty() {
        let worth = |candidate: &&Candidate| {
            let pairs = missing.count(candidate.gaps, &candidate.pairs);
            (pairs, missing_for_role.count(candidate.gaps, &candidate.pairs_of_role))
        };
        let best = candidates.iter().max_by_key(worth).expect("there are cells");
        missing.remove(best.gaps, &best.pairs);
        missing_for_role.remove(best.gaps, &best.pairs_of_role);
        chosen.push(best.cell);
    }
    for (words, _) in KNOWN_GAPS {
        let shows = |candidate: &&Candidate| candidate.gaps == 1 && candidate.cell.has(words);
        let shown = chosen.iter().any(|cell| gaps::of(cell).count() == 1 && cell.has(words));
        chosen.extend(candidates.iter().find(shows).filter(|_| !shown).map(|candidate| candidate.cell));
    }
    chosen
}

struct Candidate {
    cell: Cell,
    gaps: usize,
    pairs: Vec<Pair>,
    /// The pairs, each with the role.
    pairs_of_role: Vec<(usize, Pair)>,
}

impl Candidate {
    fn new(numbers: &[usize]) -> Option<Self> {
        let cell = Cell::at(numbers);
        if cell.impossible().is_some() {
            return None;
        }
        let pairs = pairs(numbers);
        let pairs_of_role = pairs.iter().map(|pair| (numbers[0], *pair)).collect();
        Some(Self { cell, gaps: gaps::of(&cell).count(), pairs, pairs_of_role })
    }
}

/// What no chosen cell has yet, and the number of gaps of the cells that count for it.
struct Missing<T>(HashMap<T, usize>);

impl<T: Copy + Eq + Hash> Missing<T> {
    fn new(candidates: &[Candidate], of: impl Fn(&Candidate) -> &Vec<T>) -> Self {
        let mut fewest = HashMap::new();
        for candidate in candidates {
            for thing in of(candidate) {
                let least = fewest.entry(*thing).or_insert(candidate.gaps);
                *least = candidate.gaps.min(*least);
            }
        }
        fewest.retain(|_, gaps| *gaps <= 1);
        Self(fewest)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn count(&self, gaps: usize, things: &[T]) -> usize {
        things.iter().filter(|thing| self.0.get(*thing) == Some(&gaps)).count()
    }

    fn remove(&mut self, gaps: usize, things: &[T]) {
        for thing in things {
            if self.0.get(thing) == Some(&gaps) {
                self.0.remove(thing);
            }
        }
    }
}

/// One number for each dimension, in all combinations.
fn numbers() -> impl Iterator<Item = Vec<usize>> {
    (0..SIZES.iter().product()).map(|mut index: usize| {
        let digit = |size: &usize| {
            let digit = index % size;
            index /= size;
            digit
        };
        SIZES.iter().map(digit).collect()
    })
}

fn pairs(numbers: &[usize]) -> Vec<Pair> {
    let values: Vec<(usize, usize)> = numbers.iter().copied().enumerate().collect();
    let with_later = |(index, first): (usize, &(usize, usize))| {
        let first = *first;
        values[index + 1..].iter().map(move |second| [first, *second]).collect::<Vec<_>>()
    };
    values.iter().enumerate().flat_map(with_later).collect()
}
