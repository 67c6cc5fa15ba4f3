//! `polypath sim fairness` as a program calls it.

use serde_json::Value;
use std::process::{Command, Output};

fn fairness(arguments: &[&str]) -> (Output, Option<String>) {
    let page = std::env::temp_dir().join(format!("polypath-fairness-{}-{}.html", std::process::id(), arguments.len()));
    let output = Command::new(env!("CARGO_BIN_EXE_polypath"))
        .args(["sim", "fairness", "--seeds", "1", "--seconds", "6", "--json", "--html"])
        .arg(&page)
        .args(arguments)
        .output()
        .expect("the command runs");
    let html = std::fs::read_to_string(&page).ok();
    // It is not there where nothing was run.
    let _ = std::fs::remove_file(&page);
    (output, html)
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON")
}

#[test]
fn the_last_line_is_json_with_the_control_beside_each_figure() {
    let (output, html) = fairness(&["--only", "shared1", "--cc", "lia"]);
    let report = last_line(&output);
    assert_eq!(report["ok"], output.status.success());
    let names: Vec<&str> =
        report["figures"].as_array().expect("a list").iter().filter_map(|figure| figure["name"].as_str()).collect();
    for name in ["shared1.lia", "shared1.lia.control", "shared1.reno"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    assert_eq!(report["figures"][0]["bar"], serde_json::json!([0.85, 1.15]));
    assert!(html.is_some_and(|html| html.contains("<svg") && html.contains("shared1.lia")));
}

#[test]
fn what_is_not_known_is_named() {
    let (output, html) = fairness(&["--only", "shared2"]);
    assert_eq!((html, output.status.success()), (None, false));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'shared2'"));
    let (output, _) = fairness(&["--cc", "vegas"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("'vegas'") && said.contains("wvegas"), "{said}");
}
