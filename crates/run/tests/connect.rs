//! Connecting: every way that programs wait for it, and every way that it fails. Each program runs
//! on kernel sockets and under `run`, and has to print the same.

mod common;

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::peers::{closed_port, echo, serve};
use common::{HOST, SILENT, compile_static, isolated, python, runtime, same_as_kernel};
use polypath_run::{Network, NoListener, Options, Runner};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Helpers for all programs here.
const PRELUDE: &str = r#"
import errno, os, select, signal, socket, struct, sys, threading, time
def name(e): return errno.errorcode.get(e, e)
def attempt(f, *a):
    try: return f(*a)
    except OSError as e: return name(e.errno) or repr(e)
def so_error(s): return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
def show(s):
    me = attempt(s.getsockname)
    print('name', me[0] if isinstance(me, tuple) else me,
          me[1] != 0 if isinstance(me, tuple) else '', 'peer', attempt(s.getpeername))
def exchange(s, data=b'hello'):
    s.setblocking(True); s.sendall(data)
    print('echo', s.recv(len(data), socket.MSG_WAITALL) == data)
peer = (sys.argv[1], int(sys.argv[2]))
"#;

fn differential(code: &str, host: &str, port: &str) -> String {
    let code = format!("{PRELUDE}\n{code}");
    same_as_kernel(|| python(&code, &[host, port]))
}

#[test]
fn blocking_connect_names_both_ends() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.socket()
show(s)
print(attempt(s.connect, peer)); show(s); print(so_error(s)); exchange(s)
print('again', attempt(s.connect, peer))
";
        let printed = differential(code, HOST, &port);
        assert!(printed.contains(&format!("peer ('{HOST}', {port})")), "{printed}");
        assert!(printed.ends_with("again EISCONN\n"), "{printed}");
    });
}

#[test]
fn every_poller_sees_one_writable_event() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
def by_poll(s, start):
    p = select.poll(); start(); p.register(s, select.POLLIN | select.POLLOUT)
    print('poll', [e for _, e in p.poll()])
def by_select(s, start):
    start(); r, w, x = select.select([s], [s], [s]); print('select', len(r), len(w), len(x))
def by_epoll(flags, first):
    def f(s, start):
        ep = select.epoll()
        if first: ep.register(s, flags); ep.poll(0)
        start()
        if not first: ep.register(s, flags)
        seen = 0
        while not seen & select.EPOLLOUT:
            for _, e in ep.poll(): seen |= e
        print('epoll', flags & select.EPOLLET != 0, first, seen & ~select.EPOLLHUP)
        # More edges may follow, as with TCP when its buffer grows, but none with news.
        if flags & select.EPOLLET: print('then', [e for _, e in ep.poll(0) if e != select.EPOLLOUT])
    return f
both = select.EPOLLIN | select.EPOLLOUT
for wait in [by_poll, by_select, by_epoll(both, False), by_epoll(both, True),
             by_epoll(both | select.EPOLLET, False), by_epoll(both | select.EPOLLET, True)]:
    s = socket.socket(); s.setblocking(False)
    wait(s, lambda: print(name(s.connect_ex(peer))))
    print('error', so_error(s)); show(s); exchange(s)
";
        differential(code, HOST, &port);
    });
}

#[test]
fn a_second_connect_returns_zero_once_and_then_is_connected() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.socket(); s.setblocking(False)
print(name(s.connect_ex(peer)))
select.select([], [s], [])
print([name(s.connect_ex(peer)) for _ in range(3)])
";
        let printed = differential(code, HOST, &port);
        assert!(printed.contains("[0, 'EISCONN', 'EISCONN']"), "{printed}");
    });
}

#[test]
fn refusals_have_the_same_errno_everywhere() {
    isolated(|| {
        let code = r"
s = socket.socket()
print('blocking', attempt(s.connect, peer), attempt(s.getpeername))
print('again', attempt(s.connect, peer))
s = socket.socket(); s.setblocking(False)
print(name(s.connect_ex(peer)))
p = select.poll(); p.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
# The hang-up may be seen a moment before the room to write: OUT is left out of the comparison.
print([e | select.POLLOUT for _, e in p.poll()], so_error(s), so_error(s), attempt(s.getpeername))
s = socket.socket(); s.setblocking(False); s.connect_ex(peer)
ep = select.epoll(); ep.register(s, select.EPOLLOUT | select.EPOLLET)
print([e | select.EPOLLOUT for _, e in ep.poll()])
print('by connect', name(s.connect_ex(peer)), name(s.connect_ex(peer)))
s = socket.socket()
print('bad family', attempt(socket.socket(socket.AF_INET6).connect, ('::ffff:' + peer[0], peer[1])))
print('no route', attempt(socket.socket().connect, ('192.0.2.1', 80)))
n = socket.socket(); n.setblocking(False)
print('no route', name(n.connect_ex(('192.0.2.1', 80))))
";
        let printed = differential(code, HOST, &closed_port());
        assert!(printed.starts_with("blocking ECONNREFUSED"), "{printed}");
    });
}

#[test]
fn connecting_shows_nothing_until_it_is_done() {
    isolated(|| {
        let code = r"
s = socket.socket(); s.setblocking(False)
print(name(s.connect_ex(peer)), name(s.connect_ex(peer)), so_error(s))
p = select.poll(); p.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP); print(p.poll(0))
print(attempt(s.send, b'x'), attempt(s.recv, 1), attempt(s.getpeername))
s.close()
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 0, 50000))
print('timed', attempt(s.connect, peer), attempt(s.getpeername))
";
        let printed = differential(code, SILENT, "80");
        assert!(printed.contains("EINPROGRESS EALREADY 0"), "{printed}");
    });
}

#[test]
fn signals_reach_a_blocked_connect() {
    isolated(|| {
        let code = r"
class Stop(Exception): pass
def handler(*_): raise Stop
s = socket.socket()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try: s.connect(peer)
except Stop: print('handled')
print(attempt(s.getpeername))
p = select.poll(); p.register(s, select.POLLOUT); print(p.poll(0))
";
        assert_eq!(differential(code, SILENT, "80"), "handled\nENOTCONN\n[]\n");
    });
}

#[test]
fn a_signal_interrupts_the_thread_that_handles_it_and_spares_the_others() {
    let program = compile_static("two_connects", include_str!("programs/two_connects.c"));
    isolated(|| {
        for mode in ["alone", "both"] {
            let command = || {
                let mut command = Command::new(&program);
                command.args([SILENT, "80", mode]);
                command
            };
            let printed = same_as_kernel(command);
            assert!(printed.starts_with("main: EINTR"), "{printed}");
        }
    });
}

#[test]
fn a_bound_client_keeps_its_address() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((peer[0], 45678)); show(s)
print('twice', attempt(s.bind, (peer[0], 45679)))
s.connect(peer); print(s.getsockname()); exchange(s); s.close()
s = socket.socket(); print('elsewhere', attempt(s.bind, ('192.0.2.1', 0)))
s.bind(('', 0)); port = s.getsockname()[1]; s.connect(peer)
print(s.getsockname() == (peer[0], port))
a = socket.socket(); a.bind((peer[0], 45690))
print('taken', attempt(socket.socket().bind, (peer[0], 45690)))
a.close()
print('freed', attempt(socket.socket().bind, (peer[0], 45690)))
";
        differential(code, HOST, &port);
    });
}

#[test]
fn an_address_stays_bound_when_the_connect_fails() {
    isolated(|| {
        let open = serve(echo);
        let code = format!(
            r"
open = (peer[0], {open})
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((peer[0], 45700))
print(attempt(s.connect, peer)); show(s); print(attempt(s.bind, (peer[0], 45701)))
print(attempt(s.connect, open)); show(s); exchange(s)
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((peer[0], 45702)); s.setblocking(False)
print(name(s.connect_ex(peer))); select.select([], [s], []); show(s); print(so_error(s)); show(s)
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((peer[0], 45703))
print(attempt(s.connect, peer)); s.listen(); show(s)
c = socket.create_connection((peer[0], 45703)); a, _ = s.accept(); c.sendall(b'served'); print(a.recv(6))
"
        );
        differential(&code, HOST, &closed_port());
    });
}

#[test]
fn ipv6_sockets_reach_ipv4_and_ipv6() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.socket(socket.AF_INET6)
show(s); s.connect(('::ffff:' + peer[0], peer[1])); print(s.getsockname()[0], s.getpeername()); exchange(s)
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
print(attempt(s.connect, ('::ffff:' + peer[0], peer[1])))
print(attempt(socket.socket(socket.AF_INET6).connect, ('fd77::1', 1)))
";
        differential(code, HOST, &port);
    });
}

/// The kernel's TCP, behind a gate.
struct Gated(Semaphore);

impl Network for Gated {
    type Stream = TcpStream;
    type Listener = NoListener<TcpStream>;

    async fn connect(&self, remote: SocketAddr, _: Option<SocketAddr>) -> io::Result<TcpStream> {
        let _open = self.0.acquire().await.map_err(io::Error::other)?;
        TcpStream::connect(remote).await
    }
}

#[test]
fn a_restarted_connect_ends_once_and_well() {
    let program = compile_static("restarted", include_str!("programs/restarted.c"));
    isolated(|| {
        let port = serve(echo);
        let (out, their_out) = io::pipe().unwrap();
        let mut command = Command::new(&program);
        command.args([HOST, &port]).stdin(Stdio::null()).stdout(their_out);
        let gate = Arc::new(Gated(Semaphore::new(0)));
        let opener = Arc::clone(&gate);
        let reader = thread::spawn(move || {
            let mut lines = BufReader::new(out).lines().map(Result::unwrap);
            let ticks: Vec<String> = lines.by_ref().take(4).collect();
            assert_eq!(ticks, ["tick"; 4]);
            opener.0.add_permits(1);
            lines.last()
        });
        let runner = Runner::new(command, Shared(gate)).options(Options::default().forward_signals(false));
        let status = runtime().block_on(runner.run()).unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(reader.join().unwrap().as_deref(), Some("connected"));
    });
}

/// A network that the test keeps a hand on.
struct Shared(Arc<Gated>);

impl Network for Shared {
    type Stream = TcpStream;
    type Listener = NoListener<TcpStream>;

    async fn connect(&self, remote: SocketAddr, local: Option<SocketAddr>) -> io::Result<TcpStream> {
        self.0.connect(remote, local).await
    }
}

#[test]
fn closing_while_connecting_gives_the_attempt_up() {
    isolated(|| {
        // The gate never opens: `run` would wait for it if the attempt outlived its socket.
        let code = "import socket, sys\ns = socket.socket(); s.setblocking(False)\nprint(s.connect_ex((sys.argv[1], 80)))\ns.close()";
        let mut command = python(code, &[HOST]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let gave_up = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&gave_up);
        let options = Options::default().forward_signals(false).on_notice(move |_| heard.store(true, Ordering::SeqCst));
        let runner = Runner::new(command, Gated(Semaphore::new(0))).options(options);
        assert!(runtime().block_on(runner.run()).unwrap().success());
        assert!(!gave_up.load(Ordering::SeqCst), "it waited until the cap");
    });
}
