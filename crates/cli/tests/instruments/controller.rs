//! An external controller on the control socket: the example in Python, and one command after the other by hand.

use super::{Download, PATIENCE, Scratch, scenario, server, subflows, wait_for};
use polypath_lab::kernel::Transport;
use polypath_lab::scenario::SERVER_V4;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The example of the documents.
struct Controller(Child);

impl Controller {
    fn start(socket: &Path, address: &str) -> Self {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../polypath/examples/controller.py");
        let mut command = Command::new("python3");
        command.arg(example).arg(socket).arg(address).stdout(Stdio::null());
        Controller(command.spawn().expect("python3 runs"))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A session by hand.
struct Session {
    told: BufReader<UnixStream>,
}

impl Session {
    fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("a control socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Session { told: BufReader::new(stream) }
    }

    fn say(&mut self, line: &str) {
        self.told.get_mut().write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.told.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next line that is so; others may come before.
    fn hear_of(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        std::iter::repeat_with(|| self.hear()).find(wanted).expect("it goes on for ever")
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.say(&command.to_string());
        self.hear_of(|told| told.get("ok").is_some())
    }
}

#[test]
fn an_external_controller_opens_and_closes_subflows_and_is_told() {
    let (scenario, scratch) = (scenario(), Scratch::new("controller"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let mut download = Download::start(&scenario, &scratch, &["--path-manager", "external"]);
    let pid = download.pid();
    download.read_some();
    let socket = scratch.sockets().join(format!("{pid}.sock"));
    assert_eq!(subflows(&scratch.ask(pid).expect("an instance")).len(), 1, "external opens none");

    // The example gives the connection a backup, whenever it comes.
    let controller = Controller::start(&socket, "10.2.0.2");
    let lte = |instance: &Value| {
        let established = |s: &&Value| s["name"] == "lte" && s["state"] == "ESTAB";
        subflows(instance).iter().find(established).cloned()
    };
    let backup = wait_for("a second subflow", || download.read_some(), || scratch.ask(pid).as_ref().and_then(lte));
    assert_eq!(backup["backup"], true, "{backup}");
    drop(controller);

    let mut session = Session::open(&socket);
    assert_eq!(session.ask(&json!({ "command": "events", "id": "a" })), json!({ "ok": true, "id": "a" }));
    let remote = format!("{SERVER_V4}:8080");
    let refusals = [
        (json!({ "command": "open", "connection": 9, "local": "10.2.0.2", "remote": remote }), "no connection 9"),
        (json!({ "command": "open", "connection": 0, "local": "10.3.0.2", "remote": remote }), "10.3.0.2 is not"),
        (json!({ "command": "close", "connection": 0, "subflow": 7 }), "no such subflow"),
        (json!({ "command": "scheduler", "connection": 0, "name": "best" }), "known: default"),
        (json!({ "command": "congestion_control", "connection": 0, "name": "vegas2" }), "known:"),
        (json!({ "command": "frobnicate" }), "frobnicate"),
        (json!({ "connection": 0 }), "command"),
    ];
    for (command, why) in refusals {
        let answer = session.ask(&command);
        assert!(answer["ok"] == false && answer["error"].as_str().is_some_and(|e| e.contains(why)), "{answer}");
    }
    session.say("nonsense {");
    let answer = session.hear_of(|told| told["ok"] == false);
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("not JSON")));
    for command in [
        json!({ "command": "scheduler", "connection": 0, "name": "redundant" }),
        json!({ "command": "congestion_control", "connection": 0, "name": "reno" }),
        json!({ "command": "priority", "connection": 0, "subflow": backup["id"], "backup": false }),
    ] {
        assert_eq!(session.ask(&command), json!({ "ok": true }), "{command}");
    }
    assert_eq!(session.ask(&json!({ "command": "snapshot" }))["snapshot"]["pid"], pid);
    let carries = |instance: &Value| super::carried(instance, "lte") > 100_000;
    // The kernel sends on it, once it is none any more.
    wait_for("data on it", || download.read_some(), || scratch.ask(pid).filter(carries));
    session.say(&json!({ "command": "close", "connection": 0, "subflow": backup["id"] }).to_string());
    let closed = session.hear_of(|told| told["event"] == "subflow_closed");
    assert_eq!((&closed["name"], &closed["reason"]), (&json!("lte"), &json!("Asked")), "{closed}");
    download.finish();
}

#[test]
fn a_session_that_says_too_much_is_ended() {
    let (scenario, scratch) = (scenario(), Scratch::new("long"));
    let _server = server(scenario.server(), Transport::Mptcp);
    let mut download = Download::start(&scenario, &scratch, &[]);
    download.read_some();
    let mut session = Session::open(&scratch.sockets().join(format!("{}.sock", download.pid())));
    assert_eq!(session.ask(&json!({ "command": "events" })), json!({ "ok": true }));
    session.say(&"x".repeat(5_000));
    let answer = session.hear_of(|told| told["ok"] == false);
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("4096")), "{answer}");
    download.finish();
}
