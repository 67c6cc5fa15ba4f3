//! The grid in virtual time: its measures see what is there, and its bars hold.

use std::time::Duration;

use polypath_proto::{Config, Mechanisms};
use polypath_sim::grid::record::Record;
use polypath_sim::grid::report::{GridReport, Machine};
use polypath_sim::grid::run::{Contender, run};
use polypath_sim::grid::scenario::{BACK_AT, CUT_AT, Load, Scenario, select};
use polypath_sim::grid::simulate::{Options, simulate};
use polypath_sim::grid::windows::Windows;

/// All that must be there.
const NAMED: &[&str] = &[
    "a",
    "b",
    "c.cubic",
    "c.bbr",
    "d",
    "e",
    "f.cubic",
    "f.bbr",
    "g.p99_ms",
    "g.p50_ms",
    "g.duplicated",
    "h1.gap_ms.cubic",
    "h1.gap_ms",
    "h1.queue_ms",
    "h1.again_ms",
    "h2.gap_ms.cubic",
    "h2.gap_ms",
    "h3.gap_ms",
    "h3.share",
    "h4.gap_ms",
    "h4.again_ms",
];

fn scenario(name: &str) -> Scenario {
    select(&[name.to_owned()]).expect("the row exists").remove(0)
}

fn cubic() -> Config {
    Config { congestion: "cubic".parse().expect("it is known"), ..Config::default() }
}

fn record(scenario: &Scenario, contender: Contender) -> Record {
    run(scenario, contender, &cubic(), 1).unwrap_or_else(|problem| panic!("{}: {problem}", scenario.name))
}

fn report(only: &[&str], seeds: u64, windows: Windows) -> GridReport {
    let only = only.iter().map(ToString::to_string).collect();
    let options = Options { seeds: 1..1 + seeds, only, config: Config::default(), windows };
    let results = simulate(&options, &|_| {}).expect("the rows exist");
    GridReport {
        title: GridReport::TITLE,
        about: GridReport::ABOUT,
        command: "polypath sim grid".into(),
        seed: 1,
        seeds,
        settings: serde_json::json!({ "scheduler": "default" }),
        machine: Machine { cores: 1, kernel: String::new() },
        rows: results.rows,
        windows: results.windows,
    }
}

#[test]
fn the_bars_hold() {
    let report = report(&[], 2, Windows::Off);
    let missed: Vec<String> =
        report.figures().filter(|figure| figure.met() == Some(false)).map(ToString::to_string).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    for name in NAMED {
        assert!(report.figures().any(|figure| figure.name == *name && figure.bar.is_some()), "{name} has no bar");
    }
}

/// Raiciu et al., NSDI 2012, figure 5: with a small window a scheduler that fills every path blocks the fast one, and the
/// mechanisms undo most of that. The default scheduler does not block it in the first place.
#[test]
fn the_mechanisms_unblock_the_fast_path_whatever_the_scheduler() {
    let scenario = scenario("d");
    let mbit = |scheduler: &str, mechanisms| {
        let scheduler = scheduler.parse().expect("it is known");
        let config = Config { scheduler, mechanisms, recv_buffer_max: 256 * 1024, ..cubic() };
        let record = run(&scenario, Contender::Multipath, &config, 1).expect("it runs");
        record.application.mbit(Duration::ZERO, record.end)
    };
    let (off, on) = (mbit("minrtt", Mechanisms::OFF), mbit("minrtt", Mechanisms::default()));
    let best = mbit("default", Mechanisms::default());
    assert!(on > 1.5 * off, "minrtt: {off} without, {on} with");
    assert!(best > on, "minrtt {on}, default {best}");
}

#[test]
fn no_receive_window_makes_two_paths_worse_than_the_better_one() {
    let report = report(&["b", "c", "d"], 1, Windows::Bars);
    for name in ["window.b.min", "window.c.min", "window.d.min"] {
        let figure = report.figures().find(|figure| figure.name == name);
        let figure = figure.unwrap_or_else(|| panic!("{name} is not measured"));
        assert_eq!(figure.met(), Some(true), "{figure}");
    }
}

#[test]
fn plain_tcp_on_a_clean_path_gives_what_headers_allow() {
    for (row, path) in [("a", 0), ("a", 1), ("b", 0), ("d", 0)] {
        let scenario = scenario(row);
        let record = record(&scenario, Contender::Alone(path));
        // 20 bytes of IP, 32 of TCP with timestamps and 14 of Ethernet go with each 1,448 of payload.
        let most = scenario.paths[path].mbit as f64 * 1448.0 / 1514.0;
        let mbit = record.application.mbit(Duration::ZERO, record.end);
        assert!((0.9 * most..=most).contains(&mbit), "{row}: {mbit} of {most} Mbit/s on path {path}");
        for (other, series) in record.paths.iter().enumerate().filter(|(other, _)| *other != path) {
            assert_eq!(series.bytes(Duration::ZERO, record.end), 0, "{row}: path {other} is not used");
        }
    }
}

#[test]
fn an_outage_is_as_long_as_the_gap_it_makes_where_there_is_no_other_path() {
    // Long enough for a retransmission timer that has doubled again and again.
    let scenario = Scenario { load: Load::Upload(Duration::from_secs(30)), ..scenario("h1") };
    let record = record(&scenario, Contender::Alone(0));
    let outcome = record.outcome(&scenario);
    let gap = outcome.gap_ms.expect("there is an outage");
    let outage = (BACK_AT - CUT_AT).as_secs_f64() * 1e3;
    assert!(gap >= outage, "{gap} ms");
    let again = outcome.again_ms.expect("there is an outage");
    assert!(again.is_finite() && (gap - outage - again).abs() < 100.0, "again after {again} ms, gap of {gap} ms");
    assert_eq!(record.paths[0].bytes(CUT_AT, BACK_AT), 0, "nothing passes while the path is cut");
    assert_eq!(outcome.queue_ms, Some(0.0), "nobody fills the other path's queue");
}

#[test]
fn a_queue_that_plain_tcp_fills_is_seen() {
    let scenario = scenario("h1");
    let outcome = record(&scenario, Contender::Alone(1)).outcome(&scenario);
    let lte = &scenario.paths[1];
    let queue = outcome.queue_ms.expect("there is an outage");
    assert!((0.3..1.05).contains(&(queue / lte.queue_ms as f64)), "{queue} ms of {}", lte.queue_ms);
    assert!(outcome.gap_ms < Some(1_000.0), "the cut of another path does not matter: {:?}", outcome.gap_ms);
    assert_eq!(outcome.again_ms, Some(f64::INFINITY), "the first path is never used");
}

#[test]
fn each_request_takes_a_round_trip_at_least() {
    let mut scenario = scenario("g");
    scenario.load = Load::Requests { count: 50, request: 1_024, answer: 16 * 1024 };
    let record = record(&scenario, Contender::Alone(1));
    assert_eq!(record.latencies.len(), 50);
    assert!(record.latencies.iter().all(|latency| *latency >= Duration::from_millis(60)), "{:?}", record.latencies);
    assert_eq!(record.bytes, 50 * 17 * 1024);
    assert_eq!(record.bytes_reinjected, 0);
}

#[test]
fn small_buffers_limit_what_is_on_its_way() {
    let mut wide = Scenario { load: Load::Upload(Duration::from_secs(30)), ..scenario("f") };
    wide.paths[1].rtt_ms = 1_000;
    let record = record(&wide, Contender::Alone(1));
    // 160 KiB in a second, and not more.
    let mbit = record.application.mbit(Duration::from_secs(10), record.end);
    assert!((0.9..=1.32).contains(&mbit), "{mbit} Mbit/s");
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let rows = ["c", "g", "h2"];
    assert_eq!(report(&rows, 1, Windows::Off).to_json(), report(&rows, 1, Windows::Off).to_json());
}

#[test]
fn an_unknown_row_is_named() {
    let options =
        Options { seeds: 1..2, only: vec!["a".into(), "z".into()], config: Config::default(), windows: Windows::Off };
    let error = simulate(&options, &|_| {}).expect_err("there is no z");
    assert!(error.contains("'z'") && error.contains("h4"), "{error}");
}

#[test]
fn the_report_tells_programs_and_people_the_same() {
    let report = report(&["b"], 1, Windows::Mechanisms);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("it is JSON");
    assert!(!report.to_json().contains('\n'), "one line");
    assert_eq!(json["ok"], report.ok());
    let html = report.html();
    let text = report.to_string();
    for figure in json["figures"].as_array().expect("a list") {
        let name = figure["name"].as_str().expect("a name");
        assert_eq!(figure["bar"].is_null(), figure["met"].is_null(), "{name}");
        assert!(html.contains(&format!("<td>{name}<")) && text.contains(name), "{name} is told to all");
    }
    assert!(json["figures"].as_array().expect("a list").iter().any(|figure| figure["name"] == "window.b.min"));
    assert_eq!(json["windows"][0]["goodput"][0]["points"].as_array().map(Vec::len), Some(7), "seven windows");
    // Three contenders, and the two pictures of the sweep.
    assert_eq!(html.matches("<svg").count(), 5);
    assert!(!html.contains("http://") || html.matches("http").count() == html.matches("http://www.w3.org").count());
}
