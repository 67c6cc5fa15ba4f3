//! `polypath lab ecmp` as a program calls it, small. Data and counters are for the lab's own test.

#[path = "common/report.rs"]
mod report;
#[path = "common/with_file.rs"]
mod with_file;

use report::last_line;
use std::process::Output;
use with_file::run_with_file;

fn ecmp(arguments: &[&str]) -> (Output, Option<String>) {
    let command = ["lab", "ecmp", "--quick", "--json", "--svg"];
    run_with_file(&format!("ecmp-{}.svg", arguments.len()), &command, arguments)
}

#[test]
fn the_last_line_is_json_with_tcp_beside_multipath_tcp() {
    let (output, svg) = ecmp(&["--rounds", "1", "--seconds", "0.5", "--seed", "2"]);
    let report = last_line(&output);
    assert_eq!(report["ok"], output.status.success());
    assert_eq!(report["failures"], serde_json::json!([]));
    assert_eq!((&report["seed"], &report["settings"]["congestion"]), (&2.into(), &"lia".into()));
    let figure = |name: &str| {
        let figures = report["figures"].as_array().expect("a list");
        figures.iter().find(|figure| figure["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
    };
    for contender in ["tcp", "mptcp2", "mptcp4"] {
        for what in ["mean", "worst", "best", "jain", "core", "paths"] {
            assert!(figure(&format!("{contender}.{what}"))["value"].is_f64(), "{contender}.{what}: {report}");
        }
    }
    for what in ["mean", "worst"] {
        assert_eq!(figure(&format!("mptcp4.{what}"))["bar"], figure(&format!("tcp.{what}"))["value"]);
    }
    let rounds = report["rounds"].as_array().expect("a list");
    assert_eq!(rounds.len(), 3);
    assert!(rounds.iter().all(|round| round["flows"].as_array().is_some_and(|flows| flows.len() == 8)), "{report}");
    assert!(svg.is_some_and(|svg| svg.contains("<svg") && svg.contains("MPTCP, 4 subflows")));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("mptcp4, round 1 of 1: mean"), "progress is told: {told}");
}

#[test]
fn what_is_not_known_is_named() {
    for (arguments, culprit) in [(["--cc", "vegas"], "'vegas'"), (["--seconds", "0.1"], "from 0.5 to 3600")] {
        let (output, svg) = ecmp(&arguments);
        assert_eq!((svg, output.status.success()), (None, false));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(culprit), "{said}");
    }
}
