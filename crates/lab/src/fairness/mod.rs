//! `polypath lab fairness`: one bottleneck in real time, with kernel TCP (Reno) flows on it and a connection of polypath's
//! with two subflows. What it gets, by what the kernel's flows get in the mean.
//!
//! [`run`] goes through contenders and seeds; [`once`] runs one of them. The report is the grid's.

mod once;

use polypath_proto::Config;
use polypath_proto::congestion::CongestionKind;
use polypath_sim::fairness::run::config;
use polypath_sim::fairness::simulate::COUPLED;
use polypath_sim::grid::figure::{Bar, Figure};
use polypath_sim::grid::report::{Curve, Panel, Row};
use std::time::{Duration, Instant};

pub use once::{Shares, once};

use crate::preflight::Machine;

/// What a connection over several subflows may have, by what a kernel's flow has beside it.
const FAIR: Bar = Bar::Within(0.7, 1.3);

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many seeds: random starts.
    pub seeds: u64,
    /// How long each run lasts.
    pub time: Duration,
    /// How many flows of kernel TCP, at least one.
    pub flows: usize,
    /// Only these congestion controls; all for none.
    pub congestion: Vec<CongestionKind>,
}

/// Who shares the bottleneck with the kernel's flows.
#[derive(Clone, Debug)]
pub struct Contender {
    /// What its figures are called.
    pub name: String,
    /// Of polypath's stack; plain TCP has one subflow.
    pub config: Config,
    bar: Option<Bar>,
}

impl Contender {
    /// Two subflows with this congestion control, and nothing else that limits them.
    pub fn multipath(kind: CongestionKind) -> Self {
        // One that goes by delay takes what the queue's length lets it, which is up to others: nothing to hold it against.
        let bar = (COUPLED.contains(&kind) && kind != CongestionKind::Wvegas).then_some(FAIR);
        Self { name: kind.name().into(), config: config(kind), bar }
    }

    /// The same with all else as it is by default: scheduler, limit to queues, buffers.
    fn as_shipped(kind: CongestionKind) -> Self {
        let Self { name, bar, .. } = Self::multipath(kind);
        let config = Config { congestion: kind, ..Config::default() };
        Self { name: format!("{name}.default"), config, bar }
    }

    /// One flow of plain TCP with Reno, as the kernel's are.
    pub fn control() -> Self {
        let config = Config { multipath: false, ..config(CongestionKind::Reno) };
        Self { name: "tcp".into(), config, bar: None }
    }
}

fn contenders(options: &Options) -> Vec<Contender> {
    let wanted = |kind: &CongestionKind| options.congestion.is_empty() || options.congestion.contains(kind);
    let coupled: Vec<_> = COUPLED.into_iter().filter(wanted).collect();
    let multipath = coupled.iter().copied().map(Contender::multipath);
    let shipped = coupled.iter().copied().filter(|kind| *kind == CongestionKind::Lia).map(Contender::as_shipped);
    multipath.chain(shipped).chain([Contender::multipath(CongestionKind::Reno), Contender::control()]).collect()
}

/// Runs all of it; progress goes to standard error.
///
/// # Errors
/// Where a privilege or a program is missing. A run that fails is a note.
pub fn run(options: &Options) -> anyhow::Result<Row> {
    let machine = Machine::probe(&["ip"]);
    machine.require()?;
    anyhow::ensure!(machine.has_mptcp(), "{}", machine.without_mptcp());
    let start = Instant::now();
    let contenders = contenders(options);
    let mut all: Vec<Vec<Shares>> = contenders.iter().map(|_| Vec::new()).collect();
    let mut notes = Vec::new();
    // Every contender with one seed, then with the next: what disturbs the machine for a while disturbs all of them.
    for seed in 1..=options.seeds {
        for (contender, seen) in contenders.iter().zip(&mut all) {
            match once(contender, options, seed) {
                Ok(shares) => {
                    let (own, kernel) = (shares.own, shares.kernel());
                    eprintln!(
                        "{:>7.1} s  {}, seed {seed}: {own:.2} Mbit/s, kernel {kernel:.2}",
                        start.elapsed().as_secs_f64(),
                        contender.name
                    );
                    seen.push(shares);
                }
                Err(error) => notes.push(format!("{}, seed {seed}: {error:#}", contender.name)),
            }
        }
    }
    let whole = |seen: &[Shares]| seen.len() as u64 == options.seeds;
    let figures = contenders.iter().zip(&all).flat_map(|(contender, seen)| figures(contender, seen, whole(seen)));
    Ok(Row {
        name: "shared".into(),
        title: format!("one bottleneck, with {} flows of kernel TCP (Reno)", options.flows),
        outage: None,
        figures: figures.collect(),
        panels: contenders.iter().zip(&all).map(|(contender, seen)| panel(contender, seen)).collect(),
        notes,
    })
}

/// Of means over the seeds: none where a run failed.
fn figures(contender: &Contender, seen: &[Shares], whole: bool) -> Vec<Figure> {
    let mean = |of: fn(&Shares) -> f64| whole.then(|| seen.iter().map(of).sum::<f64>() / seen.len() as f64);
    let (own, kernel) = (mean(|shares| shares.own), mean(Shares::kernel));
    let name = &contender.name;
    vec![
        Figure::new(format!("shared.{name}"), own.zip(kernel).map(|(own, kernel)| own / kernel), "", contender.bar),
        Figure::new(format!("shared.{name}.mbit"), own, "Mbit/s", None),
        Figure::new(format!("shared.{name}.kernel"), kernel, "Mbit/s", None),
    ]
}

/// The last seed's.
fn panel(contender: &Contender, seen: &[Shares]) -> Panel {
    let curves = seen.last().map(|shares| {
        let curve = |label: &str, points: &[(f64, f64)]| Curve { label: label.into(), points: points.to_vec() };
        vec![curve("polypath", &shares.own_curve), curve("a kernel flow, in the mean", &shares.kernel_curve)]
    });
    let mbit = (!seen.is_empty()).then(|| seen.iter().map(|shares| shares.own).sum::<f64>() / seen.len() as f64);
    Panel { title: contender.name.clone(), mbit, curves: curves.unwrap_or_default() }
}
