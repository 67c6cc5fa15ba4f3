//! Commands that write a file.

use std::process::{Command, Output, Stdio};

/// Runs the command with a file for what its last option writes: what it says, and the file, which is not there where nothing
/// was run.
pub(crate) fn run_with_file(name: &str, command: &[&str], arguments: &[&str]) -> (Output, Option<String>) {
    let file = std::env::temp_dir().join(format!("polypath-{name}-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_polypath"))
        .args(command)
        .arg(&file)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    let text = std::fs::read_to_string(&file).ok();
    let _ = std::fs::remove_file(&file);
    (output, text)
}
