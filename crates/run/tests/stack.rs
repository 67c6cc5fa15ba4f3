//! Programs over the stack itself, whose peer is the kernel: what they set steers the connection, and what they ask is
//! what the kernel at the other end says, too.

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{HOST, SILENT, isolated, python, runtime, stdout};
use polypath_net::Host;
use polypath_run::{HostNetwork, Options, Runner};
use socket2::{Domain, Protocol, Socket, Type};

const WIFI: &str = "10.1.0.2";
const LTE: &str = "10.2.0.2";

const PRELUDE: &str = r#"
import ctypes, errno, fcntl, os, select, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
TCP, MPTCP = socket.IPPROTO_TCP, 284
def name(e): return errno.errorcode.get(e, e)
def attempt(f, *a):
    try: return f(*a)
    except OSError as e: return name(e.errno) or repr(e)
def ask(s, level, what, given):
    buffer = ctypes.create_string_buffer(bytes(given), len(given)); room = ctypes.c_uint32(len(given))
    if libc.getsockopt(s.fileno(), level, what, buffer, ctypes.byref(room)): return name(ctypes.get_errno())
    return buffer.raw[:room.value]
def connected(protocol=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol); s.connect(peer); return s
peer = (sys.argv[1], int(sys.argv[2]))
"#;

/// A host with two paths.
fn host() -> Host {
    Host::builder()
        .address(WIFI.parse().unwrap(), Some("wifi"), false)
        .address(LTE.parse().unwrap(), Some("lte"), false)
        .start()
        .unwrap()
}

/// Runs a program over the stack, and returns what the user was told, too. `alive` hears each line as it is printed.
fn run(mut command: Command, host: &Host, mut alive: impl FnMut(&str) + Send) -> (Output, Vec<String>) {
    let (out, their_out) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stdout(their_out);
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let options = Options::default()
        .forward_signals(false)
        .linger(Duration::ZERO)
        .on_notice(move |text| heard.lock().unwrap().push(text.to_owned()));
    let (status, printed) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut all = String::new();
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)) {
                let line = line.unwrap();
                alive(&line);
                all += &line;
                all.push('\n');
            }
            all
        });
        let runner = Runner::new(command, HostNetwork::new(host.clone())).options(options);
        let status = runtime().block_on(runner.run()).unwrap();
        (status, reader.join().unwrap())
    });
    let notices = std::mem::take(&mut *notices.lock().unwrap());
    (Output { status, stdout: printed.into_bytes(), stderr: Vec::new() }, notices)
}

fn print(code: &str, server: SocketAddr) -> Command {
    python(&format!("{PRELUDE}\n{code}"), &[&server.ip().to_string(), &server.port().to_string()])
}

/// A kernel socket that listens.
fn listen(multipath: bool) -> Socket {
    let protocol = if multipath { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol)).unwrap();
    socket.bind(&format!("{HOST}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// Sends back what comes from everyone who connects. The listener stays: the kernel refuses joins without it.
fn serve_echo(multipath: bool) -> (SocketAddr, std::sync::mpsc::Receiver<TcpStream>) {
    let socket = listen(multipath);
    socket.listen(16).unwrap();
    let (server, (tell, told)) = (address(&socket), std::sync::mpsc::channel());
    thread::spawn(move || {
        for stream in TcpListener::from(socket).incoming() {
            let stream = stream.unwrap();
            let _ = tell.send(stream.try_clone().unwrap());
            thread::spawn(move || common::peers::echo(stream));
        }
    });
    (server, told)
}

fn option(fd: &impl AsRawFd, level: i32, name: i32, given: &[u8]) -> Vec<u8> {
    let (mut value, mut len) = (given.to_vec(), given.len() as libc::socklen_t);
    // SAFETY: pointer and length describe `value`.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    value.truncate(len as usize);
    value
}

fn set_option(fd: &impl AsRawFd, level: i32, name: i32, value: i32) {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The numbers of a line.
fn numbers(line: &str) -> Vec<u64> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn what_is_set_before_the_connect_goes_with_the_syn() {
    isolated(|| {
        let listener = listen(false);
        // The kernel keeps the SYN's headers.
        const TCP_SAVE_SYN: i32 = 27;
        const TCP_SAVED_SYN: i32 = 28;
        set_option(&listener, libc::IPPROTO_TCP, TCP_SAVE_SYN, 1);
        listener.listen(16).unwrap();
        let server = address(&listener);
        let syns = thread::spawn(move || {
            [(); 2].map(|()| {
                let (stream, _) = listener.accept().unwrap();
                let syn = option(&stream, libc::IPPROTO_TCP, TCP_SAVED_SYN, &[0; 256]);
                // Type of service, time to live.
                (syn[1], syn[8])
            })
        });
        let code = r"
s = socket.socket()
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33); s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
s.connect(peer)
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9); s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 34)
s.connect(('::ffff:' + peer[0], peer[1]))
";
        stdout(&run(print(code, server), &host(), |_| ()).0);
        assert_eq!(syns.join().unwrap(), [(0x28, 33), (0, 34)]);
    });
}

#[test]
fn the_congestion_control_is_the_programs_choice() {
    isolated(|| {
        let (server, streams) = serve_echo(true);
        let streams = Mutex::new(streams);
        let host = host();
        let code = r"
def used(s): return s.getsockopt(TCP, socket.TCP_CONGESTION, 32)
def choose(s, name): return attempt(s.setsockopt, TCP, socket.TCP_CONGESTION, name)
s = socket.socket(); print(used(s), choose(s, b'reno'), used(s)); s.connect(peer)
print('now', s.getsockopt(TCP, socket.TCP_CONGESTION, 2), used(s), flush=True); s.recv(1)
print(choose(s, b'bbr\0junk'), used(s), choose(s, b'olia'), used(s), choose(s, b'vegas'), choose(s, b''), choose(s, b'no such thing at all'), used(s))
print('now', flush=True); s.recv(1)
";
        let (mut seen, mut stream) = (Vec::new(), None);
        let output = run(print(code, server), &host, |line| {
            if line.starts_with("now") {
                seen.extend(host.connections().iter().map(|c| c.congestion));
                // The program goes on.
                let accepted = stream.get_or_insert_with(|| streams.lock().unwrap().recv().unwrap());
                accepted.write_all(b".").unwrap();
            }
        });
        let pad = |name: &str| format!("b'{name}{}'", "\\x00".repeat(16 - name.len()));
        let expected = format!(
            "{} None {}\nnow b're' {}\nNone {} None {} ENOENT EINVAL ENOENT {}\nnow\n",
            pad("cubic"),
            pad("reno"),
            pad("reno"),
            pad("bbr"),
            pad("olia"),
            pad("olia")
        );
        assert_eq!(stdout(&output.0), expected);
        assert_eq!(seen, ["reno", "olia"]);
    });
}

#[test]
fn information_is_what_the_kernel_at_the_other_end_tells() {
    isolated(|| {
        let (server, streams) = serve_echo(true);
        let streams = Mutex::new(streams);
        let code = r"
s = connected()
for n in range(50):
    s.sendall(bytes(10000)); s.recv(10000, socket.MSG_WAITALL)
    addrs = ask(s, MPTCP, 3, struct.pack('4I', 16, 0, 0, 256) + bytes(1000))
    if struct.unpack('4I', addrs[:16])[1] == 2 and n > 10: break
    time.sleep(0.05)
info = ask(s, MPTCP, 1, bytes(200)); tcp = ask(s, TCP, socket.TCP_INFO, bytes(500))
print('lengths', len(info), len(tcp), len(addrs), len(ask(s, TCP, socket.TCP_INFO, bytes(50))), len(ask(s, TCP, socket.TCP_INFO, b'')))
print('subflows', info[0], 'of', info[3], 'flags', struct.unpack('I', info[8:12])[0])
print('session', *struct.unpack('=I3Q', info[12:40]))
print('bytes', *struct.unpack('3Q', info[56:80]), 'at the program', (n + 1) * 10000)
print('ends', *[socket.inet_ntoa(addrs[16 + i * 128 + 4:16 + i * 128 + 8]) for i in range(4)])
word = lambda at: struct.unpack('I', tcp[at:at + 4])[0]
print('tcp', tcp[0], 'rto', word(8) >= 200000, 'mss', word(16), s.getsockopt(TCP, socket.TCP_MAXSEG), 'pmtu', word(60), s.getsockopt(0, 14),
      'rtt', 0 < word(148) <= word(68) < 5000000, 'cwnd', word(80) >= 10, *struct.unpack('2Q', tcp[120:136]))
full = ask(s, MPTCP, 2, struct.pack('4I', 16, 0, 0, 500) + bytes(1000))
print('each', struct.unpack('4I', full[:16]), len(full), full[16], full[16 + len(tcp)])
tcps, subs = ctypes.create_string_buffer(1000), ctypes.create_string_buffer(1000)
full = ask(s, MPTCP, 4, struct.pack('6I2Q', 0, 232, 0, 264, 0, 3, ctypes.addressof(subs), ctypes.addressof(tcps)) + bytes(200))
print('full', struct.unpack('6I', full[:24]), len(full), full[40:43] == info[:3], tcps.raw[0], tcps.raw[232], tcps.raw[464], subs.raw[8], subs.raw[272], subs.raw[536])
print('other', ask(s, MPTCP, 5, bytes(16)), ask(s, MPTCP, 2, bytes(16)), ask(s, MPTCP, 4, bytes(39)), s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
print('peer', ask(s, socket.SOL_SOCKET, 28, bytes(16))[2:8] == struct.pack('!H', peer[1]) + socket.inet_aton(peer[0]), ask(s, socket.SOL_SOCKET, 28, bytes(17)))
print('ready', flush=True); s.recv(1)
";
        let (mut lines, mut theirs) = (Vec::new(), None);
        let host = host();
        let mut hear = |line: &str| {
            lines.push(line.to_owned());
            if line == "ready" {
                let mut stream = streams.lock().unwrap().recv().unwrap();
                theirs = Some((
                    option(&stream, 284, 1, &[0; 200]),
                    option(&stream, libc::IPPROTO_TCP, libc::TCP_INFO, &[0; 500]),
                ));
                // The program goes on.
                stream.write_all(b".").unwrap();
            }
        };
        stdout(&run(print(code, server), &host, &mut hear).0);
        let (info, tcp) = theirs.unwrap();
        let line = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{lines:?}"));
        let u64_at = |at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().unwrap());
        assert_eq!(numbers(line("lengths")), [96, tcp.len() as u64, 16 + 512, 50, 0]);
        assert_eq!(line("subflows"), "subflows 1 of 7 flags 2");
        // What is next for us is what the kernel has acknowledged, and the other way round.
        assert_eq!(numbers(line("session"))[1..], [u64_at(32), u64_at(32), u64_at(16)], "{lines:?}");
        let bytes = numbers(line("bytes"));
        assert_eq!(bytes, [bytes[3]; 4]);
        let ends = line("ends").split(' ').skip(1).collect::<Vec<_>>();
        assert!(ends == [WIFI, HOST, LTE, HOST] || ends == [LTE, HOST, WIFI, HOST], "{ends:?}");
        let sum = bytes[0];
        assert_eq!(line("tcp"), &format!("tcp 1 rto True mss 1448 1448 pmtu 1500 1500 rtt True cwnd True {sum} {sum}"));
        let len = tcp.len();
        assert_eq!(line("each"), &format!("each (16, 2, {len}, {len}) {} 1 1", 16 + 2 * len));
        assert_eq!(line("full"), &format!("full ({len}, 232, 264, 264, 2, 3) 136 True 1 1 0 2 2 0"));
        assert_eq!(line("other"), "other ENOTSUP EINVAL EINVAL 6");
        assert_eq!(line("peer"), "peer True EINVAL");
    });
}

#[test]
fn plain_tcp_has_no_multipath_to_tell_of() {
    isolated(|| {
        let (server, _streams) = serve_echo(false);
        let code = r"
for protocol in (0, 262):
    s = connected(protocol); s.send(b'x'); s.recv(1)
    print(ask(s, MPTCP, 1, bytes(100)), ask(s, MPTCP, 4, bytes(100)), len(ask(s, TCP, socket.TCP_INFO, bytes(232))),
          s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
";
        let output = run(print(code, server), &host(), |_| ());
        assert_eq!(stdout(&output.0), "ENOTSUP ENOTSUP 232 6\nENOTSUP ENOTSUP 232 262\n");
    });
}

#[test]
fn the_user_timeout_ends_a_connect_that_nobody_answers() {
    isolated(|| {
        let code = r"
s = socket.socket(); s.setsockopt(TCP, 18, 300)
begun = time.monotonic(); print(attempt(s.connect, peer), time.monotonic() - begun >= 0.3)
s = socket.socket(); s.setblocking(False); print(name(s.connect_ex(peer)))
# Also one that is under way already.
s.setsockopt(TCP, 18, 300)
print(ask(s, TCP, socket.TCP_INFO, bytes(1)))
s.close()
";
        let silent = format!("{SILENT}:80").parse().unwrap();
        let output = run(print(code, silent), &host(), |_| ());
        assert_eq!(stdout(&output.0), "ETIMEDOUT True\nEINPROGRESS\nb'\\x02'\n");
    });
}

#[test]
fn the_user_timeout_and_keepalives_steer_an_open_connection() {
    isolated(|| {
        let (server, _streams) = serve_echo(true);
        let host = host();
        let code = r"
s = connected(); s.send(b'x'); s.recv(1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setsockopt(TCP, socket.TCP_KEEPIDLE, 1); s.setsockopt(TCP, socket.TCP_KEEPINTVL, 1); s.setsockopt(TCP, socket.TCP_KEEPCNT, 2)
print('quiet', flush=True)
print(select.select([s], [], [], 60)[0] == [s], name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
";
        // Both paths fall silent: nobody answers the questions.
        let output = run(print(code, server), &host, |line| {
            if line == "quiet" {
                for arguments in
                    ["link set lo down", "route add blackhole 10.1.0.0/24", "route add blackhole 10.2.0.0/24"]
                {
                    let _ = Command::new("ip").args(arguments.split(' ')).status();
                }
                let filter = "add table inet silence; add chain inet silence in { type filter hook prerouting priority -300; }; \
                              add rule inet silence in ip daddr 10.77.0.1 drop";
                assert!(Command::new("nft").arg(filter).status().unwrap().success());
            }
        });
        assert_eq!(stdout(&output.0).lines().last(), Some("True ETIMEDOUT"));
    });
}

#[test]
fn what_the_peer_has_not_acknowledged_is_in_the_queue() {
    isolated(|| {
        let listener = listen(true);
        // A window that is soon full.
        set_option(&listener, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096);
        listener.listen(16).unwrap();
        let server = address(&listener);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let reader = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            wait.recv().unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
        });
        let code = r"
def queued(command): return struct.unpack('i', fcntl.ioctl(s, command, bytes(4)))[0]
s = connected(); s.sendall(bytes(300000))
# The peer takes next to nothing.
print(queued(0x5411) > 200000, queued(0x894b) <= queued(0x5411))
print('read', flush=True)
while queued(0x5411): time.sleep(0.01)
print(queued(0x5411), queued(0x894b))
";
        let output = run(print(code, server), &host(), |line| {
            if line == "read" {
                go.send(()).unwrap();
            }
        });
        assert_eq!(stdout(&output.0), "True True\nread\n0 0\n");
        assert_eq!(reader.join().unwrap(), 300_000);
    });
}

#[test]
fn data_goes_with_the_syn() {
    isolated(|| {
        assert!(Command::new("sysctl").args(["-qw", "net.ipv4.tcp_fastopen=3"]).status().unwrap().success());
        let listener = listen(false);
        const TCP_FASTOPEN: i32 = 23;
        set_option(&listener, libc::IPPROTO_TCP, TCP_FASTOPEN, 16);
        listener.listen(16).unwrap();
        let server = address(&listener);
        let listener = TcpListener::from(listener);
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || common::peers::echo(stream.unwrap()));
            }
        });
        let code = r"
def opened(): return int(os.popen('nstat -asz TcpExtTCPFastOpenPassive').read().split()[-2])
def blocking(send):
    s = socket.socket(); before = opened(); print(send(s), s.recv(5, socket.MSG_WAITALL), opened() - before, s.getpeername() == peer)
def sendto(s): return s.sendto(b'hello', socket.MSG_FASTOPEN, peer)
def sendmsg(s): return s.sendmsg([b'he', b'', b'llo'], [], socket.MSG_FASTOPEN, peer)
n = socket.socket(); n.setblocking(False); print(attempt(sendto, n)); select.select([], [n], []); n.send(b'later')
n.setblocking(True); print(n.recv(5, socket.MSG_WAITALL))
blocking(sendto); blocking(sendmsg)
n = socket.socket(); n.setblocking(False); before = opened(); print(attempt(sendto, n)); select.select([n], [], [])
print(n.recv(5), opened() - before, attempt(sendto, n))
print(attempt(socket.socket().sendto, b'x', socket.MSG_FASTOPEN, ('0.0.0.0', 0)) in ('ECONNREFUSED', 'EINVAL'))
";
        let output = run(print(code, server), &host(), |_| ());
        let expected = "EINPROGRESS\nb'later'\n5 b'hello' 1 True\n5 b'hello' 1 True\n5\nb'hello' 1 5\nTrue\n";
        assert_eq!(stdout(&output.0), expected);
    });
}

#[test]
fn what_is_refused_is_noticed_once() {
    isolated(|| {
        let (server, _streams) = serve_echo(true);
        let code = r"
s = connected()
for _ in range(2):
    print(attempt(s.send, b'x', socket.MSG_OOB), attempt(s.recv, 1, socket.MSG_OOB), attempt(s.setsockopt, TCP, 31, b'tls'),
          attempt(s.setsockopt, socket.SOL_SOCKET, 35, 1), attempt(s.recv, 1, 0x2000), attempt(s.setsockopt, TCP, 36, 1))
";
        let (output, notices) = run(print(code, server), &host(), |_| ());
        let line = "ENOTSUP EINVAL ENOENT ENOPROTOOPT EAGAIN ENOPROTOOPT\n";
        assert_eq!(stdout(&output), line.repeat(2));
        let options: Vec<&str> = notices.iter().filter_map(|notice| notice.split(' ').next()).collect();
        assert_eq!(options, ["MSG_OOB", "TCP_ULP", "SO_TIMESTAMP", "TCP_INQ"], "{notices:?}");
    });
}
