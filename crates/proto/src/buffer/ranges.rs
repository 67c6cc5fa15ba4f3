//! A set of byte positions as disjoint, ordered ranges.

use super::push_one;
use core::ops::Range;
use std::collections::VecDeque;

/// Disjoint, non-adjacent ranges in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    ranges: VecDeque<Range<u64>>,
}

impl RangeSet {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        RangeSet { ranges: VecDeque::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.ranges.iter()
    }

    /// The range that holds `at`.
    pub(crate) fn containing(&self, at: u64) -> Option<Range<u64>> {
        let i = self.ranges.partition_point(|r| r.end <= at);
        self.ranges.get(i).filter(|r| r.start <= at).cloned()
    }

    /// Adds a range, joining it with those it touches.
    pub(crate) fn insert(&mut self, mut new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        // Mostly the new range extends the last one: look there first.
        let first = match self.ranges.back() {
            Some(last) if last.end < new.start => self.ranges.len(),
            _ => self.ranges.partition_point(|r| r.end < new.start),
        };
        let mut after = first;
        while let Some(r) = self.ranges.get(after).filter(|r| r.start <= new.end) {
            new.start = new.start.min(r.start);
            new.end = new.end.max(r.end);
            after += 1;
        }
        match after - first {
            0 if first == self.ranges.len() => push_one(&mut self.ranges, new),
            0 => self.ranges.insert(first, new),
            1 => self.ranges[first] = new,
            _ => {
                self.ranges[first] = new;
                self.ranges.drain(first + 1..after);
            }
        }
    }

    /// Removes everything before `at`.
    pub(crate) fn remove_before(&mut self, at: u64) {
        while let Some(r) = self.ranges.front_mut() {
            if r.end <= at {
                self.ranges.pop_front();
            } else {
                r.start = r.start.max(at);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_positions(ops in proptest::collection::vec((0u64..200, 0u64..20, any::<bool>()), 0..60)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (start, len, prune) in ops {
                if prune && start % 7 == 0 {
                    set.remove_before(start);
                    model.retain(|p| *p >= start);
                } else {
                    set.insert(start..start + len);
                    model.extend(start..start + len);
                }
                let flat: Vec<u64> = set.iter().flat_map(Clone::clone).collect();
                prop_assert_eq!(&flat, &model.iter().copied().collect::<Vec<_>>());
                // No two ranges touch: a SACK block is as long as it can be.
                prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.end < b.start));
            }
        }
    }
}
