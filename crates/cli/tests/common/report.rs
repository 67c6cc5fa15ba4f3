//! What commands report with `--json`.

use serde_json::Value;
use std::process::Output;

/// The line of JSON that they end with.
pub(crate) fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON")
}
