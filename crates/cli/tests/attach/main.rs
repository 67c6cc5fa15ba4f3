//! The real command on an ordinary host. Data, the kernel's own counters, and what is left behind are checked, not speed.

mod handover;
mod obstacles;
mod programs;
mod resume;
mod rules;
mod servers;
mod supervisor;
mod world;

use world::{Families, PORT, World, check, check_both, check_same, until};

#[test]
fn curl_uses_both_uplinks_and_nothing_is_left_behind() {
    const BYTES: u64 = 150_000_000;
    let world = World::new("both", Families::Both, 2, 400);
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
        let (well, said) = world.polypath(&[&["run"], options, &["--", "true"]].concat());
        assert!(!well && said.contains("polypath doctor"), "{said}");
        said
    };
    assert!(refused(&["--path", "eth7"]).contains("there is no interface eth7"));
    let message = refused(&["--tun", "u1"]);
    assert!(message.contains("u1 is an interface of another kind: another --tun"), "{message}");
    let mut weak = world.host.command("setpriv");
    weak.args(["--bounding-set", "-net_admin", "--inh-caps=-all", env!("CARGO_BIN_EXE_polypath")]);
    let output = weak.args(["run", "--", "true"]).output().expect("setpriv");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("CAP_NET_ADMIN is needed: sudo"), "{message}");
    world.host.ip("link set u1 down\n").expect("ip");
    let message = refused(&[]);
    assert!(!message.contains("pp0"), "our own device: {message}");
    assert!(message.contains("u1 is down or has no carrier") && message.contains("ip route"), "{message}");
}

#[test]
fn doctor_prints_a_table_and_says_whether_all_is_well() {
    let world = World::new("doctor", Families::Both, 2, 200);
    let before = world.state();
    let (well, text) = world.polypath(&["doctor"]);
    assert!(well, "{text}");
    for row in [
        "privileges",
        "kernel         -        Linux",
        "seccomp",
        "/dev/net/tun",
        "nftables",
        "no other runs",
        "u2 fd02::2 (MTU 1500)",
        "VPN            ok       none has the default route",
        "in the way     ok",
        "host filters   ok",
    ] {
        assert!(text.contains(row), "{row} is not in {text}");
    }
    check_same(&before, &world.state());
    world.host.ip("link set u1 down\nlink set u2 down\n").expect("ip");
    let (well, text) = world.polypath(&["doctor"]);
    assert!(!well && text.contains("MISSING") && text.contains("> ip address"), "{text}");
}
