//! Medians, and how far they can be trusted.

use serde::Serialize;

/// How sure an interval has to be, where there are values enough.
const CONFIDENCE: f64 = 0.95;

/// What several values come to.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Between these two values the true median lies, whatever the distribution is.
    pub interval: (f64, f64),
    /// With this probability.
    pub confidence: f64,
    /// How many values there are.
    pub count: usize,
}

impl Summary {
    /// None without a value. The interval is that of order statistics: as narrow as 95 % allow, and of all values where
    /// these are too few for that.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len();
        let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
        let from_end = (0..count.div_ceil(2)).rev().find(|left_out| confidence(count, *left_out) >= CONFIDENCE);
        let left_out = from_end.unwrap_or(0);
        let interval = (sorted[left_out], sorted[count - 1 - left_out]);
        Some(Self { median, min, max, interval, confidence: confidence(count, left_out), count })
    }
}

/// How probable it is that the true median lies between the values that remain of `count` when so many are left out at
/// each end: the number of values below it is binomial with one half.
fn confidence(count: usize, left_out: usize) -> f64 {
    let mut term = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut tail = 0.0;
    for below in 0..=left_out {
        tail += term;
        term *= (count - below) as f64 / (below + 1) as f64;
    }
    (1.0 - 2.0 * tail).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_as_narrow_as_the_table_of_the_sign_test_allows() {
        let of = |count: usize| Summary::of((1..=count).map(|n| n as f64)).unwrap();
        // Textbook values: 9 values from the 2nd to the 8th, 96.1 %; 12 from the 3rd to the 10th, 96.1 %.
        assert_eq!((of(9).median, of(9).interval), (5.0, (2.0, 8.0)));
        assert!((of(9).confidence - 0.9609).abs() < 1e-4);
        assert_eq!(of(12).interval, (3.0, 10.0));
        assert_eq!(of(12).median, 6.5);
        // Too few for 95 %: all of them, and it says how much that is worth.
        assert_eq!((of(3).interval, of(3).confidence), ((1.0, 3.0), 0.75));
        assert_eq!((of(1).interval, of(1).confidence), ((1.0, 1.0), 0.0));
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn what_is_not_a_number_does_not_count() {
        let summary = Summary::of([2.0, f64::NAN, f64::INFINITY, 1.0, 3.0]).unwrap();
        assert_eq!((summary.median, summary.min, summary.max, summary.count), (2.0, 1.0, 3.0, 3));
    }
}
