//! The stored inputs of every fuzz target, and those that once found something, through the same functions on stable Rust.

use std::fs;
use std::path::{Path, PathBuf};

fn inputs(of: &str, target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(of).join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    paths
}

fn run(of: &str, target: &str) {
    let (_, body) = polypath_fuzzing::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let paths = inputs(of, target);
    assert!(!paths.is_empty(), "no inputs of {target} in fuzz/{of}");
    for path in paths {
        let bytes = fs::read(&path).expect("an input");
        // So that a failure names the input.
        println!("{}", path.display());
        body(&bytes);
    }
}

#[test]
fn options_of_the_corpus() {
    run("corpus", "options");
}

#[test]
fn live_connections_of_the_corpus() {
    run("corpus", "live");
}

#[test]
fn middleboxes_of_the_corpus() {
    run("corpus", "middleboxes");
}

#[test]
fn what_was_found_before() {
    for (target, _) in polypath_fuzzing::TARGETS {
        run("regressions", target);
    }
}
