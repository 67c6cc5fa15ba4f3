//! `polypath lab grid` as a program calls it, small. Data and counters are for the lab's own tests.

#[path = "common/report.rs"]
mod report;

use report::last_line;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Files of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("polypath-lab-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_polypath"))
            .args(["lab", "grid", "--json", "--seeds", "1", "--no-physics"])
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .expect("the command runs")
    }

    fn page(&self) -> Option<String> {
        std::fs::read_to_string(self.0.join("lab-grid.html")).ok()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_grid_tells_kernel_and_polypath_and_goes_on_where_it_was() {
    let folder = Folder::new("whole");
    let arguments = ["--only", "d", "--seconds", "0.5"];
    let output = folder.run(&arguments);
    let report = last_line(&output);
    assert_eq!(report["ok"], output.status.success());
    let value = |name: &str| {
        let figures = report["figures"].as_array().expect("figures");
        figures.iter().find(|figure| figure["name"] == name).and_then(|figure| figure["value"].as_f64())
    };
    for name in ["d", "kernel.d", "kernel.d.tcp.fast", "kernel.d.tcp.slow"] {
        assert!(value(name) > Some(0.0), "{name}: {report}");
    }
    assert!(folder.page().is_some_and(|page| page.contains("<svg") && page.contains("kernel TCP on slow")));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("[4 of 4") && told.contains("min left] d, seed 1: polypath"), "progress is told: {told}");

    let again = folder.run(&arguments);
    assert_eq!(last_line(&again)["figures"], report["figures"]);
    assert!(again.stderr.is_empty(), "nothing is run again: {}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn what_is_not_known_is_named_before_anything_is_run() {
    let folder = Folder::new("unknown");
    for (arguments, culprit) in
        [(["--only", "a,q"], "'q'"), (["--cc", "warp"], "'warp'"), (["--scheduler", "dice"], "'dice'")]
    {
        let output = folder.run(&arguments);
        assert!(!output.status.success() && last_line(&output)["ok"] == false);
        assert!(String::from_utf8_lossy(&output.stderr).contains(culprit), "{culprit}");
        assert_eq!(folder.page(), None);
    }
}
