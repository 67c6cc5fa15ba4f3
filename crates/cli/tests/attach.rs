//! The real command on an ordinary host: two uplinks that polypath did not set up, and a kernel MPTCP server behind
//! them. Data, the kernel's own counters, and what is left behind are checked, not speed.
//!
//! ```text
//!  host                                            server
//!  10.1.0.2/24 fd01::2/64  u1 ---- veth ---- s1  10.1.0.1 fd01::1
//!  10.2.0.2/24 fd02::2/64  u2 ---- veth ---- s2  10.2.0.1 fd02::1     10.9.0.1 fd09::1 on lo
//! ```

use polypath_lab::kernel::{KernelServer, MptcpCounters, ServerConfig, Service, Transport};
use polypath_lab::link::Rate;
use polypath_lab::payload::{Hasher, Payload};
use polypath_lab::{Namespace, Owner, PathSpec, Scenario};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PORT: u16 = 80;
const SEED: u64 = 7;
const TROUBLE: [&str; 6] = ["Fallback", "HMac", "DSSNotMatching", "DSSNoMatchTCP", "DSSCorruption", "DataCsumErr"];
/// A state that is to come has not come.
const NEVER: Duration = Duration::from_secs(60);

struct World {
    host: Namespace,
    server: Namespace,
    http: KernelServer,
    before: MptcpCounters,
    folder: PathBuf,
}

/// Which families the uplinks have.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Families {
    V4,
    V6,
    Both,
}

impl World {
    /// `mbit`: what each uplink carries downwards.
    fn new(name: &str, families: Families, uplinks: usize, mbit: u32) -> World {
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
            let done = server.command("tc").args(shape.split_whitespace()).status().expect("tc");
            assert!(done.success(), "tc {shape}");
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

    fn around(host: Namespace, server: Namespace, name: &str) -> World {
        let config = ServerConfig { transport: Transport::Mptcp, port: PORT, service: Service::Http, seed: SEED };
        let http = KernelServer::start(&server, config).expect("a server");
        let before = MptcpCounters::read(&server).expect("counters");
        let folder = std::env::temp_dir().join(format!("polypath-attach-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        World { host, server, http, before, folder }
    }

    fn counters(&self) -> MptcpCounters {
        MptcpCounters::read(&self.server).expect("counters").since(&self.before)
    }

    fn ruleset(&self) -> String {
        let output = self.host.command("nft").args(["list", "ruleset"]).output().expect("nft");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `--events` has told so far.
    fn events(&self) -> String {
        std::fs::read_to_string(self.folder.join("events")).unwrap_or_default()
    }

    /// Waits until a subflow from `local` has been closed because the host no longer has the path, not because it fell
    /// silent: that would be noticed too, but later.
    fn sees_removed(&self, local: &str) {
        let closed = |line: &str| {
            line.contains("subflow_closed") && line.contains("AddressRemoved") && line.contains(&format!("{local}:"))
        };
        until("nobody saw the path go", || self.events().lines().any(closed));
    }

    /// Starts `polypath run OPTIONS -- curl` for `bytes` from `url`'s server.
    fn download(&self, options: &[&str], server: &str, bytes: u64) -> Download<'_> {
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

    fn received(&self, interface: &str) -> u64 {
        self.host.interface(interface).map_or(0, |counters| counters.rx_bytes)
    }

    /// All that polypath might have changed.
    fn state(&self) -> String {
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

struct Download<'a> {
    world: &'a World,
    child: Child,
    file: PathBuf,
    bytes: u64,
}

impl Download<'_> {
    fn len(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |meta| meta.len())
    }

    /// Waits until this part of the whole has arrived.
    fn reach(&mut self, percent: u64) {
        until("the download stands still", || {
            assert!(self.child.try_wait().expect("a child").is_none(), "the download ended at {} bytes", self.len());
            self.len() >= self.bytes * percent / 100
        });
    }

    /// Waits until it has received on `interface` from now on what only data can be.
    fn uses(&self, interface: &str) {
        let start = self.world.received(interface);
        until(&format!("{interface} is not used"), || self.world.received(interface) > start + 300_000);
    }

    /// Waits until it uses `interface` no more.
    fn leaves(&self, interface: &str) {
        let mut last = self.world.received(interface);
        until(&format!("{interface} is used for ever"), || {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.world.received(interface);
            now.saturating_sub(std::mem::replace(&mut last, now)) < 20_000
        });
    }

    /// Waits for the end: the data must be right.
    fn finish(mut self) {
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

fn check(file: &Path, bytes: u64) {
    let mut hasher = Hasher::default();
    hasher.update(&std::fs::read(file).expect("the file"));
    assert_eq!((hasher.len(), hasher.finish()), (bytes, Payload::sha256(SEED, bytes)), "the data is wrong");
}

fn check_same(before: &str, after: &str) {
    let only = |one: &str, other: &str| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).map(String::from).collect()
    };
    let (gone, new) = (only(before, after), only(after, before));
    assert!(before == after, "gone: {gone:#?}\nnew: {new:#?}");
}

fn stop(mut child: Child) {
    child.kill().expect("kill");
    child.wait().expect("wait");
}

fn until(otherwise: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < NEVER, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Both uplinks carried at least a tenth.
fn check_both(world: &World, bytes: u64) {
    for uplink in ["u1", "u2"] {
        let received = world.received(uplink);
        assert!(received > bytes / 10, "{uplink} carried only {received} of {bytes} bytes");
    }
}

#[test]
fn curl_uses_both_uplinks_and_nothing_is_left_behind() {
    const BYTES: u64 = 150_000_000;
    let world = World::new("both", Families::Both, 2, 400);
    // A firewall that lets nothing pass: it is not asked, and not touched.
    let firewall = "table inet filter {\n\
        chain input { type filter hook input priority 0; policy drop; icmpv6 type != echo-request accept; }\n\
        chain forward { type filter hook forward priority 0; policy drop; }\n}\n";
    let file = world.folder.join("firewall");
    std::fs::write(&file, firewall).expect("a file");
    assert!(world.host.command("nft").arg("-f").arg(&file).status().expect("nft").success());
    let before = world.state();
    let mut download = world.download(&[], "10.9.0.1", BYTES);
    download.reach(1);
    let during = world.state();
    assert!(during.contains("table netdev polypath_pp0"), "{during}");
    download.finish();
    check_both(&world, BYTES);
    assert!(world.counters().get("MPJoinAckRx") >= 1, "{:?}", world.counters());
    check_same(&before, &world.state());

    // Killed in the middle: nothing is left either, and the next start is as the first.
    let mut download = world.download(&[], "10.9.0.1", BYTES);
    download.reach(5);
    download.child.kill().expect("kill");
    download.child.wait().expect("wait");
    until("something is left behind", || world.state() == before);
    world.download(&[], "10.9.0.1", BYTES / 10).finish();
    check_same(&before, &world.state());
}

#[test]
fn ipv6_alone_will_do() {
    let world = World::new("v6", Families::V6, 2, 200);
    world.download(&[], "[fd09::1]", 30_000_000).finish();
    check_both(&world, 30_000_000);
}

#[test]
fn both_families_serve_one_connection() {
    let world = World::new("families", Families::Both, 2, 100);
    world.server.ip("mptcp endpoint add fd09::1 dev lo signal\n").expect("ip");
    world.download(&[], "10.9.0.1", 30_000_000).finish();
    let text = world.events();
    let joined = |address: &str| text.lines().any(|l| l.contains("subflow_established") && l.contains(address));
    assert!(joined("10.1.0.2:") && joined("10.2.0.2:") && joined("[fd09::1]"), "{text}");
}

#[test]
fn one_interface_will_do() {
    let world = World::new("one", Families::V4, 1, 400);
    world.download(&[], "10.9.0.1", 10_000_000).finish();
    assert_eq!(world.counters().get("MPCapableACKRX"), 1, "{:?}", world.counters());
}

#[test]
fn an_address_goes_and_comes_back() {
    let world = World::new("address", Families::V4, 2, 100);
    let mut download = world.download(&[], "10.9.0.1", 60_000_000);
    download.reach(10);
    download.uses("u1");
    download.uses("u2");
    world.host.ip("addr del 10.1.0.2/24 dev u1\n").expect("ip");
    world.sees_removed("10.1.0.2");
    until("the kernel was not told", || world.counters().get("RmAddr") >= 1);
    download.uses("u2");
    world.host.ip("addr add 10.1.0.2/24 dev u1\nroute add default via 10.1.0.1 dev u1 metric 100\n").expect("ip");
    download.uses("u1");
    download.finish();
}

#[test]
fn a_carrier_is_lost_and_found() {
    let world = World::new("carrier", Families::V4, 2, 100);
    let mut download = world.download(&[], "10.9.0.1", 60_000_000);
    download.reach(10);
    download.uses("u1");
    world.server.ip("link set s1 down\n").expect("ip");
    // The kernel takes up to a second to say so (linkwatch); by then the silence has been noticed.
    until("the uplink is still wired up", || !world.ruleset().contains("in_u1"));
    until("the kernel was not told", || world.counters().get("RmAddr") >= 1);
    download.uses("u2");
    world.server.ip("link set s1 up\n").expect("ip");
    download.uses("u1");
    assert!(world.ruleset().contains("in_u1"));
    download.finish();
}

#[test]
fn an_address_said_again_is_no_event_and_a_smaller_mtu_is_one() {
    let world = World::new("renewal", Families::V4, 2, 100);
    let mut download = world.download(&[], "10.9.0.1", 60_000_000);
    download.reach(10);
    download.uses("u1");
    // As a DHCP client renews its lease.
    world.host.ip("addr replace 10.1.0.2/24 dev u1 valid_lft 1000 preferred_lft 1000\n").expect("ip");
    download.uses("u1");
    assert_eq!(world.counters().get("RmAddr"), 0);
    // What is larger than this vanishes from now on, in both directions.
    world.host.ip("link set u1 mtu 1400\n").expect("ip");
    world.sees_removed("10.1.0.2");
    until("the kernel was not told", || world.counters().get("RmAddr") >= 1);
    download.uses("u1");
    download.finish();
    let text = world.events();
    let joined = text.lines().filter(|l| l.contains("subflow_established") && l.contains("10.1.0.2:")).count();
    assert_eq!(joined, 2, "{text}");
}

#[test]
fn roaming_replaces_the_only_address() {
    let world = World::new("roaming", Families::V4, 1, 100);
    world.server.ip("addr add 10.5.0.1/24 dev s1\n").expect("ip");
    let mut download = world.download(&[], "10.9.0.1", 30_000_000);
    download.reach(10);
    let roam = "addr del 10.1.0.2/24 dev u1\naddr add 10.5.0.2/24 dev u1\nroute add default via 10.5.0.1 dev u1\n";
    world.host.ip(roam).expect("ip");
    world.sees_removed("10.1.0.2");
    download.uses("u1");
    download.finish();
    assert!(world.counters().get("MPJoinAckRx") >= 1, "{:?}", world.counters());
}

#[test]
fn the_default_route_moves() {
    let world = World::new("default", Families::V4, 2, 100);
    world.host.ip("route del default dev u2\n").expect("ip");
    let mut download = world.download(&[], "10.9.0.1", 30_000_000);
    download.reach(10);
    download.uses("u1");
    assert_eq!(world.counters().get("MPJoinAckRx"), 0, "only one uplink leads there");
    world.host.ip("route del default dev u1\nroute add default via 10.2.0.1 dev u2\n").expect("ip");
    world.sees_removed("10.1.0.2");
    download.uses("u2");
    download.leaves("u1");
    download.finish();
}

/// The VPN is the lab's emulated link: a TUN device with a default route in a table of its own, as wg-quick does.
#[test]
fn where_a_vpn_has_the_default_route_nothing_goes_beside_it() {
    let ms = Duration::from_millis;
    let vpn = PathSpec::new("vpn", Rate::mbit(100), ms(4), ms(30));
    let scenario =
        Scenario::builder().client(Owner::Kernel).server(Owner::Kernel).path(vpn).build().expect("a scenario");
    let world = World::around(scenario.client().clone(), scenario.server().clone(), "vpn");
    let peer = world.server.command("sleep").arg("1000").spawn().expect("sleep");
    let uplink = format!(
        "link add u1 type veth peer name s1 netns {}\nlink set u1 up\naddr add 10.7.0.2/24 dev u1\n\
         route add default via 10.7.0.1 dev u1 metric 100\n",
        peer.id()
    );
    world.host.ip(&uplink).expect("an uplink");
    stop(peer);
    world.server.ip("link set s1 up\naddr add 10.7.0.1/24 dev s1\n").expect("the server's side");
    world.download(&[], "10.9.0.1", 5_000_000).finish();
    assert!(world.received("vpn0") > 5_000_000);
    assert!(world.received("u1") < 20_000, "traffic beside the VPN");
    // Who names interfaces gets them.
    world.download(&["--path", "u1", "--path", "vpn0"], "10.9.0.1", 5_000_000).finish();
    assert!(world.received("u1") > 500_000);
}

#[test]
fn named_paths_a_backup_and_two_at_a_time() {
    let world = World::new("named", Families::V4, 2, 200);
    let before = world.state();
    let first = world.download(&["--path", "u1", "--path", "u2:backup"], "10.9.0.1", 20_000_000);
    let file = world.folder.join("second");
    let mut second = world.host.command(env!("CARGO_BIN_EXE_polypath"));
    second.args(["run", "--", "curl", "-sS", "-o"]).arg(&file).arg(format!("http://10.9.0.1:{PORT}/bytes/20000000"));
    assert!(second.status().expect("the second").success());
    check(&file, 20_000_000);
    first.finish();
    check_same(&before, &world.state());
}

#[test]
fn refusals_say_what_is_missing() {
    let world = World::new("refusals", Families::V4, 1, 200);
    let refused = |options: &[&str]| {
        let mut command = world.host.command(env!("CARGO_BIN_EXE_polypath"));
        let output = command.arg("run").args(options).args(["--", "true"]).output().expect("the command runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["--path", "eth7"]).contains("there is no interface eth7"));
    world.host.ip("link set u1 down\n").expect("ip");
    let message = refused(&[]);
    assert!(message.contains("polypath doctor"), "{message}");
    assert!(message.contains("u1 is down or has no carrier") && message.contains("ip route"), "{message}");
}

#[test]
fn doctor_prints_a_table_and_says_whether_all_is_well() {
    let world = World::new("doctor", Families::Both, 2, 200);
    let before = world.state();
    let doctor = || {
        let output =
            world.host.command(env!("CARGO_BIN_EXE_polypath")).arg("doctor").output().expect("the command runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (well, text) = doctor();
    assert!(well, "{text}");
    for row in ["privileges", "kernel", "seccomp", "/dev/net/tun", "nftables", "no other runs", "u2 fd02::2 (MTU 1500)"]
    {
        assert!(text.contains(row), "{row} is not in {text}");
    }
    check_same(&before, &world.state());
    world.host.ip("link set u1 down\nlink set u2 down\n").expect("ip");
    let (well, text) = doctor();
    assert!(!well && text.contains("MISSING") && text.contains("> ip address"), "{text}");
}
