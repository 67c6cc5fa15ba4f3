//! What `run` may do, and what becomes of programs without it.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::world::{Families, World, run, until};

/// Reads for ever, and says how it ended; meanwhile, how much has come, once.
const READER: &str = r"
import errno, socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2]))); c.sendall(b'GET /bytes/1000000000000 HTTP/1.0\r\n\r\n')
def say(text): open(sys.argv[3], 'a').write(text + '\n')
got = 0
try:
    while True:
        n = len(c.recv(1 << 16))
        if n == 0: say('end of file'); break
        got += n
        if got - n < 1000000 <= got: say('reading')
except OSError as e: say(errno.errorcode[e.errno])
";

#[test]
fn a_program_whose_supervisor_is_killed_sees_an_error() {
    let world = World::new("killed", Families::V4, 2, 100);
    let said = world.folder.join("said");
    let text = || std::fs::read_to_string(&said).unwrap_or_default();
    let port = world.http.port().to_string();
    let mut command = world.host.command(env!("CARGO_BIN_EXE_polypath"));
    command.args(["run", "--", "python3", "-c", READER, "10.9.0.1", &port]).arg(&said);
    let mut child = command.stdin(Stdio::null()).spawn().expect("the command runs");
    until("nothing is read", || text() == "reading\n");
    child.kill().expect("kill");
    child.wait().expect("wait");
    until("the program hangs", || text() == "reading\nECONNRESET\n");
}

/// The bits of a capability set in `/proc/PID/status`, and whether it gains none.
fn privileges(status: &str) -> (BTreeSet<u32>, bool) {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim();
    let mask = u64::from_str_radix(field("CapPrm:"), 16).expect("a mask");
    ((0..64).filter(|bit| mask & 1 << bit != 0).collect(), field("NoNewPrivs:") == "1")
}

#[test]
fn run_keeps_only_the_privileges_that_it_needs_and_programs_keep_theirs() {
    let world = World::new("privileges", Families::V4, 2, 100);
    let status = world.folder.join("status");
    let show = format!("cat /proc/self/status >{}; exec sleep 100", status.display());
    let mut command = world.host.command(env!("CARGO_BIN_EXE_polypath"));
    let capture = world.folder.join("capture");
    command.args(["run", "--pcap"]).arg(&capture).args(["--", "sh", "-c", &show]);
    let mut child = command.stdin(Stdio::null()).spawn().expect("the command runs");
    until("the program does not start", || std::fs::read_to_string(&status).is_ok_and(|text| text.contains("Cap")));
    let (program, gains_none) = privileges(&std::fs::read_to_string(&status).expect("a file"));
    assert!(program.contains(&21), "the program is root with all rights: {program:?}");
    assert!(!gains_none);

    // CAP_DAC_READ_SEARCH, KILL, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_PTRACE.
    let needed = BTreeSet::from([2, 5, 10, 12, 13, 19]);
    let threads = || -> Vec<(BTreeSet<u32>, bool)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("tasks");
        let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        statuses.map(|status| privileges(&status)).collect()
    };
    until("privileges are not laid down", || threads().iter().all(|(kept, _)| *kept == needed));
    assert!(threads().len() >= 4, "the runtime, the driver, the paths, the supervisor: {:?}", threads());
    assert!(threads().iter().all(|(_, gains_none)| *gains_none));
    // What the host does is followed all the same.
    world.host.ip("addr del 10.1.0.2/24 dev u1\n").expect("ip");
    until("a path is not taken away", || !world.ruleset().contains("10.1.0.2"));
    run(&world.host, "sh", ["-c", &format!("kill -TERM {}", child.id())]);
    child.wait().expect("wait");
}
