//! Which requirements of the RFCs the stack obeys, where, and which test shows it.
//!
//! The catalogue (`docs/compliance/*.toml`, one file for each RFC) names every requirement by an ID. Code and
//! tests cite the ID in square brackets in a comment: `// A wrong HMAC: silently ignored. [8684-3.4.1-7]`, or
//! several, with commas between. From both comes `docs/compliance.md`, which nobody edits:
//! `cargo run -p polypath-compliance` writes it, and a test fails while it is not what that would write.
#![forbid(unsafe_code)]

mod catalogue;
mod citations;
mod document;
mod error;

pub use catalogue::{Catalogue, Level, Requirement, Rfc, Standing};
pub use citations::{Citation, Place};
pub use document::{Counts, DOCUMENT};
pub use error::{Error, Mistake};

use std::path::Path;

/// The catalogue and what was found in the sources.
#[derive(Debug)]
pub struct Compliance {
    /// The requirements.
    pub catalogue: Catalogue,
    /// Every citation, in the order of files and lines.
    pub citations: Vec<Citation>,
}

impl Compliance {
    /// Reads the catalogue and the sources of the workspace at `root`.
    ///
    /// # Errors
    /// A file that cannot be read, or the first mistake in the catalogue or in a citation, with file and line.
    pub fn read(root: &Path) -> Result<Compliance, Error> {
        let catalogue = Catalogue::read(root)?;
        let citations = citations::read(root, &catalogue)?;
        Ok(Compliance { catalogue, citations })
    }

    /// The document.
    pub fn document(&self) -> String {
        document::write(self)
    }

    /// How the requirements stand, all RFCs together.
    pub fn counts(&self) -> Counts {
        Counts::of(self, self.catalogue.requirements())
    }

    /// What is cited at `place` for a requirement.
    pub fn cited<'a>(&'a self, id: &'a str, place: Place) -> impl Iterator<Item = &'a Citation> {
        self.citations.iter().filter(move |c| c.id == id && c.place() == place)
    }

    /// Obeyed and shown: cited by code and by a test, and nothing said against it.
    pub fn is_shown(&self, r: &Requirement) -> bool {
        r.standing == Standing::Obeyed
            && self.cited(&r.id, Place::Code).next().is_some()
            && self.cited(&r.id, Place::Test).next().is_some()
    }

    /// Requirements whose row would say less than it must, or something that is not so.
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.catalogue.requirements().filter_map(|r| self.mistake_of(r)).collect()
    }

    fn mistake_of(&self, r: &Requirement) -> Option<Mistake> {
        let missing = |place| self.cited(&r.id, place).next().is_none();
        let what = match &r.standing {
            Standing::Obeyed if missing(Place::Code) => "no code cites it",
            Standing::Obeyed if missing(Place::Test) => "no test cites it",
            Standing::Gap(gap) if gap.starts_with("no test") && !missing(Place::Test) => "a test cites it",
            Standing::NotApplicable(_) if !(missing(Place::Code) && missing(Place::Test)) => "it is cited",
            _ => return None,
        };
        Some(Mistake { file: r.file.clone(), line: r.line, id: r.id.clone(), what, standing: r.standing.clone() })
    }
}
