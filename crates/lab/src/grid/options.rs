//! What is to be run, and for how long.

use std::path::PathBuf;

use anyhow::ensure;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_sim::grid::scenario::{Scenario as Experiment, select};

/// Shorter loads are over before anything happens.
const MIN_SHARE: f64 = 0.01;
/// Of bulk, almost three hours.
const MAX_SHARE: f64 = 1_000.0;

/// What `polypath lab grid` is asked for.
#[derive(Clone, Debug)]
pub struct GridOptions {
    /// How many seeds, from 1; each decides which packets are lost.
    pub seeds: u64,
    /// The rows wanted, by their letters; none: all.
    pub only: Vec<String>,
    /// polypath's scheduler; none: the default one.
    pub scheduler: Option<String>,
    /// What polypath runs where a row asks for the default congestion control; none: the default one.
    pub congestion: Option<String>,
    /// So much of the table's time is run: of loads, and of when a path fails and returns.
    pub share: f64,
    /// Whether the links are checked against physics before anything else.
    pub physics: bool,
    /// Where finished runs are kept, to be taken from there the next time; none: nowhere.
    pub resume: Option<PathBuf>,
    /// Forget what was finished before.
    pub fresh: bool,
}

impl Default for GridOptions {
    /// Every row with five seeds; nothing is kept.
    fn default() -> Self {
        Self {
            seeds: 5,
            only: Vec::new(),
            scheduler: None,
            congestion: None,
            share: 1.0,
            physics: true,
            resume: None,
            fresh: false,
        }
    }
}

impl GridOptions {
    /// The rows asked for, in the table's order.
    ///
    /// # Errors
    /// Names the row, scheduler or congestion control that does not exist.
    pub fn experiments(&self) -> anyhow::Result<Vec<Experiment>> {
        ensure!(self.seeds > 0, "a grid needs at least one seed");
        let share = self.share;
        ensure!((MIN_SHARE..=MAX_SHARE).contains(&share), "{share} of the table's time is too short or too long");
        let parsed = self.scheduler.as_deref().map_or(Ok(SchedulerKind::default()), str::parse);
        parsed.map_err(anyhow::Error::msg)?;
        let parsed = self.congestion.as_deref().map_or(Ok(CongestionKind::default()), str::parse);
        parsed.map_err(anyhow::Error::msg)?;
        let rows = select(&self.only).map_err(anyhow::Error::msg)?;
        Ok(rows.into_iter().map(|row| row.scaled(self.share)).collect())
    }
}
