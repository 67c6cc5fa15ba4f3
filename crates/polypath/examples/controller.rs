//! An external path manager in Rust: makes every subflow of one path a backup as soon as it is there.
//!
//! `cargo run --example controller -- /run/polypath/PID.sock wwan0`
//!
//! The same is done by `--path wwan0:backup` when an instance is started; here it is somebody else's decision, while the
//! instance runs. `controller.py` beside this file opens subflows.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("say the instance's socket, and the name of a path: see `polypath ss`".into());
    };
    let mut control = UnixStream::connect(&socket)?;
    let told = BufReader::new(control.try_clone()?);
    // What happens from now on; and what has happened already.
    writeln!(control, "{}", json!({ "command": "events" }))?;
    writeln!(control, "{}", json!({ "command": "snapshot" }))?;
    let mut make_backup = |connection: &Value, subflow: &Value| {
        let command = json!({ "command": "priority", "connection": connection, "subflow": subflow, "backup": true });
        writeln!(control, "{command}")
    };
    for line in told.lines() {
        let told: Value = serde_json::from_str(&line?)?;
        if told["event"] == "subflow_established" && told["name"] == path.as_str() {
            make_backup(&told["connection"], &told["subflow"])?;
        }
        for connection in told["snapshot"]["connections"].as_array().into_iter().flatten() {
            for subflow in connection["subflows"].as_array().into_iter().flatten() {
                if subflow["name"] == path.as_str() {
                    make_backup(&connection["id"], &subflow["id"])?;
                }
            }
        }
        if told["snapshot"].is_null() {
            println!("{told}");
        }
    }
    Ok(())
}
