//! Small receive windows: goodput of Multipath TCP next to that of the best path alone, with each mechanism on and off
//! (the figure of Raiciu et al., NSDI 2012).

use polypath_proto::{Config, Mechanisms};
use serde::Serialize;

use super::figure::{Bar, Figure, SHARE_OF_SINGLE_PATHS};
use super::report::Curve;
use super::run::Contender;
use super::scenario::Scenario;
use super::simulate::{Done, Job, Options, with_congestion};

/// The windows, in KB of 1,024 bytes.
const WINDOWS: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];
/// The rows that are swept.
const ROWS: [&str; 3] = ["b", "c", "d"];
/// A sweep runs with at most this many seeds.
const MOST_SEEDS: u64 = 5;

/// How much of the sweeps of b, c and d is run, where these rows are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Nothing.
    Off,
    /// What the bars need: all mechanisms on.
    Bars,
    /// Each mechanism on and off.
    Mechanisms,
}

/// Goodput over the receive window in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowChart {
    /// The scenario's letter.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The lowest goodput, over all windows, relative to that of the best path alone.
    #[serde(skip)]
    pub figure: Figure,
    /// KB of 1,024 bytes, Mbit/s: one curve for each variant, and one for each path alone.
    pub goodput: Vec<Curve>,
    /// KB of 1,024 bytes, goodput by that of the best path alone: one curve for each variant.
    pub ratio: Vec<Curve>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Which mechanisms are on. The first variant is the one that is held against the bar.
struct Variant {
    name: &'static str,
    apply: fn(&mut Config),
}

/// The variants, that with all mechanisms first: a new one gets a line here.
fn variants(windows: Windows) -> Vec<Variant> {
    let variant = |name, apply| Variant { name, apply };
    let all = variant("polypath", |_| {});
    if windows != Windows::Mechanisms {
        return vec![all];
    }
    vec![
        all,
        variant("no opportunistic retransmission", |config| config.mechanisms.opportunistic_retransmission = false),
        variant("no penalisation", |config| config.mechanisms.penalisation = false),
        variant("no queue limit", |config| config.mechanisms.queue_limit = None),
        variant("no early reinjection", |config| config.mechanisms.early_reinjection = false),
        variant("no mechanism at all", |config| config.mechanisms = Mechanisms::OFF),
    ]
}

/// The sweep of one scenario: for each window the variants, then each path alone.
pub(super) struct Sweep {
    scenario: Scenario,
    variants: Vec<Variant>,
    pub(super) jobs: Vec<Job>,
}

/// The sweeps of those scenarios that are swept.
pub(super) fn sweeps(scenarios: &[Scenario], options: &Options) -> Vec<Sweep> {
    let swept = |scenario: &&Scenario| options.windows != Windows::Off && ROWS.contains(&scenario.name);
    let swept = scenarios.iter().filter(swept);
    swept.map(|scenario| Sweep::new(scenario, options)).collect()
}

impl Sweep {
    fn new(scenario: &Scenario, options: &Options) -> Self {
        let congestion = scenario.congestion.first().copied().flatten();
        let base = with_congestion(&options.config, congestion);
        let seeds = options.seeds.start..options.seeds.end.min(options.seeds.start + MOST_SEEDS);
        let variants = variants(options.windows);
        let mut jobs = Vec::new();
        for window in WINDOWS {
            let mut add = |contender, who: &str, apply: fn(&mut Config)| {
                let config = base.clone().map(|mut config| {
                    config.recv_buffer_max = window * 1024;
                    apply(&mut config);
                    config
                });
                let title = format!("{}: window of {window} KB: {who}", scenario.name);
                jobs.push(Job { scenario: scenario.clone(), contender, config, seeds: seeds.clone(), title });
            };
            for variant in &variants {
                add(Contender::Multipath, variant.name, variant.apply);
            }
            for (number, path) in scenario.paths.iter().enumerate() {
                add(Contender::Alone(number), &format!("TCP on {}", path.name), |_| {});
            }
        }
        Self { scenario: scenario.clone(), variants, jobs }
    }

    /// Takes the results of its jobs.
    pub(super) fn chart(&self, done: &mut impl Iterator<Item = Done>) -> WindowChart {
        let paths = self.scenario.paths.iter().map(|path| format!("TCP on {}", path.name));
        let labels: Vec<String> = self.variants.iter().map(|variant| variant.name.to_owned()).chain(paths).collect();
        let curve = |label: &String| Curve { label: label.clone(), points: Vec::new() };
        let mut goodput: Vec<_> = labels.iter().map(curve).collect();
        let mut ratio: Vec<_> = labels.iter().take(self.variants.len()).map(curve).collect();
        let mut notes = Vec::new();
        for window in WINDOWS {
            let done: Vec<Done> = done.take(labels.len()).collect();
            let problems =
                labels.iter().zip(&done).flat_map(|(label, done)| done.problems.iter().map(move |p| (label, p)));
            notes.extend(problems.map(|(label, problem)| format!("window of {window} KB, {label}: {problem}")));
            let mbit: Vec<_> = done.iter().map(Done::mbit).collect();
            let best = mbit[ratio.len()..].iter().copied().flatten().fold(0.0, f64::max);
            for (curve, mbit) in goodput.iter_mut().zip(&mbit) {
                curve.points.extend(mbit.map(|mbit| (window as f64, mbit)));
            }
            for (curve, mbit) in ratio.iter_mut().zip(&mbit) {
                curve.points.extend(mbit.filter(|_| best > 0.0).map(|mbit| (window as f64, mbit / best)));
            }
        }
        let lowest = ratio[0].points.iter().map(|(_, ratio)| *ratio).reduce(f64::min);
        let bar = Some(Bar::AtLeast(SHARE_OF_SINGLE_PATHS));
        let figure =
            Figure::new(format!("window.{}.min", self.scenario.name), lowest.filter(|_| notes.is_empty()), "", bar);
        let (name, title) = (self.scenario.name.into(), self.scenario.title.into());
        WindowChart { name, title, figure, goodput, ratio, notes }
    }
}
