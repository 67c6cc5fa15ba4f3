//! Rules steer the connections of programs over the stack: by program, by port, out and in. What they did is seen in the
//! stack and at the kernel's end.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{HOST, isolated, python, runtime};
use polypath_config::{File, Metered, Rules};
use polypath_net::Host;
use polypath_proto::{ConnectionInfo, MultipathState, State};
use polypath_run::{HostNetwork, Options, Runner};
use socket2::{Domain, Protocol, Socket, Type};

const WIFI: &str = "10.1.0.2";
const LTE: &str = "10.2.0.2";
/// Enough that both paths carry some of it, where both may.
const BYTES: usize = 3_000_000;

/// A host with two paths.
fn host() -> Host {
    let address = |addr: &str| addr.parse().unwrap();
    Host::builder()
        .address(address(WIFI), Some("wifi"), false)
        .address(address(LTE), Some("lte"), false)
        .start()
        .unwrap()
}

fn rules(text: &str) -> Rules {
    Rules::new(File::parse("rules.toml", text).unwrap().rules, Vec::new(), Metered::Backup)
}

/// Runs a program over the stack. After each line that it prints, `hears` is called, and then it is told to go on.
fn run(mut command: Command, host: &Host, rules: Rules, mut hears: impl FnMut(&str) + Send) {
    let (out, their_out) = std::io::pipe().unwrap();
    let (their_in, mut into) = std::io::pipe().unwrap();
    command.stdin(their_in).stdout(their_out);
    let status = thread::scope(|scope| {
        scope.spawn(move || {
            for line in BufReader::new(out).lines() {
                hears(&line.unwrap());
                writeln!(into, "go on").unwrap();
            }
        });
        let network = HostNetwork::new(host.clone()).rules(Arc::new(rules));
        let options = Options::default().forward_signals(false).linger(Duration::ZERO);
        runtime().block_on(Runner::new(command, network).options(options).run()).unwrap()
    });
    assert!(status.success(), "{status}");
}

/// Takes everything from everyone who connects, and answers with a byte when it has got all. The kernel needs the listener
/// for joins.
fn serve() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).unwrap();
    socket.bind(&format!("{HOST}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(16).unwrap();
    let server = socket.local_addr().unwrap().as_socket().unwrap();
    thread::spawn(move || {
        for stream in TcpListener::from(socket).incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut all = vec![0; BYTES];
                stream.read_exact(&mut all).unwrap();
                stream.write_all(b".").unwrap();
                // Until the program goes.
                let _ = stream.read(&mut all);
            });
        }
    });
    server
}

/// Sends [`BYTES`] to each of the ports, with its own congestion control to the last: a little first, and the rest when it is
/// told to go on, because further paths join when the first bytes have been acknowledged.
const UPLOAD: &str = r"
import socket, sys
def say(line): print(line, flush=True); sys.stdin.readline()
host, size, own, *ports = sys.argv[1:]
for port in ports:
    s = socket.socket()
    if port == own: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b'olia')
    s.connect((host, int(port))); s.sendall(bytes(1000)); say('begun')
    s.sendall(bytes(int(size) - 1000)); assert s.recv(1) == b'.'; say('sent')
";

/// Uploads to each of the servers by its turn, once the connection has as many subflows as are `expected`: what each
/// connection was when all had arrived. To `own` the program sets its own congestion control.
fn upload(host: &Host, rules: Rules, servers: &[(SocketAddr, usize)], own: Option<SocketAddr>) -> Vec<ConnectionInfo> {
    let size = BYTES.to_string();
    let ports: Vec<String> = servers.iter().map(|(server, _)| server.port().to_string()).collect();
    let own = own.map_or_else(String::new, |own| own.port().to_string());
    let arguments: Vec<&str> = [HOST, &size, &own].into_iter().chain(ports.iter().map(String::as_str)).collect();
    let (mut turns, mut done) = (servers.iter(), Vec::new());
    let mut turn = turns.next();
    run(python(UPLOAD, &arguments), host, rules, |line| {
        let (server, expected) = turn.unwrap();
        let now = || host.connections().into_iter().find(|c| c.remote == *server).unwrap();
        if line == "begun" {
            let begun = Instant::now();
            while now().subflows.iter().filter(|s| s.state == State::Established).count() < *expected {
                assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", now());
                thread::yield_now();
            }
        } else {
            done.push(now());
            turn = turns.next();
        }
    });
    done
}

/// Bytes sent on each path, in order of their names.
fn shares(connection: &ConnectionInfo) -> Vec<(&str, u64)> {
    let mut shares: Vec<_> =
        connection.subflows.iter().map(|s| (s.name.as_deref().unwrap_or("?"), s.bytes_sent)).collect();
    shares.sort_unstable();
    shares
}

#[test]
fn a_program_uses_the_paths_and_algorithms_of_its_rule_and_another_does_not() {
    isolated(|| {
        let (servers, told) = ([serve(), serve()], Arc::new(Mutex::new(Vec::new())));
        let host = host();
        let hears = Arc::clone(&told);
        let upload_as = |name: &str, server, subflows| {
            let text =
                format!("[[rule]]\nprogram = \"{name}\"\npath = \"lte\"\ncc = \"reno\"\nscheduler = \"minrtt\"\n");
            let hears = Arc::clone(&hears);
            let rules = rules(&text).on_decision(move |line| hears.lock().unwrap().push(line.to_owned()));
            upload(&host, rules, &[(server, subflows)], None).remove(0)
        };
        // The interpreter is the program; what it is called is that of the file.
        let ruled = upload_as("python3", servers[0], 1);
        assert_eq!((ruled.congestion, ruled.scheduler), ("reno", "minrtt"));
        assert!(matches!(ruled.multipath, MultipathState::Active), "{ruled:?}");
        let [("lte", sent)] = shares(&ruled)[..] else { panic!("{ruled:?}") };
        assert!(sent >= BYTES as u64);
        let free = upload_as("curl", servers[1], 2);
        assert_eq!((free.congestion, free.scheduler), ("cubic", "default"));
        let [("lte", lte), ("wifi", wifi)] = shares(&free)[..] else { panic!("{free:?}") };
        assert!(lte > 0 && wifi > 0 && lte + wifi >= BYTES as u64, "{lte} {wifi}");
        let [first, second] = servers.map(|server| format!("python3 to {server}"));
        let expected = [format!("{first}: the rule of rules.toml:1"), format!("{second}: no rule")];
        assert_eq!(*told.lock().unwrap(), expected);
    });
}

#[test]
fn the_port_decides_and_what_the_program_sets_goes_first() {
    isolated(|| {
        let servers = [serve(), serve(), serve()];
        let text = format!(
            "[[rule]]\nport = {}\nno-multipath = true\n[[rule]]\nport = {}\npath = [\"{WIFI}\", \"lte:backup\"]\ncc = \"lia\"\n",
            servers[0].port(),
            servers[1].port()
        );
        let rules = rules(&format!("{text}[[rule]]\ncc = \"balia\"\n"));
        let expected = [(servers[0], 1), (servers[1], 2), (servers[2], 2)];
        let seen = upload(&host(), rules, &expected, Some(servers[2]));
        let [plain, backup, own] = &seen[..] else { panic!("{seen:?}") };
        assert!(matches!(plain.multipath, MultipathState::Fallback(_)), "{plain:?}");
        assert_eq!([plain, backup, own].map(|c| c.congestion), ["cubic", "lia", "olia"]);
        let [("lte", lte), ("wifi", wifi)] = shares(backup)[..] else { panic!("{backup:?}") };
        // A machine that is busy may hold Wi-Fi up for a moment.
        assert!(lte < BYTES as u64 / 10 && wifi >= BYTES as u64, "{lte} {wifi}");
        assert!(backup.subflows.iter().any(|s| s.backup && s.name.as_deref() == Some("lte")));
        assert_eq!(own.subflows.len(), 2, "{own:?}");
    });
}

#[test]
fn a_server_accepts_by_its_rule() {
    isolated(|| {
        let code = r"
import socket, sys
s = socket.socket(); s.bind(('', 8080)); s.listen(); print('listening', flush=True)
c, _ = s.accept(); c.sendall(b'.' * 1000); print('ready', flush=True); sys.stdin.readline(); sys.stdin.readline()
";
        let text = "[[rule]]\nprogram = \"python3\"\nport = 8080\ndirection = \"in\"\nremote = \"10.77.0.0/24\"\n\
                    path = \"wifi\"\ncc = \"olia\"\nscheduler = \"redundant\"\nmax-subflows = 2\n";
        let (host, mut peer, mut seen) = (host(), None, Vec::new());
        run(python(code, &[]), &host, rules(text), |line| {
            if line == "listening" {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).unwrap();
                socket.bind(&format!("{HOST}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
                socket.connect(&format!("{WIFI}:8080").parse::<SocketAddr>().unwrap().into()).unwrap();
                let stream: &mut TcpStream = peer.insert(socket.into());
                stream.read_exact(&mut [0; 1000]).unwrap();
            } else {
                seen = host.connections();
            }
        });
        let [accepted] = &seen[..] else { panic!("{seen:?}") };
        assert!(matches!(accepted.multipath, MultipathState::Active), "{accepted:?}");
        assert_eq!((accepted.congestion, accepted.scheduler, accepted.max_subflows), ("olia", "redundant", 2));
        assert_eq!(accepted.session.unwrap().announced.0, 0, "the other path is not for it");
    });
}
