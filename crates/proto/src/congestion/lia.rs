//! LIA, the Linked Increases Algorithm (RFC 6356; Wischik, Raiciu, Greenhalgh, Handley, "Design, implementation and
//! evaluation of congestion control for multipath TCP", NSDI 2011).

use super::coupled::{Law, Path, in_use};

/// All windows together grow as much as keeps the connection at what TCP would get on its best path, and none grows faster
/// than that of a TCP in its place.
#[derive(Debug)]
pub struct Lia;

impl Lia {
    /// RFC 6356, section 4, equation (2): how aggressive the connection is.
    fn alpha(paths: &[Path<()>]) -> f64 {
        let best = in_use(paths).map(|path| path.rate() / path.rtt()).fold(0.0, f64::max);
        let rate: f64 = in_use(paths).map(Path::rate).sum();
        total(paths) * best / (rate * rate)
    }
}

fn total(paths: &[Path<()>]) -> f64 {
    in_use(paths).map(|path| path.cwnd).sum()
}

impl Law for Lia {
    const NAME: &'static str = "lia";
    type Memory = ();

    fn growth(paths: &[Path<()>], at: usize) -> f64 {
        // RFC 6356, section 3, equation (1).
        let path = &paths[at];
        (Self::alpha(paths) * path.mss / total(paths)).min(path.mss / path.cwnd)
    }
}

#[cfg(test)]
mod tests {
    use super::super::coupled::paths;
    use super::*;

    #[test]
    fn two_equal_paths_grow_together_as_a_quarter_each() {
        let paths = paths(&[(10.0, 100), (10.0, 100)]);
        // alpha is a half: of 10 segments acknowledged on each, each window grows by a quarter of a segment.
        assert!((Lia::alpha(&paths) - 0.5).abs() < 1e-9);
        assert!((Lia::growth(&paths, 0) * 10.0 - 0.25).abs() < 1e-9);
    }

    #[test]
    fn no_window_grows_faster_than_that_of_a_tcp() {
        // A tiny window on a fast path, and a large one on a slow path.
        let paths = paths(&[(2.0, 10), (200.0, 500)]);
        assert!((Lia::growth(&paths, 1) * 200.0) <= 1.0);
        assert!((Lia::growth(&paths, 0) * 2.0) <= 1.0);
        let uncapped = Lia::alpha(&paths) * 1_000.0 / 202_000.0;
        assert!(uncapped > 1.0 / 200.0, "{uncapped}");
    }
}
