//! Weighted Vegas (Cao, Xu, Fu, "Delay-based congestion control for multipath TCP", ICNP 2012;
//! draft-xu-mptcp-congestion-control-05).

use super::AckSample;
use super::coupled::{Law, Path, in_use};
use crate::time::Duration;

/// Segments that the connection wants to have waiting in queues, on all paths together (the draft's total_alpha)...
const TOTAL_ALPHA: f64 = 10.0;
/// ...and on each at least, and to begin with (Linux out of tree: initial_alpha).
const LEAST_ALPHA: f64 = 2.0;
/// So many waiting end slow start (Linux out of tree: gamma).
const GAMMA: f64 = 1.0;
/// Round trips measured in a round that say something of the queue; with less it grows as NewReno.
const ENOUGH: u32 = 3;
/// A queue that takes so many times as long as it did is drained, so that the shortest round trip can be seen.
const DRAIN: u32 = 2;

/// Keeps a few segments in the queue of each path, more where the path gives more: packets then wait equally on all.
#[derive(Debug)]
pub struct Wvegas;

/// What it knows of one path.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The shortest round trip ever.
    base: Option<Duration>,
    /// Round trips of this round, and how many.
    sum: Duration,
    count: u32,
    /// Segments wanted in the queue.
    alpha: f64,
    /// The share of the connection that this path carried when it was last full.
    rate: f64,
    /// The shortest wait in the queue of a path that was full, since it was last drained.
    wait: Option<Duration>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { base: None, sum: Duration::ZERO, count: 0, alpha: LEAST_ALPHA, rate: 0.0, wait: None }
    }
}

impl Wvegas {
    /// A round is over in which packets took `rtt` in the mean, and `base` at best.
    fn end_round(paths: &mut [Path<Memory>], at: usize, base: Duration, rtt: Duration) {
        let path = &mut paths[at];
        let ratio = base.as_secs_f64() / rtt.as_secs_f64().max(1e-6);
        // Segments that wait in the queue.
        let waiting = path.cwnd / path.mss * (1.0 - ratio);
        if path.cwnd < path.ssthresh {
            if waiting > GAMMA {
                path.cwnd = path.cwnd.min(path.cwnd * ratio + path.mss).max(2.0 * path.mss);
                path.ssthresh = path.cwnd;
            }
            return;
        }
        if waiting >= path.memory.alpha {
            path.memory.rate = path.cwnd / rtt.as_secs_f64().max(1e-6);
            Self::share_out(paths, at);
        }
        let path = &mut paths[at];
        if waiting > path.memory.alpha {
            path.cwnd -= path.mss;
        } else if waiting < path.memory.alpha {
            path.cwnd += path.mss;
        }
        path.cwnd = path.cwnd.max(2.0 * path.mss);
        // Slow start leads back here should the window fall.
        path.ssthresh = path.ssthresh.clamp(path.cwnd * 0.75, path.cwnd);
        if waiting >= path.memory.alpha {
            Self::drain(path, rtt - base, ratio);
        }
    }

    /// Each path has a part of [`TOTAL_ALPHA`] in proportion to what it carries.
    fn share_out(paths: &mut [Path<Memory>], at: usize) {
        // One that was never full yet has its window to go by.
        let rate = |path: &Path<Memory>| if path.memory.rate > 0.0 { path.memory.rate } else { path.rate() };
        let all: f64 = in_use(paths).map(rate).sum();
        let share = rate(&paths[at]) / all;
        paths[at].memory.alpha = (share * TOTAL_ALPHA).max(LEAST_ALPHA);
    }

    /// The path is full, and packets wait so long for it. Where that is twice as long as it was before, with no more of our
    /// own waiting, queues grow for another reason: others take the queue that they find for the path's own delay. For once
    /// nothing of ours waits, and slow start leads back.
    fn drain(path: &mut Path<Memory>, wait: Duration, ratio: f64) {
        let least = path.memory.wait.map_or(wait, |least| least.min(wait));
        path.memory.wait = Some(least);
        if wait >= least * DRAIN {
            path.cwnd = (path.cwnd * ratio / 2.0).max(2.0 * path.mss);
            path.memory.wait = None;
        }
    }
}

impl Law for Wvegas {
    const NAME: &'static str = "wvegas";
    type Memory = Memory;

    /// Windows move once in a round, by [`look`](Law::look).
    fn growth(_paths: &[Path<Memory>], _at: usize) -> f64 {
        0.0
    }

    fn look(paths: &mut [Path<Memory>], at: usize, sample: &AckSample) {
        let memory = &mut paths[at].memory;
        if let Some(rtt) = sample.rtt {
            memory.base = Some(memory.base.map_or(rtt, |base| base.min(rtt)));
            memory.sum += rtt;
            memory.count += 1;
        }
        if !sample.round_start {
            return;
        }
        let (sum, count) = (core::mem::take(&mut memory.sum), core::mem::take(&mut memory.count));
        let Some(base) = memory.base.filter(|_| sample.cwnd_limited) else { return };
        if count >= ENOUGH {
            Self::end_round(paths, at, base, sum / count);
        } else if paths[at].cwnd >= paths[at].ssthresh {
            paths[at].cwnd += paths[at].mss;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::coupled::paths;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_it_wants_in_queues_is_shared_by_what_paths_carry() {
        let mut paths = paths::<Memory>(&[(90.0, 100), (30.0, 100)]);
        // 30 segments wait on the first: more than the 7.5 that are its share.
        Wvegas::end_round(&mut paths, 0, MS * 100, MS * 150);
        assert!((paths[0].memory.alpha - 10.0 * 600.0 / 900.0).abs() < 1e-9, "{:?}", paths[0].memory);
        assert!((paths[0].cwnd - 89_000.0).abs() < 1e-9);
        // 3 on the second: as much is wanted after all.
        Wvegas::end_round(&mut paths, 1, MS * 100, MS * 111);
        assert!((paths[1].cwnd - 31_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_queue_twice_as_long_as_the_shortest_is_drained_once() {
        let mut paths = paths::<Memory>(&[(111.0, 100)]);
        // A little more than ten wait: it is full.
        Wvegas::end_round(&mut paths, 0, MS * 100, MS * 110);
        assert!((paths[0].cwnd - 110_000.0).abs() < 1e-6);
        Wvegas::end_round(&mut paths, 0, MS * 100, MS * 125);
        // One less, for more than ten wait, and then half of what the path holds.
        assert!((paths[0].cwnd - 109_000.0 / 1.25 / 2.0).abs() < 1e-6, "{}", paths[0].cwnd);
        // Below the threshold: slow start.
        assert!((paths[0].ssthresh - 110_000.0 * 0.75).abs() < 1e-6, "{}", paths[0].ssthresh);
    }

    #[test]
    fn a_queue_that_is_not_as_long_as_it_should_be_may_grow() {
        let mut paths = paths::<Memory>(&[(50.0, 100)]);
        for wait in 0..10 {
            Wvegas::end_round(&mut paths, 0, MS * 100, MS * (100 + 2 * wait));
        }
        assert!((paths[0].cwnd - 60_000.0).abs() < 1e-6, "{}", paths[0].cwnd);
    }
}
