//! Paths of equal cost, for a second and a half: every byte arrives as it was sent (a round fails where one does not), each
//! connection has the subflows that it should, and the routers' counters agree with where their kernels say that these go.
//! Nothing is said about speed.

use std::time::Duration;

use polypath_lab::ecmp::{self, CORE, Contender, HOSTS, Options, PATHS, Round, SIDE, name};
use polypath_proto::congestion::CongestionKind;

const TIME: Duration = Duration::from_millis(1_500);

/// Payload that was sent over a path in one direction, by the subflows' account.
fn sent(round: &Round, from: char, path: usize) -> u64 {
    let flows = round.flows.iter().filter(|flow| flow.from.starts_with(from));
    flows.flat_map(|flow| &flow.subflows).filter(|subflow| subflow.path == path).map(|subflow| subflow.bytes).sum()
}

fn check_links(round: &Round) {
    assert_eq!(round.links.len(), 2 * PATHS);
    // What a link could have carried; acknowledgements of four flows are less than a quarter of it.
    let most = (CORE.as_bits_per_second() as f64 / 8.0 * TIME.as_secs_f64()) as u64;
    for link in &round.links {
        let sent = sent(round, link.from, link.path);
        // What is lost, or was not out of the host's queue, was sent, too; what is sent again is carried twice.
        let expected = (sent * 7 / 10).saturating_sub(300_000)..sent * 13 / 10 + most / 4;
        assert!(expected.contains(&link.bytes), "{}: {link:?}, sent {sent}", round.contender);
    }
}

#[test]
fn subflows_spread_over_the_paths_and_tcp_stays_on_one() {
    let options = Options { rounds: 1, time: TIME, seed: 5, congestion: CongestionKind::Lia };
    let outcome = ecmp::run(&options).unwrap();
    assert_eq!(outcome.failures, Vec::<String>::new());
    let [tcp, two, four] = &outcome.rounds[..] else { panic!("{:?}", outcome.rounds) };
    for (round, contender) in [tcp, two, four].into_iter().zip(Contender::ALL) {
        assert_eq!((round.contender.as_str(), round.flows.len()), (contender.to_string().as_str(), HOSTS));
        for (sender, flow) in round.flows.iter().enumerate() {
            assert_eq!(flow.from, name(sender));
            assert_ne!(flow.to.starts_with('a'), sender < SIDE, "{flow:?}");
            assert!(flow.mbit > 0.0, "{flow:?}");
            assert_eq!(flow.subflows.len(), contender.subflows(), "{flow:?}");
            // The same ports, so the same path, whoever it is.
            let first = |round: &Round| (round.flows[sender].subflows[0].port, round.flows[sender].subflows[0].path);
            assert_eq!(first(round), first(tcp));
        }
        check_links(round);
    }
    let most_paths = |round: &Round| round.flows.iter().map(ecmp::FlowSeen::paths).max();
    assert_eq!(most_paths(tcp), Some(1));
    assert!(most_paths(four) >= Some(3), "{four:?}");
    let loaded = |round: &Round| round.links.iter().filter(|link| link.bytes > 100_000).count();
    assert!(loaded(four) > PATHS, "{four:?}");
}
