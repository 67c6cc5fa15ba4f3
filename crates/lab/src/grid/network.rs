//! The two hosts of a run: who owns which addresses, the kernel's endpoints and buffers.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use polypath_sim::grid::scenario::{Load, Path, Scenario as Experiment};

use super::contender::{Contender, KERNEL_DEFAULT};
use crate::link::Rate;
use crate::namespace::Namespace;
use crate::scenario::{Owner, PathSpec, Scenario, client_v4};

/// One contender in one experiment with one seed.
#[derive(Copy, Clone, Debug)]
pub(super) struct Case<'a> {
    pub(super) row: &'a Experiment,
    pub(super) contender: Contender,
    /// As the row names it; none: the default one.
    pub(super) congestion: Option<&'static str>,
    pub(super) seed: u64,
}

impl Case<'_> {
    /// Whether polypath serves, too.
    pub(super) fn polypath_serves(&self) -> bool {
        !self.contender.is_kernel() && matches!(self.row.load, Load::Requests { .. })
    }

    /// The paths that are used, by their numbers.
    pub(super) fn paths(&self) -> Vec<usize> {
        self.contender.single_path().map_or_else(|| (0..self.row.paths.len()).collect(), |path| vec![path])
    }
}

/// An emulated link as the table has it.
pub(super) fn path_spec(path: &Path) -> PathSpec {
    let ms = Duration::from_millis;
    PathSpec::new(path.name, Rate::mbit(path.mbit), ms(path.rtt_ms), ms(path.queue_ms)).with_loss(path.loss)
}

/// Makes the hosts and links of a run. All paths are there, whoever uses them, so that the same seed loses the same
/// packets.
pub(super) fn build(case: &Case<'_>) -> anyhow::Result<Scenario> {
    let client = if case.contender.is_kernel() { Owner::Kernel } else { Owner::Stack };
    let server = if case.polypath_serves() { Owner::Stack } else { Owner::Kernel };
    let mut builder = Scenario::builder().client(client).server(server).seed(case.seed);
    // A receiving kernel's does not matter, one that has an answer to send runs what the row says.
    builder = builder.congestion(kernel_control(case));
    for path in &case.row.paths {
        builder = builder.path(path_spec(path));
    }
    let scenario = builder.build()?;
    if case.contender == Contender::KernelMptcp {
        set_endpoints(scenario.client(), &case.row.paths).context("the client's endpoints")?;
    }
    if let Some(bytes) = case.row.kernel_buffer {
        for host in [scenario.client(), scenario.server()] {
            limit_buffers(host, bytes)?;
        }
    }
    Ok(scenario)
}

fn kernel_control(case: &Case<'_>) -> &'static str {
    if case.contender.is_kernel() { case.congestion.unwrap_or(KERNEL_DEFAULT) } else { KERNEL_DEFAULT }
}

/// The client's addresses, backups as such, in place of those that every scenario has.
fn set_endpoints(client: &Namespace, paths: &[Path]) -> io::Result<()> {
    let mut lines = String::from("mptcp endpoint flush\n");
    for (index, path) in paths.iter().enumerate() {
        let backup = if path.backup { " backup" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "mptcp endpoint add {} dev {}0 subflow{backup}", client_v4(index), path.name);
    }
    client.ip(&lines)
}

/// Kernel sockets grow their buffers up to so many bytes.
fn limit_buffers(host: &Namespace, max: u64) -> io::Result<()> {
    let default = |usual: u64| usual.min(max);
    host.set_parameters(&[
        ("net/ipv4/tcp_rmem", &format!("4096 {} {max}", default(131_072))),
        ("net/ipv4/tcp_wmem", &format!("4096 {} {max}", default(16_384))),
    ])
}
