//! Programs that hold up their own calls, or die in them: nobody else notices.

mod common;

use std::path::PathBuf;
use std::sync::LazyLock;

use common::{BELOW, compile_static, isolated, python, run, serves_as_kernel, stdout};

const PRELUDE: &str = r"
import errno, os, select, signal, struct, subprocess, sys
from socket import *
OFFSET = int(sys.argv[1])
HOST = '10.77.0.1'
def listener(address='0.0.0.0', port=0, backlog=16):
    s = socket(); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.bind((address, port)); s.listen(backlog); return s
def peer(port): return create_connection((HOST, port + OFFSET), 5)
def port_of(s): return s.getsockname()[1]
def parked(task):
    # Until it waits in accept or accept4.
    while open(f'/proc/{task}/syscall').read().split()[0] not in ('43', '288', '202', '242'): os.sched_yield()
def exchange():
    s = listener('127.0.0.1'); c = create_connection(s.getsockname()); a, _ = s.accept(); c.sendall(b'on'); print(a.recv(2), flush=True)
def held(*how):
    p = subprocess.Popen([sys.argv[2], *how], stdout=subprocess.PIPE, text=True); print(p.stdout.readline().strip(), flush=True); return p
";

/// What `code` prints that starts programs of programs/trapped.c.
fn with_trapped(code: &str) -> String {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| compile_static("trapped", include_str!("programs/trapped.c")));
    let code = format!("{PRELUDE}{code}");
    isolated(|| stdout(&run(python(&code, &[&format!("-{BELOW}"), PROGRAM.to_str().unwrap()]))))
}

#[test]
fn who_receives_into_memory_that_is_not_there_holds_up_nobody_else() {
    let printed = with_trapped(
        r"
s = listener('127.0.0.1')
# More of them than the runtime has threads.
stuck = [held(str(port_of(s))) for _ in range(4)]
connections = [s.accept()[0] for _ in stuck]
exchange()
for c in connections: c.sendall(b'x')
for _ in range(20): exchange()
for p in stuck: p.kill(); p.wait()
exchange()
",
    );
    assert_eq!(printed, format!("{}{}", "held\n".repeat(4), "b'on'\n".repeat(22)));
}

#[test]
fn who_reads_from_its_listener_for_ever_holds_up_nobody_else() {
    let printed = with_trapped(
        r"
stuck = held()
for _ in range(20): exchange()
stuck.kill(); stuck.wait()
exchange()
",
    );
    assert_eq!(printed, format!("held\n{}", "b'on'\n".repeat(21)));
}

#[test]
fn a_server_that_is_killed_in_accept_starts_again_at_once() {
    let code = r"
for _ in range(10):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        s = listener(); os.write(w, struct.pack('i', port_of(s))); s.accept()
    port = struct.unpack('i', os.read(r, 4))[0]
    parked(pid); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
    s = listener(port=port); c = peer(port); print(s.accept()[1][0]); s.close()
";
    isolated(|| serves_as_kernel(&format!("{PRELUDE}{code}")));
}

#[test]
fn a_connection_that_finds_the_queue_full_waits() {
    let code = r"
s = listener(backlog=0); port = port_of(s)
# The only place is taken by one of this host.
local = create_connection(('127.0.0.1', port)); select.select([s], [], [])
c = socket(); c.setblocking(False); c.connect_ex((HOST, port + OFFSET))
first, name = s.accept(); print(name[0])
select.select([], [c], []); c.sendall(b'patience')
second, name = s.accept(); print(name[0], second.recv(8))
";
    isolated(|| serves_as_kernel(&format!("{PRELUDE}{code}")));
}

#[test]
fn a_port_is_shared_with_ones_own_programs_only() {
    let code = r"
def share(port=0):
    s = socket(); s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1); s.bind(('', port)); s.listen(); return s
a = share(); b = share(port_of(a)); print('shared'); sys.stdout.flush()
if os.fork() == 0:
    os.setgid(65534); os.setuid(65534)
    try: share(port_of(a)); print('shared with another')
    except OSError as e: print(errno.errorcode[e.errno])
    sys.stdout.flush(); os._exit(0)
os.wait()
c = peer(port_of(a)); print(len(select.select([a, b], [], [], 5)[0]))
";
    isolated(|| serves_as_kernel(&format!("{PRELUDE}{code}")));
}

#[test]
fn a_listener_that_was_shut_down_listens_again() {
    let code = r"
s = listener(); port = port_of(s); s.shutdown(SHUT_RD)
s.listen(); c = peer(port_of(s)); c.sendall(b'again'); a, _ = s.accept(); print(a.recv(5))
t = listener(port=port_of(s) - 1); t.shutdown(SHUT_RD); t.listen(); print(port_of(t) == port_of(s) - 1)
";
    isolated(|| serves_as_kernel(&format!("{PRELUDE}{code}")));
}

#[test]
fn what_is_written_for_a_dead_caller_is_not_written_to_who_has_its_number_now() {
    let program = compile_static("reused", include_str!("programs/reused.c"));
    isolated(|| assert_eq!(stdout(&run(std::process::Command::new(&program))), "not written\n"));
}
