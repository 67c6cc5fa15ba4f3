//! The document: one table for each RFC, with what is still missing on top.

use crate::{Compliance, Level, Place, Requirement, Rfc, Standing};
use core::fmt::Write as _;

/// Where it lies, from the workspace's root.
pub const DOCUMENT: &str = "docs/compliance.md";

const INTRODUCTION: &str = "\
# Compliance

Made by `cargo run -p polypath-compliance` from the catalogue in `docs/compliance/` and the citations in code and
tests; edits here are lost. Requirements are in our words; the RFC has the last one. *described* is behaviour that an
RFC describes without a word of RFC 2119.

- **shown**: obeyed by the code named, as the test named shows
- **declined**: on purpose not obeyed, or not wholly, for the reason given
- **not applicable**: it does not concern this stack, for the reason given
- **gap**: something is missing
";

/// How many requirements stand how.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Obeyed by code, and shown by a test.
    pub shown: usize,
    /// Declined.
    pub declined: usize,
    /// Not applicable.
    pub not_applicable: usize,
    /// With a gap.
    pub gaps: usize,
    /// Gaps that want a test only.
    pub untested: usize,
}

impl Counts {
    pub(crate) fn of<'a>(all: &Compliance, requirements: impl Iterator<Item = &'a Requirement>) -> Counts {
        let mut counts = Counts::default();
        for r in requirements {
            match &r.standing {
                Standing::Obeyed => counts.shown += usize::from(all.is_shown(r)),
                Standing::Declined(_) => counts.declined += 1,
                Standing::NotApplicable(_) => counts.not_applicable += 1,
                Standing::Gap(gap) => {
                    counts.gaps += 1;
                    counts.untested += usize::from(gap.starts_with("no test"));
                }
            }
        }
        counts
    }

    fn row(self, name: &str) -> String {
        let Counts { shown, declined, not_applicable, gaps, untested } = self;
        format!("| {name} | {shown} | {declined} | {not_applicable} | {gaps} | {untested} |\n")
    }
}

pub(crate) fn write(all: &Compliance) -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n| RFC | shown | declined | not applicable | gaps | of these: only a test is missing |\n");
    out.push_str("|---|---:|---:|---:|---:|---:|\n");
    for rfc in &all.catalogue.rfcs {
        let name = format!("[{}](#rfc-{})", rfc.number, rfc.number);
        out.push_str(&Counts::of(all, rfc.requirements.iter()).row(&name));
    }
    out.push_str(&all.counts().row("all"));
    for rfc in &all.catalogue.rfcs {
        write_rfc(all, rfc, &mut out);
    }
    out
}

fn write_rfc(all: &Compliance, rfc: &Rfc, out: &mut String) {
    let Rfc { number, title, requirements } = rfc;
    let _ = writeln!(out, "\n## RFC {number}\n\n{title}\n\n| ID | level | requirement | code | test or reason |");
    out.push_str("|---|---|---|---|---|\n");
    for r in requirements {
        let level = match r.level {
            Level::Described => "*described*",
            other => other.word(),
        };
        let text = cell(&r.text);
        let (code, shown) = (code_cell(all, r), reason_cell(all, r));
        let _ = writeln!(out, "| {} | {level} | {text} | {code} | {shown} |", r.id);
    }
}

/// The files that obey, each once.
fn code_cell(all: &Compliance, r: &Requirement) -> String {
    let mut links: Vec<String> = all.cited(&r.id, Place::Code).map(|c| link(&c.file, &short(&c.file))).collect();
    links.dedup();
    links.join(", ")
}

/// The tests that show it, and what is to be said besides.
fn reason_cell(all: &Compliance, r: &Requirement) -> String {
    let mut parts: Vec<String> = match &r.standing {
        Standing::Obeyed => Vec::new(),
        Standing::Declined(why) => vec![format!("**declined**: {}", cell(why))],
        Standing::NotApplicable(why) => vec![format!("**not applicable**: {}", cell(why))],
        Standing::Gap(what) => vec![format!("**gap**: {}", cell(what))],
    };
    let mut tests: Vec<String> = Vec::new();
    for c in all.cited(&r.id, Place::Test) {
        let test = link(&c.file, c.test.as_deref().unwrap_or_default());
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    if !tests.is_empty() {
        parts.push(tests.join(", "));
    }
    parts.join("; ")
}

fn link(file: &std::path::Path, text: &str) -> String {
    format!("[{text}](../{})", file.display())
}

/// `proto/tcp/receive.rs` for `crates/proto/src/tcp/receive.rs`.
fn short(file: &std::path::Path) -> String {
    let parts: Vec<_> = file.iter().map(|p| p.to_string_lossy()).collect();
    parts.iter().enumerate().filter(|(i, _)| *i != 0 && *i != 2).map(|(_, p)| &**p).collect::<Vec<_>>().join("/")
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
