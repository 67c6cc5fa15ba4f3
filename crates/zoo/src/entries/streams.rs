//! Programs that move bytes and do not ask what they are: socat, iperf3, a static program.

use super::{Entry, MPTCPIZE, Role};
use crate::act::{Act, check_transfer};
use crate::packages::{MUSL, Need, need};
use crate::programs::Program;
use anyhow::{Context as _, bail, ensure};
use polypath_lab::kernel::{Service, Transport};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

const SOCAT: Need = need("socat", "socat");
const IPERF: Need = need("iperf3", "iperf3");
const RUSTC: Need = need("rustc", "rustc");
const STREAMS: usize = 4;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "socat",
        program: "socat",
        role: Role::Client,
        needs: &[SOCAT],
        version: &["socat", "-V"],
        tried: "an upload with half-close, answered afterwards",
        work: socat,
    },
    Entry {
        name: "socat-server",
        program: "socat",
        role: Role::Server,
        needs: &[SOCAT],
        version: &["socat", "-V"],
        tried: "TCP-LISTEN with fork and EXEC:cat: what clients send comes back; plain TCP too",
        work: |act| echo(act, "socat -t 60 TCP-LISTEN:7000,fork,reuseaddr EXEC:cat"),
    },
    Entry {
        name: "rust-musl",
        program: "static Rust program (musl)",
        role: Role::Client,
        needs: &[RUSTC, MUSL],
        version: &["rustc", "--version"],
        tried: "both directions of a connection at once",
        work: rust,
    },
    Entry {
        name: "rust-musl-server",
        program: "static Rust program (musl)",
        role: Role::Server,
        needs: &[RUSTC, MUSL],
        version: &["rustc", "--version"],
        tried: "a thread for each connection: what clients send comes back; plain TCP too",
        work: |act| echo(act, &format!("{} server 7000", act.workshop.get(Program::StaticRust)?)),
    },
    Entry {
        name: "iperf3",
        program: "iperf3",
        role: Role::Client,
        needs: &[IPERF, MPTCPIZE],
        version: &["iperf3", "--version"],
        tried: "-P 4 up, and with -R down",
        work: iperf,
    },
    Entry {
        name: "iperf3-server",
        program: "iperf3 -s",
        role: Role::Server,
        needs: &[IPERF, MPTCPIZE],
        version: &["iperf3", "--version"],
        tried: "-P 4 up, and with -R down",
        work: iperf,
    },
];

fn socat(act: &Act<'_>) -> anyhow::Result<()> {
    let server = act.peer_service(Service::Sink)?;
    act.payload("up", act.bytes())?;
    let line = format!("socat -t 60 STDIO TCP:{}:{}", act.address(), server.port());
    act.client_with(&line, Some("up"), "answer")?;
    check_sink(act, "answer", act.bytes())
}

fn rust(act: &Act<'_>) -> anyhow::Result<()> {
    let server = act.peer_service(Service::Exchange { send: act.bytes() })?;
    act.payload("up", act.bytes())?;
    let program = act.workshop.get(Program::StaticRust)?;
    act.client(&format!("{program} client {}:{} up down", act.address(), server.port()))?;
    act.verify("down", act.bytes())?;
    for (_, transfer) in server.finished(1, Duration::from_secs(10)) {
        check_transfer(&transfer.map_err(anyhow::Error::msg)?, act.bytes())?;
    }
    Ok(())
}

/// A server that sends back what it reads.
pub(super) fn echo(act: &Act<'_>, line: &str) -> anyhow::Result<()> {
    act.server(line, 7000)?;
    act.echo(Transport::Mptcp, 7000, act.bytes())?;
    act.echo(Transport::Tcp, 7000, act.little())
}

fn iperf(act: &Act<'_>) -> anyhow::Result<()> {
    act.server("iperf3 -s -p 5201", 5201)?;
    for (direction, seconds) in [("", act.seconds()), ("-R", 2)] {
        let line = format!("iperf3 -c {} -p 5201 -P {STREAMS} -t {seconds} -J {direction}", act.address());
        let report = iperf_report(act, &line)?;
        let streams = report["end"]["streams"].as_array().context("iperf3's report has no streams")?;
        ensure!(streams.len() == STREAMS, "iperf3 had {} streams", streams.len());
        for stream in streams {
            let received = stream["receiver"]["bytes"].as_u64();
            ensure!(received > Some(0), "one of iperf3's streams carried nothing: {stream}");
        }
    }
    Ok(())
}

/// A server that has just been asked whether it listens is busy with that for a moment, and says so.
fn iperf_report(act: &Act<'_>, line: &str) -> anyhow::Result<Value> {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let report: Value = serde_json::from_str(&act.client(line)?).context("iperf3's report")?;
        match report["error"].as_str() {
            None => return Ok(report),
            Some(error) if error.contains("busy") && Instant::now() < patience => {}
            Some(error) => bail!("iperf3 says: {error}"),
        }
    }
}

/// A sink has answered with the 32 bytes of the SHA-256 of what it received.
pub(super) fn check_sink(act: &Act<'_>, answer: &str, bytes: u64) -> anyhow::Result<()> {
    let answer: String = fs::read(act.path(answer))?.iter().map(|byte| format!("{byte:02x}")).collect();
    super::web::check_digest(&answer, bytes)
}
