//! One run: a scenario, who takes part, a congestion control, a seed.

use std::time::Duration;

use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{Config, Instant, Mechanisms};

use super::bulk::Bulk;
use super::network::{self, Flow, Who, sender_addr};
use super::scenario::Scenario;
use crate::network::Network;

/// Steps that a run is cut into: seconds, where it lasts a minute.
pub const STEPS: usize = 60;
/// The steps before this are not counted: slow start, and those that begin late.
pub const WARM: usize = 10;
/// Of each sender and each receiver, in bytes: more than any path holds.
const BUFFER: usize = 2 << 20;

/// What one run has shown.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The flows, in the order of the groups.
    pub flows: Vec<FlowSeen>,
}

/// What one flow got.
#[derive(Clone, Debug)]
pub struct FlowSeen {
    /// Which group it is of.
    pub group: usize,
    /// Goodput from [`WARM`] to the end, in Mbit/s.
    pub mbit: f64,
    /// What each path delivered in each step, in Mbit/s.
    pub paths: Vec<Vec<f64>>,
}

/// The settings of all stacks: nothing but congestion control limits what is sent. The scheduler takes any path that has
/// room, no mechanism limits a queue, and buffers are larger than windows.
pub fn config(congestion: CongestionKind) -> Config {
    Config {
        congestion,
        scheduler: SchedulerKind::MinRtt,
        mechanisms: Mechanisms::OFF,
        send_buffer_max: BUFFER,
        recv_buffer_max: BUFFER,
        ..Config::default()
    }
}

/// Runs it for so long.
///
/// # Errors
/// A connection failed, or a stack did not come to rest: in words.
pub fn run(scenario: &Scenario, who: Who, config: &Config, seed: u64, end: Duration) -> Result<Seen, String> {
    let (mut network, flows) = network::build(scenario, who, config, seed, end);
    let mut counts: Vec<Count> = flows.iter().map(|flow| Count { paths: vec![vec![0]; flow.paths], warm: 0 }).collect();
    network.start();
    for step in 1..=STEPS {
        let until = Instant::ZERO + end * step as u32 / STEPS as u32;
        while network.next_at().is_some_and(|at| at < until) {
            network.step().map_err(|fault| format!("a stack does not come to rest: {fault:?}"))?;
        }
        for (number, (flow, count)) in flows.iter().zip(&mut counts).enumerate() {
            count.look(&network, flow, number, step)?;
        }
    }
    let seconds = end.as_secs_f64() / STEPS as f64;
    let flow = |(flow, count): (&Flow, Count)| {
        let bytes = network.host(flow.receiver).app.received() - count.warm;
        let mbit = bytes as f64 * 8.0 / 1e6 / (seconds * (STEPS - WARM) as f64);
        let steps =
            |path: Vec<u64>| path.windows(2).map(|two| (two[1] - two[0]) as f64 * 8.0 / 1e6 / seconds).collect();
        FlowSeen { group: flow.group, mbit, paths: count.paths.into_iter().map(steps).collect() }
    };
    Ok(Seen { flows: flows.iter().zip(counts).map(flow).collect() })
}

/// Bytes received of one flow.
struct Count {
    /// On each path, at the end of each step.
    paths: Vec<Vec<u64>>,
    /// Read by the application when the warming up was over.
    warm: u64,
}

impl Count {
    fn look(&mut self, network: &Network<Bulk>, flow: &Flow, number: usize, step: usize) -> Result<(), String> {
        for id in [flow.sender, flow.receiver] {
            if let Some(error) = network.host(id).app.error() {
                return Err(format!("{}: {error}", network.name(id)));
            }
        }
        let receiver = network.host(flow.receiver);
        if step == WARM {
            self.warm = receiver.app.received();
        }
        let info = receiver.app.info(&receiver.stack);
        for (path, counts) in self.paths.iter_mut().enumerate() {
            let addr = sender_addr(number, path);
            let subflows = info.iter().flat_map(|info| &info.subflows);
            let bytes = subflows.filter(|s| s.remote.ip() == addr).map(|s| s.bytes_received).sum::<u64>();
            // One that is over has delivered what it had.
            let before = counts.last().copied().unwrap_or(0);
            counts.push(bytes.max(before));
        }
        Ok(())
    }
}
