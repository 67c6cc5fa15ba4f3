//! Who takes part in an experiment, and with which congestion controls.

use std::fs;

use polypath_sim::grid::figure::against;
use polypath_sim::grid::scenario::Scenario as Experiment;
use serde::{Deserialize, Serialize};

/// Linux's default congestion control, which its contenders run where a row asks for the default one.
pub(super) const KERNEL_DEFAULT: &str = "cubic";

/// One of those that are compared. Paths are given by their number in the row.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contender {
    /// Plain TCP of the kernel over one path.
    KernelTcp(usize),
    /// Multipath TCP of the kernel over all of them.
    KernelMptcp,
    /// Plain TCP of polypath over one path.
    PolypathTcp(usize),
    /// polypath over all of them.
    Polypath,
}

impl Contender {
    /// The one path that is used, if it is plain TCP.
    #[must_use]
    pub const fn single_path(self) -> Option<usize> {
        match self {
            Self::KernelTcp(path) | Self::PolypathTcp(path) => Some(path),
            Self::KernelMptcp | Self::Polypath => None,
        }
    }

    /// Whether the client is the kernel.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        matches!(self, Self::KernelTcp(_) | Self::KernelMptcp)
    }

    /// For people: `kernel TCP on wifi, cubic`. `congestion` is as a row names it.
    #[must_use]
    pub fn title(self, row: &Experiment, congestion: Option<&str>) -> String {
        let name = |path: usize| row.paths.get(path).map_or("?", |path| path.name);
        let who = match self {
            Self::KernelTcp(path) => format!("kernel TCP on {}", name(path)),
            Self::KernelMptcp => "kernel MPTCP".into(),
            Self::PolypathTcp(path) => format!("polypath, TCP on {}", name(path)),
            Self::Polypath => "polypath".into(),
        };
        let default = if self.is_kernel() { KERNEL_DEFAULT } else { "default" };
        format!("{who}, {}", congestion.unwrap_or(default))
    }
}

/// Every contender of a row with each of its congestion controls as the row names them, in the order of a report.
pub(super) fn of_row(row: &Experiment) -> Vec<(Contender, Option<&'static str>)> {
    let paths = || 0..row.paths.len();
    // One path alone says nothing where that path fails.
    let kernel_singles = paths().filter(|_| row.outage.is_none()).map(Contender::KernelTcp);
    // Where the default one is run besides one that is named, the kernel's is that one.
    let has_default = row.congestion.contains(&None);
    let of_kernel: &[Option<&str>] = if has_default { &[None] } else { row.congestion };
    let mut all: Vec<(Contender, Option<&'static str>)> = Vec::new();
    for contender in kernel_singles.chain([Contender::KernelMptcp]) {
        all.extend(of_kernel.iter().map(|control| (contender, *control)));
    }
    let singles = paths().filter(|_| bar_is_relative(row)).map(Contender::PolypathTcp);
    for contender in singles.chain([Contender::Polypath]) {
        all.extend(row.congestion.iter().map(|control| (contender, *control)));
    }
    all
}

/// Whether the row is held against what polypath makes of single paths.
fn bar_is_relative(row: &Experiment) -> bool {
    let name = |control: &Option<&str>| format!("{}.{}", row.name, control.unwrap_or_default());
    row.compares_single_paths() && row.congestion.iter().map(name).any(|name| against(&name).is_some())
}

/// Whether the kernel has a congestion control.
pub(super) fn kernel_has(control: &str) -> bool {
    let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    known.split_whitespace().any(|name| name == control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polypath_sim::grid::scenario::select;

    #[test]
    fn each_row_has_the_contenders_that_its_figures_need() {
        let of = |name: &str| of_row(&select(&[name.into()]).unwrap()[0]);
        // Two paths and MPTCP, and polypath.
        assert_eq!(of("a").len(), 4);
        // With two congestion controls, and polypath's plain TCP.
        assert_eq!(of("c").len(), 12);
        let polypath = |control| (Contender::Polypath, control);
        assert_eq!(of("h1"), [(Contender::KernelMptcp, None), polypath(Some("cubic")), polypath(None)]);
    }
}
