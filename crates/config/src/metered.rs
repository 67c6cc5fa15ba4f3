//! Paths that somebody pays for by the byte.

use polypath_proto::PathName;
use std::str::FromStr;

/// What metered paths are used for.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Metered {
    /// Only where nothing else works.
    #[default]
    Backup,
    /// Never.
    Never,
    /// As any other.
    Use,
}

impl Metered {
    /// Every name that [`str::parse`] knows.
    pub const NAMES: &'static [&'static str] = &["backup", "never", "use"];
}

impl FromStr for Metered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "backup" => Metered::Backup,
            "never" => Metered::Never,
            "use" => Metered::Use,
            _ => return Err(format!("unknown use of metered paths '{text}'; known: {}", Self::NAMES.join(", "))),
        })
    }
}

/// A path that is metered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeteredPath {
    /// Which one.
    pub path: PathName,
    /// It is a backup anyway.
    pub backup: bool,
}
