//! What is to be run, how often, and for how long.

use std::time::Duration;

use anyhow::ensure;

use crate::case::Group;

/// What `polypath bench` is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The groups wanted, and figures by their names; none: all.
    pub only: Vec<String>,
    /// How often the two of a pair with a bar are run, in turn.
    pub pairs: usize,
    /// The same of a pair that is only told.
    pub told_pairs: usize,
    /// The work that is counted in each run.
    pub window: Duration,
    /// Idle connections: these numbers of them.
    pub idle: Vec<usize>,
    /// Pairs of idle connections: memory hardly varies.
    pub idle_pairs: usize,
}

impl Default for Options {
    /// All of it; what the bars are meant for.
    fn default() -> Self {
        Self {
            only: Vec::new(),
            pairs: 9,
            told_pairs: 5,
            window: Duration::from_millis(1_000),
            idle: vec![10_000, 100_000],
            idle_pairs: 1,
        }
    }
}

impl Options {
    /// All of it, within two minutes, and not as sure.
    #[must_use]
    pub fn quick() -> Self {
        let window = Duration::from_millis(400);
        Self { pairs: 3, told_pairs: 1, window, idle: vec![10_000], ..Self::default() }
    }

    /// Whether a figure of a group is asked for: by its own name, or by the group's.
    #[must_use]
    pub(crate) fn wants(&self, group: Group, figure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == group.name() || name == figure)
    }

    /// # Errors
    /// Says what makes no sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.pairs > 0 && self.told_pairs > 0 && self.idle_pairs > 0, "at least one pair is needed");
        ensure!(self.window >= Duration::from_millis(50), "less than 0.05 seconds show nothing");
        Ok(())
    }
}
