//! Every call and every option on sockets in every state, on kernel sockets and under `run`: what comes out is compared line
//! by line. The differences that remain stand in a table of docs/unmodified-programs.md, each with its reason. One that is
//! missing there fails the test, and one that is no more.

mod common;
#[path = "differential/table.rs"]
mod table;

use std::collections::BTreeMap;
use std::process::Stdio;

use common::peers::closed_port;
use common::{BELOW, isolated, obedient, python, run_counting, stdout};
use table::Differences;

/// What is printed, by state and operation.
type Results = BTreeMap<(String, String), String>;

fn compare(code: &str, part: &str) {
    let code = format!("{}\n{code}", include_str!("differential/states.py"));
    let (kernel, run) = isolated(|| {
        let command = |offset: &str| python(&code, &[&obedient::serve(), &closed_port(), offset]);
        let kernel = stdout(&command("0").stdin(Stdio::null()).output().unwrap());
        (parse(&kernel), parse(&stdout(&run_counting(command(&format!("-{BELOW}"))).0)))
    });
    assert!(kernel.len() > 1000, "only {} results", kernel.len());
    let wrong = Differences::of(part).check(&kernel, &run);
    assert!(wrong.is_empty(), "{} findings (state: operation: kernel -> run):\n{}", wrong.len(), wrong.join("\n"));
}

fn parse(printed: &str) -> Results {
    let line = |line: &str| {
        let (operation, result) = line.split_once(" = ")?;
        let (state, operation) = operation.split_once(": ")?;
        Some(((state.to_owned(), operation.to_owned()), result.to_owned()))
    };
    printed.lines().map(|text| line(text).unwrap_or_else(|| panic!("no result: {text}"))).collect()
}

#[test]
fn calls_do_what_they_do_in_the_kernel() {
    compare(include_str!("differential/calls.py"), "calls");
}

#[test]
fn options_are_what_they_are_in_the_kernel() {
    compare(include_str!("differential/options.py"), "options");
}
