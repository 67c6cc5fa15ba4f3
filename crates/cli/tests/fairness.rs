//! `polypath sim fairness` as a program calls it.

#[path = "common/report.rs"]
mod report;
#[path = "common/with_file.rs"]
mod with_file;

use report::last_line;
use std::process::Output;
use with_file::run_with_file;

fn fairness(arguments: &[&str]) -> (Output, Option<String>) {
    let command = ["sim", "fairness", "--seeds", "1", "--seconds", "6", "--json", "--html"];
    run_with_file(&format!("fairness-{}.html", arguments.len()), &command, arguments)
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
