//! The program as a process: exit status, signals, descendants, descriptors, what is refused.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use common::peers::{echo, serve};
use common::{HOST, KernelTcp, alone, compile_static, isolated, python, run, runtime, stdout};
use polypath_run::{Options, RunError, Runner};

fn shell(code: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", code]);
    command
}

#[test]
fn exit_status_and_fatal_signals_pass_through() {
    isolated(|| {
        assert_eq!(run(shell("exit 7")).status.code(), Some(7));
        assert_eq!(run(shell("kill -SEGV $$")).status.signal(), Some(libc::SIGSEGV));
    });
}

#[test]
fn it_waits_for_the_last_descendant() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
import os, socket, sys
r, w = os.pipe()
if os.fork(): os._exit(3)
while os.getppid() == int(sys.argv[3]): pass
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(b'orphan')
print(s.recv(6, socket.MSG_WAITALL).decode())
";
        // The parent's number is not known before: the shell has it, and becomes it.
        let mut command = shell("exec /usr/bin/env python3 -c \"$CODE\" $0 $1 $$");
        command.args([HOST, &port]).env("CODE", code);
        let output = run(command);
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "orphan\n");
    });
}

#[test]
fn signals_to_run_reach_the_program() {
    isolated(|| {
        let (out, their_out) = std::io::pipe().unwrap();
        let mut command = python(
            "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: exit(42))\nprint('ready', flush=True)\nwhile True: signal.pause()",
            &[],
        );
        command.stdin(Stdio::null()).stdout(their_out);
        let sender = thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).unwrap();
            // SAFETY: no pointers; it is this process, which catches the signal meanwhile.
            unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
        });
        let status = runtime().block_on(Runner::new(command, KernelTcp::default()).run()).unwrap();
        sender.join().unwrap();
        assert_eq!(status.code(), Some(42));
    });
}

#[test]
fn a_signal_ignored_from_the_start_stays_ignored() {
    let _alone = alone();
    // SAFETY: no handler runs.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    let mut command = shell("kill -USR2 $$; kill -USR2 $PPID; echo unharmed");
    let (mut out, their_out) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stdout(their_out);
    let status = runtime().block_on(Runner::new(command, KernelTcp::default()).run()).unwrap();
    let mut printed = String::new();
    out.read_to_string(&mut printed).unwrap();
    assert_eq!((status.code(), printed.as_str()), (Some(0), "unharmed\n"));
}

#[test]
fn a_run_that_is_dropped_leaves_no_program_behind() {
    let _alone = alone();
    let (out, their_out) = std::io::pipe().unwrap();
    let (their_in, _held) = std::io::pipe().unwrap();
    let mut command = shell("echo ready; exec cat");
    command.stdin(their_in).stdout(their_out);
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let reader = thread::spawn(move || {
        let mut lines = BufReader::new(out).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        ready.send(()).unwrap();
        // `cat` never ends by itself: its input stays open.
        lines.next().is_none()
    });
    runtime().block_on(async {
        let run = Runner::new(command, KernelTcp::default()).options(Options::default().forward_signals(false)).run();
        tokio::select! {
            status = run => panic!("it ended by itself: {status:?}"),
            ready = is_ready => ready.unwrap(),
        }
    });
    assert!(reader.join().unwrap());
}

#[test]
fn two_hundred_connections_leak_no_descriptor() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
import os, socket, sys
def one(i):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    s.sendall(b'x'); assert s.recv(1) == b'x'; s.close()
def run_has(): return len(os.listdir(f'/proc/{os.getppid()}/fd'))
def settle(most):
    # The supervisor sees a close a moment later.
    while run_has() > most: os.sched_yield()
for i in range(10): one(i)
mine, theirs = len(os.listdir('/proc/self/fd')), run_has()
for i in range(200): one(i)
assert len(os.listdir('/proc/self/fd')) == mine
settle(theirs)
# Sockets that never connect are seen by collecting: never more than a few hundred of them.
for i in range(1000): socket.socket().close()
assert run_has() < theirs + 200, run_has()
print('no leak')
";
        assert_eq!(stdout(&run(python(code, &[HOST, &port]))), "no leak\n");
    });
}

#[test]
fn the_programs_own_limits_hold() {
    isolated(|| {
        let code = r"
import errno, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
held = []
try:
    while True: held.append(socket.socket())
except OSError as e: print(errno.errorcode[e.errno], len(held) < 20)
";
        let kernel = stdout(&python(code, &[]).output().unwrap());
        assert_eq!(stdout(&run(python(code, &[]))), kernel);
        let limit = |output| stdout(&output);
        let outside = limit(shell("ulimit -n").output().unwrap());
        assert_eq!(limit(run(shell("ulimit -n"))), outside);
    });
}

#[test]
fn an_unprivileged_program_gains_nothing() {
    isolated(|| {
        let code = r"
import errno, os, socket, sys
def attempt(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
def probe():
    print('low', attempt(socket.socket().bind, (sys.argv[1], int(sys.argv[2]))))
    s = socket.socket(); S = socket.SOL_SOCKET
    for level, option, value in ((S, socket.SO_MARK, 7), (S, socket.SO_PRIORITY, 7), (S, 32, 90000), (S, 33, 90000),
            (socket.IPPROTO_IP, 19, 1), (S, socket.SO_DEBUG, 1), (S, socket.SO_KEEPALIVE, 1)):
        print(option, attempt(s.setsockopt, level, option, value))
probe()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv[2] = '81'; probe()
";
        let kernel = stdout(&python(code, &[HOST, "80"]).output().unwrap());
        assert!(kernel.contains("low None") && kernel.contains("low EACCES"), "{kernel}");
        assert_eq!(stdout(&run(python(code, &[HOST, "80"]))), kernel);
    });
}

#[test]
fn a_missing_program_is_named() {
    let _alone = alone();
    let runner = Runner::new(Command::new("/no/such/program"), KernelTcp::default());
    let error = runtime().block_on(runner.run()).unwrap_err();
    assert!(matches!(error, RunError::Program { .. }));
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

#[test]
fn a_nested_run_says_so() {
    let _alone = alone();
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command.args(["--exact", "inner_run", "--nocapture"]).env("POLYPATH_INNER", "1");
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inside another `run`"), "{text}");
}

/// The program of the test above; by itself it runs something plain.
#[test]
fn inner_run() {
    let _alone = alone();
    let runner =
        Runner::new(Command::new("true"), KernelTcp::default()).options(Options::default().forward_signals(false));
    match runtime().block_on(runner.run()) {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            assert!(std::env::var_os("POLYPATH_INNER").is_some(), "{error}");
            println!("{error}");
        }
    }
}

#[test]
fn ways_around_the_filter_are_shut() {
    let program = compile_static("ways_around", include_str!("programs/ways_around.c"));
    isolated(|| {
        let mut command = Command::new(&program);
        command.arg("ring");
        assert_eq!(stdout(&run(command)), "io_uring_setup: Function not implemented\n");
        #[cfg(target_arch = "x86_64")]
        {
            let mut command = Command::new(&program);
            command.arg("i386");
            let notices = std::sync::Arc::new(Mutex::new(String::new()));
            let heard = std::sync::Arc::clone(&notices);
            let options =
                Options::default().forward_signals(false).on_notice(move |text| heard.lock().unwrap().push_str(text));
            let runner = Runner::new(command, KernelTcp::default()).options(options);
            let status = runtime().block_on(runner.run()).unwrap();
            assert_eq!(status.signal(), Some(libc::SIGKILL));
            assert!(notices.lock().unwrap().contains("32-bit"));
        }
    });
}
