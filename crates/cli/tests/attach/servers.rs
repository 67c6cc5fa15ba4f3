//! A server on an ordinary host: clients with kernel sockets download from `polypath serve`.

use crate::world::{Families, World, check_same, until};
use polypath_lab::Namespace;
use polypath_lab::kernel::{KernelClient, MptcpCounters, Transport};
use polypath_lab::payload::Payload;
use polypath_net::{AttachOptions, Host, ListenOptions, MptcpListener};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 8080;
const SEED: u64 = 1;

/// `polypath serve` in the world's host, until it is dropped.
struct Server(Child);

impl Server {
    /// It listens when this returns.
    fn start(world: &World, options: &[&str]) -> Server {
        let mut command = world.host.command(env!("CARGO_BIN_EXE_polypath"));
        command.args(["serve", "--port", &PORT.to_string()]).args(options);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the command runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("listening"), "{line:?}");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fetches `bytes` from `server` in the world's other host; they must be right.
fn fetch(world: &World, transport: Transport, server: &str, bytes: u64) {
    let remote: SocketAddr = server.parse().expect("an address");
    let client = KernelClient::connect(&world.server, transport, None, remote).expect("a connection");
    let hasher = client.get(&format!("/bytes/{bytes}"), |_| ()).expect("an answer");
    assert_eq!((hasher.len(), hasher.finish()), (bytes, Payload::sha256(SEED, bytes)), "the data is wrong");
}

/// What the host has sent on an uplink.
fn sent(world: &World, interface: &str) -> u64 {
    world.host.interface(interface).map_or(0, |counters| counters.tx_bytes)
}

/// A world whose uplinks carry so much outwards, too: only then are both needed.
fn world(name: &str, families: Families) -> World {
    let world = World::new(name, families, 2, 200);
    for uplink in ["u1", "u2"] {
        world.tc(&format!("qdisc add dev {uplink} root tbf rate 200mbit burst 64k latency 40ms"));
    }
    world
}

fn counters(namespace: &Namespace) -> MptcpCounters {
    MptcpCounters::read(namespace).expect("counters")
}

#[test]
fn a_kernel_client_joins_over_the_announced_address_and_nothing_is_left_behind() {
    const BYTES: u64 = 30_000_000;
    let world = world("serve", Families::V4);
    let before = world.state();
    let server = Server::start(&world, &[]);
    assert!(world.ruleset().contains("10.2.0.2 . 8080"), "{}", world.ruleset());
    let start = counters(&world.server);
    fetch(&world, Transport::Mptcp, "10.1.0.2:8080", BYTES);
    let counted = counters(&world.server).since(&start);
    assert!(counted.get("AddAddr") >= 1 && counted.get("MPJoinSynAckRx") >= 1, "{counted:?}");
    let trouble = ["Fallback", "HMac", "DSSNotMatching", "DSSNoMatchTCP", "DSSCorruption", "DataCsumErr"];
    assert!(counted.iter().all(|(name, _)| !trouble.iter().any(|word| name.contains(word))), "{counted:?}");
    for uplink in ["u1", "u2"] {
        assert!(sent(&world, uplink) > BYTES / 10, "{uplink} carried only {}", sent(&world, uplink));
    }
    fetch(&world, Transport::Tcp, "10.2.0.2:8080", 1_000_000);
    drop(server);
    until("something is left behind", || world.state() == before);
    check_same(&before, &world.state());
}

#[test]
fn ipv6_is_served() {
    let world = world("serve-v6", Families::V6);
    let _server = Server::start(&world, &[]);
    fetch(&world, Transport::Mptcp, "[fd01::2]:8080", 5_000_000);
    fetch(&world, Transport::Tcp, "[fd02::2]:8080", 1_000_000);
}

#[test]
fn another_service_on_another_address_keeps_its_port() {
    let world = world("serve-beside", Families::V4);
    let service = world.host.run(|| TcpListener::bind(("10.2.0.2", PORT))).expect("a namespace").expect("a service");
    let (well, said) = world.polypath(&["serve", "--port", &PORT.to_string()]);
    assert!(!well && said.contains("in use by another program"), "{said}");
    let _server = Server::start(&world, &["--listen", "10.1.0.2"]);
    let start = counters(&world.server);
    fetch(&world, Transport::Mptcp, "10.1.0.2:8080", 5_000_000);
    assert_eq!(counters(&world.server).since(&start).get("AddAddr"), 0, "the other address is not announced");
    let remote = SocketAddr::from(([10, 2, 0, 2], PORT));
    let client = KernelClient::connect(&world.server, Transport::Tcp, None, remote).expect("the service");
    let (_, peer) = service.accept().expect("a connection");
    assert_eq!(peer, client.stream().local_addr().expect("an address"));
}

#[test]
fn a_rule_says_where_a_server_is_joined_and_who_gets_plain_tcp() {
    let world = world("serve-rules", Families::V4);
    let only = format!("direction = 'in', port = {PORT}, remote = '10.1.0.0/24', path = 'u1'");
    let _server = Server::start(&world, &["--rule", &only, "--rule", "no-multipath = true"]);
    let start = counters(&world.server);
    fetch(&world, Transport::Mptcp, "10.1.0.2:8080", 5_000_000);
    let counted = counters(&world.server).since(&start);
    assert_eq!((counted.get("AddAddr"), counted.get("MPCapableSYNACKRX")), (0, 1), "{counted:?}");
    assert!(sent(&world, "u2") < 100_000, "{}", sent(&world, "u2"));
    // From another network, so by the second rule.
    fetch(&world, Transport::Mptcp, "10.2.0.2:8080", 1_000_000);
    let counted = counters(&world.server).since(&start);
    assert_eq!(counted.get("MPCapableSYNACKRX"), 1, "{counted:?}");
}

#[test]
fn a_path_goes_and_comes_back_while_a_server_runs() {
    let world = world("serve-paths", Families::V4);
    let _server = Server::start(&world, &[]);
    world.host.ip("addr del 10.2.0.2/24 dev u2\n").expect("ip");
    until("the path is still there", || !world.ruleset().contains("10.2.0.2 . 8080"));
    fetch(&world, Transport::Mptcp, "10.1.0.2:8080", 1_000_000);
    world.host.ip("addr add 10.2.0.2/24 dev u2\nroute add default via 10.2.0.1 dev u2 metric 200\n").expect("ip");
    until("the path is not there again", || world.ruleset().contains("10.2.0.2 . 8080"));
    fetch(&world, Transport::Tcp, "10.2.0.2:8080", 1_000_000);
}

#[test]
fn a_connection_outlives_its_listener_and_the_port_is_held_for_it() {
    let world = world("serve-closed", Families::V4);
    let start = || Host::builder().attach(AttachOptions::default()).start();
    let host = world.host.run(start).expect("a namespace").expect("a host");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let local = SocketAddr::from(([10, 1, 0, 2], PORT));
    let listener = MptcpListener::bind_with(&host, local, ListenOptions::default()).expect("a listener");
    // Plain TCP: whose FIN comes first is certain.
    let client = KernelClient::connect(&world.server, Transport::Tcp, None, local).expect("a connection");
    let (mut stream, _) = runtime.block_on(listener.accept()).expect("a connection");
    drop(listener);
    let refused = || KernelClient::connect(&world.server, Transport::Tcp, None, local).is_err();
    until("somebody still listens", refused);
    // More than the time after which it is looked for connections.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(world.ruleset().contains("10.1.0.2 . 8080"), "{}", world.ruleset());
    let bind = || TcpListener::bind(local).map(drop).map_err(|error| error.kind());
    assert_eq!(world.host.run(bind).expect("a namespace"), Err(std::io::ErrorKind::AddrInUse));
    runtime.block_on(stream.write_all(&[7; 100_000])).expect("it goes on");
    let mut buf = vec![0; 100_000];
    client.stream().read_exact(&mut buf).expect("it goes on");
    assert!(buf.iter().all(|byte| *byte == 7));
    // Again on the same port, meanwhile.
    let again = MptcpListener::bind_with(&host, local, ListenOptions::default()).expect("a listener");
    let another = KernelClient::connect(&world.server, Transport::Tcp, None, local).expect("a connection");
    let (mut accepted, _) = runtime.block_on(again.accept()).expect("a connection");
    drop(again);
    // The clients close first: no TIME-WAIT here.
    drop((client, another));
    assert_eq!(runtime.block_on(stream.read(&mut buf)).expect("the end"), 0);
    assert_eq!(runtime.block_on(accepted.read(&mut buf)).expect("the end"), 0);
    drop((stream, accepted));
    until("the port is held for ever", || !world.ruleset().contains("10.1.0.2 . 8080"));
    until("the port is held for ever", || world.host.run(bind).expect("a namespace").is_ok());
}
