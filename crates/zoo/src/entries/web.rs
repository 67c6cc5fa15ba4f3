//! Programs of the Web: curl, wget, busybox, wrk, nginx, Python's http.server.

use super::{CURL, Entry, MPTCPIZE, OPENSSL, PYTHON, Role};
use crate::act::Act;
use crate::packages::{Need, need};
use crate::programs::Program;
use crate::stage::PEER_V6;
use anyhow::{Context as _, ensure};
use polypath_lab::kernel::Service;

const NGINX: Need = need("nginx", "nginx-light");
const WRK: Need = need("wrk", "wrk");
const BUSYBOX: Need = need("busybox", "busybox");
/// What wrk asks for, again and again.
const PAGE: u64 = 50_000;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "curl",
        program: "curl",
        role: Role::Client,
        needs: &[CURL],
        version: &["curl", "--version"],
        tried: "HTTP/1.1: a download, an upload",
        work: curl,
    },
    Entry {
        name: "curl-tls",
        program: "curl",
        role: Role::Client,
        needs: &[CURL, OPENSSL, PYTHON],
        version: &["curl", "--version"],
        tried: "HTTPS (TLS 1.3): a download, an upload; the server is Python's",
        work: curl_tls,
    },
    Entry {
        name: "curl-h2",
        program: "curl",
        role: Role::Client,
        needs: &[CURL, OPENSSL, NGINX, MPTCPIZE],
        version: &["curl", "--version"],
        tried: "HTTP/2 over TLS: eight downloads at once in one connection; the server is nginx",
        work: curl_h2,
    },
    Entry {
        name: "wget",
        program: "wget",
        role: Role::Client,
        needs: &[need("wget", "wget")],
        version: &["wget", "--version"],
        tried: "HTTP/1.1 over IPv6: a download, an upload",
        work: wget,
    },
    Entry {
        name: "busybox",
        program: "busybox wget, nc",
        role: Role::Client,
        needs: &[BUSYBOX],
        version: &["busybox", "--help"],
        tried: "wget: a download; nc: an upload with half-close, answered afterwards",
        work: busybox,
    },
    Entry {
        name: "wrk",
        program: "wrk",
        role: Role::Client,
        needs: &[WRK, NGINX, MPTCPIZE],
        version: &["wrk", "--version"],
        tried: "2 threads, 16 connections with keep-alive to nginx; each answer is compared",
        work: wrk_and_nginx,
    },
    Entry {
        name: "nginx",
        program: "nginx",
        role: Role::Server,
        needs: &[NGINX, WRK, MPTCPIZE, CURL],
        version: &["nginx", "-v"],
        tried: "2 workers: wrk with 16 connections, each answer compared; curl downloads, plain TCP too",
        work: wrk_and_nginx,
    },
    Entry {
        name: "busybox-httpd",
        program: "busybox httpd",
        role: Role::Server,
        needs: &[BUSYBOX, MPTCPIZE, CURL],
        version: &["busybox", "--help"],
        tried: "curl downloads, plain TCP too; a process for each connection",
        work: |act| static_files(act, "busybox httpd -f -p 8000 -h www"),
    },
    Entry {
        name: "python-http",
        program: "Python http.server",
        role: Role::Server,
        needs: &[PYTHON, MPTCPIZE, CURL],
        version: &["python3", "--version"],
        tried: "python3 -m http.server: curl downloads, plain TCP too",
        work: |act| static_files(act, "python3 -m http.server --bind 0.0.0.0 --directory www 8000"),
    },
];

fn curl(act: &Act<'_>) -> anyhow::Result<()> {
    let server = act.peer_service(Service::Http)?;
    let url = format!("http://{}:{}", act.address(), server.port());
    act.client(&format!("curl -sS --fail -o down {url}/bytes/{}", act.bytes()))?;
    act.verify("down", act.bytes())?;
    act.payload("up", act.little())?;
    let answer = act.client(&format!("curl -sS --fail -T up {url}/upload"))?;
    check_digest(&answer, act.little())
}

fn curl_tls(act: &Act<'_>) -> anyhow::Result<()> {
    certificate(act)?;
    act.payload("payload", act.bytes())?;
    act.payload("up", act.little())?;
    act.peer_server(&format!("python3 {} 8443 payload", act.workshop.get(Program::HttpsPeer)?), 8443)?;
    let (options, url) = ("-sS --fail --tlsv1.3 --cacert certificate", format!("https://{}:8443", act.address()));
    act.client(&format!("curl {options} -o down {url}/payload"))?;
    act.verify("down", act.bytes())?;
    let answer = act.client(&format!("curl {options} -T up {url}/upload"))?;
    check_digest(&answer, act.little())
}

fn curl_h2(act: &Act<'_>) -> anyhow::Result<()> {
    const STREAMS: u64 = 8;
    certificate(act)?;
    let each = act.bytes() / STREAMS;
    act.payload("www/payload", each)?;
    nginx(act, "listen 8443 ssl http2; ssl_certificate ../certificate; ssl_certificate_key ../key;", 8443)?;
    let url = format!("https://{}:8443/payload", act.address());
    let targets: Vec<String> = (0..STREAMS).map(|n| format!("-o down-{n} {url}?{n}")).collect();
    let targets = targets.join(" ");
    let versions =
        act.client(&format!("curl -sS --fail --http2 -Z -w %{{http_version}}, --cacert certificate {targets}"))?;
    ensure!(versions == "2,".repeat(STREAMS as usize), "not all was HTTP/2: {versions}");
    (0..STREAMS).try_for_each(|n| act.verify(&format!("down-{n}"), each))
}

fn wget(act: &Act<'_>) -> anyhow::Result<()> {
    let server = act.peer_service(Service::Http)?;
    let url = format!("http://[{PEER_V6}]:{}", server.port());
    act.client(&format!("wget -q -O down {url}/bytes/{}", act.bytes()))?;
    act.verify("down", act.bytes())?;
    act.payload("up", act.little())?;
    let answer = act.client(&format!("wget -q -O - --post-file up {url}/upload"))?;
    check_digest(&answer, act.little())
}

fn busybox(act: &Act<'_>) -> anyhow::Result<()> {
    let (http, sink) = (act.peer_service(Service::Http)?, act.peer_service(Service::Sink)?);
    let address = act.address();
    act.client(&format!("busybox wget -q -O down http://{address}:{}/bytes/{}", http.port(), act.bytes()))?;
    act.verify("down", act.bytes())?;
    act.payload("up", act.little())?;
    act.client_with(&format!("busybox nc {address} {}", sink.port()), Some("up"), "answer")?;
    super::streams::check_sink(act, "answer", act.little())
}

fn wrk_and_nginx(act: &Act<'_>) -> anyhow::Result<()> {
    act.payload("www/page", PAGE)?;
    act.payload("www/payload", act.little())?;
    nginx(act, "listen 8000;", 8000)?;
    let url = format!("http://{}:8000", act.address());
    let check = act.workshop.get(Program::WrkCheck)?;
    let seconds = act.seconds();
    let said = act.client(&format!("wrk -t 2 -c 16 -d {seconds}s -s {check} {url}/page -- www/page"))?;
    let counts = said.lines().find_map(|line| line.strip_prefix("right ")).context("wrk has not told what it saw")?;
    let mut counts = counts.split(' ').filter_map(|word| word.parse::<u64>().ok());
    let (right, wrong, failed) = (counts.next(), counts.next(), counts.next());
    ensure!(right > Some(100), "wrk got only {right:?} answers");
    ensure!((wrong, failed) == (Some(0), Some(0)), "wrk got {wrong:?} wrong answers, and {failed:?} requests failed");
    if act.role() == Role::Server {
        fetch(act, &format!("{url}/payload"), act.little())?;
    }
    Ok(())
}

/// A server of the folder `www` on port 8000.
fn static_files(act: &Act<'_>, line: &str) -> anyhow::Result<()> {
    act.payload("www/payload", act.bytes())?;
    act.server(line, 8000)?;
    fetch(act, &format!("http://{}:8000/payload", act.address()), act.bytes())
}

/// Both kinds of clients fetch a file.
pub(super) fn fetch(act: &Act<'_>, url: &str, bytes: u64) -> anyhow::Result<()> {
    act.client(&format!("curl -sS --fail -o down {url}"))?;
    act.verify("down", bytes)?;
    act.plain_client(&format!("curl -sS --fail -o plain {url}"))?;
    act.verify("plain", bytes).context("in plain TCP")
}

/// Starts nginx with two workers for the folder `www`.
fn nginx(act: &Act<'_>, listen: &str, port: u16) -> anyhow::Result<()> {
    std::fs::create_dir_all(act.path("nginx"))?;
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n")).concat();
    let config = format!(
        "worker_processes 2;\ndaemon off;\nerror_log stderr;\npid nginx.pid;\nevents {{}}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000;\n{temporary}\
         server {{ {listen} root ../www; }}\n}}\n"
    );
    act.write("nginx/nginx.conf", &config)?;
    let folder = act.path("nginx");
    act.server(&format!("nginx -p {} -c nginx.conf", folder.display()), port)
}

/// A certificate for the peer, and its key.
fn certificate(act: &Act<'_>) -> anyhow::Result<()> {
    let name = format!("subjectAltName=IP:{}", act.address());
    let made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let where_to = ["-subj", "/CN=peer", "-addext", &name, "-keyout", "key", "-out", "certificate"];
    act.aside(&[&["openssl"], &made[..], &where_to[..]].concat()).map(drop)
}

/// A server has answered with the SHA-256 of what it received.
pub(super) fn check_digest(answer: &str, bytes: u64) -> anyhow::Result<()> {
    ensure!(answer.trim() == Act::digest(bytes), "the server has received something else: {}", answer.trim());
    Ok(())
}
