//! The demonstration in small, from the command line of the program to the report, with the kernel's MPTCP on the
//! client's side. This test has a `main` of its own because it is also the program that downloads.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use polypath_lab::demo::{self, DemoOptions, Output, Peer, Runner};
use polypath_lab::kernel::{KernelClient, Transport};
use serde_json::Value;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "fetch") {
        return fetch(&arguments[at + 1..]);
    }
    // Enough of the harness' language for `cargo test NAME` and `--list`.
    let tests: [(&str, fn()); 5] = [
        ("the_file_arrives_whole_through_a_cut", the_file_arrives_whole_through_a_cut),
        ("a_program_that_fails_is_reported", a_program_that_fails_is_reported),
        ("what_the_runner_says_is_believed", what_the_runner_says_is_believed),
        ("plain_tcp_dies_with_its_path_and_is_given_up", plain_tcp_dies_with_its_path_and_is_given_up),
        ("what_is_missing_is_named", what_is_missing_is_named),
    ];
    let list = arguments.iter().any(|argument| argument == "--list");
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        if list {
            println!("{name}: test");
            continue;
        }
        test();
        println!("test {name} ... ok");
    }
}

/// `fetch URL` downloads over MPTCP; `fetch fail URL` downloads nothing; `fetch events FILE URL` also writes a
/// runner's events.
fn fetch(arguments: &[String]) {
    let (words, url) = arguments.split_at(arguments.len() - 1);
    if let [mode, rest @ ..] = words {
        match (mode.as_str(), rest) {
            ("fail", _) => {
                eprintln!("no such luck");
                std::process::exit(7);
            }
            ("events", [file, ..]) => {
                let lines = concat!(
                    r#"{"t_ms":1,"event":"subflow_established","connection":0,"subflow":1,"name":"lte"}"#,
                    "\nnoise\n",
                    r#"{"event":"summary","multipath":"active","subflows":[{"name":"lte","local":"10.2.0.2:1","#,
                    r#""remote":"10.9.0.1:80","bytes_sent":1,"bytes_received":5},"#,
                    r#"{"name":"wifi","bytes_sent":9,"bytes_received":0}]}"#,
                    "\n"
                );
                std::fs::write(file, lines).unwrap();
            }
            _ => panic!("unknown mode {mode}"),
        }
    }
    let (host, path) = url[0].strip_prefix("http://").unwrap().split_once('/').unwrap();
    let client = KernelClient::connect_here(Transport::Mptcp, None, host.parse().unwrap()).unwrap();
    let mut stdout = std::io::stdout().lock();
    client.get(&format!("/{path}"), |bytes| stdout.write_all(bytes).unwrap()).unwrap();
}

/// A short download with this program in curl's place.
fn options(words: &[&str]) -> DemoOptions {
    let mut options = DemoOptions::new(Runner::Kernel { prefix: Vec::new() });
    options.program = vec![std::env::current_exe().unwrap().into(), "fetch".into()];
    options.program.extend(words.iter().map(OsString::from));
    options.bytes = 6_000_000;
    options.baseline = Duration::from_millis(500);
    options.output = Output::Json;
    options.svg = None;
    options
}

fn figure<'a>(report: &'a Value, name: &str) -> &'a Value {
    let figures = report["figures"].as_array().unwrap();
    figures.iter().find(|figure| figure["name"] == name).unwrap_or_else(|| panic!("no figure {name}: {report}"))
}

fn the_file_arrives_whole_through_a_cut() {
    let svg = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo.svg");
    let mut options = options(&[]);
    options.svg = Some(svg.clone());
    let report = demo::run(&options).unwrap();
    let text = report.to_string();
    let json: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["sha256_ok"], true, "{text}");
    assert_eq!(json["bytes"], 6_000_000);
    assert_eq!(json["program_error"], Value::Null);
    let names: Vec<_> = json["subflows"].as_array().unwrap().iter().map(|subflow| &subflow["name"]).collect();
    assert_eq!(names, ["wifi", "lte"], "{text}");
    assert_eq!(json["kernel_counters"]["MPJoinAckRx"], 1);
    assert_eq!(figure(&json, "fallbacks to plain TCP")["met"], true);
    assert_eq!(figure(&json, "longest gap at the cut")["bar"], 800.0);
    assert_eq!(figure(&json, "goodput")["bar"], Value::Null);
    let plain = figure(&json, "plain TCP on lte alone, no cut")["value"].as_f64().unwrap();
    assert!((1.0..20.0).contains(&plain), "{plain} Mbit/s of 20");
    let events: Vec<_> = json["events"].as_array().unwrap().iter().map(|event| &event["event"]).collect();
    assert_eq!(events, ["cut", "return"]);
    assert!(json["paths"][0]["down"]["dropped_by_cut"].as_u64().unwrap() > 0);
    for key in ["seconds", "longest_gap_ms", "peer", "seed", "settings", "machine", "ok"] {
        assert!(!json[key].is_null(), "{key} is missing");
    }
    assert!(text.contains("SHA-256 right"), "{text}");
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("wifi: cut"));
}

fn a_program_that_fails_is_reported() {
    let report = demo::run(&options(&["fail"])).unwrap();
    assert!(!report.ok && !report.sha256_ok);
    assert_eq!(report.bytes, 0);
    let error = report.program_error.unwrap();
    assert!(error.contains('7') && error.contains("no such luck"), "{error}");
}

fn what_the_runner_says_is_believed() {
    let mut options = options(&[]);
    // Stands in for a runner; the name of the program it is given does not matter to it.
    let prefix = ["fetch", "events", "{events}"].map(OsString::from);
    let prefix = std::iter::once(std::env::current_exe().unwrap().into()).chain(prefix).collect();
    options.runner = Runner::Kernel { prefix };
    let report = demo::run(&options).unwrap();
    assert_eq!(report.subflows_from, "runner");
    assert_eq!(report.multipath.as_deref(), Some("active"));
    assert_eq!(report.subflows.len(), 1, "one that carried nothing does not count");
    assert_eq!((report.subflows[0].name.as_str(), report.subflows[0].bytes), ("lte", 5));
    assert!(report.sha256_ok && !report.ok, "one subflow is not multipath");
    assert!(report.events.iter().any(|event| event.event == "subflow_established"));
}

fn plain_tcp_dies_with_its_path_and_is_given_up() {
    let mut options = options(&[]);
    // curl by itself opens an ordinary socket, which stays on the path that is cut.
    options.program = ["curl", "-sS", "-o", "-"].map(OsString::from).into();
    options.patience = Duration::from_secs(2);
    let error = demo::run(&options).unwrap_err().to_string();
    assert!(error.contains("nothing arrived for 2s") && error.contains("of 6000000 bytes"), "{error}");
}

fn what_is_missing_is_named() {
    let mut absent = options(&[]);
    absent.program = vec!["no-such-program-anywhere".into()];
    let error = demo::run(&absent).unwrap_err().to_string();
    assert!(error.contains("no-such-program-anywhere"), "{error}");
    let mut polypath = options(&[]);
    polypath.peer = Peer::Polypath;
    let error = demo::run(&polypath).unwrap_err().to_string();
    assert!(error.contains("polypath server"), "{error}");
}
