//! OLIA, the Opportunistic Linked Increases Algorithm (Khalili, Gast, Popovic, Upadhyay, Le Boudec, "MPTCP is not
//! Pareto-optimal: performance issues and a possible solution", CoNEXT 2012; draft-khalili-mptcp-congestion-control-05).

use super::coupled::{Law, Path, in_use};

/// Grows as a fully coupled control does, which leaves congested paths, and moves some window from the largest ones to the
/// best ones, which keeps it from changing its mind too late or too often.
#[derive(Debug)]
pub struct Olia;

/// Windows and estimates are equal that differ by rounding only.
const SAME: f64 = 1.0 - 1e-9;

impl Olia {
    /// The square of what a TCP would get, by the bytes between losses (the paper's section 4).
    fn promise(path: &Path<()>) -> f64 {
        let bytes = path.between_losses.max(path.since_loss()) as f64;
        bytes / (path.rtt() * path.rtt())
    }

    /// The paper's equation (6): what is moved from the largest windows to the best paths, in windows.
    fn alpha(paths: &[Path<()>], at: usize) -> f64 {
        let best = in_use(paths).map(Self::promise).fold(0.0, f64::max);
        let largest = in_use(paths).map(|path| path.cwnd).fold(0.0, f64::max);
        let is_best = |path: &Path<()>| Self::promise(path) >= best * SAME;
        let is_largest = |path: &Path<()>| path.cwnd >= largest * SAME;
        let collected = in_use(paths).filter(|path| is_best(path) && !is_largest(path)).count();
        if collected == 0 {
            return 0.0;
        }
        let all = in_use(paths).count() as f64;
        match &paths[at] {
            path if is_largest(path) => -1.0 / (all * in_use(paths).filter(|path| is_largest(path)).count() as f64),
            path if is_best(path) => 1.0 / (all * collected as f64),
            _ => 0.0,
        }
    }
}

impl Law for Olia {
    const NAME: &'static str = "olia";
    /// The draft, section 3: so that a congested path can be left to next to nothing.
    const LEAST: f64 = 1.0;
    type Memory = ();

    fn growth(paths: &[Path<()>], at: usize) -> f64 {
        // The paper's equation (5).
        let path = &paths[at];
        let rate: f64 = in_use(paths).map(Path::rate).sum();
        let coupled = path.rate() / path.rtt() / (rate * rate);
        path.mss * (coupled + Self::alpha(paths, at) / path.cwnd)
    }
}

#[cfg(test)]
mod tests {
    use super::super::coupled::paths;
    use super::*;

    #[test]
    fn a_lone_path_grows_as_a_tcp() {
        assert!((Olia::growth(&paths(&[(10.0, 100)]), 0) * 10.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_better_path_gets_window_from_the_largest_one() {
        let mut paths = paths(&[(30.0, 100), (10.0, 100), (5.0, 100)]);
        paths[1].between_losses = 100;
        assert_eq!([0, 1, 2].map(|at| (Olia::alpha(&paths, at) * 3.0).round()), [-1.0, 1.0, 0.0]);
        // The largest is the best: nothing is moved.
        paths[0].between_losses = 101;
        assert_eq!([0, 1, 2].map(|at| Olia::alpha(&paths, at)), [0.0; 3]);
    }
}
