//! `polypath sim grid` as a program calls it.

use serde_json::Value;
use std::process::{Command, Output};

/// What it says, and the page where it wrote one.
fn grid(arguments: &[&str]) -> (Output, Option<String>) {
    let page = std::env::temp_dir().join(format!("polypath-grid-{}-{}.html", std::process::id(), arguments.len()));
    let output = Command::new(env!("CARGO_BIN_EXE_polypath"))
        .args(["sim", "grid", "--seeds", "1", "--no-windows", "--json", "--html"])
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
fn the_last_line_is_json_and_the_exit_status_says_the_same() {
    let (output, html) = grid(&["--only", "h4", "--seed", "3"]);
    let report = last_line(&output);
    assert_eq!(report["ok"], output.status.success());
    assert_eq!((&report["seed"], &report["seeds"]), (&3.into(), &1.into()));
    assert!(report["figures"].as_array().is_some_and(|figures| figures.iter().any(|f| f["name"] == "h4.gap_ms")));
    assert!(html.is_some_and(|html| html.contains("<svg") && html.contains("h4.gap_ms")));
    assert!(String::from_utf8_lossy(&output.stderr).contains("h4: polypath"), "progress is told");
}

#[test]
fn what_is_not_known_is_named() {
    for (arguments, culprit) in
        [(["--only", "a,q"], "'q'"), (["--cc", "warp"], "'warp'"), (["--scheduler", "dice"], "'dice'")]
    {
        let (output, html) = grid(&arguments);
        assert_eq!(html, None);
        assert!(!output.status.success());
        assert_eq!(last_line(&output)["ok"], false);
        assert!(String::from_utf8_lossy(&output.stderr).contains(culprit), "{culprit}");
    }
}
