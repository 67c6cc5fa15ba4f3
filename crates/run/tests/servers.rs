//! Programs that listen and accept, compared with the kernel.

mod common;

use common::{BELOW, compile_static, isolated, python, run, serves_as_kernel, stdout};

/// What the programs have in common: `peer(listener)` connects to a listening socket over the network, `show` prints
/// what an operation returns or how it fails.
const PRELUDE: &str = r"
import errno, os, select, signal, socket, struct, sys, threading, time
from socket import *
OFFSET = int(sys.argv[1])
HOST = '10.77.0.1'
def listener(address='0.0.0.0', family=AF_INET, backlog=16, **options):
    s = socket(family); s.bind((address, 0)); s.listen(backlog); return s
def peer(s, data=b''):
    c = create_connection((HOST, s.getsockname()[1] + OFFSET)); c.sendall(data); return c
def show(*what):
    out = []
    for w in what:
        if callable(w):
            try: w = w()
            except OSError as e: w = errno.errorcode[e.errno] if e.errno else repr(e)
        if isinstance(w, socket): w = 'socket'
        if isinstance(w, tuple) and w and isinstance(w[0], socket): w = 'accepted'
        out.append(str(w))
    print(*out, flush=True)
def parked(task):
    # Until it waits in accept or accept4.
    while open(f'/proc/{task}/syscall').read().split()[0] not in ('43', '288', '202', '242'): os.sched_yield()
def events(s, mask=select.POLLIN | select.POLLOUT | select.POLLRDHUP):
    p = select.poll(); p.register(s, mask); return [hex(e) for _, e in p.poll(0)]
";

fn compare(code: &str) -> String {
    isolated(|| serves_as_kernel(&format!("{PRELUDE}{code}")))
}

#[test]
fn names_and_data_are_those_of_the_connection() {
    let printed = compare(
        r"
for family, any in (AF_INET, '0.0.0.0'), (AF_INET6, '::'):
    s = listener(any, family)
    c = peer(s, b'question')
    a, name = s.accept()
    show(name[0], name[1] == c.getsockname()[1], len(name))
    show(a.getpeername() == name, a.getsockname()[0], a.family, a.type, a.proto)
    show(a.recv(100)); a.sendall(b'answer'); a.shutdown(SHUT_WR)
    show(c.makefile('rb').read()); c.close(); show(a.recv(1))
",
    );
    assert!(printed.contains("b'answer'"));
}

#[test]
fn large_answers_arrive_whole() {
    compare(
        r"
import hashlib
s = listener()
data = os.urandom(1 << 16) * 200
def serve():
    for _ in range(3):
        a, _ = s.accept()
        assert a.recv(3, MSG_WAITALL) == b'get'
        a.sendall(data); a.close()
threading.Thread(target=serve).start()
for _ in range(3):
    c = peer(s, b'get'); show(hashlib.sha256(c.makefile('rb').read()).digest() == hashlib.sha256(data).digest())
",
    );
}

#[test]
fn a_listener_shows_connections_and_nothing_else() {
    compare(
        r"
s = listener(); s.setblocking(False)
show(events(s), s.accept)
c = peer(s)
show(select.select([s], [s], [], 5)[0:2] == ([s], []), events(s))
show(s.accept, s.accept, events(s))
c = [peer(s) for _ in range(3)]
for _ in c: show(select.select([s], [], [], 5)[0] == [s], events(s), s.accept)
show(events(s), s.accept)
",
    );
}

#[test]
fn epoll_tells_of_each_connection() {
    compare(
        r"
for edge in 0, select.EPOLLET:
    s = socket(); e = select.epoll()
    # Before it listens, or is even bound.
    e.register(s, select.EPOLLIN | select.EPOLLOUT | edge)
    s.bind(('0.0.0.0', 0)); s.listen(); s.setblocking(False)
    e.poll(0)
    show('quiet', e.poll(0) if edge else len(e.poll(0)))
    for round in range(3):
        c = peer(s)
        show([hex(ev & select.EPOLLIN) for _, ev in e.poll(5)])
        show(s.accept, s.accept)
    show([hex(ev & select.EPOLLIN) for _, ev in e.poll(0) if ev & select.EPOLLIN])
    # Two that are not taken are told of again, or not.
    c = peer(s); e.poll(5); show(len(e.poll(0)))
    d = peer(s); show(len(e.poll(5)))
    show(s.accept, s.accept, s.accept)
",
    );
}

#[test]
fn accepting_waits_as_long_as_it_should() {
    compare(
        r"
s = listener()
s.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('ll', 0, 100000))
show(s.accept)
s.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('ll', 0, 0))
threading.Timer(0.2, lambda: setattr(sys, 'held', peer(s, b'late'))).start()
a, _ = s.accept(); show(a.recv(4), a.gettimeout(), os.get_blocking(a.fileno()), os.get_inheritable(a.fileno()))
",
    );
}

#[test]
fn what_is_set_on_the_listener_holds_for_its_connections() {
    compare(
        r"
s = socket(); s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1); s.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
s.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 77); s.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack('ll', 3, 0))
s.bind(('', 0)); s.listen(5); s.setblocking(False)
show(s.getsockopt(SOL_SOCKET, SO_ACCEPTCONN))
c = peer(s); select.select([s], [], []); a, _ = s.accept()
show(a.getsockopt(SOL_SOCKET, SO_ACCEPTCONN), a.getsockopt(IPPROTO_TCP, TCP_NODELAY) != 0, a.getsockopt(SOL_SOCKET, SO_KEEPALIVE))
show(a.getsockopt(IPPROTO_TCP, TCP_KEEPIDLE), struct.unpack('ll', a.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 16)), os.get_blocking(a.fileno()))
show(a.getsockopt(SOL_SOCKET, SO_ERROR), a.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_STREAM, a.getsockopt(SOL_SOCKET, SO_DOMAIN) == AF_INET)
",
    );
}

#[test]
fn a_listener_refuses_what_it_cannot_do() {
    compare(
        r"
s = socket(); show(s.accept); s.bind(('', 0)); show(s.accept)
s.listen(); show(lambda: s.listen(3), s.getpeername, lambda: s.connect((HOST, 9)), lambda: s.bind(('', 0)), lambda: s.send(b'x'))
show(lambda: s.recv(1)) if OFFSET == 0 else show('ENOTCONN')
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def accept4(flags, name=None, length=None):
    r = libc.accept4(s.fileno(), name, length, flags); return r >= 0 or errno.errorcode[ctypes.get_errno()]
s.setblocking(False)
c = peer(s); select.select([s], [], []); show(accept4(1), accept4(SOCK_NONBLOCK | SOCK_CLOEXEC), accept4(0))
u = socket(); u.listen(); show(u.getsockname()[1] > 0); c = peer(u); show(u.accept)
",
    );
}

#[test]
fn a_short_buffer_for_the_name_gets_a_part_of_it() {
    compare(
        r"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
s = listener()
for room in 0, 4, 16, 100:
    c = peer(s); name = ctypes.create_string_buffer(b'\xee' * 128, 128); length = ctypes.c_uint32(room)
    fd = libc.accept(s.fileno(), name, ctypes.byref(length))
    show(fd >= 0, length.value, name.raw[:2], name.raw[8:16], name.raw[16:20])
c = peer(s); length = ctypes.c_int32(-1); show(libc.accept(s.fileno(), name, ctypes.byref(length)), errno.errorcode[ctypes.get_errno()])
",
    );
}

#[test]
fn an_address_is_free_again_when_its_listener_has_gone() {
    compare(
        r"
for how in 'close', 'exit':
    if how == 'close':
        s = listener(); port = s.getsockname()[1]
        show(lambda: socket().bind(('', port)))
        s.close()
    else:
        r, w = os.pipe()
        if os.fork() == 0:
            s = listener(); os.write(w, struct.pack('i', s.getsockname()[1])); os._exit(0)
        port = struct.unpack('i', os.read(r, 4))[0]; os.wait()
    s = socket(); show(lambda: s.bind(('', port))); s.listen()
    c = peer(s, b'again'); a, _ = s.accept(); show(a.recv(5))
    s.close(); c.close(); a.close()
",
    );
}

#[test]
fn a_listener_that_is_shut_down_takes_nobody() {
    compare(
        r"
s = listener()
t = threading.Thread(target=lambda: show('parked', s.accept)); t.start()
parked(t.native_id)
s.shutdown(SHUT_RD); t.join()
show(s.accept)
def attempt():
    c = peer(s); c.settimeout(5); return c.recv(1)
show(attempt)
u = listener(); c = peer(u); show(bool(select.select([u], [], [], 5)[0])); u.close(); c.settimeout(5); show(lambda: c.recv(1))
",
    );
}

#[test]
fn children_share_a_listener_and_none_is_lost() {
    compare(
        r"
s = listener(backlog=64)
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        while True:
            a, _ = s.accept(); got = a.recv(10); a.sendall(got[::-1]); a.close()
    children.append(pid)
for pid in children: parked(pid)
os.kill(children[0], signal.SIGKILL); os.waitpid(children[0], 0)
answers = []
def ask(i):
    c = peer(s, b'%02d' % i); answers.append((i, c.recv(10)))
threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
for t in threads: t.start()
for t in threads: t.join()
show(sorted(answers) == [(i, (b'%02d' % i)[::-1]) for i in range(40)])
for c in children[1:]: os.kill(c, signal.SIGTERM); os.waitpid(c, 0)
",
    );
}

#[test]
fn sockets_on_one_port_share_what_comes() {
    compare(
        r"
def one(port=0):
    s = socket(); s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1); s.bind(('', port)); s.listen(64); s.setblocking(False); return s
a = one(); b = one(a.getsockname()[1])
show(lambda: socket().bind(('', a.getsockname()[1])))
cs = [peer(a) for _ in range(40)]
got = [0, 0]
while sum(got) < 40:
    for s in select.select([a, b], [], [], 5)[0]:
        s.accept(); got[s is b] += 1
show(all(got), sum(got))
a.close()
# That it is gone is seen a moment later: who comes to it is reset.
c = []
while not select.select([b], [], [], 0.1)[0]:
    try: c.append(peer(b, b'last'))
    except ConnectionError: pass
show(b.accept()[0].recv(4))
",
    );
}

#[test]
fn signals_end_an_accept_or_do_not() {
    compare(
        r"
s = listener()
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))
main = threading.main_thread().ident
def disturb(n): parked(os.getpid()); signal.pthread_kill(main, signal.SIGUSR1)
signal.siginterrupt(signal.SIGUSR1, True)
threading.Thread(target=disturb, args=(1,)).start()
show(libc.accept(s.fileno(), None, None), errno.errorcode[ctypes.get_errno()])
signal.siginterrupt(signal.SIGUSR1, False)
def disturb_and_come(): disturb(2); parked(os.getpid()); sys.held = peer(s)
threading.Thread(target=disturb_and_come).start()
show(libc.accept(s.fileno(), None, None) >= 0)
",
    );
}

#[test]
fn without_a_free_descriptor_the_connection_waits() {
    compare(
        r"
import resource
s = listener(); s.setblocking(False)
c = peer(s, b'patience'); select.select([s], [], [])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
top = os.open('/dev/null', os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1, hard)); show(s.accept)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)); a, _ = s.accept(); show(a.recv(8))
",
    );
}

#[test]
fn connections_of_this_host_are_the_kernels() {
    let code = format!(
        "{PRELUDE}{}",
        r"
for family, any, here in (AF_INET, '', '127.0.0.1'), (AF_INET6, '::', '::1'), (AF_INET, '127.0.0.1', '127.0.0.1'):
    s = listener(any, family)
    c = create_connection((here, s.getsockname()[1])); c.sendall(b'local')
    a, name = s.accept(); show(a.recv(5), name[:2] == c.getsockname()[:2], os.readlink(f'/proc/self/fd/{a.fileno()}')[:7])
    a.sendall(b'hello'); a.close(); show(c.makefile('rb').read())
"
    );
    isolated(|| {
        let printed = stdout(&run(python(&code, &["0"])));
        assert_eq!(printed, "b'local' True socket:\nb'hello'\n".repeat(3));
    });
}

/// A program that gets stuck in its own memory, and one beside it that goes on.
#[test]
fn a_program_that_holds_up_its_own_call_holds_up_nobody_else() {
    let hold_up = compile_static("hold_up", include_str!("programs/hold_up.c"));
    let code = format!(
        "{PRELUDE}{}",
        r"
import subprocess
def held(how):
    p = subprocess.Popen([sys.argv[2], how], stdout=subprocess.PIPE, text=True); return p, p.stdout.readline().strip()
for _ in range(4):
    stuck, said = held('connect'); show(said)
    s = listener(); c = peer(s, b'on'); a, _ = s.accept(); show(a.recv(2))
    stuck.kill(); stuck.wait()
# Those whose accept waits are answered elsewhere: more of them than the runtime has threads.
stuck = [held('accept') for _ in range(8)]
held_connections = [create_connection((HOST, int(port) + OFFSET)) for _, port in stuck]
time.sleep(0.3)
s = listener(); c = peer(s, b'on'); a, _ = s.accept(); show(a.recv(2))
for p, _ in stuck: p.kill(); p.wait()
"
    );
    isolated(|| {
        let printed = stdout(&run(python(&code, &[&format!("-{BELOW}"), hold_up.to_str().unwrap()])));
        assert_eq!(printed, format!("{}b'on'\n", "held\nb'on'\n".repeat(4)));
    });
}
