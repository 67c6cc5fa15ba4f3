//! `polypath ss`: the connections of all running instances.

use crate::text::{Align, Table, bytes, one_line, rate, seconds, words};
use anyhow::Context as _;
use polypath_net::control;
use polypath_net::{ConnectionSnapshot, EndedSubflow, Snapshot};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Widest line of the table, as long as addresses are not.
const WIDTH: usize = 120;
/// Ended subflows shown in the table; there may be more of them in JSON.
const ENDED: usize = 8;

/// Show the connections and subflows of all running instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON array, an object for each instance.
    #[arg(long)]
    json: bool,
    /// Show the counters too, by their Linux names.
    #[arg(long)]
    counters: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let mut snapshots = Vec::new();
    let mut complete = true;
    for instance in control::list().context("looking for running instances")? {
        match instance.snapshot {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => {
                complete = false;
                eprintln!("polypath ss: {}: {error}", instance.path.display());
            }
        }
    }
    let text = if args.json {
        serde_json::to_string(&snapshots)? + "\n"
    } else {
        let all: Vec<String> = snapshots.iter().map(|snapshot| render(snapshot, args.counters)).collect();
        all.join("\n")
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `polypath ss | head` is content.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error).context("writing"),
        _ => {}
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One instance as text.
fn render(snapshot: &Snapshot, counters: bool) -> String {
    let Snapshot { pid, tun, uptime, program, .. } = snapshot;
    let head = format!("{pid}  {}  up {}  ", one_line(tun, 15), seconds(*uptime));
    let mut out = head.clone() + &one_line(program, WIDTH.saturating_sub(head.len())) + "\n";
    for connection in &snapshot.connections {
        render_connection(&mut out, connection);
    }
    render_ended(&mut out, snapshot);
    if counters {
        for (name, value) in snapshot.counters.iter().filter(|(_, value)| **value > 0) {
            let _ = writeln!(out, "  {:<32}{value:>12}", one_line(name, 32));
        }
    }
    out
}

fn render_connection(out: &mut String, connection: &ConnectionSnapshot) {
    let c = connection;
    let multipath = match (c.multipath.as_str(), &c.fallback_reason) {
        ("active", _) => "multipath".to_owned(),
        (_, Some(reason)) => format!("fallback: {}", one_line(reason, 60)),
        (other, None) => one_line(other, 60),
    };
    let (local, remote) = (end(c.local), end(c.remote));
    let _ = writeln!(out, "  #{} {}  {local} > {remote}  {multipath}", c.id, one_line(&c.state, 12));
    let (received, sent, reinjected) = (bytes(c.bytes_received), bytes(c.bytes_sent), bytes(c.bytes_reinjected));
    let (unread, unacked) = (bytes(c.recv_queue), bytes(c.send_queue));
    let _ = writeln!(
        out,
        "   received {received} ({unread} unread)  sent {sent} ({unacked} unacknowledged)  reinjected {reinjected}"
    );
    use Align::{Left, Right};
    let mut table = Table::new([
        ("PATH", Left),
        ("STATE", Left),
        ("LOCAL", Left),
        ("RTT", Right),
        ("CWND", Right),
        ("FLIGHT", Right),
        ("DOWN", Right),
        ("UP", Right),
        ("RECV", Right),
        ("SENT", Right),
        ("RETR", Right),
        ("RTO", Right),
        ("FLAGS", Left),
        ("REMOTE", Left),
    ]);
    for s in &c.subflows {
        let flags: Vec<&str> =
            [(s.backup, "backup"), (s.stalled, "stalled")].iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
        table.row([
            s.name.clone(),
            s.state.clone(),
            end(s.local),
            s.srtt_ms
                .map_or_else(|| "-".into(), |ms| if ms < 100.0 { format!("{ms:.1}ms") } else { format!("{ms:.0}ms") }),
            bytes(s.cwnd),
            bytes(s.in_flight),
            rate(s.rate_received),
            rate(s.rate_sent),
            bytes(s.bytes_received),
            bytes(s.bytes_sent),
            s.retransmits.to_string(),
            s.timeouts.to_string(),
            flags.join(","),
            // Nearly always the connection's.
            if s.remote == c.remote { String::new() } else { end(s.remote) },
        ]);
    }
    if !table.is_empty() {
        out.push_str(&table.render(3));
    }
}

fn render_ended(out: &mut String, snapshot: &Snapshot) {
    if snapshot.ended.is_empty() {
        return;
    }
    use Align::{Left, Right};
    let mut table = Table::new([
        ("ENDED", Right),
        ("#", Right),
        ("PATH", Left),
        ("LOCAL", Left),
        ("RECV", Right),
        ("SENT", Right),
        ("RETR", Right),
        ("RTO", Right),
        ("WHY", Left),
    ]);
    let now = snapshot.started + snapshot.uptime;
    for ended in snapshot.ended.iter().rev().take(ENDED) {
        table.row([
            format!("{} ago", seconds(now - ended.at)),
            ended.connection.to_string(),
            ended.name.clone(),
            end(ended.local),
            bytes(ended.bytes_received),
            bytes(ended.bytes_sent),
            ended.retransmits.to_string(),
            ended.timeouts.to_string(),
            why(ended),
        ]);
    }
    out.push_str(&table.render(2));
    if let Some(more) = snapshot.ended.len().checked_sub(ENDED).filter(|more| *more > 0) {
        let _ = writeln!(out, "  and {more} before (--json)");
    }
}

fn why(ended: &EndedSubflow) -> String {
    let reason = words(&ended.reason);
    match (ended.established, ended.count) {
        (true, _) => reason,
        (false, 0 | 1) => format!("{reason}, never established"),
        (false, count) => format!("{reason}, never established, {count} times"),
    }
}

fn end(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "-".into(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two paths with large figures, one of them stalled.
    fn snapshot() -> Snapshot {
        let subflow = |name: &str, local: &str, stalled: bool| {
            json!({
                "name": name, "local": local, "remote": "10.9.0.1:8080", "state": "FIN-WAIT-1", "stalled": stalled,
                "backup": stalled, "srtt_ms": 123.456, "cwnd": 1_234_567, "in_flight": 999_999,
                "rate_received": 987_654_321, "rate_sent": 123_456_789, "bytes_received": 12_345_678_901_u64,
                "bytes_sent": 98_765_432_101_u64, "retransmits": 12_345, "timeouts": 123,
            })
        };
        let mut ended: Vec<_> =
            (0..9).map(|_| json!({ "name": "wifi", "reason": "Silent", "established": true })).collect();
        ended.push(json!({ "name": "lte", "reason": "TimedOut", "count": 17, "at": 1000.0 }));
        let value = json!({
            "pid": 4_194_303, "tun": "pp0", "started": 1000.0, "uptime": 61.0,
            "program": format!("curl\u{7} {}", "x".repeat(300)),
            "connections": [{
                "id": 3, "state": "ESTAB", "local": "10.1.0.2:61000", "remote": "10.9.0.1:8080",
                "multipath": "active",
                "subflows": [subflow("wifi", "10.1.0.2:61000", false), subflow("lte", "10.2.0.2:61001", true)],
            }, { "id": 4, "multipath": "fallback", "fallback_reason": "because" }],
            "ended": ended, "counters": { "TcpRetransSegs": 7, "TcpInCsumErrors": 0 }, "a newer field": [],
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_table_is_aligned_and_fits_120_columns() {
        let text = render(&snapshot(), true);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        }
        let column = |name: &str, of: &str| {
            let line = text.lines().find(|line| line.contains(of)).unwrap();
            line.find(name).unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        assert_eq!(column("FLAGS", "PATH  STATE"), column("backup,stalled", "lte "));
        assert!(text.starts_with("4194303  pp0  up 1m01s  curl? xxx"), "{text}");
        for part in ["#3 ESTAB  10.1.0.2:61000 > 10.9.0.1:8080  multipath", "fallback: because", "TcpRetransSegs"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("TcpInCsumErrors") && !text.contains("REMOTE"), "{text}");
        assert!(text.contains("timed out, never established, 17 times") && text.contains("and 2 before"), "{text}");
    }
}
