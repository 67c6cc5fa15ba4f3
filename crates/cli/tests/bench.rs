//! `polypath bench` as a program calls it, small. How fast anything is, is not for a test; that every contender gets its
//! data across, and is counted, is.

#[path = "common/report.rs"]
mod report;
#[path = "common/with_file.rs"]
mod with_file;

use report::last_line;
use std::process::Output;
use with_file::run_with_file;

/// What it says, and the picture where it drew one.
fn bench(name: &str, arguments: &[&str]) -> (Output, Option<String>) {
    let command = ["bench", "--json", "--quick", "--pairs", "1", "--seconds", "0.1", "--svg"];
    run_with_file(&format!("bench-{name}.svg"), &command, arguments)
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
