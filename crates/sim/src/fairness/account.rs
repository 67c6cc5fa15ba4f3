//! From runs to figures: means over seeds, each with its name and its bar.

use std::time::Duration;

use polypath_proto::congestion::CongestionKind;

use super::run::{STEPS, Seen, WARM};
use super::scenario::{Question, Scenario};
use super::simulate::COUPLED;
use crate::grid::figure::{Bar, Figure};
use crate::grid::report::{Curve, Panel, Row};

/// What a connection with several subflows may have of a bottleneck that it shares, by what single-path flows have.
const FAIR: Bar = Bar::Within(0.85, 1.15);
/// Over paths of its own it is at least as good as on the best of them.
const BEST_PATH: Bar = Bar::AtLeast(1.0);
/// On no path it takes more than a flow beside it there, as far as that can be measured.
const NO_HARM: Bar = Bar::AtMost(1.15);
/// The part of the time in which nearly everything goes over one of two paths that are the same.
const SELDOM: Bar = Bar::AtMost(0.1);
/// Nearly everything, and the steps it is looked for in.
const ONE_SIDED: f64 = 0.9;
const LOOK: usize = 3;
/// A path is used as before with so much of what it carried.
const AS_BEFORE: f64 = 0.8;

/// Means over all seeds.
#[derive(Clone, Debug)]
struct Means {
    /// Goodput of a flow of each group, in Mbit/s.
    groups: Vec<f64>,
    /// Of the first group, what each path carried in each step.
    paths: Vec<Vec<f64>>,
    /// Of the first group, the part of the time in which nearly everything went over one path.
    one_sided: f64,
}

impl Means {
    fn new(all: &[Seen]) -> Self {
        let groups = all.iter().flat_map(|seen| &seen.flows).map(|flow| flow.group + 1).max().unwrap_or(0);
        let of = |group: usize| all.iter().flat_map(|seen| &seen.flows).filter(move |flow| flow.group == group);
        let paths = of(0).map(|flow| flow.paths.len()).max().unwrap_or(0);
        let path = |path: usize| {
            let step = |step: usize| mean(of(0).filter_map(|flow| flow.paths.get(path)?.get(step).copied()));
            (0..STEPS).map(step).collect()
        };
        Self {
            groups: (0..groups).map(|group| mean(of(group).map(|flow| flow.mbit))).collect(),
            paths: (0..paths).map(path).collect(),
            one_sided: mean(of(0).map(|flow| one_sided(&flow.paths))),
        }
    }

    fn group(&self, group: usize) -> Option<f64> {
        self.groups.get(group).copied()
    }

    /// Of the first group, what each path carried after the warming up.
    fn carried(&self) -> Vec<f64> {
        self.paths.iter().map(|path| mean(path.iter().skip(WARM).copied())).collect()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn one_sided(paths: &[Vec<f64>]) -> f64 {
    let times = (WARM..STEPS).step_by(LOOK).map(|from| {
        let sums: Vec<f64> = paths.iter().map(|path| path.iter().skip(from).take(LOOK).sum()).collect();
        let most = sums.iter().copied().fold(0.0, f64::max);
        f64::from(u8::from(most > ONE_SIDED * sums.iter().sum::<f64>()))
    });
    mean(times)
}

/// The runs with one congestion control.
#[derive(Clone, Debug)]
pub struct Entry {
    kind: CongestionKind,
    means: Means,
    /// Single-path flows instead, over which of the routes.
    controls: Vec<(usize, Means)>,
    problems: Vec<String>,
}

impl Entry {
    /// What the seeds have shown.
    pub fn new(kind: CongestionKind, results: &[Result<Seen, String>]) -> Self {
        let (means, problems) = sorted(results);
        Self { kind, means, controls: Vec::new(), problems }
    }

    /// What they have shown with single-path flows over that route.
    pub fn add_control(&mut self, at: usize, results: &[Result<Seen, String>]) {
        let (means, problems) = sorted(results);
        self.controls.push((at, means));
        self.problems.extend(problems.into_iter().map(|problem| format!("control: {problem}")));
    }

    fn is_coupled(&self) -> bool {
        COUPLED.contains(&self.kind)
    }

    /// What the control over the best route gets.
    fn best_control(&self) -> Option<f64> {
        self.controls.iter().filter_map(|(_, means)| means.group(0)).reduce(f64::max)
    }

    fn control(&self) -> Option<&Means> {
        self.controls.first().map(|(_, means)| means)
    }

    /// `step` in seconds.
    fn panel(&self, step: f64) -> Panel {
        let curve = |label: String, steps: &[f64]| {
            let points = steps.iter().enumerate().map(|(at, mbit)| ((at as f64 + 0.5) * step, *mbit)).collect();
            Curve { label, points }
        };
        let paths = self.means.paths.iter().enumerate();
        let mut curves: Vec<_> = paths.map(|(path, steps)| curve(format!("path {path}"), steps)).collect();
        if let Some(steps) = self.control().and_then(|control| control.paths.first()) {
            curves.push(curve("a single-path flow in its place".into(), steps));
        }
        Panel { title: self.kind.name().into(), mbit: self.means.group(0), curves }
    }
}

fn sorted(results: &[Result<Seen, String>]) -> (Means, Vec<String>) {
    let good: Vec<Seen> = results.iter().filter_map(|result| result.as_ref().ok()).cloned().collect();
    (Means::new(&good), results.iter().filter_map(|result| result.as_ref().err()).cloned().collect())
}

/// The account of a scenario whose runs lasted `time`.
pub fn row(scenario: &Scenario, entries: &[Entry], time: Duration) -> Row {
    let step = time.as_secs_f64() / STEPS as f64;
    let mut figures = Vec::new();
    for entry in entries {
        // Who is not as good as Reno has missed the point of being coupled; OLIA and BALIA were made to be better than LIA.
        let reference = |kind| entries.iter().find(|other| other.kind == kind && kind != entry.kind);
        let after_lia = matches!(entry.kind, CongestionKind::Olia | CongestionKind::Balia);
        let lia = reference(CongestionKind::Lia).filter(|_| after_lia).or(reference(CongestionKind::Reno));
        let asked = Asked { scenario, entry, step };
        match scenario.question {
            Question::Share => asked.share(&mut figures),
            Question::BestPath => asked.best_path("", &mut figures),
            Question::Goals => asked.goals(reference(CongestionKind::Reno), &mut figures),
            Question::Harm => asked.harm(lia, &mut figures),
            Question::Flapping => asked.flapping(&mut figures),
            Question::Response => asked.response(reference(CongestionKind::Olia), &mut figures),
            Question::Efficiency => asked.efficiency(reference(CongestionKind::Reno), &mut figures),
        }
    }
    let problems = |entry: &Entry| {
        let name = entry.kind.name();
        entry.problems.iter().map(move |problem| format!("{name}: {problem}")).collect::<Vec<_>>()
    };
    Row {
        name: scenario.name.into(),
        title: scenario.title.into(),
        outage: None,
        panels: entries.iter().map(|entry| entry.panel(step)).collect(),
        figures,
        notes: entries.iter().flat_map(problems).collect(),
    }
}

/// Names and makes the figures of one congestion control. Only coupled ones are held against bars.
struct Asked<'a> {
    scenario: &'a Scenario,
    entry: &'a Entry,
    /// In seconds.
    step: f64,
}

impl Asked<'_> {
    fn made(&self, what: &str, value: Option<f64>, unit: &'static str, bar: Option<Bar>) -> Figure {
        let dot = if what.is_empty() { "" } else { "." };
        let name = format!("{}.{}{dot}{what}", self.scenario.name, self.entry.kind.name());
        let bar = bar.filter(|_| self.entry.is_coupled());
        Figure::new(name, value.filter(|_| self.entry.problems.is_empty()), unit, bar)
    }

    fn share(&self, figures: &mut Vec<Figure>) {
        let share = |means: &Means| Some(means.group(0)? / means.group(1)?);
        figures.push(self.made("", share(&self.entry.means), "", Some(FAIR)));
        figures.push(self.made("control", self.entry.control().and_then(share), "", None));
        figures.push(self.made("mbit", self.entry.means.group(0), "Mbit/s", None));
    }

    fn best_path(&self, what: &str, figures: &mut Vec<Figure>) {
        let (own, best) = (self.entry.means.group(0), self.entry.best_control());
        figures.push(self.made(what, own.zip(best).map(|(own, best)| own / best), "", Some(BEST_PATH)));
        figures.push(self.made("mbit", own, "Mbit/s", None));
        for (at, means) in &self.entry.controls {
            figures.push(self.made(&format!("control{at}"), means.group(0), "Mbit/s", None));
        }
    }

    fn goals(&self, reno: Option<&Entry>, figures: &mut Vec<Figure>) {
        self.best_path("gain", figures);
        let carried = self.entry.means.carried();
        let beside = carried.iter().zip(self.entry.means.groups.iter().skip(1));
        let harm = beside.map(|(own, others)| own / others).reduce(f64::max);
        figures.push(self.made("harm", harm, "", Some(NO_HARM)));
        let balance = |entry: &Entry| {
            let carried = entry.means.carried();
            Some(carried.get(1)? / carried.iter().sum::<f64>())
        };
        let bar = reno.and_then(balance).map(Bar::AtLeast);
        figures.push(self.made("balance", balance(self.entry), "", bar));
    }

    fn harm(&self, reference: Option<&Entry>, figures: &mut Vec<Figure>) {
        let left = |entry: &Entry, group| Some(entry.means.group(group)? / entry.control()?.group(group)?);
        let bar = reference.and_then(|entry| left(entry, 1)).map(Bar::AtLeast);
        figures.push(self.made("others", left(self.entry, 1), "", bar));
        figures.push(self.made("own", left(self.entry, 0), "", None));
    }

    fn flapping(&self, figures: &mut Vec<Figure>) {
        figures.push(self.made("onesided", Some(self.entry.means.one_sided), "", Some(SELDOM)));
    }

    fn response(&self, olia: Option<&Entry>, figures: &mut Vec<Figure>) {
        let taken = |means: &Means| Some(self.response_steps(means.paths.first()?)? as f64 * self.step);
        let own = taken(&self.entry.means);
        let balia = self.entry.kind == CongestionKind::Balia;
        let bar = olia.filter(|_| balia).and_then(|olia| taken(&olia.means)).map(Bar::AtMost);
        figures.push(self.made("again", own, "s", bar));
        figures.push(self.made("control", self.entry.control().and_then(taken), "s", None));
    }

    /// Steps from the end of the load until the path carries what it did before; none: it never did.
    fn response_steps(&self, path: &[f64]) -> Option<usize> {
        let (from, to) = self.scenario.groups[1].active;
        let at = |part: f64| (part * STEPS as f64).round() as usize;
        let before = mean(path.get(WARM.min(at(from))..at(from))?.iter().copied());
        let again =
            |step: &usize| path.get(*step..step + 2).is_some_and(|two| mean(two.iter().copied()) >= AS_BEFORE * before);
        (at(to)..STEPS).find(again).map(|step| step - at(to))
    }

    fn efficiency(&self, reno: Option<&Entry>, figures: &mut Vec<Figure>) {
        let total = |means: &Means| -> f64 {
            means.groups.iter().zip(&self.scenario.groups).map(|(mbit, group)| mbit * group.count as f64).sum()
        };
        let part = |entry: &Entry| Some(total(&entry.means) / total(entry.control()?));
        let bar = reno.and_then(part).map(Bar::AtLeast);
        figures.push(self.made("", part(self.entry), "", bar));
        figures.push(self.made("mbit", Some(total(&self.entry.means)), "Mbit/s", None));
    }
}
