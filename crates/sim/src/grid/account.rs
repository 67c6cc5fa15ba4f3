//! From the runs of a scenario to its figures: medians over seeds, each with its name and its bar.

use super::figure::{Against, Bar, Figure, MAX_REINJECTED, SHARE_OF_SINGLE_PATHS, against, bar};
use super::record::{Outcome, median};
use super::report::{Panel, Row};
use super::scenario::{BACK_AT, CUT_AT, Load, Outage, Scenario};

/// The runs of one contender in one scenario with one congestion control.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who, for people: `kernel MPTCP, cubic`.
    pub title: String,
    /// What its figures' names begin with: nothing for those that have bars, `kernel.` for the kernel's.
    pub prefix: &'static str,
    /// As the scenario names it; none: the default one.
    pub congestion: Option<&'static str>,
    /// Plain TCP on this path alone, by its number; none: on all of them.
    pub alone: Option<usize>,
    /// One for each seed.
    pub outcomes: Vec<Outcome>,
    /// Why there is not an outcome for each seed. Then there is no figure either.
    pub problems: Vec<String>,
}

/// A number of an outcome.
type Of = fn(&Outcome) -> Option<f64>;

impl Entry {
    /// The median over the seeds; none if a run failed.
    pub fn median(&self, of: Of) -> Option<f64> {
        let values: Option<Vec<f64>> = self.outcomes.iter().map(of).collect();
        median(&values?).filter(|_| self.problems.is_empty())
    }

    /// The picture of the run in the middle.
    fn panel(&self) -> Panel {
        let mbit = self.median(|outcome| outcome.mbit);
        let distance = |outcome: &&Outcome| (outcome.mbit.unwrap_or(0.0) - mbit.unwrap_or(0.0)).abs();
        let middle = self.outcomes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let curves = middle.map(|outcome| outcome.curves.clone()).unwrap_or_default();
        Panel { title: self.title.clone(), mbit, curves }
    }
}

/// The account of a scenario.
pub fn row(scenario: &Scenario, entries: &[Entry]) -> Row {
    let mut figures = Vec::new();
    for entry in entries.iter().filter(|entry| entry.alone.is_none()) {
        let same = |other: &&Entry| (other.prefix, other.congestion) == (entry.prefix, entry.congestion);
        let alone: Vec<_> = entries.iter().filter(same).filter(|other| other.alone.is_some()).collect();
        Names { scenario, entry }.figures(&alone, &mut figures);
    }
    let problems = |entry: &Entry| {
        let title = entry.title.clone();
        entry.problems.iter().map(move |problem| format!("{title}: {problem}")).collect::<Vec<_>>()
    };
    Row {
        name: scenario.name.into(),
        title: scenario.title.into(),
        outage: scenario.outage.map(|_| (CUT_AT.as_secs_f64(), BACK_AT.as_secs_f64())),
        panels: entries.iter().map(Entry::panel).collect(),
        figures,
        notes: entries.iter().flat_map(problems).collect(),
    }
}

/// Names and makes the figures of one entry.
struct Names<'a> {
    scenario: &'a Scenario,
    entry: &'a Entry,
}

impl Names<'_> {
    fn figures(&self, alone: &[&Entry], figures: &mut Vec<Figure>) {
        match (self.scenario.load, self.scenario.outage) {
            (Load::Requests { .. }, _) => {
                figures.push(self.figure("p99_ms", |outcome| outcome.p99_ms, "ms"));
                figures.push(self.figure("p50_ms", |outcome| outcome.p50_ms, "ms"));
                figures.push(self.figure("duplicated", |outcome| outcome.reinjected, ""));
            }
            (_, Some(outage)) => self.of_outage(outage, figures),
            (_, None) => self.of_bulk(alone, figures),
        }
    }

    fn of_bulk(&self, alone: &[&Entry], figures: &mut Vec<Figure>) {
        let name = match (self.scenario.congestion, self.entry.congestion) {
            ([_], _) | (_, None) => self.scenario.name.to_owned(),
            (_, Some(congestion)) => format!("{}.{congestion}", self.scenario.name),
        };
        let single: Vec<_> = alone.iter().map(|entry| entry.median(|outcome| outcome.mbit)).collect();
        let relative = against(&name).map(|against| Bar::AtLeast(SHARE_OF_SINGLE_PATHS * against.of(&single)));
        figures.push(self.made(&name, |outcome| outcome.mbit, "Mbit/s", bar(&name).or(relative)));
        for (entry, mbit) in alone.iter().zip(&single) {
            let path = entry.alone.and_then(|path| self.scenario.paths.get(path)).map_or("", |path| path.name);
            figures.push(Figure::new(format!("{}{name}.tcp.{path}", self.entry.prefix), *mbit, "Mbit/s", None));
        }
        let name = format!("{name}.reinjected");
        figures.push(self.made(&name, |outcome| outcome.reinjected, "", Some(MAX_REINJECTED)));
    }

    fn of_outage(&self, outage: Outage, figures: &mut Vec<Figure>) {
        figures.push(self.figure("gap_ms", |outcome| outcome.gap_ms, "ms"));
        figures.push(self.figure("again_ms", |outcome| outcome.again_ms, "ms"));
        if matches!(self.scenario.load, Load::Upload(_)) {
            figures.push(self.figure("queue_ms", |outcome| outcome.queue_ms, "ms"));
        }
        if self.scenario.paths.iter().any(|path| path.backup) {
            figures.push(self.figure("share", |outcome| outcome.share, ""));
        }
        if outage == Outage::AddressRemoved {
            figures.push(self.figure("remove_addr", |outcome| outcome.remove_addr, ""));
        }
        figures.push(self.figure("mbit", |outcome| outcome.mbit, "Mbit/s"));
        let name = self.name("reinjected");
        figures.push(self.made(&name, |outcome| outcome.reinjected, "", Some(MAX_REINJECTED)));
    }

    /// `h1.gap_ms`, or `h1.gap_ms.cubic` where the scenario is run with several congestion controls.
    fn name(&self, what: &str) -> String {
        let name = format!("{}.{what}", self.scenario.name);
        match (self.scenario.congestion, self.entry.congestion) {
            ([_], _) | (_, None) => name,
            (_, Some(congestion)) => format!("{name}.{congestion}"),
        }
    }

    fn figure(&self, what: &str, of: Of, unit: &'static str) -> Figure {
        let name = self.name(what);
        self.made(&name, of, unit, bar(&name))
    }

    /// Only figures without a prefix are held against bars.
    fn made(&self, name: &str, of: Of, unit: &'static str, bar: Option<Bar>) -> Figure {
        let prefix = self.entry.prefix;
        let bar = bar.filter(|_| prefix.is_empty());
        Figure::new(format!("{prefix}{name}"), self.entry.median(of), unit, bar)
    }
}

impl Against {
    /// Of these goodputs; infinite, so that nothing is enough, where one is missing.
    fn of(self, single: &[Option<f64>]) -> f64 {
        let known = single.iter().copied().collect::<Option<Vec<_>>>().filter(|known| !known.is_empty());
        let Some(known) = known else { return f64::INFINITY };
        match self {
            Against::Sum => known.iter().sum(),
            Against::Best => known.iter().copied().fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::scenario::select;

    fn entry(prefix: &'static str, congestion: &'static str, alone: Option<usize>, mbit: &[f64]) -> Entry {
        let outcome = |mbit: &f64| Outcome { mbit: Some(*mbit), reinjected: Some(0.01), ..Outcome::default() };
        let outcomes = mbit.iter().map(outcome).collect();
        let title = format!("{prefix} {alone:?}");
        Entry { title, prefix, congestion: Some(congestion), alone, outcomes, problems: Vec::new() }
    }

    fn scenario(name: &str) -> Scenario {
        select(&[name.to_owned()]).unwrap().remove(0)
    }

    fn find<'a>(row: &'a Row, name: &str) -> &'a Figure {
        row.figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn the_bar_of_c_is_a_part_of_the_sum_of_its_own_single_paths_and_that_of_f_of_the_best() {
        let entries = [
            entry("", "cubic", None, &[23.0, 25.0, 24.0]),
            entry("", "cubic", Some(0), &[6.0, 6.0, 7.0]),
            entry("", "cubic", Some(1), &[19.0, 18.0, 19.0]),
            entry("kernel.", "cubic", None, &[1.0, 2.0, 3.0]),
            entry("kernel.", "cubic", Some(0), &[90.0, 90.0, 90.0]),
        ];
        let c = row(&scenario("c"), &entries);
        let figure = find(&c, "c.cubic");
        assert_eq!((figure.value, figure.met()), (Some(24.0), Some(true)));
        assert_eq!(figure.bar, Some(Bar::AtLeast(0.95 * 25.0)));
        assert_eq!(find(&row(&scenario("f"), &entries), "f.cubic").bar, Some(Bar::AtLeast(0.95 * 19.0)));
        let kernel = find(&c, "kernel.c.cubic");
        assert_eq!((kernel.value, kernel.bar), (Some(2.0), None));
        assert_eq!(find(&c, "c.cubic.reinjected").met(), Some(true));
    }

    #[test]
    fn a_run_that_failed_leaves_no_figure_and_a_note() {
        let mut multipath = entry("", "cubic", None, &[93.0, 93.0]);
        multipath.problems.push("seed 3: a wrong byte".into());
        let row = row(&scenario("a"), &[multipath]);
        let figure = find(&row, "a");
        assert_eq!((figure.value, figure.met()), (None, Some(false)));
        assert!(row.notes[0].contains("seed 3: a wrong byte"), "{:?}", row.notes);
    }

    #[test]
    fn without_its_single_paths_a_relative_bar_is_never_met() {
        let row = row(&scenario("c"), &[entry("", "cubic", None, &[1e9])]);
        assert_eq!(find(&row, "c.cubic").met(), Some(false));
    }
}
