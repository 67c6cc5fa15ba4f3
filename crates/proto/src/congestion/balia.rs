//! BALIA, the Balanced Linked Adaptation (Peng, Walid, Hwang, Low, "Multipath TCP: analysis, design, and implementation",
//! IEEE/ACM Transactions on Networking 24(1), 2016; draft-walid-mptcp-congestion-control-04).

use super::coupled::{Law, Path, in_use};

/// Between LIA and OLIA: as friendly as can be had without being slow to respond.
#[derive(Debug)]
pub struct Balia;

impl Balia {
    /// How many times as fast the fastest path is.
    fn alpha(paths: &[Path<()>], at: usize) -> f64 {
        let own = paths[at].rate();
        in_use(paths).map(Path::rate).fold(own, f64::max) / own
    }
}

impl Law for Balia {
    const NAME: &'static str = "balia";
    /// As OLIA.
    const LEAST: f64 = 1.0;
    type Memory = ();

    fn growth(paths: &[Path<()>], at: usize) -> f64 {
        let path = &paths[at];
        let rate: f64 = in_use(paths).map(Path::rate).sum();
        let alpha = Self::alpha(paths, at);
        // The draft, section 3.1.
        path.mss * path.rate() / (path.rtt() * rate * rate) * (1.0 + alpha) / 2.0 * (4.0 + alpha) / 5.0
    }

    fn kept(paths: &[Path<()>], at: usize) -> f64 {
        // The draft, section 3.2: a half, and down to a quarter where others are faster.
        1.0 - Self::alpha(paths, at).min(1.5) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::coupled::paths;
    use super::*;

    #[test]
    fn a_lone_path_is_a_tcp() {
        let paths = paths(&[(10.0, 100)]);
        assert!((Balia::growth(&paths, 0) * 10.0 - 1.0).abs() < 1e-9);
        assert!((Balia::kept(&paths, 0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_slower_path_gives_way_faster() {
        let paths = paths(&[(30.0, 100), (10.0, 100)]);
        let kept = [0, 1].map(|at| Balia::kept(&paths, at));
        assert!((kept[0] - 0.5).abs() < 1e-9 && (kept[1] - 0.25).abs() < 1e-9, "{kept:?}");
        // 30 of 40 squared; and 10 of 40 squared, times 4/2 and 7/5.
        let growth = [0, 1].map(|at| Balia::growth(&paths, at));
        assert!((growth[0] - 30.0 / 1_600.0).abs() < 1e-9, "{growth:?}");
        assert!((growth[1] - 10.0 / 1_600.0 * 2.8).abs() < 1e-9, "{growth:?}");
    }
}
