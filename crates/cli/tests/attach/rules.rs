//! A configuration file with rules, and paths that are metered, on an ordinary host.

use crate::world::{Families, World};

const BYTES: u64 = 5_000_000;

/// The ends of the subflows there were, in order.
fn subflows(world: &World) -> Vec<&'static str> {
    let events = world.events();
    let has = |addr: &&str| {
        events.lines().any(|line| line.contains("subflow_established") && line.contains(&format!("{addr}:")))
    };
    ["10.1.0.2", "10.2.0.2"].into_iter().filter(has).collect()
}

#[test]
fn a_file_says_which_path_a_program_uses_and_a_flag_goes_first() {
    let world = World::new("rules", Families::V4, 2, 400);
    let file = world.folder.join("config.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    let config = file.to_str().expect("UTF-8");
    // The second uplink has the higher metric: without the rule a connection would begin on the first.
    write("explain-rules = true\npath = [\"u1\", \"u2\"]\n[[rule]]\nprogram = \"curl\"\nport = 80\npath = \"u2\"\n");
    world.download(&["--config", config], "10.9.0.1", BYTES).finish();
    assert_eq!(subflows(&world), ["10.2.0.2"]);
    let (well, text) = world.fetch(&["--config", config, "--rule", "program = 'curl', path = 'u1'"], 1000);
    let told = "polypath: curl to 10.9.0.1:80: the rule of --rule 'program = 'curl', path = 'u1''";
    assert!(well && text.contains(told), "{text}");
    let (well, text) = world.fetch(&["--config", config, "--path", "u1"], 1000);
    assert!(!well && text.contains(&format!("{config}:3: there is no path 'u2'; known: u1")), "{text}");
    let (well, text) = world.fetch(&["--config", config, "--rule", "remote = '10.9.0.0/16', path = 'u1'"], 1000);
    assert!(well && text.contains("the rule of --rule"), "{text}");
    // A path that is not there: nothing goes elsewhere.
    write("[[rule]]\npath = \"u7\"\n");
    let (well, text) = world.fetch(&["--config", config], 1000);
    assert!(!well && text.contains("curl: (7)"), "{text}");
    write("[[rule]]\nprogramm = \"curl\"\n");
    let (well, text) = world.fetch(&["--config", config], 1000);
    assert!(!well && text.contains(":2: a rule has no key 'programm'; known: program, port,"), "{text}");
}

#[test]
fn a_metered_path_is_a_backup_or_not_used_at_all() {
    let world = World::new("metered", Families::V4, 2, 400);
    let metered = ["--path", "u1", "--path", "u2:metered"];
    let before = world.received("u2");
    world.download(&metered, "10.9.0.1", BYTES).finish();
    assert!(world.received("u2") - before < BYTES / 10, "a backup carries nothing while the other one works");
    assert!(subflows(&world).contains(&"10.1.0.2"));
    world.download(&[&metered[..], &["--metered", "never"]].concat(), "10.9.0.1", BYTES).finish();
    assert_eq!(subflows(&world), ["10.1.0.2"]);
    let mut download = world.download(&[&metered[..], &["--metered", "use"]].concat(), "10.9.0.1", 10 * BYTES);
    download.reach(2);
    download.uses("u2");
    download.finish();
}
