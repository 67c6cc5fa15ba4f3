//! Namespaces and scenarios come and go without a trace, and route as they should.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use polypath_lab::link::Rate;
use polypath_lab::{Namespace, Owner, PathSpec, Scenario};

/// Set in the process that is to be killed.
const HOLD: &str = "POLYPATH_TEST_HOLD";

fn path(name: &str) -> PathSpec {
    PathSpec::new(name, Rate::mbit(100), Duration::from_millis(4), Duration::from_millis(50))
}

fn two_paths(client: Owner) -> Scenario {
    Scenario::builder().client(client).path(path("wifi")).path(path("lte")).build().unwrap()
}

/// The inode by which `/proc` shows a namespace.
fn inode(namespace: &Namespace) -> String {
    let link = fs::read_link(format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd())).unwrap();
    link.to_string_lossy().into_owned()
}

/// Network namespaces that any thread of this machine is in.
fn inhabited() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(tasks) = fs::read_dir(process.path().join("task")) else { continue };
        let links = tasks.flatten().filter_map(|task| fs::read_link(task.path().join("ns/net")).ok());
        found.extend(links.map(|link| link.to_string_lossy().into_owned()));
    }
    found
}

fn interfaces_here() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_string())).collect()
}

#[test]
fn a_new_namespace_has_loopback_only_and_is_its_own() {
    let (one, other) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    assert_eq!(one.run(interfaces_here).unwrap(), BTreeSet::from(["lo".to_string()]));
    assert!(one.show(&["link", "show", "lo"]).unwrap().contains("UP"));
    assert_ne!(inode(&one), inode(&other));
    one.ip("link add dummy-a type veth peer name dummy-b\n").unwrap();
    assert!(one.interface("dummy-a").is_ok());
    assert!(other.interface("dummy-a").is_err());
    assert!(!interfaces_here().contains("dummy-a"));
}

#[test]
fn a_command_that_fails_is_named() {
    let namespace = Namespace::new().unwrap();
    let error = namespace.ip("link set lo up\nlink set nowhere up\nlink set lo down\n").unwrap_err().to_string();
    assert!(error.contains("link set nowhere up"), "{error}");
    let error = namespace.set_parameters(&[("net/ipv4/no_such_thing", "1")]).unwrap_err().to_string();
    assert!(error.contains("no_such_thing"), "{error}");
}

#[test]
fn bad_paths_are_refused_before_anything_is_made() {
    let long = Scenario::builder().path(path("much-too-long-a-name"));
    let twice = Scenario::builder().path(path("a")).path(path("a"));
    let lossy = Scenario::builder().path(path("a").with_loss(1.5));
    let none = Scenario::builder();
    for (builder, word) in [(long, "much-too-long"), (twice, "called a"), (lossy, "loss"), (none, "needs a path")] {
        let Err(error) = builder.build() else { panic!("{word}: accepted") };
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn dropping_a_scenario_leaves_nothing() {
    let before = interfaces_here();
    let scenario = two_paths(Owner::Kernel);
    assert_eq!(interfaces_here(), before, "all interfaces are inside");
    let spaces = [inode(scenario.client()), inode(scenario.server())];
    drop(scenario);
    let inhabited = inhabited();
    assert!(spaces.iter().all(|space| !inhabited.contains(space)));
}

#[test]
fn killing_the_process_leaves_nothing() {
    if std::env::var_os(HOLD).is_some() {
        let scenario = two_paths(Owner::Stack);
        println!("HOLDING {} {}", inode(scenario.client()), inode(scenario.server()));
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let before = interfaces_here();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killing_the_process_leaves_nothing", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.contains("HOLDING")).unwrap();
    let spaces: Vec<&str> = line.split_whitespace().filter(|word| word.starts_with("net:")).collect();
    assert_eq!(spaces.len(), 2, "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    let inhabited = inhabited();
    assert!(spaces.iter().all(|space| !inhabited.contains(*space)));
    assert_eq!(interfaces_here(), before);
}

#[test]
fn a_child_dies_with_whoever_started_it() {
    let namespace = Namespace::new().unwrap();
    let started = namespace.spawn("starter", {
        let namespace = namespace.clone();
        move || namespace.command("sleep").arg("60").spawn().unwrap()
    });
    let mut child = started.unwrap().join().unwrap().unwrap();
    let start = Instant::now();
    child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_stack_of_its_own_is_reached_and_sends_over_the_path_of_each_address() {
    let scenario = two_paths(Owner::Stack);
    let client = scenario.client();
    let route = |arguments: &str| client.show(&arguments.split(' ').collect::<Vec<_>>()).unwrap();
    // Before the stack is there, what comes for it is dropped, not sent back.
    for (address, server, device) in [("10.1.0.2", "10.9.0.1", "wifi0"), ("fd00:2::2", "fd00:9::1", "lte0")] {
        let answer = route(&format!("route get {address} from {server} iif {device}"));
        assert!(!answer.contains(" dev wifi0") && !answer.contains(" dev lte0"), "{answer}");
    }
    // What a stack does when it starts.
    client
        .ip("tuntap add pp0 mode tun\nlink set pp0 up\nroute add 10.1.0.2/32 dev pp0\nroute add 10.2.0.2/32 dev pp0\n\
             route add fd00:1::2/128 dev pp0\nroute add fd00:2::2/128 dev pp0\n")
        .unwrap();
    for (address, server, device) in [
        ("10.1.0.2", "10.9.0.1", "wifi0"),
        ("10.2.0.2", "10.9.0.1", "lte0"),
        ("fd00:1::2", "fd00:9::1", "wifi0"),
        ("fd00:2::2", "fd00:9::1", "lte0"),
    ] {
        let inward = route(&format!("route get {address} from {server} iif {device}"));
        assert!(inward.contains("dev pp0"), "{inward}");
        let outward = route(&format!("route get {server} from {address} iif pp0"));
        assert!(outward.contains(&format!("dev {device}")), "{outward}");
    }
}
