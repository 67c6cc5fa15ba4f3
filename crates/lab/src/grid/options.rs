//! What is to be run, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_sim::grid::scenario::{self, BACK_AT, BULK, CUT_AT, Load, Scenario as Experiment};

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
    /// How long loads last.
    pub times: Times,
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
            times: Times::default(),
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
        let parsed = self.scheduler.as_deref().map_or(Ok(SchedulerKind::default()), str::parse);
        parsed.map_err(anyhow::Error::msg)?;
        let parsed = self.congestion.as_deref().map_or(Ok(CongestionKind::default()), str::parse);
        parsed.map_err(anyhow::Error::msg)?;
        let all = scenario::all();
        let names: Vec<&str> = all.iter().map(|row| row.name).collect();
        for wanted in &self.only {
            ensure!(names.contains(&wanted.as_str()), "there is no row {wanted}: {}", names.join(", "));
        }
        let wanted = |row: &Experiment| self.only.is_empty() || self.only.iter().any(|name| name == row.name);
        Ok(all.into_iter().filter(wanted).collect())
    }
}

/// How long loads last, and when the first path fails, all in proportion to the length of a bulk transfer.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Times {
    bulk: Duration,
}

impl Default for Times {
    /// Those of the table.
    fn default() -> Self {
        Self { bulk: BULK }
    }
}

impl Times {
    /// A bulk transfer lasts so long, of at least 0.1 s.
    #[must_use]
    pub fn of_bulk(bulk: Duration) -> Self {
        Self { bulk: bulk.max(Duration::from_millis(100)) }
    }

    /// How long a bulk transfer lasts.
    #[must_use]
    pub const fn bulk(self) -> Duration {
        self.bulk
    }

    /// How long a load lasts; none where it is over when all is answered.
    #[must_use]
    pub fn duration(self, load: Load) -> Option<Duration> {
        match load {
            Load::Upload(time) | Load::Download(time) => Some(self.scaled(time)),
            Load::Requests { .. } => None,
        }
    }

    /// How many requests there are for a count of the table; at least one.
    #[must_use]
    pub fn requests(self, count: u32) -> u32 {
        ((f64::from(count) * self.share()).round() as u32).max(1)
    }

    /// When the first path fails, and when it is back.
    #[must_use]
    pub fn outage(self) -> (Duration, Duration) {
        (self.scaled(CUT_AT), self.scaled(BACK_AT))
    }

    fn scaled(self, time: Duration) -> Duration {
        time.mul_f64(self.share())
    }

    fn share(self) -> f64 {
        self.bulk.as_secs_f64() / BULK.as_secs_f64()
    }
}
