//! From runs to a row of the report: medians over seeds, figures with their bars, panels.

use polypath_sim::grid::figure::{self, Bar, Figure};
use polypath_sim::grid::report::{Curve, Panel, Row};
use polypath_sim::grid::scenario::Scenario as Experiment;

use super::contender::{self, Contender};
use super::measure::median;
use super::options::Times;
use super::run::Outcome;

/// All seeds of one contender with one congestion control.
pub(super) struct Group {
    pub(super) contender: Contender,
    pub(super) congestion: Option<&'static str>,
    /// Why it cannot take part.
    pub(super) absent: Option<String>,
    /// By seed; what went wrong, where something did.
    pub(super) runs: Vec<(u64, Result<Outcome, String>)>,
}

/// Measures in the order of a report, and their units. `mbit` of a bulk row is called by the row's name alone.
const MEASURES: &[(&str, &str)] = &[
    ("mbit", "Mbit/s"),
    ("gap_ms", "ms"),
    ("again_ms", "ms"),
    ("queue_ms", "ms"),
    ("share", ""),
    ("removals", ""),
    ("p50_ms", "ms"),
    ("p99_ms", "ms"),
    ("duplicated", ""),
    ("reinjected", ""),
    ("window", "bytes"),
];

/// What is said of a row.
pub(super) fn row(row: &Experiment, groups: &[Group], times: Times) -> Row {
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for group in groups {
        figures.extend(group_figures(row, group, groups));
        notes.extend(complaints(row, group));
    }
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    Row {
        name: row.name.into(),
        title: row.title.into(),
        outage: row.outage.map(|_| (seconds(times.outage().0), seconds(times.outage().1))),
        panels: groups.iter().map(|group| panel(row, group)).collect(),
        figures,
        notes,
    }
}

fn group_figures(row: &Experiment, group: &Group, all: &[Group]) -> Vec<Figure> {
    let known = |measure: &str| {
        let outcomes = group.runs.iter().filter_map(|(_, run)| run.as_ref().ok());
        outcomes.clone().any(|outcome| outcome.measures.contains_key(measure))
            // Nothing came of any run: the row's own figure says so.
            || (outcomes.count() == 0 && is_main(row, group.contender, measure))
    };
    let measures = MEASURES.iter().filter(|(measure, _)| known(measure));
    let figure = |&(measure, unit): &(&str, &'static str)| {
        let name = name(row, group, measure);
        let bar = bar(row, group, measure, &name, all);
        Figure { name, value: group.median(measure), unit, bar }
    };
    measures.map(figure).collect()
}

/// What a row is about.
fn is_main(row: &Experiment, contender: Contender, measure: &str) -> bool {
    match measure {
        "mbit" => is_bulk(row),
        "p50_ms" | "p99_ms" => !is_bulk(row) && row.outage.is_none(),
        "duplicated" => !is_bulk(row) && row.outage.is_none() && contender == Contender::Polypath,
        "gap_ms" | "again_ms" | "queue_ms" => row.outage.is_some(),
        "share" => row.paths.iter().any(|path| path.backup),
        _ => false,
    }
}

fn is_bulk(row: &Experiment) -> bool {
    row.outage.is_none() && !matches!(row.load, polypath_sim::grid::scenario::Load::Requests { .. })
}

fn name(row: &Experiment, group: &Group, measure: &str) -> String {
    let mut name = String::new();
    if group.contender.is_kernel() {
        name.push_str("kernel.");
    }
    name.push_str(row.name);
    if measure != "mbit" || !is_bulk(row) {
        name.extend([".", measure]);
    }
    name.push_str(&contender::suffix(row, group.contender, group.congestion));
    if let Some(path) = group.contender.single_path() {
        name.extend([".tcp.", row.paths[path].name]);
    }
    name
}

/// Only polypath over all its paths has to be somewhere.
fn bar(row: &Experiment, group: &Group, measure: &str, name: &str, all: &[Group]) -> Option<Bar> {
    if group.contender != Contender::Polypath {
        return None;
    }
    if let Some(bar) = figure::bar(name) {
        return Some(bar);
    }
    match measure {
        "reinjected" if is_bulk(row) => Some(figure::MAX_REINJECTED),
        // The peer has to be told that the address is gone.
        "removals" => Some(Bar::AtLeast(1.0)),
        "mbit" if contender::bar_is_relative(row) => {
            let singles = all.iter().filter(|other| {
                matches!(other.contender, Contender::PolypathTcp(_)) && other.congestion == group.congestion
            });
            let singles: Option<Vec<f64>> = singles.map(|single| single.median("mbit")).collect();
            let singles = singles.unwrap_or_default();
            // Together in `c`, where windows are large enough; in `f` like the best one.
            let together = row.kernel_buffer.is_none();
            let whole = if together { singles.iter().sum() } else { singles.iter().copied().fold(0.0, f64::max) };
            // Without them nothing can be met.
            let whole = if singles.is_empty() { f64::INFINITY } else { whole };
            Some(Bar::AtLeast(whole * figure::SHARE_OF_SINGLE_PATHS))
        }
        _ => None,
    }
}

impl Group {
    /// Over all seeds. None where one of them failed.
    fn median(&self, measure: &str) -> Option<f64> {
        let values: Option<Vec<Option<f64>>> =
            self.runs.iter().map(|(_, run)| Some(*run.as_ref().ok()?.measures.get(measure)?)).collect();
        values.and_then(|values| median(&values))
    }

    /// The run whose goodput is in the middle.
    fn typical(&self) -> Option<&Outcome> {
        let mut outcomes: Vec<&Outcome> = self.runs.iter().filter_map(|(_, run)| run.as_ref().ok()).collect();
        let mbit = |outcome: &Outcome| outcome.measures.get("mbit").copied().flatten().unwrap_or(0.0);
        outcomes.sort_by(|a, b| mbit(a).total_cmp(&mbit(b)));
        outcomes.get(outcomes.len() / 2).copied()
    }
}

/// For people: `polypath, bbr`.
fn title(row: &Experiment, group: &Group) -> String {
    let control = contender::suffix(row, group.contender, group.congestion);
    let control = control.strip_prefix('.').map_or_else(String::new, |control| format!(", {control}"));
    format!("{}{control}", group.contender.title(row))
}

fn panel(row: &Experiment, group: &Group) -> Panel {
    let curves = group.typical().map_or(&[][..], |outcome| &outcome.curves);
    let curve = |curve: &super::run::RunCurve| Curve { label: curve.label.clone(), points: curve.points.clone() };
    Panel { title: title(row, group), mbit: group.median("mbit"), curves: curves.iter().map(curve).collect() }
}

fn complaints(row: &Experiment, group: &Group) -> Vec<String> {
    let title = title(row, group);
    let mut notes: Vec<String> = group.absent.iter().map(|why| format!("{title}: {why}")).collect();
    for (seed, run) in &group.runs {
        match run {
            Err(error) => notes.push(format!("{title}, seed {seed}: {error}")),
            Ok(outcome) if outcome.device_drops > 0 => {
                notes.push(format!("{title}, seed {seed}: the devices dropped {} packets", outcome.device_drops));
            }
            Ok(outcome) if outcome.multipath == Some(false) && group.contender == Contender::Polypath => {
                notes.push(format!("{title}, seed {seed}: the connection fell back to plain TCP"));
            }
            Ok(_) => {}
        }
    }
    notes
}
