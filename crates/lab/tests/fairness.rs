//! A bottleneck that a coupled connection of polypath's shares with kernel TCP, for a few seconds: both subflows are there,
//! and everybody gets something. How much is for longer runs to say.

use std::time::Duration;

use polypath_lab::fairness::{Contender, Options, once};
use polypath_proto::congestion::CongestionKind;

#[test]
fn two_coupled_subflows_and_kernel_flows_are_on_the_same_link() {
    let options = Options { seeds: 1, time: Duration::from_secs(4), flows: 2, congestion: Vec::new() };
    let shares = once(&Contender::multipath(CongestionKind::Lia), &options, 1).unwrap();
    assert_eq!((shares.subflows, shares.kernels.len()), (2, 2));
    let all = [vec![shares.own], shares.kernels].concat();
    assert!(all.iter().all(|mbit| *mbit > 0.1), "{all:?}");
    // 12 Mbit/s for all three.
    assert!(all.iter().sum::<f64>() < 12.0, "{all:?}");
    let shares = once(&Contender::control(), &options, 1).unwrap();
    assert_eq!(shares.subflows, 1);
}
