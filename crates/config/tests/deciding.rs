//! Which rule applies to a connection, and what comes of it.

use polypath_config::{File, Metered, MeteredPath, Program, Rules, Subject};
use polypath_proto::ConnectOptions;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

fn rules(text: &str) -> Rules {
    Rules::new(File::parse("rules.toml", text).unwrap().rules, Vec::new(), Metered::Backup)
}

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_first_rule_that_applies_counts_and_no_other() {
    let rules = rules(
        r#"
        [[rule]]
        program = "curl"
        port = 443
        scheduler = "redundant"
        [[rule]]
        program = ["curl", "/usr/bin/ssh"]
        cc = "lia"
        [[rule]]
        remote = ["10.9.0.0/16", "2001:db8::/32"]
        direction = "out"
        no-multipath = true
        [[rule]]
        direction = "in"
        port = "8000-8999"
        max-subflows = 2
        "#,
    );
    let curl = Program::new(Some("/usr/bin/curl".into()), []);
    let ssh = Program::new(Some("/usr/bin/ssh".into()), []);
    let out = |program, remote: &str| rules.options(&Subject::outgoing(program, end(remote)));
    let plain = ConnectOptions::default;
    let redundant = ConnectOptions { scheduler: Some(SchedulerKind::Redundant), ..plain() };
    let lia = ConnectOptions { congestion: Some(CongestionKind::Lia), ..plain() };
    let tcp = ConnectOptions { no_multipath: true, ..plain() };
    assert_eq!(out(Some(&curl), "10.9.0.1:443"), redundant);
    assert_eq!(out(Some(&curl), "10.9.0.1:80"), lia);
    assert_eq!(out(Some(&ssh), "192.0.2.1:443"), lia);
    assert_eq!(out(None, "10.9.0.1:443"), tcp, "who is not known is no program of a rule");
    assert_eq!(out(None, "[::ffff:10.9.0.1]:443"), tcp);
    assert_eq!(out(None, "[2001:db8::1]:443"), tcp);
    assert_eq!(out(None, "192.0.2.1:8080"), plain(), "the last one is for those that come in");
    let comes = |port, remote: &str| rules.options(&Subject::incoming(None, ([10, 1, 0, 2], port).into(), end(remote)));
    assert_eq!(comes(8080, "192.0.2.1:50000"), ConnectOptions { max_subflows: Some(2), ..plain() });
    assert_eq!(comes(80, "10.9.0.1:8080"), plain(), "the peer's port does not count");
}

/// How wlan0 and wwan0 (10.2.0.2) are used; none: not at all.
fn used(options: &ConnectOptions) -> [Option<bool>; 2] {
    let (wlan, wwan): (IpAddr, IpAddr) = ([10, 1, 0, 2].into(), [10, 2, 0, 2].into());
    [(wlan, "wlan0"), (wwan, "wwan0")]
        .map(|(addr, name)| options.paths.as_ref().map_or(Some(false), |paths| paths.backup(addr, Some(name), false)))
}

#[test]
fn a_rule_names_the_paths_and_what_metered_ones_are_for() {
    const USED: Option<bool> = Some(false);
    const BACKUP: Option<bool> = Some(true);
    let text = |rule: &str| format!("[[rule]]\nport = 80\n{rule}\n");
    let metered = || vec![MeteredPath { path: "wwan0".into(), backup: false }];
    let decide = |rule: &str, usual| {
        let rules = Rules::new(File::parse("rules.toml", &text(rule)).unwrap().rules, metered(), usual);
        [80, 81].map(|port| used(&rules.options(&Subject::outgoing(None, ([192, 0, 2, 1], port).into()))))
    };
    // For connections that no rule is for, and where it says nothing.
    assert_eq!(decide("", Metered::Backup), [[USED, BACKUP]; 2]);
    assert_eq!(decide("", Metered::Never), [[USED, None]; 2]);
    assert_eq!(decide("", Metered::Use), [[USED, USED]; 2]);
    assert_eq!(decide("metered = \"never\"", Metered::Backup), [[USED, None], [USED, BACKUP]]);
    assert_eq!(decide("metered = \"use\"", Metered::Never), [[USED, USED], [USED, None]]);
    // Named paths, and no others.
    assert_eq!(decide("path = \"wlan0\"", Metered::Backup)[0], [USED, None]);
    assert_eq!(decide("path = [\"wlan0:backup\", \"10.2.0.2\"]", Metered::Never)[0], [BACKUP, USED]);
    assert_eq!(decide("path = [\"wlan0\", \"wwan0\"]\nmetered = \"backup\"", Metered::Use)[0], [USED, BACKUP]);
    assert_eq!(decide("path = [\"wlan0\", \"wwan0\"]\nmetered = \"never\"", Metered::Use)[0], [USED, None]);
    // One that is a backup anyway stays one.
    let paths = vec![MeteredPath { path: "wwan0".into(), backup: true }];
    let rules = Rules::new(Vec::new(), paths, Metered::Use);
    let options = rules.options(&Subject::outgoing(None, end("192.0.2.1:80")));
    assert_eq!(used(&options), [USED, BACKUP]);
}

#[test]
fn a_path_that_nobody_knows_is_found_with_its_rule() {
    let rules = rules("[[rule]]\npath = \"wlan0\"\n[[rule]]\npath = [\"wlan0\", \"wwan1:backup\"]\n");
    let (rule, path) = rules.unknown_path(|path| *path == "wlan0".into()).unwrap();
    assert_eq!((&rule.at[..], path), ("rules.toml:3", &"wwan1".into()));
    assert!(rules.unknown_path(|_| true).is_none());
}

#[test]
fn it_is_told_what_was_decided_and_a_listener_decides_alike() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let text = "[[rule]]\nprogram = \"nginx\"\nport = 80\ncc = \"olia\"\n";
    let rules = Arc::new(rules(text).on_decision(move |line| hears.lock().unwrap().push(line.to_owned())));
    assert!(rules.ask_for_programs());
    let nginx = Arc::new(Program::new(Some("/usr/sbin/nginx".into()), []));
    let policy = rules.accepting(Some(nginx));
    assert_eq!(policy.options(end("10.1.0.2:80"), end("192.0.2.1:1")).congestion, Some(CongestionKind::Olia));
    assert_eq!(policy.options(end("[fd01::2]:81"), end("[2001:db8::1]:1")).congestion, None);
    let _ = rules.options(&Subject::outgoing(None, end("[2001:db8::1]:443")));
    assert_eq!(
        *told.lock().unwrap(),
        [
            "nginx on port 80 from 192.0.2.1: the rule of rules.toml:1",
            "nginx on port 81 from 2001:db8::1: no rule",
            "a connection to [2001:db8::1]:443: no rule",
        ]
    );
}
