//! `--summary`: what went over which path, at the end.

use crate::text::{Align, Table, bytes, seconds};
use polypath_net::{PathSnapshot, Snapshot};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The summary as text.
pub(crate) fn render(snapshot: &Snapshot) -> String {
    let sum = |of: fn(&PathSnapshot) -> u64| snapshot.paths.iter().map(of).sum::<u64>();
    let (down, up) = (sum(|path| path.bytes_received), sum(|path| path.bytes_sent));
    let kinds = kinds(snapshot);
    let mut out = format!("polypath: {} down, {} up in {}", bytes(down), bytes(up), seconds(snapshot.uptime));
    let _ = match kinds.as_slice() {
        [] => writeln!(out, "; no connection"),
        [(kind, 1)] => writeln!(out, "; {kind}"),
        [(kind, count)] => writeln!(out, "; {count} connections, {kind}"),
        _ => writeln!(out),
    };
    if kinds.len() > 1 {
        for (kind, count) in &kinds {
            let _ = writeln!(out, "  {count} {kind}");
        }
    }
    use Align::{Left, Right};
    let mut table = Table::new([
        ("PATH", Left),
        ("DOWN", Right),
        ("SHARE", Right),
        ("UP", Right),
        ("SHARE", Right),
        ("RETRANSMITS", Right),
        ("TIMEOUTS", Right),
        ("JOINS", Right),
        ("FAILED", Right),
    ]);
    for path in &snapshot.paths {
        table.row([
            path.name.clone(),
            bytes(path.bytes_received),
            share(path.bytes_received, down),
            bytes(path.bytes_sent),
            share(path.bytes_sent, up),
            path.retransmits.to_string(),
            path.timeouts.to_string(),
            path.joins.to_string(),
            path.failed.to_string(),
        ]);
    }
    out.push_str(&table.render(2));
    if snapshot.finished.failed > 0 {
        let _ = writeln!(out, "  never established: see `polypath doctor` for what may stand in the way");
    }
    let live: u64 = snapshot.connections.iter().map(|connection| connection.bytes_reinjected).sum();
    let _ = writeln!(out, "  reinjected {}", bytes(snapshot.finished.bytes_reinjected + live));
    out
}

fn share(part: u64, of: u64) -> String {
    if of == 0 { "-".into() } else { format!("{:.0}%", part as f64 * 100.0 / of as f64) }
}

/// How many connections were what.
fn kinds(snapshot: &Snapshot) -> Vec<(String, u64)> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |kind: String, count: u64| *kinds.entry(kind).or_default() += count;
    let finished = &snapshot.finished;
    add("multipath".into(), finished.multipath);
    add("never established".into(), finished.failed);
    for (reason, count) in &finished.fallback {
        add(format!("plain TCP: {reason}"), *count);
    }
    for connection in &snapshot.connections {
        match (connection.multipath.as_str(), &connection.fallback_reason) {
            ("active", _) => add("multipath".into(), 1),
            (_, Some(reason)) => add(format!("plain TCP: {reason}"), 1),
            _ => add("never established".into(), 1),
        }
    }
    kinds.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn text(value: Value) -> String {
        render(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn shares_are_of_each_direction() {
        let paths = json!([
            { "name": "wifi", "bytes_received": 30_000_000, "bytes_sent": 100 },
            { "name": "lte", "bytes_received": 10_000_000, "joins": 2, "failed": 5 },
        ]);
        let text = text(json!({
            "uptime": 4.0, "paths": paths, "finished": { "multipath": 1, "bytes_reinjected": 1000 },
            "connections": [{ "multipath": "active", "bytes_reinjected": 234 }],
        }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "polypath: 40.0MB down, 100B up in 4.0s; 2 connections, multipath");
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(lines[2]), ["wifi", "30.0MB", "75%", "100B", "100%", "0", "0", "0", "0"]);
        assert_eq!(cells(lines[3]), ["lte", "10.0MB", "25%", "0B", "0%", "0", "0", "2", "5"]);
        assert_eq!(lines[4], "  reinjected 1.23kB");
    }

    #[test]
    fn connections_of_several_kinds_are_listed() {
        let text = text(json!({ "finished": { "multipath": 2, "fallback": { "because": 1 } } }));
        assert!(text.contains("\n  2 multipath\n  1 plain TCP: because\n"), "{text}");
        assert!(text.contains("0B down, 0B up") && !text.contains("doctor"), "{text}");
    }

    #[test]
    fn where_nobody_answered_the_doctor_is_named() {
        let text = text(json!({ "finished": { "failed": 1 } }));
        assert!(text.contains("; never established"), "{text}");
        assert!(text.contains("\n  never established: see `polypath doctor`"), "{text}");
    }
}
