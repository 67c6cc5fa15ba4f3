//! `polypath bench` as a program calls it, small. How fast anything is, is not for a test; that every contender gets its
//! data across, and is counted, is.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// What it says, and the picture where it drew one.
fn bench(name: &str, arguments: &[&str]) -> (Output, Option<String>) {
    let picture = std::env::temp_dir().join(format!("polypath-bench-{name}-{}.svg", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_polypath"))
        .args(["bench", "--json", "--quick", "--pairs", "1", "--seconds", "0.1", "--svg"])
        .arg(&picture)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    let svg = std::fs::read_to_string(&picture).ok();
    // It is not there where nothing was run.
    let _ = std::fs::remove_file(&picture);
    (output, svg)
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON")
}

#[test]
fn every_contender_is_measured() {
    let (output, svg) = bench("whole", &["--only", "bulk.library,bulk.from_kernel,bulk.run,rpc.conn1,connect"]);
    let report = last_line(&output);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(report["ok"], output.status.success());
    for name in ["bulk.library", "cpu_per_gb", "bulk.from_kernel", "bulk.run", "rpc.conn1", "connect"] {
        let figures = report["figures"].as_array().expect("figures");
        let figure = figures.iter().find(|figure| figure["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
        assert!(figure["value"].as_f64() > Some(0.0) && figure["bar"].is_number(), "{figure}: {told}");
        assert!(figure["met"].is_boolean() && figure["pairs"] == 1, "{figure}");
    }
    let rows = report["rows"].as_array().expect("rows");
    let row = |who: &str| rows.iter().find(|row| row["who"] == who).unwrap_or_else(|| panic!("{who}: {report}"));
    for who in ["polypath x2", "kernel MPTCP -> polypath x2", "polypath run -> kernel MPTCP x2", "kernel MPTCP x2"] {
        // More than a wire segment: offloads are on.
        assert!(row(who)["packet_bytes"].as_f64() > Some(2_000.0), "{}", row(who));
    }
    assert!(svg.is_some_and(|svg| svg.contains("bulk, Gbit/s") && svg.contains("polypath run")));
    assert!(told.contains("min left] bulk: polypath x2"), "progress is told: {told}");
}

#[test]
fn what_is_not_known_is_named_before_anything_is_run() {
    let (output, _) = bench("unknown", &["--only", "bulk,balk"]);
    assert!(!output.status.success() && last_line(&output)["ok"] == false);
    assert!(String::from_utf8_lossy(&output.stderr).contains("'balk'"));
}
