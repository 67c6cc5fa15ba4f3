//! Unmodified programs that listen on an ordinary host, reached from a kernel behind the uplinks and from the host itself.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};

use polypath_lab::kernel::{KernelClient, Transport};

use crate::world::{Families, World, run, until};

const SERVED: u16 = 8080;

fn end(addr: &str) -> SocketAddr {
    SocketAddr::new(addr.parse::<IpAddr>().expect("an address"), SERVED)
}

impl World {
    /// Starts `polypath WORDS` on the host.
    fn start(&self, words: &[&str]) -> Child {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_polypath"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the command runs")
    }

    fn sent(&self, interface: &str) -> u64 {
        self.host.interface(interface).map_or(0, |counters| counters.tx_bytes)
    }

    /// Both uplinks sent at least a tenth.
    fn check_both_sent(&self, bytes: u64) {
        for uplink in ["u1", "u2"] {
            assert!(self.sent(uplink) > bytes / 10, "{uplink} sent only {} of {bytes} bytes", self.sent(uplink));
        }
    }
}

/// Ends `run` and its program.
fn end_program(world: &World, mut run_of_it: Child) {
    run(&world.host, "sh", ["-c", &format!("kill -TERM {}", run_of_it.id())]);
    run_of_it.wait().expect("it ends");
}

/// Serves one file over HTTP.
const PROGRAM: &str = "import http.server, socket, sys\n\
    class Handler(http.server.SimpleHTTPRequestHandler):\n    \
        def log_message(self, *_): pass\n\
    http.server.ThreadingHTTPServer((sys.argv[1], 8080), Handler).serve_forever()\n";

fn get(stream: &mut std::net::TcpStream) -> Vec<u8> {
    write!(stream, "GET /file HTTP/1.0\r\n\r\n").expect("a request");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an answer");
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a header");
    all.split_off(head + 4)
}

#[test]
fn an_unmodified_server_is_reached_from_outside_and_from_the_host_itself() {
    let world = World::new("program", Families::V4, 2, 400);
    let file: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(world.folder.join("file"), &file).expect("a file");
    let mut command = world.host.command(env!("CARGO_BIN_EXE_polypath"));
    command.args(["run", "--", "python3", "-c", PROGRAM, "0.0.0.0"]).current_dir(&world.folder);
    let program = command.stdin(Stdio::null()).spawn().expect("the command runs");
    until("nobody serves", || world.ruleset().contains(". 8080"));
    for uplink in ["u1", "u2"] {
        world.shape(uplink, 200);
    }
    for (transport, addr) in [(Transport::Mptcp, "10.1.0.2"), (Transport::Tcp, "10.2.0.2")] {
        let client = KernelClient::connect(&world.server, transport, None, end(addr)).expect("a connection");
        assert!(get(&mut client.into_stream()) == file, "{addr}: the data is wrong");
    }
    let counters = world.counters();
    assert!(counters.get("MPJoinSynAckRx") >= 1, "{counters:?}");
    assert_eq!((counters.fallbacks(), counters.hmac_failures(), counters.mapping_mismatches()), (0, 0, 0));
    world.check_both_sent(file.len() as u64);
    for addr in ["127.0.0.1", "10.1.0.2", "10.2.0.2"] {
        let client = KernelClient::connect(&world.host, Transport::Tcp, None, end(addr)).expect("a connection");
        assert!(get(&mut client.into_stream()) == file, "{addr}, from the host: the data is wrong");
    }
    end_program(&world, program);
}

#[test]
fn a_service_of_the_host_on_another_address_is_left_alone() {
    let world = World::new("others", Families::V4, 2, 400);
    let theirs = world.host.run(|| TcpListener::bind(("10.2.0.2", SERVED))).expect("a thread").expect("a listener");
    let service = std::thread::spawn(move || {
        let (mut stream, _) = theirs.accept().expect("somebody");
        stream.write_all(b"the host's own").expect("a write");
    });
    std::fs::write(world.folder.join("file"), vec![7; 3_000_000]).expect("a file");
    let mut command = world.host.command(env!("CARGO_BIN_EXE_polypath"));
    command.args(["run", "--", "python3", "-c", PROGRAM, "10.1.0.2"]).current_dir(&world.folder);
    let program = command.stdin(Stdio::null()).spawn().expect("the command runs");
    until("nobody serves", || world.ruleset().contains("10.1.0.2 . 8080"));
    let client = KernelClient::connect(&world.server, Transport::Mptcp, None, end("10.1.0.2")).expect("a connection");
    assert_eq!(get(&mut client.into_stream()).len(), 3_000_000);
    // Nobody is told of an address where somebody else would answer.
    assert!(!world.ruleset().contains("10.2.0.2 . 8080"), "{}", world.ruleset());
    assert_eq!(world.counters().get("AddAddr"), 0, "{:?}", world.counters());
    let client = KernelClient::connect(&world.server, Transport::Tcp, None, end("10.2.0.2")).expect("a connection");
    let mut said = String::new();
    client.into_stream().read_to_string(&mut said).expect("an answer");
    assert_eq!(said, "the host's own");
    service.join().expect("it served");
    end_program(&world, program);
}

/// What stock configurations of web servers do.
#[test]
fn a_program_listens_on_both_families_by_two_sockets() {
    let world = World::new("families-two", Families::Both, 1, 400);
    let code = "import socket, sys, threading\n\
        def serve(s):\n    \
            while True:\n        \
                c, name = s.accept(); c.sendall(name[0].encode()); c.close()\n\
        v4 = socket.socket(); v4.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); v4.bind(('0.0.0.0', 8080)); v4.listen()\n\
        v6 = socket.socket(socket.AF_INET6); v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n\
        v6.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); v6.bind(('::', 8080)); v6.listen()\n\
        threading.Thread(target=serve, args=(v6,)).start(); serve(v4)\n";
    let program = world.start(&["run", "--", "python3", "-c", code]);
    until("nobody serves", || {
        world.ruleset().contains("10.1.0.2 . 8080") && world.ruleset().contains("fd01::2 . 8080")
    });
    for (to, from) in [("10.1.0.2", "10.1.0.1"), ("fd01::2", "fd01::1")] {
        let client = KernelClient::connect(&world.server, Transport::Mptcp, None, end(to)).expect("a connection");
        let mut said = String::new();
        client.into_stream().read_to_string(&mut said).expect("an answer");
        assert_eq!(said, from);
    }
    end_program(&world, program);
}
