//! The instruments, with the real command and the real kernel at the other end: what `ss`, `--summary` and `--pcap`
//! tell of transfers that are held half-way by a reader who does not read on.

mod controller;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, OptionCode, PcapBlockOwned, PcapError, PcapNGReader};
use polypath_lab::kernel::{KernelServer, ServerConfig, Service, Transport};
use polypath_lab::link::Rate;
use polypath_lab::scenario::SERVER_V4;
use polypath_lab::{Namespace, Owner, PathSpec, Scenario};
use polypath_wire::{MptcpOption, Segment, TcpFlags};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

const POLYPATH: &str = env!("CARGO_BIN_EXE_polypath");
const PORT: u16 = 8080;
const BYTES: u64 = 24 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that goes with the value: the runtime directory of a test's instances, and its files.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("polypath-instruments-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a directory");
        Scratch(path)
    }

    fn sockets(&self) -> PathBuf {
        self.0.join("polypath")
    }

    /// `polypath ss`, which sees the instances of this test, and may see others.
    fn ss(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(POLYPATH);
        command.arg("ss").args(arguments).env("XDG_RUNTIME_DIR", &self.0).output().expect("ss runs")
    }

    /// What the instance of process `pid` tells.
    fn ask(&self, pid: u32) -> Option<Value> {
        let answer: Value = serde_json::from_slice(&self.ss(&["--json"]).stdout).expect("JSON");
        answer.as_array().expect("an array").iter().find(|instance| instance["pid"] == pid).cloned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn scenario() -> Scenario {
    let ms = Duration::from_millis;
    Scenario::builder()
        .client(Owner::Stack)
        .path(PathSpec::new("wifi", Rate::mbit(100), ms(10), ms(30)))
        .path(PathSpec::new("lte", Rate::mbit(60), ms(30), ms(50)))
        .build()
        .expect("a scenario")
}

fn server(namespace: &Namespace, transport: Transport) -> KernelServer {
    let config = ServerConfig { transport, port: PORT, service: Service::Http, seed: 1 };
    KernelServer::start(namespace, config).expect("a server")
}

/// `polypath run` with curl, whose output is read by the test.
struct Download {
    child: Child,
    stdout: ChildStdout,
    read: u64,
}

impl Download {
    fn start(scenario: &Scenario, scratch: &Scratch, options: &[&str]) -> Self {
        let mut command = scenario.client().command(POLYPATH);
        command.args(["run", "--tun", "pp0", "--address", "10.1.0.2=wifi", "--address", "10.2.0.2=lte"]);
        command.args(options).args(["--", "curl", "-sS", "-N", &format!("http://{SERVER_V4}:{PORT}/bytes/{BYTES}")]);
        command.env("XDG_RUNTIME_DIR", &scratch.0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
        let stdout = child.stdout.take().expect("a pipe");
        Download { child, stdout, read: 0 }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads a little, so that more can come.
    fn read_some(&mut self) {
        let mut buffer = [0; 64 * 1024];
        let len = self.stdout.read(&mut buffer).expect("a read");
        assert!(len > 0, "the download ended before the test was done with it");
        self.read += len as u64;
    }

    /// Reads the rest; what the command said on standard error.
    fn finish(mut self) -> String {
        self.read += std::io::copy(&mut self.stdout, &mut std::io::sink()).expect("reading");
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {said}");
        assert_eq!(self.read, BYTES);
        said
    }
}

/// Asks until the answer is as wanted; `meanwhile` is done in between.
fn wait_for<T>(what: &str, mut meanwhile: impl FnMut(), mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        meanwhile();
    }
}

fn subflows(instance: &Value) -> &[Value] {
    instance["connections"][0]["subflows"].as_array().map_or(&[], Vec::as_slice)
}

fn carried(instance: &Value, name: &str) -> u64 {
    let of_path = subflows(instance).iter().filter(|subflow| subflow["name"] == name);
    of_path.filter_map(|subflow| subflow["bytes_received"].as_u64()).sum()
}

/// The instance, once both paths have carried something.
fn once_both_carry(scratch: &Scratch, download: &mut Download) -> Value {
    let pid = download.pid();
    wait_for(
        "data on both paths",
        || download.read_some(),
        || scratch.ask(pid).filter(|instance| ["wifi", "lte"].iter().all(|path| carried(instance, path) > 100_000)),
    )
}

#[test]
fn ss_shows_a_transfer_over_two_paths_and_the_summary_adds_it_up() {
    let (scenario, scratch) = (scenario(), Scratch::new("ss"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let mut download = Download::start(&scenario, &scratch, &["--summary"]);
    let instance = once_both_carry(&scratch, &mut download);

    assert!(instance["program"].as_str().expect("a program").starts_with("curl -sS"), "{instance}");
    assert_eq!(instance["tun"], "pp0");
    let connection = &instance["connections"][0];
    assert_eq!((&connection["state"], &connection["multipath"]), (&"ESTAB".into(), &"active".into()), "{instance}");
    assert_eq!(connection["remote"], format!("{SERVER_V4}:{PORT}"));
    for subflow in subflows(&instance) {
        assert_eq!(subflow["state"], "ESTAB", "{instance}");
        assert!(subflow["srtt_ms"].as_f64() > Some(9.0), "less than the link's round trip: {instance}");
        assert!(subflow["cwnd"].as_u64() > Some(0) && subflow["rate_received"].as_u64() > Some(0), "{instance}");
    }
    assert_eq!(instance["counters"]["MPTcpExtMPCurrEstab"], 1);
    let modes = [scratch.sockets(), scratch.sockets().join(format!("{}.sock", download.pid()))]
        .map(|path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777);
    assert_eq!(modes, [0o700, 0o600]);

    let table = String::from_utf8(scratch.ss(&["--counters"]).stdout).expect("UTF-8");
    for part in ["10.1.0.2:", " multipath", "PATH", "wifi  ESTAB", "lte   ESTAB", "MPTcpExtMPCurrEstab"] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    println!("{table}");

    let said = download.finish();
    println!("{said}");
    let share = |path: &str| -> u64 {
        let line = said.lines().find(|line| line.trim_start().starts_with(path)).expect("a line for each path");
        let share = line.split_whitespace().nth(2).and_then(|share| share.strip_suffix('%'));
        share.and_then(|share| share.parse().ok()).unwrap_or_else(|| panic!("no share in {line}"))
    };
    assert!((99..=101).contains(&(share("wifi") + share("lte"))), "{said}");
    assert!(said.contains("multipath") && share("lte") >= 5, "{said}");
    assert!(!scratch.sockets().exists(), "something was left behind");
}

#[test]
fn ss_tells_why_a_subflow_ended_and_that_it_is_tried_again() {
    let (scenario, scratch) = (scenario(), Scratch::new("ended"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let mut download = Download::start(&scenario, &scratch, &[]);
    once_both_carry(&scratch, &mut download);
    scenario.set_up(1, false);
    let pid = download.pid();
    let ended = |instance: &Value| {
        let ended = instance["ended"].as_array().cloned().unwrap_or_default();
        ended.into_iter().find(|ended| ended["name"] == "lte" && ended["established"] == true)
    };
    let found = wait_for("the end", || download.read_some(), || scratch.ask(pid).as_ref().and_then(ended));
    assert_eq!(found["reason"], "Silent", "{found}");
    assert!(found["bytes_received"].as_u64() > Some(100_000), "{found}");
    let table = String::from_utf8(scratch.ss(&[]).stdout).expect("UTF-8");
    assert!(table.contains("WHY") && table.contains("silent"), "{table}");
    println!("{table}");
    scenario.set_up(1, true);
    let joined_again = |instance: &Value| instance["paths"][1]["joins"] == 2;
    wait_for("the return", std::thread::yield_now, || scratch.ask(pid).filter(joined_again));
    download.finish();
}

#[test]
fn ss_and_the_summary_tell_why_a_connection_is_plain_tcp() {
    let (scenario, scratch) = (scenario(), Scratch::new("fallback"));
    let _server = server(scenario.server(), Transport::Tcp);
    let mut download = Download::start(&scenario, &scratch, &["--summary"]);
    download.read_some();
    let instance = scratch.ask(download.pid()).expect("an instance with a download under way");
    let connection = &instance["connections"][0];
    assert_eq!(connection["multipath"], "fallback", "{instance}");
    assert_eq!(connection["fallback_reason"], "the peer does not offer Multipath TCP");
    let said = download.finish();
    assert!(said.contains("plain TCP: the peer does not offer Multipath TCP"), "{said}");
}

#[test]
fn sockets_that_a_killed_instance_left_behind_are_taken_away() {
    let scratch = Scratch::new("stale");
    fs::create_dir(scratch.sockets()).expect("a directory");
    let stale = scratch.sockets().join("1.sock");
    drop(UnixListener::bind(&stale).expect("a socket"));
    assert!(stale.exists());
    let output = scratch.ss(&[]);
    assert!(output.status.success() && !stale.exists(), "{output:?}");
}

/// What a capture says of one interface.
#[derive(Default, Debug)]
struct Interface {
    name: String,
    packets: u64,
    payload: u64,
    /// Of packets sent.
    longest: usize,
    capable: u64,
    joins: u64,
    ends: Vec<(SocketAddr, SocketAddr)>,
}

/// Reads a capture with somebody else's parser, and every packet in it with ours.
fn read_capture(path: &Path) -> Vec<Interface> {
    let mut reader = PcapNGReader::new(1 << 20, fs::File::open(path).expect("the capture")).expect("a section");
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut last = BTreeMap::new();
    loop {
        let (used, block) = match reader.next() {
            Ok(next) => next,
            Err(PcapError::Eof) => return interfaces,
            Err(PcapError::Incomplete(_)) => {
                reader.refill().expect("a whole block");
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        match block {
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
                assert_eq!((described.linktype.0, described.if_tsresol), (101, 9));
                let name = described.options.iter().find(|option| option.code == OptionCode(2)).expect("a name");
                let name = String::from_utf8_lossy(&name.value[..usize::from(name.len)]).into_owned();
                interfaces.push(Interface { name, ..Interface::default() });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let at = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let before = last.insert((), at);
                assert!(before.is_none_or(|before| before <= at), "time goes back: {before:?}, {at}");
                assert_eq!(packet.caplen, packet.origlen);
                let flags = packet.options.iter().find(|option| option.code == OptionCode(2)).expect("a direction");
                let sent = flags.value[0] & 3 == 2;
                interfaces[packet.if_id as usize].count(&packet.data[..packet.caplen as usize], sent);
            }
            _ => {}
        }
        reader.consume(used);
    }
}

impl Interface {
    fn count(&mut self, packet: &[u8], sent: bool) {
        let (segment, header_len, payload_len) = polypath_wire::parse_headers(packet).expect("a packet");
        assert_eq!(header_len + payload_len, packet.len());
        let (headers, payload) = packet.split_at(header_len);
        assert!(polypath_wire::verify_checksum(headers, payload), "wrong checksum: {segment:?}");
        let Segment { ip, tcp, options } = segment;
        self.packets += 1;
        if sent {
            self.longest = self.longest.max(packet.len());
        }
        self.payload += payload.len() as u64;
        if tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK) {
            self.ends.push((SocketAddr::new(ip.src, tcp.src_port), SocketAddr::new(ip.dst, tcp.dst_port)));
            for option in &options.mptcp {
                match option {
                    MptcpOption::MpCapable(_) => self.capable += 1,
                    MptcpOption::MpJoin(_) => self.joins += 1,
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_capture_holds_both_subflows_whole_and_right() {
    let (scenario, scratch) = (scenario(), Scratch::new("pcap"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let file = std::env::var_os("POLYPATH_KEEP_PCAP").map_or_else(|| scratch.0.join("two.pcapng"), PathBuf::from);
    let mut download = Download::start(&scenario, &scratch, &["--pcap", file.to_str().expect("UTF-8")]);
    let instance = once_both_carry(&scratch, &mut download);
    let remote: SocketAddr = format!("{SERVER_V4}:{PORT}").parse().expect("an address");
    let said = download.finish();
    assert_eq!(said, "", "no packet was left out");
    let interfaces = read_capture(&file);
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["wifi", "lte"]);
    assert_eq!((interfaces[0].capable, interfaces[0].joins), (1, 0), "{interfaces:?}");
    assert_eq!((interfaces[1].capable, interfaces[1].joins), (0, 1), "{interfaces:?}");
    for (interface, subflow) in interfaces.iter().zip(subflows(&instance)) {
        let local: SocketAddr = subflow["local"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        assert_eq!(interface.ends, [(local, remote)]);
        assert!(interface.packets > 50, "{interface:?}");
    }
    let payload: u64 = interfaces.iter().map(|interface| interface.payload).sum();
    assert!(payload > BYTES, "{payload} bytes of payload were captured of {BYTES} and their headers");
}

#[test]
fn super_segments_are_captured_whole_with_whole_checksums() {
    let (scenario, scratch) = (scenario(), Scratch::new("upload"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let (data, capture) = (scratch.0.join("data"), scratch.0.join("upload.pcapng"));
    fs::write(&data, vec![7; 8 << 20]).expect("a file");
    let mut command = scenario.client().command(POLYPATH);
    command.args(["run", "--address", "10.1.0.2=wifi", "--address", "10.2.0.2=lte", "--pcap"]).arg(&capture);
    command.args(["--", "curl", "-sS", &format!("http://{SERVER_V4}:{PORT}/upload"), "-T"]).arg(&data);
    let output = command.env("XDG_RUNTIME_DIR", &scratch.0).output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    let interfaces = read_capture(&capture);
    assert!(interfaces.iter().any(|interface| interface.longest > 10_000), "no super-segment: {interfaces:?}");
    assert!(interfaces.iter().map(|interface| interface.payload).sum::<u64>() >= 8 << 20);
}

#[test]
fn a_server_ends_in_order_at_a_signal() {
    let scratch = Scratch::new("serve");
    let ms = Duration::from_millis;
    let path = PathSpec::new("wifi", Rate::mbit(100), ms(10), ms(30));
    let scenario = Scenario::builder().server(Owner::Stack).path(path).build().expect("a scenario");
    let capture = scratch.0.join("serve.pcapng");
    let mut command = scenario.server().command(POLYPATH);
    command.args(["serve", "--address", &format!("{SERVER_V4}=uplink"), "--port", "8080", "--summary", "--pcap"]);
    command.arg(&capture).env("XDG_RUNTIME_DIR", &scratch.0).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    let instance = wait_for("the server", std::thread::yield_now, || scratch.ask(child.id()));
    assert_eq!((&instance["program"], &instance["paths"][0]["name"]), (&"serve --port 8080".into(), &"uplink".into()));
    let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().expect("kill");
    assert!(kill.success());
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
    assert!(child.wait().expect("it ends").success(), "{said}");
    assert!(said.contains("no connection"), "{said}");
    assert_eq!(read_capture(&capture).len(), 1);
    assert!(!scratch.sockets().exists(), "something was left behind");
}

#[test]
fn a_capture_that_cannot_be_written_is_an_error_before_the_program_starts() {
    let (scenario, scratch) = (scenario(), Scratch::new("refused"));
    let marker = scratch.0.join("marker");
    let mut command = scenario.client().command(POLYPATH);
    command.args(["run", "--address", "10.1.0.2=wifi", "--pcap", "/nowhere/at/all.pcapng", "--", "touch"]);
    let output = command.arg(&marker).env("XDG_RUNTIME_DIR", &scratch.0).output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("/nowhere/at/all.pcapng"), "{said}");
    assert!(!marker.exists(), "the program ran");
}

/// What tshark says of each packet of a capture.
fn tshark(capture: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    // A joined subflow begins in the middle of an answer: it is no HTTP of its own.
    command.args(["-r", capture.to_str().expect("UTF-8"), "--disable-protocol", "http", "-T", "fields"]);
    command.args(["-o", "mptcp.analyze_mappings:TRUE", "-o", "mptcp.relative_sequence_numbers:TRUE"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn tshark_sees_one_multipath_connection_with_two_subflows_and_nothing_malformed() {
    let (scenario, scratch) = (scenario(), Scratch::new("tshark"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let file = scratch.0.join("two.pcapng");
    let mut download = Download::start(&scenario, &scratch, &["--pcap", file.to_str().expect("UTF-8")]);
    once_both_carry(&scratch, &mut download);
    download.finish();
    let packets = tshark(&file, &["tcp.stream", "mptcp.stream", "mptcp.dss.dsn", "tcp.options.mptcp.subtype"]);
    let column = |n: usize| packets.iter().map(|packet| packet[n].as_str()).collect::<BTreeSet<_>>();
    assert_eq!(column(0), BTreeSet::from(["0", "1"]), "two subflows");
    // What the first SYN belongs to is known only afterwards; the kernel's TIME-WAIT knows no options.
    let later = packets.iter().skip(1).filter(|packet| !packet[3].is_empty());
    let of_connections = later.map(|packet| packet[1].as_str());
    assert_eq!(of_connections.collect::<BTreeSet<_>>(), BTreeSet::from(["0"]), "one connection");
    assert!(column(2).len() > 100, "the mappings are understood");
    let bad = polypath_lab::tshark::findings(&file, true).expect("tshark is installed");
    assert_eq!(bad, [""; 0], "malformed, or data without a mapping");
}

/// The names of events in a text that has them as `category:event` between `mark` and `end`.
fn event_names(text: &str, mark: &str, end: char) -> BTreeSet<String> {
    let names = text.split(mark).skip(1).filter_map(|rest| rest.split(end).next());
    let is_name =
        |name: &&str| name.split(':').count() == 2 && name.chars().all(|c| c.is_ascii_lowercase() || c == ':');
    names.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_trace_documents_itself_and_accounts_for_every_byte() {
    let (scenario, scratch) = (scenario(), Scratch::new("trace"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let (data, trace) = (scratch.0.join("data"), scratch.0.join("upload.jsonl"));
    fs::write(&data, vec![7; 8 << 20]).expect("a file");
    let mut command = scenario.client().command(POLYPATH);
    command.args(["run", "--address", "10.1.0.2=wifi", "--address", "10.2.0.2=lte", "--trace"]).arg(&trace);
    command.args(["--", "curl", "-sS", &format!("http://{SERVER_V4}:{PORT}/upload"), "-T"]).arg(&data);
    let output = command.env("XDG_RUNTIME_DIR", &scratch.0).output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");

    let text = fs::read_to_string(&trace).expect("a trace");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["polypath_trace"], 1, "{}", lines[0]);
    assert!(lines[0]["program"].as_str().is_some_and(|program| program.starts_with("curl")), "{}", lines[0]);
    let events = &lines[1..];
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trace.md")).expect("the schema");
    let source = include_str!("../../../proto/src/trace.rs");
    let mut known = event_names(source, "rename = \"", '"');
    known.insert("trace:dropped".into());
    assert_eq!(event_names(&document, "`", '`'), known, "docs/trace.md and the events there are");
    for event in events {
        let name = event["name"].as_str().expect("a name");
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        for field in event["data"].as_object().expect("data").keys() {
            assert!(row.contains(&format!("`{field}`")), "{name} says nothing of {field}");
        }
    }
    let sum = |name: &str, reason: &str| -> u64 {
        let of_it = events.iter().filter(|e| e["name"] == name && (reason.is_empty() || e["data"]["reason"] == reason));
        of_it.map(|e| e["data"]["len"].as_u64().expect("a length")).sum()
    };
    let (new, again) = (sum("scheduling:assigned", "new"), sum("scheduling:assigned", "reinjection"));
    assert!(new > 8 << 20 && new < (8 << 20) + 1000, "the file and its request: {new}");
    assert_eq!(sum("mapping:sent", ""), new + again);
    let paths: BTreeSet<&str> =
        events.iter().filter(|e| e["name"] == "path:opened").filter_map(|e| e["data"]["path"].as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["lte", "wifi"]));
    let times: Vec<f64> = events.iter().map(|e| e["time"].as_f64().expect("a time")).collect();
    assert!(times.is_sorted(), "time goes back");
}
