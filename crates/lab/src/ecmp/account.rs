//! From rounds to figures.

use polypath_sim::grid::figure::{Bar, Figure};

use super::round::Round;
use super::{Contender, Options, Outcome};

/// Who has to be above TCP.
const ABOVE: Contender = Contender::Mptcp(4);

/// All figures; those of a contender that missed a round were not measured.
pub(super) fn figures(options: &Options, outcome: &Outcome) -> Vec<Figure> {
    let of = |contender: Contender| {
        let rounds = of(contender, outcome);
        (rounds.len() as u64 == options.rounds).then_some(rounds).filter(|rounds| !rounds.is_empty())
    };
    let tcp = of(Contender::Tcp).map(|rounds| mbit(&rounds));
    let above = |figure: fn(&[f64]) -> f64| Some(Bar::AtLeast(tcp.as_deref().map_or(f64::NAN, figure)));
    let figures = |contender: Contender| {
        let rounds = of(contender);
        let name = |what: &str| format!("{contender}.{what}");
        let goodput = |figure: fn(&[f64]) -> f64| rounds.as_ref().map(|rounds| figure(&mbit(rounds)));
        let each = |figure: &dyn Fn(&Round) -> f64| {
            rounds.as_ref().map(|rounds| mean(&rounds.iter().map(|round| figure(round)).collect::<Vec<_>>()))
        };
        let bar = |figure| if contender == ABOVE { above(figure) } else { None };
        let used = |round: &Round| mean(&round.links.iter().map(|link| link.used).collect::<Vec<_>>());
        let paths = |round: &Round| mean(&round.flows.iter().map(|flow| flow.paths() as f64).collect::<Vec<_>>());
        [
            Figure::new(name("mean"), goodput(mean), "Mbit/s", bar(mean)),
            Figure::new(name("worst"), goodput(worst), "Mbit/s", bar(worst)),
            Figure::new(name("best"), goodput(best), "Mbit/s", None),
            Figure::new(name("jain"), each(&|round| jain(&round.mbit())), "", None),
            Figure::new(name("core"), each(&used), "", None),
            Figure::new(name("paths"), each(&paths), "", None),
        ]
    };
    Contender::ALL.into_iter().flat_map(figures).collect()
}

/// A contender's rounds.
pub(super) fn of(contender: Contender, outcome: &Outcome) -> Vec<&Round> {
    let name = contender.to_string();
    outcome.rounds.iter().filter(|round| round.contender == name).collect()
}

/// What all flows of some rounds got.
pub(super) fn mbit(rounds: &[&Round]) -> Vec<f64> {
    rounds.iter().flat_map(|round| round.mbit()).collect()
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub(super) fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Jain's index: 1 where all have the same, 1/n where one has all.
fn jain(values: &[f64]) -> f64 {
    let (sum, squares) = (values.iter().sum::<f64>(), values.iter().map(|value| value * value).sum::<f64>());
    sum * sum / (values.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecmp::round::{FlowSeen, LinkSeen, SubflowSeen};
    use polypath_proto::congestion::CongestionKind;
    use std::time::Duration;

    fn options(rounds: u64) -> Options {
        Options { rounds, time: Duration::from_secs(1), seed: 1, congestion: CongestionKind::Lia }
    }

    fn round(contender: Contender, mbit: [f64; 2]) -> Round {
        let subflow = |path| SubflowSeen { port: 1, path, bytes: 1 };
        let flow = |mbit| FlowSeen {
            from: "a0".into(),
            to: "b0".into(),
            mbit,
            subflows: (0..contender.subflows()).map(|number| subflow(number % 3)).collect(),
        };
        let link = |used| LinkSeen { from: 'a', path: 0, bytes: 1, used };
        let links = vec![link(0.5), link(1.0)];
        Round { contender: contender.to_string(), round: 1, flows: mbit.map(flow).into(), links }
    }

    fn outcome(rounds: &[(Contender, [f64; 2])]) -> Outcome {
        Outcome { rounds: rounds.iter().map(|(who, mbit)| round(*who, *mbit)).collect(), failures: Vec::new() }
    }

    fn value(figures: &[Figure], name: &str) -> Option<f64> {
        figures.iter().find(|figure| figure.name == name).expect(name).value
    }

    fn met(figures: &[Figure]) -> Vec<bool> {
        figures.iter().filter_map(Figure::met).collect()
    }

    #[test]
    fn four_subflows_are_held_against_tcp_in_mean_and_worst_flow() {
        use Contender::{Mptcp, Tcp};
        let runs = |mptcp| [(Tcp, [4.0, 20.0]), (Mptcp(2), [1.0, 1.0]), (Mptcp(4), mptcp)];
        let figures = |mptcp| figures(&options(1), &outcome(&runs(mptcp)));
        let both = figures([11.0, 17.0]);
        assert_eq!((value(&both, "tcp.mean"), value(&both, "tcp.worst")), (Some(12.0), Some(4.0)));
        assert_eq!((value(&both, "mptcp4.best"), value(&both, "mptcp4.core")), (Some(17.0), Some(0.75)));
        assert_eq!((value(&both, "tcp.paths"), value(&both, "mptcp4.paths")), (Some(1.0), Some(3.0)));
        assert_eq!(met(&both), [true, true], "and nobody else has a bar");
        assert_eq!(met(&figures([10.0, 13.0])), [false, true]);
        assert_eq!(met(&figures([3.0, 25.0])), [true, false]);
    }

    #[test]
    fn the_worst_flow_is_that_of_all_rounds_and_fairness_is_by_round() {
        use Contender::{Mptcp, Tcp};
        let runs = [(Tcp, [4.0, 4.0]), (Tcp, [2.0, 2.0]), (Mptcp(4), [1.0, 0.0]), (Mptcp(4), [1.0, 1.0])];
        let figures = figures(&options(2), &outcome(&runs));
        assert_eq!((value(&figures, "tcp.worst"), value(&figures, "tcp.jain")), (Some(2.0), Some(1.0)));
        assert_eq!((value(&figures, "mptcp4.worst"), value(&figures, "mptcp4.jain")), (Some(0.0), Some(0.75)));
    }

    #[test]
    fn a_round_that_failed_leaves_no_figure_and_misses_the_bar() {
        use Contender::{Mptcp, Tcp};
        let whole = [(Tcp, [4.0, 4.0]), (Tcp, [2.0, 2.0]), (Mptcp(4), [9.0, 9.0])];
        let figures_of = |runs: &[_]| figures(&options(2), &outcome(runs));
        let figures = figures_of(&whole);
        assert_eq!((value(&figures, "mptcp4.mean"), met(&figures)), (None, vec![false, false]));
        let figures = figures_of(&[whole[2], whole[2], whole[0]]);
        assert_eq!((value(&figures, "mptcp4.mean"), met(&figures)), (Some(9.0), vec![false, false]));
        assert_eq!(met(&figures_of(&[])), [false, false]);
    }
}
