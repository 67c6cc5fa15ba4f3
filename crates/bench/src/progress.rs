//! How far it is, for whoever waits: a line on standard error for each run.

use std::time::{Duration, Instant};

use crate::case::{Case, Load};
use crate::figure::number;
use crate::options::Options;
use crate::plan::Comparison;
use crate::run::Sample;

/// What making hosts and processes takes, the work before it counts, and the end of it.
const AROUND: Duration = Duration::from_millis(850);
/// What an idle connection takes to be made, and to be taken away.
const IDLE: Duration = Duration::from_micros(350);

/// What is left to do.
pub(crate) struct Progress {
    /// Runs that are over, and all of them.
    runs: (usize, usize),
    /// What is left, if runs last as long as expected.
    left: Duration,
    window: Duration,
}

impl Progress {
    pub(crate) fn new(comparisons: &[Comparison], options: &Options) -> Self {
        let mut progress = Self { runs: (0, 0), left: Duration::ZERO, window: options.window };
        for comparison in comparisons {
            progress.runs.1 += 2 * comparison.pairs;
            for case in [comparison.subject, comparison.reference] {
                progress.left += progress.expected(&case) * comparison.pairs as u32;
            }
        }
        progress
    }

    /// Does `work`, and tells what comes of it.
    pub(crate) fn tell(
        &mut self,
        case: &Case,
        work: impl FnOnce() -> anyhow::Result<Sample>,
    ) -> Result<Sample, String> {
        let (begun, minutes) = (Instant::now(), self.left.as_secs_f64() / 60.0);
        eprint!("[{} of {}, {minutes:.1} min left] {case}", self.runs.0 + 1, self.runs.1);
        let result = work().map_err(|error| format!("{error:#}"));
        self.runs.0 += 1;
        self.left = self.left.saturating_sub(self.expected(case));
        let seconds = begun.elapsed().as_secs_f64();
        let said = match &result {
            Ok(sample) => format!("{} {}", number(sample.rate), case.load.group().unit()),
            Err(error) => format!("FAILED: {error}"),
        };
        eprintln!(": {said} ({seconds:.1} s)");
        result
    }

    fn expected(&self, case: &Case) -> Duration {
        match case.load {
            Load::Idle { connections } => AROUND + Duration::from_secs(1) + IDLE * connections as u32,
            _ => AROUND + self.window,
        }
    }
}
