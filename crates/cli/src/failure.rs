//! Commands that could not do their work.

/// Says so on a line of JSON, for who reads that. A person reads the error itself.
pub(crate) fn tell(error: &anyhow::Error, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "ok": false, "error": format!("{error:#}"), "figures": [] }));
    }
}
