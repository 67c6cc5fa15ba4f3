//! What can be wrong with the catalogue and the citations; every message names file and line.

use crate::Standing;
use core::fmt;
use std::path::PathBuf;

/// Why nothing can be made of the catalogue or the sources.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line says something it must not.
    #[error("{}:{line}: {what}", file.display())]
    Line {
        /// In which file, from the workspace's root.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// A row that is not complete, or not true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The catalogue's file.
    pub file: PathBuf,
    /// The requirement's line in it, counted from 1.
    pub line: usize,
    /// The requirement.
    pub id: String,
    /// What the sources say.
    pub what: &'static str,
    /// What the catalogue says.
    pub standing: Standing,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { file, line, id, what, standing } = self;
        let claim = match standing {
            Standing::Obeyed => "counts as obeyed",
            Standing::Gap(_) => "has a gap for want of a test",
            Standing::Declined(_) => "is declined",
            Standing::NotApplicable(_) => "does not apply",
        };
        write!(f, "{}:{line}: {id} {claim}, but {what}", file.display())
    }
}
