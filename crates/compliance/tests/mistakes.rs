//! What is wrong is found, and named with file and line. Each test has a small workspace of its own.

use polypath_compliance::{Compliance, Error};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A workspace in a folder that goes with it.
struct Workspace(PathBuf);

impl Workspace {
    fn new(files: &[(&str, &str)]) -> Workspace {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        Workspace(root)
    }

    fn read(&self) -> Result<Compliance, Error> {
        Compliance::read(&self.0)
    }

    fn error(&self) -> String {
        self.read().expect_err("it is wrong").to_string()
    }

    fn mistakes(&self) -> Vec<String> {
        self.read().expect("it can be read").mistakes().iter().map(ToString::to_string).collect()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CATALOGUE: &str = "docs/compliance/rfc1.toml";
const CODE: &str = "crates/a/src/lib.rs";
const TEST: &str = "crates/a/tests/t.rs";

/// A catalogue of RFC 1111 with this in its only requirement.
fn requirement(more: &str) -> String {
    format!(
        "rfc = 1111\ntitle = \"T\"\n\n[[requirement]]\nid = \"1111-2-1\"\nlevel = \"MUST\"\ntext = \"Do | it.\"\n{more}"
    )
}

fn workspace(more: &str, code: &str, test: &str) -> Workspace {
    Workspace::new(&[(CATALOGUE, &requirement(more)), (CODE, code), (TEST, test)])
}

const CITING_TEST: &str = "// Why. [1111-2-1]\n#[test]\nfn it_is_done() {\n}\n";

#[test]
fn code_and_test_make_a_row() {
    let w = workspace("", "// [1111-2-1]\nfn f() {}\n", CITING_TEST);
    assert_eq!(w.mistakes(), [""; 0]);
    let document = w.read().unwrap().document();
    let row = "| 1111-2-1 | MUST | Do \\| it. | [a/lib.rs](../crates/a/src/lib.rs) | \
               [it_is_done](../crates/a/tests/t.rs) |";
    assert!(document.contains(row), "{document}");
    assert!(document.contains("| all | 1 | 0 | 0 | 0 | 0 |"), "{document}");
}

#[test]
fn a_row_without_code_or_test_is_a_mistake() {
    let mistake = "docs/compliance/rfc1.toml:5: 1111-2-1 counts as obeyed, but no";
    assert_eq!(workspace("", "", CITING_TEST).mistakes(), [format!("{mistake} code cites it")]);
    assert_eq!(workspace("", "// [1111-2-1]\n", "").mistakes(), [format!("{mistake} test cites it")]);
}

#[test]
fn a_reason_stands_for_code_and_test() {
    for reason in ["declined = \"no\"", "not_applicable = \"no\"", "gap = \"not built\""] {
        assert_eq!(workspace(reason, "", "").mistakes(), [""; 0], "{reason}");
    }
}

#[test]
fn a_reason_that_is_not_so_is_a_mistake() {
    let closed = workspace("gap = \"no test\"", "", CITING_TEST).mistakes();
    assert_eq!(closed, ["docs/compliance/rfc1.toml:5: 1111-2-1 has a gap for want of a test, but a test cites it"]);
    let cited = workspace("not_applicable = \"no\"", "// [1111-2-1]\n", "").mistakes();
    assert_eq!(cited, ["docs/compliance/rfc1.toml:5: 1111-2-1 does not apply, but it is cited"]);
}

#[test]
fn an_unknown_id_is_named_with_its_place() {
    let error = workspace("", "\n\n// As asked: [1111-2-1, 1111-2-9].\n", "").error();
    assert_eq!(error, "crates/a/src/lib.rs:3: [1111-2-9] is no requirement of the catalogue");
}

#[test]
fn what_is_no_comment_or_no_id_is_no_citation() {
    let code = "const A: &str = \"[1111-2-9]\";\n// [x], [1], [12-3], a[1111] and [link](there)\n";
    assert!(workspace("", code, "").read().unwrap().citations.is_empty());
}

#[test]
fn a_citation_beside_a_test_is_wrong() {
    let error = workspace("", "", "fn helper() {\n    // [1111-2-1]\n}\n").error();
    assert_eq!(error, "crates/a/tests/t.rs:2: [1111-2-1] stands in no test");
}

#[test]
fn tests_are_found_above_and_around_a_citation_and_in_modules() {
    let code = "// [1111-2-1]\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn inside() {\n        // [1111-2-1]\n    \
                }\n}\n\n// [1111-2-1]\nfn g() {}\n";
    let test = "#[test]\nfn first() {}\n\n// [1111-2-1]\n#[tokio::test]\nasync fn second() {}\n";
    let all = workspace("", code, test).read().unwrap();
    let found: Vec<_> = all.citations.iter().map(|c| (c.line, c.test.as_deref())).collect();
    assert_eq!(found, [(1, None), (8, Some("inside")), (12, None), (4, Some("second"))]);
}

#[test]
fn broken_catalogues_are_named_with_their_line() {
    let cases = [
        ("rfc = 1111\ntitle = \"T\n", 2, "invalid basic string"),
        ("rfc = 1111\ntitle = \"T\"\nauthor = \"me\"\n", 3, "unknown field `author`"),
        (&requirement("gap = \"a\"\ndeclined = \"b\"\n"), 5, "at most one of"),
        (&requirement("").replace("MUST", "OUGHT"), 6, "unknown variant `OUGHT`"),
        (&requirement("").replace("id = \"1111", "id = \"1112"), 5, "an ID begins with 1111-"),
        (&requirement("\n[[requirement]]\nid = \"1111-2-1\"\nlevel = \"MAY\"\ntext = \"\"\n"), 10, "stands at"),
    ];
    for (text, line, what) in cases {
        let error = Workspace::new(&[(CATALOGUE, text), (CODE, "")]).error();
        assert!(error.starts_with(&format!("{CATALOGUE}:{line}: ")) && error.contains(what), "{error}");
    }
}
