//! Coupled congestion control in virtual time, small: its bars hold, and the experiments see what is there.

use std::time::Duration;

use polypath_proto::congestion::CongestionKind;
use polypath_sim::fairness::network::Who;
use polypath_sim::fairness::run::{Seen, config, run};
use polypath_sim::fairness::scenario::{all, select};
use polypath_sim::fairness::simulate::{Options, simulate};
use polypath_sim::grid::figure::Figure;

fn figures(only: &[&str], congestion: &[CongestionKind], seeds: u64, seconds: u64) -> Vec<Figure> {
    let only = only.iter().map(ToString::to_string).collect();
    let time = Duration::from_secs(seconds);
    let options = Options { seeds: 1..1 + seeds, only, congestion: congestion.to_vec(), time };
    let rows = simulate(&options, &|_| {}).expect("the rows exist");
    for row in &rows {
        assert!(row.notes.is_empty(), "{}: {:?}", row.name, row.notes);
    }
    rows.into_iter().flat_map(|row| row.figures).collect()
}

fn value(figures: &[Figure], name: &str) -> f64 {
    let figure = figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("no figure {name}"));
    figure.value.unwrap_or_else(|| panic!("{name} was not measured"))
}

/// Mean goodput of a group's flows.
fn mean(seen: &Seen, group: usize) -> f64 {
    let flows: Vec<f64> = seen.flows.iter().filter(|flow| flow.group == group).map(|flow| flow.mbit).collect();
    flows.iter().sum::<f64>() / flows.len() as f64
}

#[test]
fn two_subflows_on_one_bottleneck_are_one_flow_if_they_are_coupled() {
    let coupled = [CongestionKind::Lia, CongestionKind::Olia, CongestionKind::Balia];
    let figures = figures(&["shared5"], &coupled, 8, 40);
    for kind in coupled {
        let name = format!("shared5.{}", kind.name());
        let figure = figures.iter().find(|figure| figure.name == name).expect("it is measured");
        assert_eq!(figure.met(), Some(true), "{figure}");
    }
    // And are not if they are not.
    assert!(value(&figures, "shared5.reno") > 1.4, "{}", value(&figures, "shared5.reno"));
}

#[test]
fn paths_of_its_own_are_used_up_by_every_congestion_control() {
    let all = [CongestionKind::Lia, CongestionKind::Olia, CongestionKind::Balia, CongestionKind::Wvegas];
    let figures = figures(&["disjoint"], &all, 1, 30);
    for kind in all {
        // One and a half times the better one, less what a round trip after a loss leaves empty.
        let gain = value(&figures, &format!("disjoint.{}", kind.name()));
        assert!((1.25..1.6).contains(&gain), "{}: {gain}", kind.name());
    }
}

#[test]
fn coupling_leaves_to_others_what_cannot_help() {
    let figures = figures(&["p1"], &[CongestionKind::Lia, CongestionKind::Olia], 1, 30);
    let [reno, lia, olia] = ["reno", "lia", "olia"].map(|name| value(&figures, &format!("p1.{name}.others")));
    assert!(reno < lia && lia < olia && olia < 1.1, "{reno}, {lia}, {olia}");
}

#[test]
fn a_bottleneck_is_used_up_and_shared_evenly_by_the_same_flows() {
    let scenario = select(&["shared5".to_owned()]).expect("it exists").remove(0);
    let time = Duration::from_secs(30);
    let seen = run(&scenario, Who::Control(0), &config(CongestionKind::Reno), 1, time).expect("it runs");
    let (one, others) = (mean(&seen, 0), mean(&seen, 1));
    // 18 Mbit/s, less headers.
    let total = one + 5.0 * others;
    assert!((15.5..17.2).contains(&total), "{total}");
    assert!((0.5..2.0).contains(&(one / others)), "{one} and {others}");
    // The same again, to the bit.
    let again = run(&scenario, Who::Control(0), &config(CongestionKind::Reno), 1, time).expect("it runs");
    assert_eq!(mean(&again, 1).to_bits(), others.to_bits());
}

#[test]
fn every_path_of_every_row_carries_data() {
    for scenario in all() {
        let time = Duration::from_secs(6);
        let seen = run(&scenario, Who::Multipath, &config(CongestionKind::Reno), 1, time)
            .unwrap_or_else(|problem| panic!("{}: {problem}", scenario.name));
        for flow in seen.flows.iter().filter(|flow| scenario.groups[flow.group].active == (0.0, 1.0)) {
            assert_eq!(flow.paths.len(), scenario.groups[flow.group].routes.len(), "{}", scenario.name);
            for (number, path) in flow.paths.iter().enumerate() {
                let mbit: f64 = path.iter().sum::<f64>() / path.len() as f64;
                assert!(mbit > 0.1, "{}, group {}, path {number}: {mbit} Mbit/s", scenario.name, flow.group);
            }
        }
    }
}

#[test]
fn an_unknown_row_is_named() {
    let options =
        Options { seeds: 1..2, only: vec!["shared6".into()], congestion: vec![], time: Duration::from_secs(6) };
    let error = simulate(&options, &|_| {}).expect_err("there is no such row");
    assert!(error.contains("'shared6'") && error.contains("shared5"), "{error}");
}
