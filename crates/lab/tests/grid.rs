//! Rows of the grid, short: every byte arrives as it was sent (a run fails where one does not), over the paths that it
//! should, and both ends' accounts of it agree. Nothing is said about speed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polypath_lab::grid::{self, Contender, GridOptions, Kept};
use polypath_lab::{PathSpec, link::Rate, physics};
use polypath_sim::grid::scenario::{Load, Scenario, select};

/// Emulated links take most of a processor: one run at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A row for so much of its time.
fn row(name: &str, share: f64) -> Scenario {
    select(&[name.into()]).unwrap().remove(0).scaled(share)
}

fn run(row: &Scenario, contender: Contender) -> Kept {
    let congestion = row.congestion[0];
    let kept = grid::run_once(row, contender, congestion, 1, &GridOptions::default());
    kept.unwrap_or_else(|error| panic!("{}: {error:#}", contender.title(row, congestion)))
}

/// The server's kernel saw a connection of Multipath TCP with a join for each further path, and no trouble.
fn check_kernel(kept: &Kept, joins: i64) {
    let count = |name: &str| kept.counters.get(name).copied().unwrap_or(0);
    assert_eq!(count("MPCapableACKRX"), 1, "{:?}", kept.counters);
    assert!(count("MPJoinAckRx") >= joins, "{:?}", kept.counters);
    let trouble =
        ["Fallback", "HMac", "DSSNotMatching", "DSSNoMatchTCP", "DSSCorruption", "DataCsumErr", "InfiniteMap"];
    for (name, value) in &kept.counters {
        assert!(!trouble.iter().any(|word| name.contains(word)), "the kernel counted {name} {value}");
    }
}

/// Each of these paths carried data, and no other one.
fn check_paths(kept: &Kept, used: &[usize]) {
    for (path, bytes) in kept.delivered.iter().enumerate() {
        let expected = if used.contains(&path) { 20_000..=u64::MAX } else { 0..=2_000 };
        assert!(expected.contains(bytes), "path {path} of {:?}, used: {used:?}", kept.delivered);
    }
    assert_eq!(kept.device_drops, 0);
}

#[test]
fn bulk_goes_over_the_paths_of_each_contender() {
    let _turn = turn();
    let row = row("a", 0.15);
    for contender in [Contender::KernelTcp(1), Contender::PolypathTcp(1)] {
        let kept = run(&row, contender);
        check_paths(&kept, &[1]);
        assert!(kept.counters.is_empty(), "{:?}", kept.counters);
    }
    for contender in [Contender::KernelMptcp, Contender::Polypath] {
        let kept = run(&row, contender);
        check_paths(&kept, &[0, 1]);
        check_kernel(&kept, 1);
        assert!(kept.bytes > 500_000, "{} bytes", kept.bytes);
        assert!(kept.measures["mbit"].is_some());
        let labels: Vec<&str> = kept.curves.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(labels, ["left", "right", "application"]);
        assert_ne!(kept.multipath, Some(false));
    }
}

#[test]
fn requests_are_answered_by_kernel_and_polypath() {
    let _turn = turn();
    let mut row = row("g", 1.0);
    row.load = Load::Requests { count: 50, request: 1_024, answer: 16 * 1_024 };
    for contender in [Contender::KernelMptcp, Contender::Polypath] {
        let kept = run(&row, contender);
        assert_eq!(kept.bytes, 50 * 17 * 1_024);
        assert!(kept.measures["p50_ms"] >= Some(20.0) && kept.measures["p99_ms"] >= kept.measures["p50_ms"]);
        match contender {
            Contender::KernelMptcp => check_kernel(&kept, 1),
            _ => assert_eq!(kept.multipath, Some(true)),
        }
    }
}

#[test]
fn a_path_that_is_cut_carries_nothing_and_comes_back() {
    let _turn = turn();
    let row = row("h1", 0.25);
    for contender in [Contender::KernelMptcp, Contender::Polypath] {
        let kept = run(&row, contender);
        check_paths(&kept, &[0, 1]);
        check_kernel(&kept, 1);
        for measure in ["gap_ms", "queue_ms", "mbit"] {
            assert!(kept.measures[measure].is_some(), "{measure} of {:?}", kept.measures);
        }
        let (_, wifi) = &kept.curves[0];
        let (cut, back) = (row.outage_at.0.as_secs_f64(), row.outage_at.1.as_secs_f64());
        let in_outage = |(at, mbit): &&(f64, f64)| *at > cut + 0.2 && *at < back - 0.1 && *mbit > 0.0;
        assert_eq!(wifi.iter().find(in_outage), None, "Wi-Fi is cut");
    }
}

#[test]
fn an_address_that_goes_is_told_by_polypath_and_not_by_linux() {
    let _turn = turn();
    let row = row("h2", 0.2);
    for (contender, told) in [(Contender::KernelMptcp, 0.0), (Contender::Polypath, 1.0)] {
        let kept = run(&row, contender);
        check_paths(&kept, &[0, 1]);
        assert_eq!(kept.measures["remove_addr"], Some(told), "{:?}", kept.counters);
        assert_eq!(kept.counters.contains_key("RmAddr"), told > 0.0);
        // The address that is back is joined from again.
        check_kernel(&kept, if told > 0.0 { 2 } else { 1 });
    }
}

#[test]
fn a_finished_grid_is_not_run_again() {
    let _turn = turn();
    let file = std::env::temp_dir().join(format!("polypath-lab-grid-{}.jsonl", std::process::id()));
    let options = GridOptions {
        seeds: 1,
        only: vec!["f".into()],
        share: 0.03,
        physics: false,
        resume: Some(file.clone()),
        ..GridOptions::default()
    };
    let rows = grid::run(&options).unwrap();
    let again = grid::run(&options).unwrap();
    std::fs::remove_file(&file).unwrap();
    let figures: Vec<_> = rows[0].figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect();
    let again: Vec<_> = again[0].figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect();
    assert_eq!(figures, again, "a second measurement would differ in some digit");
    let figure = |name: &str| figures.iter().find(|figure| figure.0 == name).and_then(|figure| figure.1);
    assert!(figure("f.cubic") > Some(0.0) && figure("kernel.f.cubic.tcp.lte") > Some(0.0), "{figures:?}");
    let window = figure("f.window.cubic").unwrap();
    assert!((1_000.0..=262_144.0).contains(&window), "the kernel's buffer is limited: {window}");
}

#[test]
fn losses_are_what_chance_makes_of_their_probability() {
    let _turn = turn();
    let ms = Duration::from_millis;
    let path = PathSpec::new("wifi", Rate::mbit(50), ms(20), ms(100)).with_loss(0.02);
    let scenario = physics::scenario([path]).unwrap();
    let sigma = physics::loss_sigma(&scenario, 0, Duration::from_secs(1)).unwrap();
    assert!(sigma < 4.0, "{sigma}");
    let lost = scenario.counters(0, polypath_lab::Direction::Up).lost.packets;
    assert!(lost > 10, "{lost} lost");
}
