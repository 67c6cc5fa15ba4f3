//! From runs to a row of the report.

use polypath_sim::grid::account::{self, Entry};
use polypath_sim::grid::figure::Figure;
use polypath_sim::grid::record::median;
use polypath_sim::grid::report::Row;
use polypath_sim::grid::scenario::{Load, Scenario as Experiment};

use super::contender::Contender;
use super::record::Kept;

/// Later packets make figures doubtful: the machine was busy.
const MAX_LATE_MS: u64 = 10;

/// All seeds of one contender with one congestion control.
pub(super) struct Group {
    pub(super) contender: Contender,
    /// As the row names it; none: the default one.
    pub(super) congestion: Option<&'static str>,
    /// Why it cannot take part.
    pub(super) absent: Option<String>,
    /// By seed; what went wrong, where something did.
    pub(super) runs: Vec<(u64, Result<Kept, String>)>,
}

/// What is said of a row.
pub(super) fn row(row: &Experiment, groups: &[Group]) -> Row {
    let entries: Vec<Entry> = groups.iter().map(|group| group.entry(row)).collect();
    let mut told = account::row(row, &entries);
    told.figures.extend(groups.iter().flat_map(|group| group.further_figures(row)));
    told.notes.extend(groups.iter().flat_map(|group| group.doubts(row)));
    told
}

impl Group {
    fn finished(&self) -> impl Iterator<Item = &Kept> {
        self.runs.iter().filter_map(|(_, run)| run.as_ref().ok())
    }

    fn prefix(&self) -> &'static str {
        if self.contender.is_kernel() { "kernel." } else { "" }
    }

    fn entry(&self, row: &Experiment) -> Entry {
        let failed = |(seed, run): &(u64, Result<Kept, String>)| Some(format!("seed {seed}: {}", run.as_ref().err()?));
        Entry {
            title: self.contender.title(row, self.congestion),
            prefix: self.prefix(),
            congestion: self.congestion,
            alone: self.contender.single_path(),
            outcomes: self.finished().map(Kept::outcome).collect(),
            problems: self.absent.iter().cloned().chain(self.runs.iter().filter_map(failed)).collect(),
        }
    }

    /// What the lab tells besides: single paths' answers, and how large windows were where buffers are limited.
    fn further_figures(&self, row: &Experiment) -> Vec<Figure> {
        let mut wanted = Vec::new();
        if self.contender.single_path().is_some() && matches!(row.load, Load::Requests { .. }) {
            wanted.extend([("p99_ms", "ms"), ("p50_ms", "ms")]);
        }
        if row.kernel_buffer.is_some() {
            wanted.push(("window", "bytes"));
        }
        let figure = |(measure, unit): (&str, &'static str)| {
            let several = row.congestion.len() > 1;
            let control = self.congestion.filter(|_| several).map_or_else(String::new, |name| format!(".{name}"));
            let path = self.contender.single_path().map(|path| row.paths[path].name);
            let path = path.map_or_else(String::new, |path| format!(".tcp.{path}"));
            let name = format!("{}{}.{measure}{control}{path}", self.prefix(), row.name);
            let values: Option<Vec<f64>> =
                self.finished().map(|kept| kept.measures.get(measure).copied().flatten()).collect();
            Figure::new(name, values.as_deref().and_then(median), unit, None)
        };
        wanted.into_iter().map(figure).collect()
    }

    /// What makes a run's figures doubtful.
    fn doubts(&self, row: &Experiment) -> Vec<String> {
        let title = self.contender.title(row, self.congestion);
        let mut doubts = Vec::new();
        for (seed, run) in &self.runs {
            let Ok(kept) = run else { continue };
            if kept.device_drops > 0 {
                doubts.push(format!("{title}: seed {seed}: the devices dropped {} packets", kept.device_drops));
            }
            if kept.late_ms > MAX_LATE_MS {
                doubts.push(format!("{title}: seed {seed}: packets were up to {} ms late", kept.late_ms));
            }
            if kept.multipath == Some(false) && self.contender == Contender::Polypath {
                doubts.push(format!("{title}: seed {seed}: the connection fell back to plain TCP"));
            }
        }
        doubts
    }
}
