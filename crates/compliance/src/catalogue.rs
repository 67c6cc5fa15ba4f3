//! The catalogue: `docs/compliance/*.toml`, one file for each RFC.
//!
//! ```toml
//! rfc = 8684
//! title = "TCP Extensions for Multipath Operation with Multiple Addresses"
//!
//! [[requirement]]
//! id = "8684-3.4.1-7"        # the RFC, the section, a running number; or a number of the RFC's own
//! level = "SHOULD"
//! text = "ADD_ADDR with a wrong HMAC is silently ignored."
//! ```
//!
//! At most one of these says why a requirement is not simply obeyed:
//! `declined = "why"`, `not_applicable = "why"`, `gap = "what is missing, and where"`.

use crate::Error;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Where the catalogue lies, from the workspace's root.
const FOLDER: &str = "docs/compliance";

/// All the RFCs, by file name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// One for each file.
    pub rfcs: Vec<Rfc>,
}

/// The requirements of one RFC, in its order.
#[derive(Clone, Debug)]
pub struct Rfc {
    /// Its number.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// What it asks of a host.
    pub requirements: Vec<Requirement>,
}

/// One thing that an RFC asks for.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// Its name in citations.
    pub id: String,
    /// How much it is asked for.
    pub level: Level,
    /// What it asks, in our words.
    pub text: String,
    /// What we make of it.
    pub standing: Standing,
    /// The catalogue's file, from the workspace's root.
    pub file: PathBuf,
    /// Its line there, counted from 1.
    pub line: usize,
}

/// The words of RFC 2119, and none of them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Level {
    /// MUST (also REQUIRED, SHALL).
    #[serde(rename = "MUST")]
    Must,
    /// MUST NOT.
    #[serde(rename = "MUST NOT")]
    MustNot,
    /// SHOULD (also RECOMMENDED).
    #[serde(rename = "SHOULD")]
    Should,
    /// SHOULD NOT.
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    /// MAY, where what we do of it can be seen.
    #[serde(rename = "MAY")]
    May,
    /// Behaviour that the RFC describes without any of these words.
    #[serde(rename = "described")]
    Described,
}

impl Level {
    /// As it stands in the catalogue and in the document.
    pub fn word(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
            Level::May => "MAY",
            Level::Described => "described",
        }
    }
}

/// What we make of a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is obeyed: code and a test cite it.
    Obeyed,
    /// It is not obeyed, or not wholly, on purpose.
    Declined(String),
    /// It does not concern this stack.
    NotApplicable(String),
    /// Something is still missing.
    Gap(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RfcFile {
    rfc: u32,
    title: String,
    #[serde(default)]
    requirement: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    level: Level,
    text: String,
    declined: Option<String>,
    not_applicable: Option<String>,
    gap: Option<String>,
}

impl Catalogue {
    /// Reads every file of the catalogue below `root`.
    pub(crate) fn read(root: &Path) -> Result<Catalogue, Error> {
        let folder = root.join(FOLDER);
        let mut catalogue = Catalogue::default();
        let mut lines = HashMap::new();
        for name in crate::citations::names_in(&folder)?.into_iter().filter(|n| n.ends_with(".toml")) {
            let path = folder.join(&name);
            let text = fs::read_to_string(&path).map_err(|source| Error::Read { file: path, source })?;
            let file = Path::new(FOLDER).join(name);
            let rfc = parse(&file, &text)?;
            for r in &rfc.requirements {
                if let Some(before) = lines.insert(r.id.clone(), format!("{}:{}", file.display(), r.line)) {
                    return Err(wrong(r, &format!("the ID {} stands at {before} already", r.id)));
                }
            }
            catalogue.rfcs.push(rfc);
        }
        catalogue.rfcs.sort_by_key(|rfc| order(rfc.number));
        Ok(catalogue)
    }

    /// Every requirement there is.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.rfcs.iter().flat_map(|rfc| &rfc.requirements)
    }

    /// The requirement of that name.
    pub fn get(&self, id: &str) -> Option<&Requirement> {
        self.requirements().find(|r| r.id == id)
    }
}

/// Multipath TCP first, then TCP, then the others by number.
fn order(number: u32) -> (u32, u32) {
    let rank = match number {
        8684 => 0,
        9293 => 1,
        _ => 2,
    };
    (rank, number)
}

fn parse(file: &Path, text: &str) -> Result<Rfc, Error> {
    let line_at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let parsed: RfcFile = toml::from_str(text).map_err(|e| Error::Line {
        file: file.to_owned(),
        line: e.span().map_or(1, |span| line_at(span.start)),
        what: e.message().to_owned(),
    })?;
    let prefix = format!("{}-", parsed.rfc);
    let mut requirements = Vec::new();
    for entry in parsed.requirement {
        let line = line_at(entry.id.span().start);
        let Entry { id, level, text, declined, not_applicable, gap } = entry;
        let reasons: Vec<Standing> =
            [declined.map(Standing::Declined), not_applicable.map(Standing::NotApplicable), gap.map(Standing::Gap)]
                .into_iter()
                .flatten()
                .collect();
        let r = Requirement {
            id: id.into_inner(),
            level,
            text,
            standing: reasons.first().cloned().unwrap_or(Standing::Obeyed),
            file: file.to_owned(),
            line,
        };
        if reasons.len() > 1 {
            return Err(wrong(&r, "at most one of declined, not_applicable and gap"));
        }
        if !r.id.starts_with(&prefix) || !r.id.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)) {
            return Err(wrong(&r, &format!("an ID begins with {prefix} and has letters, digits, dots and hyphens")));
        }
        requirements.push(r);
    }
    Ok(Rfc { number: parsed.rfc, title: parsed.title, requirements })
}

fn wrong(r: &Requirement, what: &str) -> Error {
    Error::Line { file: r.file.clone(), line: r.line, what: what.to_owned() }
}
