//! Languages with a way of their own to the network: Python, Node, Go, Java.

use super::{CURL, Entry, MPTCPIZE, PYTHON, Role};
use crate::act::{Act, check_transfer};
use crate::packages::{Need, need};
use crate::programs::Program;
use anyhow::ensure;
use polypath_lab::kernel::Service;
use std::time::Duration;

const NODE: Need = need("node", "nodejs");
const GO: Need = need("go", "golang-go");
const JAVA: [Need; 2] = [need("java", "default-jre-headless"), need("javac", "default-jdk-headless")];
/// Connections at once.
const STREAMS: u64 = 4;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "asyncio",
        program: "Python asyncio",
        role: Role::Client,
        needs: &[PYTHON],
        version: &["python3", "--version"],
        tried: "four connections at once, both directions of each",
        work: asyncio,
    },
    Entry {
        name: "node",
        program: "Node http",
        role: Role::Client,
        needs: &[NODE],
        version: &["node", "--version"],
        tried: "four downloads at once, an upload over a kept connection",
        work: |act| http_client(act, &format!("node {}", act.workshop.get(Program::NodeClient)?)),
    },
    Entry {
        name: "go",
        program: "static Go program",
        role: Role::Client,
        needs: &[GO],
        version: &["go", "version"],
        tried: "net/http: four downloads at once, an upload over a kept connection",
        work: |act| http_client(act, &format!("{} client", act.workshop.get(Program::Go)?)),
    },
    Entry {
        name: "java",
        program: "Java HttpClient",
        role: Role::Client,
        needs: &JAVA,
        version: &["java", "-version"],
        tried: "four downloads at once, an upload over a kept connection",
        work: |act| http_client(act, &format!("{} client", java(act)?)),
    },
    Entry {
        name: "asyncio-server",
        program: "Python asyncio",
        role: Role::Server,
        needs: &[PYTHON],
        version: &["python3", "--version"],
        tried: "what clients send comes back; plain TCP too",
        work: |act| super::streams::echo(act, &format!("python3 {} 7000", act.workshop.get(Program::AsyncioServer)?)),
    },
    Entry {
        name: "node-server",
        program: "Node http",
        role: Role::Server,
        needs: &[NODE, MPTCPIZE, CURL],
        version: &["node", "--version"],
        tried: "curl downloads and uploads, plain TCP too",
        work: |act| http_server(act, &format!("node {} 8000 payload", act.workshop.get(Program::NodeServer)?)),
    },
    Entry {
        name: "go-server",
        program: "static Go program",
        role: Role::Server,
        needs: &[GO, MPTCPIZE, CURL],
        version: &["go", "version"],
        tried: "net/http: curl downloads and uploads, plain TCP too",
        work: |act| http_server(act, &format!("{} server 8000 payload", act.workshop.get(Program::Go)?)),
    },
    Entry {
        name: "java-server",
        program: "Java HttpServer",
        role: Role::Server,
        needs: &[JAVA[0], JAVA[1], MPTCPIZE, CURL],
        version: &["java", "-version"],
        tried: "curl downloads and uploads, plain TCP too",
        work: |act| http_server(act, &format!("{} server 8000 payload", java(act)?)),
    },
];

fn java(act: &Act<'_>) -> anyhow::Result<String> {
    Ok(format!("java -cp {} Zoo", act.workshop.get(Program::Java)?))
}

fn asyncio(act: &Act<'_>) -> anyhow::Result<()> {
    let each = act.bytes() / STREAMS;
    let server = act.peer_service(Service::Exchange { send: each })?;
    act.payload("up", each)?;
    let program = act.workshop.get(Program::AsyncioClient)?;
    let said = act.client(&format!("python3 {program} {} {} {STREAMS} up", act.address(), server.port()))?;
    let expected = format!("{}\n", Act::digest(each)).repeat(STREAMS as usize);
    ensure!(said == expected, "other content arrived than was sent: {said}");
    for (_, transfer) in server.finished(STREAMS as usize, Duration::from_secs(10)) {
        check_transfer(&transfer.map_err(anyhow::Error::msg)?, each)?;
    }
    Ok(())
}

/// One of our clients, which all print the same.
fn http_client(act: &Act<'_>, program: &str) -> anyhow::Result<()> {
    let server = act.peer_service(Service::Http)?;
    let (each, up) = (act.bytes() / STREAMS, act.little());
    act.payload("up", up)?;
    let url = format!("http://{}:{}", act.address(), server.port());
    let said = act.client(&format!("{program} {url} {each} {STREAMS} up"))?;
    let mut expected = vec![Act::digest(each); STREAMS as usize];
    expected.push(Act::digest(up));
    ensure!(said.lines().eq(expected.iter()), "other content arrived than was sent: {said}");
    Ok(())
}

/// One of our servers, which all do the same on port 8000.
fn http_server(act: &Act<'_>, line: &str) -> anyhow::Result<()> {
    act.payload("payload", act.bytes())?;
    act.payload("up", act.little())?;
    act.server(line, 8000)?;
    let url = format!("http://{}:8000", act.address());
    super::web::fetch(act, &format!("{url}/payload"), act.bytes())?;
    let answer = act.client(&format!("curl -sS --fail -T up {url}/upload"))?;
    super::web::check_digest(&answer, act.little())?;
    let answer = act.plain_client(&format!("curl -sS --fail -T up {url}/upload"))?;
    super::web::check_digest(&answer, act.little())
}
