//! Who is held against whom, and what comes of it: the table of figures with their bars.

use polypath_sim::grid::figure::Bar;

use crate::case::{Case, Group, Load, Way, Who};
use crate::end::most_kernel_connections;
use crate::options::Options;
use crate::run::Sample;

/// What of two runs is compared.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// More is better; of memory, less.
    Rate,
    /// Processor seconds for each unit.
    Cpu,
}

impl Measure {
    pub(crate) fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Rate => sample.rate,
            Self::Cpu => sample.cpu_per_unit(),
        }
    }
}

/// A ratio that is told. Where several comparisons have one name, the worst of them stands for all, and each is told
/// under its own `part`, too.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Claim {
    pub(crate) name: &'static str,
    pub(crate) part: Option<String>,
    pub(crate) measure: Measure,
    pub(crate) bar: Option<Bar>,
}

/// Two cases that are run in turn.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Comparison {
    pub(crate) subject: Case,
    pub(crate) reference: Case,
    pub(crate) claims: Vec<Claim>,
    pub(crate) pairs: usize,
}

/// Requests, and answers, of so many bytes.
const SMALL: usize = 64;
const LARGE: usize = 16 * 1024;
/// Subflows, unless said.
const TWO: usize = 2;

/// All comparisons asked for.
///
/// # Errors
/// Names the group or figure that does not exist, or what makes no sense.
pub(crate) fn plan(options: &Options) -> anyhow::Result<Vec<Comparison>> {
    options.check()?;
    let of = |group: &Group| match group {
        Group::Bulk => bulk(options),
        Group::Rpc => rpc(options),
        Group::Connect => connect(options),
        Group::Idle => idle(options),
    };
    let all: Vec<Comparison> = Group::ALL.iter().flat_map(of).collect();
    for name in &options.only {
        let is_figure = all.iter().flat_map(|c| &c.claims).any(|claim| claim.name == name);
        if !is_figure && !Group::ALL.iter().any(|group| group.name() == name) {
            let groups = Group::ALL.map(Group::name).join(", ");
            anyhow::bail!("there is neither a group nor a figure '{name}'; groups are {groups}");
        }
    }
    let wanted = |comparison: &Comparison| {
        let group = comparison.subject.load.group();
        comparison.claims.iter().any(|claim| options.wants(group, claim.name))
    };
    Ok(all.into_iter().filter(wanted).collect())
}

fn claim(name: &'static str, measure: Measure, bar: Option<Bar>) -> Claim {
    Claim { name, part: None, measure, bar }
}

fn part(name: &'static str, part: impl Into<String>, bar: Option<Bar>) -> Claim {
    Claim { name, part: Some(part.into()), measure: Measure::Rate, bar }
}

fn bulk(options: &Options) -> Vec<Comparison> {
    let (up, down) = (Load::Bulk(Way::Up), Load::Bulk(Way::Down));
    let kernel = |load, paths| Case::between(load, Who::KernelMptcp, paths);
    let library = |paths| Case::between(up, Who::Library, paths);
    let to_kernel = |load, who| Case { load, client: who, server: Who::KernelMptcp, paths: TWO };
    let held = |subject: Case, reference, claims| Comparison { subject, reference, claims, pairs: options.pairs };
    let told = |subject: Case, reference, name| {
        let claims = vec![claim(name, Measure::Rate, None)];
        Comparison { subject, reference, claims, pairs: options.told_pairs }
    };
    let (at_least, at_most) = (|bar| Some(Bar::AtLeast(bar)), |bar| Some(Bar::AtMost(bar)));
    vec![
        held(
            library(TWO),
            kernel(up, TWO),
            vec![claim("bulk.library", Measure::Rate, at_least(1.5)), claim("cpu_per_gb", Measure::Cpu, at_most(0.7))],
        ),
        held(to_kernel(up, Who::Library), kernel(up, TWO), vec![claim("bulk.to_kernel", Measure::Rate, at_least(1.0))]),
        held(
            to_kernel(down, Who::Library),
            kernel(down, TWO),
            vec![claim("bulk.from_kernel", Measure::Rate, at_least(1.0))],
        ),
        held(to_kernel(up, Who::Run), kernel(up, TWO), vec![part("bulk.run", "up", at_least(0.8))]),
        held(to_kernel(down, Who::Run), kernel(down, TWO), vec![part("bulk.run", "down", at_least(0.8))]),
        held(library(4), library(1), vec![claim("bulk.sf4", Measure::Rate, at_least(0.95))]),
        held(library(8), library(1), vec![claim("bulk.sf8", Measure::Rate, at_least(0.95))]),
        told(Case::between(up, Who::Thread, TWO), kernel(up, TWO), "bulk.thread"),
        told(Case::between(up, Who::Pieces, TWO), kernel(up, TWO), "bulk.pieces"),
        told(library(1), kernel(up, 1), "bulk.library.1"),
        told(library(4), kernel(up, 4), "bulk.library.4"),
        told(library(8), kernel(up, 8), "bulk.library.8"),
        told(Case::between(up, Who::KernelTcp, 1), kernel(up, TWO), "bulk.kernel_tcp"),
        told(Case::between(up, Who::NoOffload, TWO), kernel(up, TWO), "bulk.no_offload"),
    ]
}

fn rpc(options: &Options) -> Vec<Comparison> {
    let compared = |size, connections, who, claim: Claim| {
        let case = |who, paths| Case::between(Load::Rpc { size, connections }, who, paths);
        let subject = if who == Who::KernelTcp { case(who, 1) } else { case(who, TWO) };
        let pairs = if claim.bar.is_some() { options.pairs } else { options.told_pairs };
        Comparison { subject, reference: case(Who::KernelMptcp, TWO), claims: vec![claim], pairs }
    };
    let at_least = |bar| Some(Bar::AtLeast(bar));
    vec![
        compared(SMALL, 64, Who::Library, part("rpc.conn64", "64b", at_least(1.0))),
        compared(LARGE, 64, Who::Library, part("rpc.conn64", "16k", at_least(1.0))),
        compared(SMALL, 1, Who::Library, claim("rpc.conn1", Measure::Rate, at_least(0.8))),
        compared(LARGE, 1, Who::Library, claim("rpc.conn1.16k", Measure::Rate, None)),
        compared(SMALL, 1, Who::Thread, claim("rpc.conn1.thread", Measure::Rate, None)),
        compared(SMALL, 64, Who::KernelTcp, claim("rpc.conn64.kernel_tcp", Measure::Rate, None)),
        compared(SMALL, 1, Who::KernelTcp, claim("rpc.conn1.kernel_tcp", Measure::Rate, None)),
    ]
}

fn connect(options: &Options) -> Vec<Comparison> {
    let case = |who, paths| Case::between(Load::Connect, who, paths);
    let told = |subject, reference, name| {
        let claims = vec![claim(name, Measure::Rate, None)];
        Comparison { subject, reference, claims, pairs: options.told_pairs }
    };
    vec![
        Comparison {
            subject: case(Who::Library, TWO),
            reference: case(Who::KernelMptcp, TWO),
            claims: vec![claim("connect", Measure::Rate, Some(Bar::AtLeast(1.5)))],
            pairs: options.pairs,
        },
        told(case(Who::Library, 1), case(Who::KernelMptcp, 1), "connect.1"),
        told(case(Who::KernelTcp, 1), case(Who::KernelMptcp, TWO), "connect.kernel_tcp"),
    ]
}

fn idle(options: &Options) -> Vec<Comparison> {
    let compared = |connections: &usize| {
        let case = |who, connections| Case::between(Load::Idle { connections }, who, TWO);
        Comparison {
            subject: case(Who::Library, *connections),
            // What each of them takes does not depend on how many there are.
            reference: case(Who::KernelMptcp, (*connections).min(most_kernel_connections())),
            claims: vec![part("idle_memory", connections.to_string(), Some(Bar::AtMost(0.5)))],
            pairs: options.idle_pairs,
        }
    };
    options.idle.iter().map(compared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_run() {
        let only =
            |names: &[&str]| Options { only: names.iter().map(ToString::to_string).collect(), ..Options::quick() };
        let loads = |names| plan(&only(names)).unwrap().iter().map(|c| c.subject.load.group()).collect::<Vec<_>>();
        assert_eq!(loads(&["connect.1", "cpu_per_gb"]), [Group::Bulk, Group::Connect]);
        assert_eq!(loads(&["idle"]), [Group::Idle]);
        assert_eq!(loads(&["bulk.run"]), [Group::Bulk; 2]);
        assert!(plan(&only(&["bulk", "balk"])).unwrap_err().to_string().contains("'balk'"));
    }

    #[test]
    fn every_figure_that_has_to_be_reached_is_there() {
        let comparisons = plan(&Options::default()).unwrap();
        let claims: Vec<&Claim> = comparisons.iter().flat_map(|c| &c.claims).filter(|c| c.bar.is_some()).collect();
        let mut names: Vec<&str> = claims.iter().map(|claim| claim.name).collect();
        names.dedup();
        assert_eq!(
            names,
            [
                "bulk.library",
                "cpu_per_gb",
                "bulk.to_kernel",
                "bulk.from_kernel",
                "bulk.run",
                "bulk.sf4",
                "bulk.sf8",
                "rpc.conn64",
                "rpc.conn1",
                "connect",
                "idle_memory",
            ]
        );
        for claim in claims {
            let others = comparisons.iter().flat_map(|c| &c.claims).filter(|other| other.name == claim.name);
            assert!(others.clone().count() == 1 || others.clone().all(|other| other.part.is_some()), "{}", claim.name);
        }
        assert!(comparisons.iter().all(|c| c.subject != c.reference && c.subject.paths <= crate::network::MAX_PATHS));
    }
}
