//! Which positions have arrived.

use std::ops::Range;

/// Positions from 0 on, as ranges that do not touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|old| old.end < range.start);
        let last = self.0.partition_point(|old| old.start <= range.end);
        let merged = match self.0.get(first..last) {
            Some([]) | None => range,
            Some(touched) => {
                let (start, end) = (touched[0].start, touched[touched.len() - 1].end);
                start.min(range.start)..end.max(range.end)
            }
        };
        self.0.splice(first..last, [merged]);
    }

    /// Up to here everything is there.
    pub(super) fn contiguous(&self) -> u64 {
        self.0.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    pub(super) fn contains(&self, range: &Range<u64>) -> bool {
        let at = self.0.partition_point(|old| old.end < range.end);
        self.0.get(at).is_some_and(|old| old.start <= range.start && range.end <= old.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (20, 25), (24, 30), (0, 3), (5, 5)] {
            ranges.insert(start..end);
        }
        assert_eq!(ranges.0, [0..3, 10..40]);
        assert!(ranges.contains(&(12..38)) && ranges.contains(&(10..40)));
        assert!(!ranges.contains(&(2..4)) && !ranges.contains(&(39..41)));
        assert_eq!(ranges.contiguous(), 3);
        ranges.insert(3..10);
        assert_eq!((ranges.contiguous(), ranges.0.len()), (40, 1));
    }
}
