//! The light part of the zoo, as a user runs it: each entry undisturbed, and with a path that is cut and comes back.
//! Data, events and counters are judged by the zoo, not speed.

#[path = "common/report.rs"]
mod report;

use report::last_line;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const LIGHT: [&str; 6] = ["curl", "curl-tls", "wget", "socat", "asyncio", "busybox-httpd"];

fn zoo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polypath"));
    command.args(["lab", "zoo"]).args(arguments).stdin(Stdio::null()).output().expect("the command runs")
}

/// A file that is gone with the test.
struct Page(PathBuf);

impl Drop for Page {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn light_programs_work_while_a_path_goes_and_comes_back() {
    let page = Page(std::env::temp_dir().join(format!("polypath-zoo-{}.md", std::process::id())));
    let output = zoo(&["--json", "--only", &LIGHT.join(","), "--markdown", page.0.to_str().expect("UTF-8")]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = last_line(&output);
    assert!(output.status.success() && report["ok"] == true, "{told}");
    let entries = report["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), LIGHT.len());
    for entry in entries {
        let name = entry["name"].as_str().expect("a name");
        assert!(LIGHT.contains(&name) && entry["version"].is_string(), "{entry}");
        for act in ["undisturbed", "cut"] {
            let evidence = &entry[act]["evidence"];
            assert!(evidence["joins"].as_i64() >= Some(1), "{name}, {act}: {evidence}");
        }
    }
    let table = fs::read_to_string(&page.0).expect("the table");
    assert_eq!(table.matches("| works |").count(), LIGHT.len(), "{table}");
    assert!(told.contains("[6 of 6] busybox-httpd (server), a path is cut and comes back: works"), "{told}");
}

#[test]
fn what_is_not_known_or_missing_is_named() {
    let output = zoo(&["--json", "--only", "curl,frob"]);
    assert!(!output.status.success() && last_line(&output)["ok"] == false);
    assert!(String::from_utf8_lossy(&output.stderr).contains("'frob'"));
    // Where nothing is installed.
    let mut command = Command::new(env!("CARGO_BIN_EXE_polypath"));
    let output = command.args(["lab", "zoo", "--list", "--only", "socat-server"]).env("PATH", "/nowhere").output();
    let list = String::from_utf8_lossy(&output.expect("the command runs").stdout).into_owned();
    assert!(list.contains("socat-server  server  socat    socat"), "{list}");
    assert!(list.contains("> apt-get install --no-install-recommends socat"), "{list}");
}
