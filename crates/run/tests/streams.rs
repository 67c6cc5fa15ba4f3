//! An established stream: half-close, resets, duplicates, threads, names and options. Each program
//! runs on kernel sockets and under `run`, and has to print the same.

mod common;

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use common::peers::{close_first, echo, echo_at_the_end, reset, serve};
use common::{HOST, isolated, python, run, same_as_kernel, stdout};

const PRELUDE: &str = r#"
import errno, os, select, signal, socket, struct, sys, threading
def name(e): return errno.errorcode.get(e, e)
def attempt(f, *a):
    try: return f(*a)
    except OSError as e: return name(e.errno) or repr(e)
def so_error(s): return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
def events(s, wanted):
    p = select.poll(); p.register(s, wanted); return [e for _, e in p.poll()]
peer = (sys.argv[1], int(sys.argv[2]))
"#;

fn differential(code: &str, port: &str) -> String {
    let code = format!("{PRELUDE}\n{code}");
    same_as_kernel(|| python(&code, &[HOST, port]))
}

#[test]
fn the_program_closes_its_side_first() {
    isolated(|| {
        let port = serve(echo_at_the_end);
        let code = r"
s = socket.create_connection(peer)
data = os.urandom(1 << 20); s.sendall(data); s.shutdown(socket.SHUT_WR)
print(attempt(s.send, b'x'))
got = b''
while piece := s.recv(1 << 16): got += piece
print(got == data, so_error(s))
print('unconnected', attempt(socket.socket().shutdown, socket.SHUT_WR))
";
        differential(code, &port);
    });
}

#[test]
fn the_peer_closes_its_side_first() {
    isolated(|| {
        let port = serve(close_first);
        let code = r"
s = socket.create_connection(peer)
print(events(s, select.POLLRDHUP) == [select.POLLRDHUP])
print(s.recv(10), s.recv(10), s.send(b'still'), s.getpeername() == peer, so_error(s))
s.shutdown(socket.SHUT_WR)
";
        differential(code, &port);
    });
}

#[test]
fn a_reset_is_seen_after_the_data_before_it() {
    isolated(|| {
        let port = serve(reset);
        let code = r"
s = socket.create_connection(peer); s.sendall(b'x')
print(s.recv(3, socket.MSG_WAITALL), attempt(s.recv, 1), s.recv(1))
print(attempt(s.getpeername))
s = socket.create_connection(peer); s.sendall(b'x'); s.recv(3, socket.MSG_WAITALL)
while not events(s, select.POLLIN)[0] & select.POLLERR: pass
print(so_error(s), so_error(s))
";
        differential(code, &port);
    });
}

#[test]
fn a_zero_linger_resets_and_so_does_unread_data() {
    isolated(|| {
        for code in [
            "s.recv(9, socket.MSG_WAITALL); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))",
            "s.recv(1)",
        ] {
            let listener = TcpListener::bind((HOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port().to_string();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                std::io::Write::write_all(&mut stream, b"greetings").unwrap();
                stream.read(&mut [0; 16]).unwrap_err().kind()
            });
            let code = format!("{PRELUDE}\ns = socket.create_connection(peer)\n{code}\ns.close()");
            stdout(&run(python(&code, &[HOST, &port])));
            assert_eq!(server.join().unwrap(), std::io::ErrorKind::ConnectionReset, "{code}");
        }
    });
}

#[test]
fn peeking_waiting_and_counting() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
import fcntl, termios
s = socket.create_connection(peer); s.sendall(b'0123456789')
print(s.recv(10, socket.MSG_PEEK | socket.MSG_WAITALL), s.recv(4, socket.MSG_PEEK))
print(struct.unpack('i', fcntl.ioctl(s, termios.FIONREAD, b'....')))
print(s.recv(10, socket.MSG_WAITALL), attempt(s.recv, 1, socket.MSG_DONTWAIT))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 20000))
print(attempt(s.recv, 1))
";
        differential(code, &port);
    });
}

/// More is asked for than ever comes, and it comes in pieces (a class of the kernel's own faults: a peek that never ends). A
/// UNIX socket waits for no more than the first piece.
#[test]
fn a_peek_that_waits_for_all_ends_with_the_stream() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
import select, threading
PEEK, ALL = socket.MSG_PEEK, socket.MSG_WAITALL
s = socket.create_connection(peer)
def rest():
    print(s.recv(5, PEEK | ALL)); s.sendall(b'56789'); s.shutdown(socket.SHUT_WR)
other = threading.Thread(target=rest)
s.sendall(b'01234'); other.start()
peeked = s.recv(100, PEEK | ALL)
other.join()
# All of it is here.
end = select.poll(); end.register(s, select.POLLRDHUP); end.poll()
print(peeked in (b'01234', b'0123456789'), s.recv(100, PEEK | ALL), s.recv(100, ALL), s.recv(1, PEEK | ALL), s.recv(1))
";
        differential(code, &port);
    });
}

#[test]
fn questions_by_ioctl_are_answered() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
import fcntl
s = socket.create_connection(peer)
def ask(command, size=40): return attempt(fcntl.ioctl, s, command, b'd0' + bytes(size - 2))
for get in (0x8913, 0x8915, 0x8919, 0x891b, 0x8921, 0x8927, 0x8933): print(hex(get), ask(get))
print('unknown device', attempt(fcntl.ioctl, s, 0x8913, b'none' + bytes(36)), 'no question', ask(0x8960))
def drained(command):
    while struct.unpack('i', fcntl.ioctl(s, command, bytes(4)))[0]: os.sched_yield()
    return 0
s.sendall(bytes(100000)); print(drained(0x5411))
s.shutdown(socket.SHUT_WR); print(drained(0x5411), drained(0x894b))
print(struct.unpack('i', fcntl.ioctl(s, 0x8905, bytes(4))))
";
        differential(code, &port);
    });
}

#[test]
fn duplicates_children_and_passed_descriptors_are_the_same_socket() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.create_connection(peer)
d = s.dup(); s.close(); d.sendall(b'dup'); print(d.recv(3, socket.MSG_WAITALL), d.getpeername() == peer)
pid = os.fork()
if pid == 0:
    d.sendall(b'child'); ok = d.recv(5, socket.MSG_WAITALL) == b'child' and d.getpeername() == peer
    os._exit(0 if ok else 1)
print('child', os.waitpid(pid, 0)[1])
a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [d.fileno()]); d.close()
_, (fd,), _, _ = socket.recv_fds(b, 1, 1)
e = socket.socket(fileno=fd); e.sendall(b'passed'); print(e.recv(6, socket.MSG_WAITALL), e.getpeername() == peer)
os.set_inheritable(fd, True)
sys.stdout.flush()
os.execv(sys.executable, [sys.executable, '-c', f'''
import socket
s = socket.socket(fileno={fd}); s.sendall(b\'exec\'); print(s.recv(4, socket.MSG_WAITALL), s.getpeername() == {peer})
'''])
";
        differential(code, &port);
    });
}

#[test]
fn many_threads_connect_at_once() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
good = []
def one(i):
    for j in range(10):
        with socket.create_connection(peer) as s:
            data = os.urandom(20000 + i); s.sendall(data); s.shutdown(socket.SHUT_WR)
            got = b''
            while piece := s.recv(1 << 16): got += piece
            good.append(got == data)
threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
for t in threads: t.start()
for t in threads: t.join()
print(len(good), all(good))
";
        assert_eq!(differential(code, &port), "160 True\n");
    });
}

#[test]
fn addresses_in_data_calls_are_taken_as_tcp_takes_them() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.create_connection(peer)
print(s.sendto(b'hello', ('192.0.2.9', 9)))
print(s.recvfrom(5, socket.MSG_WAITALL), attempt(s.recvfrom, 1, socket.MSG_DONTWAIT))
big = os.urandom(3 << 20)
t = threading.Thread(target=lambda: s.sendall(big)); t.start()
got = b''
while len(got) < len(big): got += s.recvfrom(1 << 20)[0]
t.join(); print(got == big)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
print(attempt(socket.socket().sendto, b'x', peer), attempt(socket.socket().recvfrom, 1))
";
        differential(code, &port);
    });
}

#[test]
fn options_are_checked_kept_and_told_as_the_kernel_does() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
def options(s):
    S, T = socket.SOL_SOCKET, socket.IPPROTO_TCP
    print([s.getsockopt(S, o) for o in (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ERROR, socket.SO_ACCEPTCONN)])
    print([s.getsockopt(T, o) for o in (socket.TCP_NODELAY, socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)])
    print(s.getsockopt(S, socket.SO_LINGER, 8), s.getsockopt(S, socket.SO_KEEPALIVE), s.getsockopt(S, socket.SO_RCVBUF) > 0)
    for level, option, value in ((T, socket.TCP_NODELAY, 1), (S, socket.SO_KEEPALIVE, 1), (T, socket.TCP_KEEPIDLE, 33),
            (T, socket.TCP_USER_TIMEOUT, 4000), (S, socket.SO_REUSEADDR, 1), (S, socket.SO_REUSEPORT, 1), (S, socket.SO_SNDBUF, 50000),
            (socket.IPPROTO_IP, socket.IP_TOS, 16), (T, socket.TCP_KEEPIDLE, 0), (T, 9999, 1), (S, 9999, 1)):
        print(attempt(s.setsockopt, level, option, value), attempt(s.getsockopt, level, option))
    s.setsockopt(S, socket.SO_LINGER, struct.pack('ii', 1, 5)); print(s.getsockopt(S, socket.SO_LINGER, 8))
options(socket.socket())
s = socket.create_connection(peer); options(s)
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[0])
try: m = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
except OSError as e: print(name(e.errno))
else: print(m.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
print(attempt(socket.socket, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP))
";
        differential(code, &port);
    });
}

#[test]
fn what_was_written_arrives_though_the_program_is_gone() {
    isolated(|| {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (exited, wait_for_exit) = std::sync::mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Nothing is read until the program has closed its pipe by exiting.
            wait_for_exit.recv().unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
        });
        let (mut pipe, their_end) = std::io::pipe().unwrap();
        let watcher = thread::spawn(move || {
            pipe.read_to_end(&mut Vec::new()).unwrap();
            exited.send(()).unwrap();
        });
        let mut command = Command::new("sh");
        let code = format!(
            "{PRELUDE}\ns = socket.create_connection(peer)\ns.setblocking(False)\nprint(s.send(bytes(300000)), file=sys.stderr)"
        );
        command.args(["-c", "exec \"$@\"", "sh", "/usr/bin/env", "python3", "-c", &code, HOST, &port]);
        let output = common::run_holding(command, their_end.into());
        let sent: u64 = String::from_utf8_lossy(&output.stderr).trim().parse().unwrap();
        watcher.join().unwrap();
        assert_eq!(server.join().unwrap(), sent);
    });
}
