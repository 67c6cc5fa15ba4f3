//! How far a grid is, for whoever waits: a line on standard error for each run.

use std::time::{Duration, Instant};

use polypath_sim::grid::scenario::{Load, Scenario as Experiment};

use super::network::Case;
use super::options::GridOptions;
use super::record::Kept;
use super::store::{Key, Store};

/// What making hosts and links takes, and taking them away.
const AROUND: Duration = Duration::from_millis(400);

/// What is left to do.
pub(super) struct Progress {
    /// Runs that are over, and all of them.
    runs: (usize, usize),
    /// What is left, if runs last as long as expected.
    left: Duration,
    began: Instant,
}

impl Progress {
    /// What of the experiments is not finished yet.
    pub(super) fn new(experiments: &[Experiment], store: &Store, options: &GridOptions) -> Self {
        let (mut runs, mut left) = (0, Duration::ZERO);
        for row in experiments {
            for group in super::groups(row).iter().filter(|group| group.absent.is_none()) {
                for seed in 1..=options.seeds {
                    let case = Case { row, contender: group.contender, congestion: group.congestion, seed };
                    if store.get(&Key::new(&case, options)).is_none() {
                        (runs, left) = (runs + 1, left + expected(&case));
                    }
                }
            }
        }
        Self { runs: (0, runs), left, began: Instant::now() }
    }

    /// A run begins.
    pub(super) fn begin(&mut self, case: &Case<'_>) {
        self.began = Instant::now();
        let (done, all) = self.runs;
        let minutes = self.left.as_secs_f64() / 60.0;
        let who = case.contender.title(case.row, case.congestion);
        eprint!("[{} of {all}, {minutes:.1} min left] {}, seed {}: {who}", done + 1, case.row.name, case.seed);
    }

    /// It is over.
    pub(super) fn end(&mut self, case: &Case<'_>, result: &Result<Kept, String>) {
        self.runs.0 += 1;
        self.left = self.left.saturating_sub(expected(case));
        let seconds = self.began.elapsed().as_secs_f64();
        let said = match result {
            Ok(outcome) => {
                let known = |(name, value): (&String, &Option<f64>)| Some(format!("{name} {:.2}", (*value)?));
                outcome.measures.iter().filter_map(known).collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.clone(),
        };
        eprintln!(": {said} ({seconds:.1} s)");
    }
}

/// How long a run will take.
fn expected(case: &Case<'_>) -> Duration {
    let load = match case.row.load {
        Load::Upload(time) | Load::Download(time) => time,
        Load::Requests { count, .. } => {
            // One or two round trips, on the nearest path that there is.
            let rtt = case.paths().iter().map(|path| case.row.paths[*path].rtt_ms).min().unwrap_or(0);
            Duration::from_millis(rtt * 3 / 2 + 8) * count
        }
    };
    AROUND + load
}
