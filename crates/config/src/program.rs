//! Who a connection belongs to, and what people call it.

use std::path::{Path, PathBuf};

/// A program, as rules know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    path: Option<PathBuf>,
    names: Vec<String>,
}

/// Linux cuts the name of a process to this (`TASK_COMM_LEN`, without the zero).
const COMM_MAX: usize = 15;

impl Program {
    /// The executable file, where it is known, and whatever else it is called by: the word that it was started with, the
    /// name of its process.
    #[must_use]
    pub fn new(path: Option<PathBuf>, names: impl IntoIterator<Item = String>) -> Self {
        Program { path, names: names.into_iter().filter(|name| !name.is_empty()).collect() }
    }

    /// Whether `wanted` means it: the path of its executable file if there is a slash in it, otherwise one of its names.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        if wanted.contains('/') {
            return self.path.as_deref() == Some(Path::new(wanted));
        }
        let cut = |name: &str| name.len() == COMM_MAX && wanted.starts_with(name);
        self.file_name() == Some(wanted) || self.names.iter().any(|name| name == wanted || cut(name))
    }

    fn file_name(&self) -> Option<&str> {
        self.path.as_deref()?.file_name()?.to_str()
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map(String::as_str).or(self.file_name()).unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_path_and_by_its_names() {
        let names = ["yt-dlp", "a-very-long-nam"].map(str::to_owned);
        let program = Program::new(Some("/usr/bin/python3.13".into()), names);
        for name in ["/usr/bin/python3.13", "python3.13", "yt-dlp", "a-very-long-name-indeed"] {
            assert!(program.is(name), "{name}");
        }
        for name in ["/usr/local/bin/python3.13", "python3", "yt", "a-very-long", ""] {
            assert!(!program.is(name), "{name}");
        }
        assert!(!Program::default().is(""));
    }
}
