//! `polypath sim grid` as a program calls it.

#[path = "common/report.rs"]
mod report;
#[path = "common/with_file.rs"]
mod with_file;

use report::last_line;
use std::process::Output;
use with_file::run_with_file;

/// What it says, and the page where it wrote one.
fn grid(arguments: &[&str]) -> (Output, Option<String>) {
    let command = ["sim", "grid", "--seeds", "1", "--no-windows", "--json", "--html"];
    run_with_file(&format!("grid-{}.html", arguments.len()), &command, arguments)
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
