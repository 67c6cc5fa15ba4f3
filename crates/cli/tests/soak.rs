//! A short soak, as a user runs it: its data and what it tells, not what it holds.

use serde_json::Value;
use std::process::{Command, Stdio};

#[test]
fn connections_live_through_paths_that_come_and_go() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polypath"));
    command.args(["lab", "soak", "--minutes", "0.2", "--connections", "20", "--json"]).stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(output.stdout.trim_ascii().rsplit(|b| *b == b'\n').next().unwrap_or_default())
            .expect(&told);
    assert!(report["done"]["connections"].as_u64() >= Some(20), "{told}");
    assert!(report["done"]["messages"].as_u64() >= Some(100), "{told}");
    assert!(report["cuts"].as_u64() >= Some(1) && report["joins"].as_u64() >= Some(20), "{told}");
    assert!(report["held"].as_array().is_some_and(|held| held.len() >= 8), "{told}");
    let names: Vec<_> = report["figures"].as_array().expect(&told).iter().map(|f| f["name"].clone()).collect();
    assert_eq!(names, ["soak.rss_growth", "soak.descriptor_growth", "soak.connections"]);
}
