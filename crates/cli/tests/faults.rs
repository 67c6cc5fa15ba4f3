//! `polypath sim faults` as a program calls it.

use serde_json::Value;
use std::process::{Command, Output};

fn faults(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polypath"));
    command.args(["sim", "faults"]).args(arguments).output().expect("the command runs")
}

#[test]
fn the_last_line_is_json() {
    let output = faults(&["--seeds", "20", "--seed", "100", "--jobs", "2", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!(report["ok"], output.status.success());
    assert_eq!((&report["ok"], &report["seed"], &report["settings"]["seeds"]), (&true.into(), &100.into(), &20.into()));
    let figures = report["figures"].as_array().expect("figures");
    assert!(figures.iter().any(|f| f["name"] == "failed" && f["value"] == 0.0 && f["met"] == true), "{report}");
}

#[test]
fn a_scenario_is_told_in_words_and_run() {
    let line = r#"{"client":{"links":[{}]},"connections":[{"up":{"bytes":5000}}],"server":{"links":[{}]}}"#;
    let output = faults(&["--scenario", line]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("up: 5000 bytes") && text.contains("nothing went wrong"),
        "{text}"
    );
    let output = faults(&["--scenario", "{}"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Client has no link"));
}
