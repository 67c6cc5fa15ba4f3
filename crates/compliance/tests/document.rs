//! The document of this repository is what its catalogue and its citations make, and has no row without code and
//! test, or a reason.

use polypath_compliance::{Compliance, DOCUMENT};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read() -> Compliance {
    Compliance::read(&root()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_document_is_what_catalogue_and_citations_make() {
    let written = std::fs::read_to_string(root().join(DOCUMENT)).expect("the document");
    let made = read().document();
    if let Some((i, (old, new))) = written.lines().zip(made.lines()).enumerate().find(|(_, (old, new))| old != new) {
        panic!("{DOCUMENT}:{}: run `cargo run -p polypath-compliance`\nis:   {old}\nmade: {new}", i + 1);
    }
    assert_eq!(written.len(), made.len(), "{DOCUMENT}: run `cargo run -p polypath-compliance`");
}

#[test]
fn every_row_has_code_and_test_or_a_reason() {
    let mistakes: Vec<String> = read().mistakes().iter().map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn no_gap_is_left() {
    assert_eq!(read().counts().gaps, 0, "a requirement that is not obeyed needs a fix, or a reason to decline it");
}
