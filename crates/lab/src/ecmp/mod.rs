//! `polypath lab ecmp`: eight hosts behind routers that spread connections over paths of equal cost, and what TCP gets
//! there beside Multipath TCP with two and four subflows between the same two addresses. What Raiciu et al. measured on
//! EC2 (SIGCOMM 2011), small: TCP connections meet on one path while another is idle; subflows spread.
//!
//! [`run`] goes through rounds and contenders: `plan` says who sends to whom, `network` makes hosts and routers, `round`
//! runs one round of one contender, `account` sums up, `report` and `chart` tell.

mod account;
mod chart;
mod contender;
mod network;
mod plan;
mod report;
mod round;

use std::time::{Duration, Instant};

use polypath_proto::congestion::CongestionKind;

pub use contender::Contender;
pub use network::{CORE, HOSTS, PATHS, SIDE, UPLINK, name};
pub use plan::ALL_TO_ALL;
pub use report::Report;
pub use round::{FlowSeen, LinkSeen, Round, SubflowSeen};

use crate::preflight::Machine;
use network::Network;

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many rounds; [`ALL_TO_ALL`] of them lead from each host to each of the other side.
    pub rounds: u64,
    /// How long each lasts. The first fifth is not counted.
    pub time: Duration,
    /// Who sends to whom, when and from which ports; which path the routers take for which ports.
    pub seed: u64,
    /// Of all contenders.
    pub congestion: CongestionKind,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Each round of each contender.
    pub rounds: Vec<Round>,
    /// Those that failed, and why.
    pub failures: Vec<String>,
}

/// Runs all of it; progress goes to standard error. A round that fails is told of, and the next one run.
///
/// # Errors
/// Where a privilege or a program is missing, or the network cannot be made.
pub fn run(options: &Options) -> anyhow::Result<Outcome> {
    Machine::probe(&["ip", "tc"]).require()?;
    let start = Instant::now();
    let network = Network::build(options.seed)?;
    let mut outcome = Outcome::default();
    // Every contender in one round, then in the next: what disturbs the machine for a while disturbs all of them.
    for number in 0..options.rounds {
        for contender in Contender::ALL {
            let title = format!("{contender}, round {} of {}", number + 1, options.rounds);
            let said = match round::run(&network, contender, options, number) {
                Ok(round) => {
                    let (mean, worst) = (account::mean(&round.mbit()), account::worst(&round.mbit()));
                    outcome.rounds.push(round);
                    format!("mean {mean:.2}, worst flow {worst:.2} Mbit/s")
                }
                Err(error) => {
                    outcome.failures.push(format!("{title}: {error:#}"));
                    format!("{error:#}")
                }
            };
            eprintln!("{:>7.1} s  {title}: {said}", start.elapsed().as_secs_f64());
        }
    }
    Ok(outcome)
}
