//! The emulated links against physics, before anything is measured over them.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use polypath_sim::grid::figure::{Bar, Figure};
use polypath_sim::grid::report::Row;
use polypath_sim::grid::scenario::{Path, Scenario as Experiment};

use super::network::path_spec;
use crate::link::Rate;
use crate::physics;
use crate::scenario::{MAX_PATHS, PathSpec};

/// Pings over each link.
const PINGS: u16 = 21;
/// How long TCP fills each link.
const TCP: Duration = Duration::from_secs(4);
/// How long losses are counted.
const LOSSES: Duration = Duration::from_secs(3);
/// TCP's queue: it never runs dry, and takes all that TCP may have in flight. With losses, what waited for a
/// retransmission would come at once, and be counted in less time than it took.
const QUEUE: Duration = Duration::from_secs(60);

const MAX_PING_ERROR: Bar = Bar::AtMost(0.3);
const MIN_TCP_SHARE: Bar = Bar::AtLeast(0.99);
const MAX_TCP_SHARE: Bar = Bar::AtMost(1.01);
const MAX_LOSS_SIGMA: Bar = Bar::AtMost(3.0);

/// The worst of all links of these rows.
pub(super) fn row(rows: &[Experiment]) -> anyhow::Result<Row> {
    let links = distinct(rows);
    let (mut pings, mut shares, mut sigmas) = (Vec::new(), Vec::new(), Vec::new());
    for some in links.chunks(MAX_PATHS) {
        let clean = physics::scenario(some.iter().enumerate().map(|(index, path)| clean(index, path)))?;
        eprintln!("{} links: pings", some.len());
        let errors = thread::scope(|scope| {
            let ping = |path| {
                scope.spawn({
                    let clean = &clean;
                    move || physics::ping_errors(clean, path, PINGS)
                })
            };
            let all: Vec<_> = (0..some.len()).map(ping).collect();
            all.into_iter()
                .map(|one| one.join().map_err(|_| anyhow!("a ping panicked"))?)
                .collect::<anyhow::Result<Vec<_>>>()
        });
        pings.extend(errors.context("pings")?.iter().map(|errors| errors[errors.len() / 2].abs()));
        for (index, path) in some.iter().enumerate() {
            let share = physics::tcp_share(&clean, index, TCP).context("TCP over a clean link")?;
            eprintln!("{}: TCP reaches {:.2} %", describe(path), 100.0 * share);
            shares.push(share);
        }
        for path in some.iter().filter(|path| path.loss > 0.0) {
            let lossy = physics::scenario([path_spec(path)])?;
            sigmas.push(physics::loss_sigma(&lossy, 0, LOSSES).context("losses")?);
        }
    }
    let worst = |values: &[f64]| values.iter().copied().max_by(f64::total_cmp);
    let least = shares.iter().copied().min_by(f64::total_cmp);
    Ok(Row {
        name: "link".into(),
        title: format!("the worst of {} emulated links against physics", links.len()),
        outage: None,
        panels: Vec::new(),
        figures: vec![
            Figure::new("link.ping_error_ms", worst(&pings), "ms", Some(MAX_PING_ERROR)),
            Figure::new("link.tcp_share", least, "", Some(MIN_TCP_SHARE)),
            Figure::new("link.tcp_share_max", worst(&shares), "", Some(MAX_TCP_SHARE)),
            Figure::new(
                "link.loss_sigma",
                worst(&sigmas),
                "sigma",
                Some(MAX_LOSS_SIGMA).filter(|_| !sigmas.is_empty()),
            ),
        ],
        notes: Vec::new(),
    })
}

/// Each link that some row has, once, whatever it is called.
fn distinct(rows: &[Experiment]) -> Vec<Path> {
    let mut links: Vec<Path> = Vec::new();
    for path in rows.iter().flat_map(|row| &row.paths) {
        let same = |known: &Path| Path { name: path.name, backup: path.backup, ..*known } == *path;
        if !links.iter().any(same) {
            links.push(*path);
        }
    }
    links
}

/// A link that loses nothing, and whose queue TCP cannot run dry.
fn clean(index: usize, path: &Path) -> PathSpec {
    let rtt = Duration::from_millis(path.rtt_ms);
    PathSpec::new(&format!("link{index}"), Rate::mbit(path.mbit), rtt, QUEUE)
}

fn describe(path: &Path) -> String {
    format!("{} Mbit/s, {} ms", path.mbit, path.rtt_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polypath_sim::grid::scenario::select;

    #[test]
    fn each_link_is_checked_once() {
        let count = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            distinct(&select(&names).unwrap()).len()
        };
        assert_eq!(count(&["a"]), 1, "its two paths are the same");
        assert_eq!(count(&["c", "f", "g", "h1", "h3"]), 2, "a backup is the same link");
        assert_eq!(count(&["a", "c"]), 3, "with losses it is another");
    }
}
