//! A host with two uplinks that polypath did not set up, and a kernel MPTCP server behind them.
//!
//! ```text
//!  host                                            server
//!  10.1.0.2/24 fd01::2/64  u1 ---- veth ---- s1  10.1.0.1 fd01::1
//!  10.2.0.2/24 fd02::2/64  u2 ---- veth ---- s2  10.2.0.1 fd02::1     10.9.0.1 fd09::1 on lo
//! ```

use polypath_lab::Namespace;
use polypath_lab::kernel::{KernelServer, MptcpCounters, ServerConfig, Service, Transport};
use polypath_lab::payload::{Hasher, Payload};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub(crate) const PORT: u16 = 80;
const SEED: u64 = 7;
const TROUBLE: [&str; 6] = ["Fallback", "HMac", "DSSNotMatching", "DSSNoMatchTCP", "DSSCorruption", "DataCsumErr"];
/// A state that is to come has not come.
const NEVER: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) host: Namespace,
    pub(crate) server: Namespace,
    pub(crate) http: KernelServer,
    pub(crate) before: MptcpCounters,
    pub(crate) folder: PathBuf,
}

/// Which families the uplinks have.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Families {
    V4,
    V6,
    Both,
}

impl World {
    /// `mbit`: what each uplink carries downwards.
    pub(crate) fn new(name: &str, families: Families, uplinks: usize, mbit: u32) -> World {
        let (host, server) = (Namespace::new().expect("a namespace"), Namespace::new().expect("a namespace"));
        let peer = server.command("sleep").arg("1000").spawn().expect("sleep");
        // Duplicate address detection would only cost time.
        let quiet = [("net/ipv6/conf/all/accept_dad", "0"), ("net/ipv6/conf/default/accept_dad", "0")];
        host.set_parameters(&quiet).expect("parameters");
        server.set_parameters(&quiet).expect("parameters");
        server.set_parameters(&[("net/mptcp/enabled", "1")]).expect("MPTCP");
        let (mut ours, mut theirs) =
            (String::new(), "addr add 10.9.0.1/32 dev lo\naddr add fd09::1/128 dev lo nodad\n".to_owned());
        for n in 1..=uplinks {
            let _ = writeln!(ours, "link add u{n} type veth peer name s{n} netns {}", peer.id());
            let _ = writeln!(ours, "link set u{n} up");
            let _ = writeln!(theirs, "link set s{n} up");
            if families != Families::V6 {
                let _ = writeln!(ours, "addr add 10.{n}.0.2/24 dev u{n}");
                let _ = writeln!(ours, "route add default via 10.{n}.0.1 dev u{n} metric {n}00");
                let _ = writeln!(theirs, "addr add 10.{n}.0.1/24 dev s{n}");
            }
            if families != Families::V4 {
                let _ = writeln!(ours, "addr add fd0{n}::2/64 dev u{n} nodad");
                let _ = writeln!(ours, "route add ::/0 via fd0{n}::1 dev u{n} metric {n}00");
                let _ = writeln!(theirs, "addr add fd0{n}::1/64 dev s{n} nodad");
            }
        }
        theirs.push_str("mptcp limits set subflows 8 add_addr_accepted 8\n");
        host.ip(&ours).expect("uplinks");
        server.ip(&theirs).expect("the server's side");
        stop(peer);
        for n in 1..=uplinks {
            let shape = format!("qdisc add dev s{n} root tbf rate {mbit}mbit burst 64k latency 40ms");
            run(&server, "tc", shape.split(' '));
        }
        // Carrier and link-local addresses come a little later.
        for n in 1..=uplinks {
            until("the uplinks do not come up", || {
                let link = host.show(&["link", "show", &format!("u{n}")]).expect("ip").contains("state UP");
                let address = host.show(&["-6", "addr", "show", "dev", &format!("u{n}")]).expect("ip");
                link && address.contains("fe80:") && !address.contains("tentative")
            });
        }
        World::around(host, server, name)
    }

    pub(crate) fn around(host: Namespace, server: Namespace, name: &str) -> World {
        let config = ServerConfig { transport: Transport::Mptcp, port: PORT, service: Service::Http, seed: SEED };
        let http = KernelServer::start(&server, config).expect("a server");
        let before = MptcpCounters::read(&server).expect("counters");
        let folder = std::env::temp_dir().join(format!("polypath-attach-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        World { host, server, http, before, folder }
    }

    pub(crate) fn counters(&self) -> MptcpCounters {
        MptcpCounters::read(&self.server).expect("counters").since(&self.before)
    }

    pub(crate) fn ruleset(&self) -> String {
        run(&self.host, "nft", ["list", "ruleset"])
    }

    /// Adds to the host's nftables.
    pub(crate) fn nft(&self, rules: &str) {
        let file = self.folder.join("rules");
        std::fs::write(&file, format!("{rules}\n")).expect("a file");
        run(&self.host, "nft", ["-f", file.to_str().expect("UTF-8")]);
    }

    /// A change of the host's traffic control.
    pub(crate) fn tc(&self, line: &str) {
        run(&self.host, "tc", line.split(' '));
    }

    /// Bounds what an uplink sends.
    pub(crate) fn shape(&self, uplink: &str, mbit: u32) {
        self.tc(&format!("qdisc add dev {uplink} root tbf rate {mbit}mbit burst 64k latency 40ms"));
    }

    /// Runs `polypath` to its end: whether all was well, and all that it said.
    pub(crate) fn polypath(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_polypath"));
        let output = command.args(words).stdin(Stdio::null()).output().expect("the command runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// `polypath run OPTIONS -- curl` to its end. What was received is right, if all was well.
    pub(crate) fn fetch(&self, options: &[&str], bytes: u64) -> (bool, String) {
        let file = self.folder.join("fetched");
        let url = format!("http://10.9.0.1:{}/bytes/{bytes}", self.http.port());
        let curl =
            ["--", "curl", "-sS", "--max-time", "20", "--connect-timeout", "3", "-o", file.to_str().expect("UTF-8")];
        let (well, text) = self.polypath(&[&["run"], options, &curl, &[url.as_str()]].concat());
        if well {
            check(&file, bytes);
        }
        (well, text)
    }

    /// What `--events` has told so far.
    pub(crate) fn events(&self) -> String {
        std::fs::read_to_string(self.folder.join("events")).unwrap_or_default()
    }

    /// Waits until a subflow from `local` has been closed because the host no longer has the path, not because it fell
    /// silent: that would be noticed too, but later.
    pub(crate) fn sees_removed(&self, local: &str) {
        let closed = |line: &str| {
            line.contains("subflow_closed") && line.contains("AddressRemoved") && line.contains(&format!("{local}:"))
        };
        until("nobody saw the path go", || self.events().lines().any(closed));
    }

    /// Starts `polypath run OPTIONS -- curl` for `bytes` from `url`'s server.
    pub(crate) fn download(&self, options: &[&str], server: &str, bytes: u64) -> Download<'_> {
        let file = self.folder.join("file");
        let _ = std::fs::remove_file(&file);
        let mut command = self.host.command(env!("CARGO_BIN_EXE_polypath"));
        command
            .arg("run")
            .arg("--events")
            .arg(self.folder.join("events"))
            .args(options)
            .args(["--", "curl", "-sS", "--max-time", "100", "-o"])
            .arg(&file);
        command.arg(format!("http://{server}:{}/bytes/{bytes}", self.http.port()));
        let child = command.stdin(Stdio::null()).spawn().expect("the command runs");
        Download { world: self, child, file, bytes }
    }

    pub(crate) fn received(&self, interface: &str) -> u64 {
        self.host.interface(interface).map_or(0, |counters| counters.rx_bytes)
    }

    /// All that polypath might have changed.
    pub(crate) fn state(&self) -> String {
        let mut text = String::new();
        for arguments in [
            "nft list ruleset",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
            "ip link",
            "ip addr",
            "ip -s -s -o tuntap",
        ] {
            let mut words = arguments.split_whitespace();
            let output = self.host.command(words.next().expect("a program")).args(words).output().expect(arguments);
            let _ = writeln!(text, "== {arguments}\n{}", String::from_utf8_lossy(&output.stdout));
        }
        let sysctl = "cd /proc/sys/net && grep -r '' ipv4 ipv6 2>/dev/null | grep -v fib_multipath_hash_seed | sort";
        let output = self.host.command("sh").args(["-c", sysctl]).output().expect("sh");
        assert!(output.stdout.len() > 10_000, "parameters cannot be read");
        text + &String::from_utf8_lossy(&output.stdout)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) struct Download<'a> {
    pub(crate) world: &'a World,
    pub(crate) child: Child,
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}

impl Download<'_> {
    pub(crate) fn len(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |meta| meta.len())
    }

    /// Sends the polypath process a signal.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        run(&self.world.host, "sh", ["-c", &kill]);
    }

    /// What the polypath process does, as a letter (`proc_pid_stat(5)`).
    pub(crate) fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).expect("a state")
    }

    /// Waits until this part of the whole has arrived.
    pub(crate) fn reach(&mut self, percent: u64) {
        until("the download stands still", || {
            assert!(self.child.try_wait().expect("a child").is_none(), "the download ended at {} bytes", self.len());
            self.len() >= self.bytes * percent / 100
        });
    }

    /// Waits until it has received on `interface` from now on what only data can be.
    pub(crate) fn uses(&self, interface: &str) {
        let start = self.world.received(interface);
        until(&format!("{interface} is not used"), || self.world.received(interface) > start + 300_000);
    }

    /// The longest time without a byte, of those that begin within `during` from now.
    pub(crate) fn longest_gap(&self, during: Duration) -> Duration {
        let (begin, mut last, mut len, mut longest) = (Instant::now(), Instant::now(), self.len(), Duration::ZERO);
        while begin.elapsed() < during || last.elapsed() > Duration::from_millis(100) {
            std::thread::sleep(Duration::from_millis(1));
            let now = self.len();
            longest = longest.max(last.elapsed());
            if now > len {
                (last, len) = (Instant::now(), now);
            }
            assert!(last.elapsed() < NEVER, "nothing came any more");
        }
        longest
    }

    /// Waits until it uses `interface` no more.
    pub(crate) fn leaves(&self, interface: &str) {
        let mut last = self.world.received(interface);
        until(&format!("{interface} is used for ever"), || {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.world.received(interface);
            now.saturating_sub(std::mem::replace(&mut last, now)) < 20_000
        });
    }

    /// Waits for the end: the data must be right.
    pub(crate) fn finish(mut self) {
        let status = self.child.wait().expect("the command ends");
        assert!(status.success(), "{status}; {} of {} bytes", self.len(), self.bytes);
        check(&self.file, self.bytes);
        let counters = self.world.counters();
        for (name, value) in counters.iter() {
            assert!(!TROUBLE.iter().any(|word| name.contains(word)), "the kernel counted {name} {value}");
        }
    }
}

impl Drop for Download<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn check(file: &Path, bytes: u64) {
    let mut hasher = Hasher::default();
    hasher.update(&std::fs::read(file).expect("the file"));
    assert_eq!((hasher.len(), hasher.finish()), (bytes, Payload::sha256(SEED, bytes)), "the data is wrong");
}

pub(crate) fn check_same(before: &str, after: &str) {
    let only = |one: &str, other: &str| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).map(String::from).collect()
    };
    let (gone, new) = (only(before, after), only(after, before));
    assert!(before == after, "gone: {gone:#?}\nnew: {new:#?}");
}

/// Runs a program to its end, which must be a good one, and returns what it printed.
pub(crate) fn run<'a>(namespace: &Namespace, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let output = namespace.command(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stop(mut child: Child) {
    child.kill().expect("kill");
    child.wait().expect("wait");
}

pub(crate) fn until(otherwise: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < NEVER, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Both uplinks carried at least a tenth.
pub(crate) fn check_both(world: &World, bytes: u64) {
    for uplink in ["u1", "u2"] {
        let received = world.received(uplink);
        assert!(received > bytes / 10, "{uplink} carried only {received} of {bytes} bytes");
    }
}
