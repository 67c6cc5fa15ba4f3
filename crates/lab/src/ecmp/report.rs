//! What came of it, for people and for programs.

use std::fmt;

use polypath_sim::grid::figure::Figure;
use polypath_sim::grid::report::Machine;
use serde::Serialize;

use super::round::Round;
use super::{Options, Outcome, account, chart};

/// The whole of it; as JSON, in the order of all measuring commands.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every bar is met, and no round failed.
    pub ok: bool,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Decides who sends to whom, and where routers send it.
    pub seed: u64,
    /// What else decides about the results.
    pub settings: Settings,
    /// Where it ran.
    pub machine: Machine,
    /// The command that repeats it.
    pub command: String,
    /// Each round of each contender.
    pub rounds: Vec<Round>,
    /// Rounds that failed, and why.
    pub failures: Vec<String>,
}

/// What else decides about the results.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Of all contenders.
    pub congestion: &'static str,
    /// How many rounds.
    pub rounds: u64,
    /// How long each lasted, in seconds.
    pub seconds: f64,
    /// Of each path through the core, in Mbit/s.
    pub core_mbit: f64,
    /// Of each host's link, in Mbit/s.
    pub uplink_mbit: f64,
    /// Paths through the core.
    pub paths: usize,
    /// Hosts.
    pub hosts: usize,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn new(options: &Options, outcome: Outcome, machine: Machine, command: String) -> Self {
        let figures = account::figures(options, &outcome);
        Self {
            ok: outcome.failures.is_empty() && figures.iter().all(|figure| figure.met() != Some(false)),
            figures,
            seed: options.seed,
            settings: Settings {
                congestion: options.congestion.name(),
                rounds: options.rounds,
                seconds: options.time.as_secs_f64(),
                core_mbit: super::CORE.as_bits_per_second() as f64 / 1e6,
                uplink_mbit: super::UPLINK.as_bits_per_second() as f64 / 1e6,
                paths: super::PATHS,
                hosts: super::HOSTS,
            },
            machine,
            command,
            rounds: outcome.rounds,
            failures: outcome.failures,
        }
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists of them are JSON")
    }

    /// A picture of all flows, by their goodput.
    ///
    /// # Errors
    /// Whatever the drawing library says; nothing is known that it would.
    pub fn svg(&self) -> anyhow::Result<String> {
        chart::svg(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { congestion, rounds, seconds, core_mbit, paths, hosts, .. } = &self.settings;
        writeln!(
            f,
            "{hosts} hosts, {paths} paths of {core_mbit} Mbit/s; {rounds} rounds of {seconds} s, {congestion}"
        )?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "  {figure}"))?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "  failed: {failure}"))?;
        write!(f, "{} (seed {})", if self.ok { "ok" } else { "NOT OK" }, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecmp::{FlowSeen, SubflowSeen};
    use polypath_proto::congestion::CongestionKind;
    use std::time::Duration;

    /// One round in which the flows of each contender got so much, and four subflows more than TCP.
    fn report(failures: &[&str]) -> Report {
        let options = Options { rounds: 1, time: Duration::from_secs(10), seed: 3, congestion: CongestionKind::Lia };
        let flow = |mbit| FlowSeen {
            from: "a0".into(),
            to: "b1".into(),
            mbit,
            subflows: vec![SubflowSeen { port: 2_000, path: 2, bytes: 5 }],
        };
        let round = |contender: &str, mbit: [f64; 2]| Round {
            contender: contender.into(),
            round: 1,
            flows: mbit.map(flow).into(),
            links: Vec::new(),
        };
        let rounds = vec![round("tcp", [18.0, 6.0]), round("mptcp2", [9.0, 9.0]), round("mptcp4", [12.5, 17.5])];
        let failures = failures.iter().map(ToString::to_string).collect();
        let machine = Machine { cores: 2, kernel: "6.18".into() };
        Report::new(&options, Outcome { rounds, failures }, machine, "polypath lab ecmp".into())
    }

    #[test]
    fn a_failed_round_is_told_and_is_not_well_though_bars_are_met() {
        let (well, failed) = (report(&[]), report(&["mptcp2, round 1 of 1: a byte arrived that was not sent"]));
        assert!(well.ok && well.to_string().ends_with("ok (seed 3)"), "{well}");
        assert!(!failed.ok && failed.to_string().contains("failed: mptcp2, round 1"), "{failed}");
        assert!(failed.to_string().ends_with("NOT OK (seed 3)"), "{failed}");
    }

    #[test]
    fn the_picture_names_contenders_with_mean_and_worst_flow() {
        let svg = report(&[]).svg().unwrap();
        for part in [
            "8 hosts, 4 paths of equal cost",
            "1 rounds of 10 s, 20 Mbit/s for each path and host, lia (seed 3)",
            "TCP: mean 12.0, worst flow 6.0 Mbit/s",
            "MPTCP, 2 subflows: mean 9.0, worst flow 9.0 Mbit/s",
            "MPTCP, 4 subflows: mean 15.0, worst flow 12.5 Mbit/s",
            "goodput (Mbit/s)",
        ] {
            assert!(svg.contains(part), "{part:?} is missing");
        }
    }
}
