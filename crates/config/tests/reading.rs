//! What is read from files and flags, and what is said of mistakes.

use polypath_config::{Error, File, Metered, Rule, Value};
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;

fn mistake(text: &str) -> String {
    File::parse("config.toml", text).expect_err(text).to_string()
}

#[test]
fn settings_are_flags_by_their_names() {
    let file = File::parse(
        "config.toml",
        "# of this host\nscheduler = \"ecf\"\nmax-subflows = 0x4\nno-multipath = true\npath = [\"wlan0\", \"wwan0:metered\"]\n",
    );
    let words = |words: &[&str]| Value::Words(words.iter().map(ToString::to_string).collect());
    let settings: Vec<_> = file.unwrap().settings.into_iter().map(|s| (s.key, s.value, s.at)).collect();
    assert_eq!(
        settings,
        [
            ("max-subflows".to_owned(), words(&["4"]), "config.toml:3".to_owned()),
            ("no-multipath".to_owned(), Value::Flag(true), "config.toml:4".to_owned()),
            ("path".to_owned(), words(&["wlan0", "wwan0:metered"]), "config.toml:5".to_owned()),
            ("scheduler".to_owned(), words(&["ecf"]), "config.toml:2".to_owned()),
        ]
    );
    assert_eq!(File::parse("empty", ""), Ok(File::default()));
}

#[test]
fn a_rule_is_read_from_a_file_and_from_a_flag() {
    let inside = r#"program = ["curl", "/usr/bin/wget"], port = [443, "8000-8999"], remote = "10.0.0.0/8", direction = "out",
        path = ["wlan0", "10.2.0.2:backup"], metered = "never", scheduler = "redundant", cc = "lia",
        path-manager = "ndiffports:3", max-subflows = 3, no-multipath = false"#;
    let table = inside.replace(", port", "\nport").replace(",\n", "\n").replace(", direction", "\ndirection");
    let table = ["metered", "scheduler", "cc", "path-manager", "max-subflows", "no-multipath"]
        .into_iter()
        .fold(table, |table, key| table.replace(&format!(", {key} ="), &format!("\n{key} =")))
        .replace(", remote", "\nremote");
    let file = File::parse("config.toml", &format!("\n[[rule]]\n{table}\n[[rule]]\n")).unwrap();
    let [first, last] = &file.rules[..] else { panic!("{file:?}") };
    let flag: Rule = inside.parse().unwrap();
    assert_eq!((&first.when, &first.then), (&flag.when, &flag.then));
    assert_eq!([&first.at, &last.at], ["config.toml:2", "config.toml:14"]);
    assert_eq!(first.when.programs, ["curl", "/usr/bin/wget"]);
    assert_eq!(first.when.ports, [443..=443, 8000..=8999]);
    assert_eq!(first.then.scheduler, Some(SchedulerKind::Redundant));
    assert_eq!(first.then.congestion, Some(CongestionKind::Lia));
    assert_eq!((first.then.max_subflows, first.then.no_multipath), (Some(3), Some(false)));
    assert_eq!(first.then.metered, Some(Metered::Never));
    assert_eq!(first.then.paths, Some(vec!["wlan0".into(), "10.2.0.2:backup".into()]));
    assert_eq!(last.then, polypath_config::Treatment::default());
}

#[test]
fn a_mistake_is_told_with_its_place_its_key_and_what_would_be_right() {
    let rule = |line: &str| mistake(&format!("cc = \"lia\"\n\n[[rule]]\nport = 80\n{line}\n"));
    for (line, told) in [
        ("scheduler = \"best\"", "scheduler: unknown scheduler 'best'; known: default, minrtt, linux, round-robin,"),
        ("cc = \"vegas\"", "cc: unknown congestion control 'vegas'; known: reno, cubic, "),
        ("path-manager = \"mesh\"", "path-manager: unknown path manager 'mesh'; known: subflow, fullmesh,"),
        ("metered = \"yes\"", "metered: unknown use of metered paths 'yes'; known: backup, never, use"),
        ("direction = \"up\"", "direction: unknown direction 'up'; known: out, in"),
        ("sheduler = \"ecf\"", "a rule has no key 'sheduler'; known: program, port, remote, direction, path, metered,"),
        ("remote = \"10.9\"", "remote: '10.9' is neither an address nor a prefix"),
        ("max-subflows = 65", "max-subflows: is a number, 1 to 64"),
        ("no-multipath = \"yes\"", "no-multipath: is true or false"),
        ("program = true", "program: must be a text or a number, or a list of them"),
        ("program = \"\"", "program: a program's name is not empty"),
        ("path = []", "path: must be a text or a number, or a list of them"),
        ("path = \":backup\"", "path: a path's name is not empty"),
        ("cc = [\"lia\", \"olia\"]", "cc: can only have one value"),
    ] {
        let said = rule(line);
        assert!(said.starts_with(&format!("config.toml:5: {told}")), "{said}");
    }
    for port in ["0-", "\"90-80\"", "70000", "-1", "\"http\""] {
        assert!(rule(&format!("remote = [\"::1\"]\n[[rule]]\nport = {port}")).starts_with("config.toml:7: "), "{port}");
    }
    assert!(mistake("a = 1\nb = = 2").starts_with("config.toml:2: "), "{}", mistake("a = 1\nb = = 2"));
    assert!(mistake("[rule]\nport = 80").starts_with("config.toml:1: rules are tables, each under a line [[rule]]"));
    assert!(mistake("rule = [1]").contains("[[rule]]"));
    assert!(mistake("x = 1.5").starts_with("config.toml:1: x is a text, a number, true or false, or a list of texts"));
    let missing = File::read("/nowhere/config.toml".as_ref()).map_err(|error: Error| error.to_string());
    assert_eq!(missing, Err("/nowhere/config.toml: cannot be read: No such file or directory (os error 2)".to_owned()));
}

#[test]
fn a_flag_holds_one_rule_and_cannot_get_out_of_it() {
    let mistake = |text: &str| text.parse::<Rule>().expect_err(text);
    assert!(mistake("sheduler = \"ecf\"").starts_with("a rule has no key 'sheduler'; known: program,"));
    assert_eq!(mistake("port = 80 }, { port = 81"), "a rule is one table");
    assert_eq!(mistake("port = 80 }]\ncc = [{"), "a rule is one table");
    assert!(!mistake("port =").is_empty());
}
