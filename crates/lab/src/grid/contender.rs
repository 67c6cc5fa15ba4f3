//! Who takes part in an experiment, and with which congestion controls.

use std::fs;

use polypath_sim::grid::scenario::{Load, Scenario as Experiment};
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

    /// For people: `kernel TCP on wifi`.
    #[must_use]
    pub fn title(self, row: &Experiment) -> String {
        let name = |path: usize| row.paths.get(path).map_or("?", |path| path.name);
        match self {
            Self::KernelTcp(path) => format!("kernel TCP on {}", name(path)),
            Self::KernelMptcp => "kernel MPTCP".into(),
            Self::PolypathTcp(path) => format!("polypath, TCP on {}", name(path)),
            Self::Polypath => "polypath".into(),
        }
    }
}

/// Every contender of a row with each of its congestion controls, in the order of a report.
pub(super) fn of_row(row: &Experiment) -> Vec<(Contender, Option<&'static str>)> {
    let paths = || 0..row.paths.len();
    // One path alone says nothing where that path fails.
    let kernel_singles = paths().filter(|_| row.outage.is_none()).map(Contender::KernelTcp);
    let mut all: Vec<(Contender, Option<&'static str>)> = Vec::new();
    for contender in kernel_singles.chain([Contender::KernelMptcp]) {
        all.extend(kernel_controls(row).into_iter().map(|control| (contender, Some(control))));
    }
    // The bars of these rows are relative to polypath's own plain TCP.
    let singles = paths().filter(|_| bar_is_relative(row)).map(Contender::PolypathTcp);
    for contender in singles.chain([Contender::Polypath]) {
        all.extend(row.congestion.iter().map(|control| (contender, *control)));
    }
    all
}

/// Whether a row's bars are shares of what single paths give.
pub(super) fn bar_is_relative(row: &Experiment) -> bool {
    matches!(row.name, "c" | "f") && matches!(row.load, Load::Upload(_))
}

/// The kernel's congestion controls for a row.
pub(super) fn kernel_controls(row: &Experiment) -> Vec<&'static str> {
    let mut controls: Vec<_> = row.congestion.iter().map(|control| control.unwrap_or(KERNEL_DEFAULT)).collect();
    controls.dedup();
    controls
}

/// What a congestion control adds to a figure's name: nothing, where the row has only one or it is the default.
pub(super) fn suffix(row: &Experiment, contender: Contender, control: Option<&str>) -> String {
    let several = if contender.is_kernel() { kernel_controls(row).len() > 1 } else { row.congestion.len() > 1 };
    control.filter(|_| several).map_or_else(String::new, |control| format!(".{control}"))
}

/// Whether the kernel has a congestion control.
pub(super) fn kernel_has(control: &str) -> bool {
    let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    known.split_whitespace().any(|name| name == control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Experiment {
        polypath_sim::grid::scenario::all().into_iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn each_row_has_the_contenders_that_its_bars_need() {
        let count = |name| of_row(&row(name)).len();
        // Two paths and MPTCP, and polypath.
        assert_eq!(count("a"), 4);
        // With two congestion controls, and polypath's plain TCP.
        assert_eq!(count("c"), 12);
        assert_eq!(count("h1"), 3);
        assert_eq!(of_row(&row("h1"))[0], (Contender::KernelMptcp, Some("cubic")));
    }

    #[test]
    fn a_name_tells_the_congestion_control_only_where_there_are_several() {
        assert_eq!(suffix(&row("a"), Contender::Polypath, Some("cubic")), "");
        assert_eq!(suffix(&row("c"), Contender::KernelTcp(0), Some("bbr")), ".bbr");
        assert_eq!(suffix(&row("h1"), Contender::Polypath, Some("cubic")), ".cubic");
        assert_eq!(suffix(&row("h1"), Contender::Polypath, None), "");
        assert_eq!(suffix(&row("h1"), Contender::KernelMptcp, Some("cubic")), "");
    }
}
