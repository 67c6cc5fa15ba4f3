//! The main job, small: the real command, the real kernel at the other end. Data and counters are checked, not speed.

use serde_json::Value;
use std::process::Command;

fn run_demo(arguments: &[&str]) -> Value {
    let picture = std::env::temp_dir().join(format!("polypath-demo-{}.svg", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_polypath"))
        .args(["demo", "--json", "--megabytes", "10", "--baseline", "1", "--svg"])
        .arg(&picture)
        .args(arguments)
        .output()
        .expect("the command runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let last = text.lines().last().unwrap_or_else(|| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    let svg = std::fs::read_to_string(&picture).expect("a picture");
    assert!(svg.contains("<svg") && svg.contains("wifi"), "the picture shows the paths");
    std::fs::remove_file(&picture).expect("the picture can go");
    serde_json::from_str(last).expect("the last line is JSON")
}

fn carried(report: &Value, name: &str) -> u64 {
    let subflows = report["subflows"].as_array().expect("subflows");
    subflows.iter().filter(|s| s["name"] == name).filter_map(|s| s["bytes"].as_u64()).sum()
}

fn check(report: &Value) {
    assert_eq!(report["sha256_ok"], true, "{report}");
    assert_eq!(report["bytes"], 10_000_000, "{report}");
    for name in ["wifi", "lte"] {
        assert!(carried(report, name) > 100_000, "{name} carried too little: {report}");
    }
    assert_eq!(report["multipath"], "active");
}

#[test]
fn curl_downloads_from_the_kernel_through_a_wifi_cut() {
    let report = run_demo(&[]);
    check(&report);
    assert_eq!(report["peer"], "linux", "{report}");
    let counters = &report["kernel_counters"];
    // The kernel saw the join, was told of the silent path, and saw the path joined again.
    assert!(counters["MPJoinAckRx"].as_u64() >= Some(2), "{counters}");
    assert!(counters["RmAddr"].as_u64() >= Some(1), "{counters}");
    let trouble = ["Fallback", "HMac", "DSSNotMatching", "DSSNoMatchTCP", "DSSCorruption", "DataCsumErr", "MPRstRx"];
    for (name, value) in counters.as_object().expect("counters") {
        assert!(!trouble.iter().any(|word| name.contains(word)), "the kernel counted {name} {value}");
    }
}

#[test]
fn a_polypath_server_takes_the_kernels_place() {
    let report = run_demo(&["--peer", "polypath"]);
    check(&report);
    assert_eq!(report["peer"], "polypath", "{report}");
}
