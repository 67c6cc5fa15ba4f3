//! Citations: `[8684-3.4.1-7]`, or `[8684-3.2-5, 8684-3.2-6]`, in a comment.
//!
//! In `crates/*/src` a citation is code, in `crates/*/tests`, a `#[cfg(test)]` module or a file `tests.rs` it is
//! test. A test is cited by the comment above it, or inside it.

use crate::{Catalogue, Error};
use std::fs;
use std::path::{Path, PathBuf};

/// What a citation stands in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The code that obeys.
    Code,
    /// A test that shows it.
    Test,
}

/// One mention of a requirement in the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// The requirement.
    pub id: String,
    /// From the workspace's root.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// The function of the test it stands in; none in code.
    pub test: Option<String>,
}

impl Citation {
    /// Code or test.
    pub fn place(&self) -> Place {
        if self.test.is_some() { Place::Test } else { Place::Code }
    }
}

/// This crate, whose own examples cite nothing.
const SELF: &str = "compliance";

/// Every citation in the crates of the workspace at `root`.
pub(crate) fn read(root: &Path, catalogue: &Catalogue) -> Result<Vec<Citation>, Error> {
    let mut found = Vec::new();
    for name in names_in(&root.join("crates"))?.into_iter().filter(|name| name != SELF) {
        for part in ["src", "tests"] {
            let folder = Path::new("crates").join(&name).join(part);
            if root.join(&folder).is_dir() {
                read_folder(root, &folder, part == "tests", catalogue, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The names of what is in a folder, in order.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let fail = |source| Error::Read { file: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    let mut names: Vec<String> = entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn read_folder(
    root: &Path,
    folder: &Path,
    is_test: bool,
    catalogue: &Catalogue,
    found: &mut Vec<Citation>,
) -> Result<(), Error> {
    for name in names_in(&root.join(folder))? {
        let file = folder.join(&name);
        let path = root.join(&file);
        let is_test = is_test || name == "tests.rs" || name == "tests";
        if path.is_dir() {
            read_folder(root, &file, is_test, catalogue, found)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).map_err(|source| Error::Read { file: path, source })?;
            read_source(&file, &text, is_test, catalogue, found)?;
        }
    }
    Ok(())
}

fn read_source(
    file: &Path,
    text: &str,
    is_test: bool,
    catalogue: &Catalogue,
    found: &mut Vec<Citation>,
) -> Result<(), Error> {
    let lines: Vec<&str> = text.lines().collect();
    let mut test_module = TestModule::Outside;
    for (i, line) in lines.iter().enumerate() {
        test_module.step(line);
        let is_test = is_test || test_module != TestModule::Outside;
        for id in ids_in(line) {
            let fail = |what| Error::Line { file: file.to_owned(), line: i + 1, what };
            if catalogue.get(id).is_none() {
                return Err(fail(format!("[{id}] is no requirement of the catalogue")));
            }
            let test = match is_test {
                true => Some(test_at(&lines, i).ok_or_else(|| fail(format!("[{id}] stands in no test")))?),
                false => None,
            };
            found.push(Citation { id: id.to_owned(), file: file.to_owned(), line: i + 1, test });
        }
    }
    Ok(())
}

/// Follows `#[cfg(test)] mod … { … }`, as rustfmt lays it out.
#[derive(PartialEq, Eq)]
enum TestModule {
    Outside,
    Announced,
    /// Until a closing brace with this indentation.
    Inside(usize),
}

impl TestModule {
    fn step(&mut self, line: &str) {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim();
        *self = match self {
            TestModule::Outside if code == "#[cfg(test)]" => TestModule::Announced,
            TestModule::Announced if code.starts_with("mod ") && code.ends_with('{') => TestModule::Inside(indent),
            TestModule::Announced if !code.starts_with("#[") => TestModule::Outside,
            TestModule::Inside(at) if code == "}" && indent == *at => TestModule::Outside,
            _ => return,
        };
    }
}

/// The IDs that a line cites.
fn ids_in(line: &str) -> impl Iterator<Item = &str> {
    let comment = line.find("//").map_or("", |at| &line[at..]);
    comment
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .filter(|(inside, _)| begins_like_an_id(inside))
        .flat_map(|(inside, _)| inside.split(',').map(str::trim))
}

/// The number of an RFC and a hyphen.
fn begins_like_an_id(inside: &str) -> bool {
    let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
    (3..=5).contains(&digits) && inside[digits..].starts_with('-')
}

/// The test that the comment at `line` stands above, or else in.
fn test_at(lines: &[&str], line: usize) -> Option<String> {
    let is_preamble = |l: &&&str| l.trim_start().starts_with("//") || l.trim_start().starts_with("#[");
    let below = line + lines[line..].iter().take_while(is_preamble).count();
    let at = match lines.get(below).and_then(|l| fn_name(l)) {
        Some(_) => below,
        None => (0..=line).rev().find(|i| fn_name(lines[*i]).is_some())?,
    };
    let attributes = lines[..at].iter().rev().take_while(is_preamble);
    let is_test = attributes.map(|l| l.trim()).any(|l| l.starts_with("#[") && l.contains("test]"));
    if is_test { fn_name(lines[at]).map(str::to_owned) } else { None }
}

/// The name of the function that a line begins.
fn fn_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let words = ["pub(crate) ", "pub ", "async ", "const "];
    let code = words.iter().fold(code, |code, word| code.strip_prefix(word).unwrap_or(code));
    let name = code.strip_prefix("fn ")?;
    Some(&name[..name.find(|c: char| !(c.is_alphanumeric() || c == '_'))?])
}
