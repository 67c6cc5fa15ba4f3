//! Connecting: every way that programs wait for it, and every way that it fails. Each program runs
//! on kernel sockets and under `run`, and has to print the same.

mod common;

use common::peers::{closed_port, echo, serve};
use common::{HOST, SILENT, isolated, python, same_as_kernel};

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
        if flags & select.EPOLLET: print('then', ep.poll(0))
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
print([e for _, e in p.poll()], so_error(s), so_error(s), attempt(s.getpeername))
s = socket.socket(); s.setblocking(False); s.connect_ex(peer)
ep = select.epoll(); ep.register(s, select.EPOLLOUT | select.EPOLLET); print([e for _, e in ep.poll()])
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
