//! The programs that entries need, and the Debian packages that they come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and how to get it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Need {
    /// Its name in `PATH`.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

/// A [`Need`], in short.
pub(crate) const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// Rust's libraries for static programs come from rustup, not from Debian.
pub(crate) const MUSL: Need = need("musl target of rustc", "");

impl Need {
    /// Whether it is here.
    #[must_use]
    pub fn is_met(&self) -> bool {
        if *self == MUSL { musl_target().is_some() } else { find(self.program).is_some() }
    }
}

/// The target for static Rust programs, if it is installed.
pub(crate) fn musl_target() -> Option<String> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let output = Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    Path::new(sysroot.trim()).join("lib/rustlib").join(&target).is_dir().then_some(target)
}

/// Where a program is: in `PATH`, among those for administrators, or where Debian hides PostgreSQL's.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(program.into()).filter(|path: &PathBuf| path.is_file());
    }
    // As execvp does where PATH is not set.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The commands that install what of this is missing, one for each installer; none if all is here.
#[must_use]
pub fn remedies<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Vec<String> {
    let missing: BTreeSet<&Need> = needs.into_iter().filter(|need| !need.is_met()).collect();
    let packages: BTreeSet<&str> =
        missing.iter().map(|need| need.package).filter(|package| !package.is_empty()).collect();
    let mut remedies = Vec::new();
    if !packages.is_empty() {
        let packages: Vec<&str> = packages.into_iter().collect();
        remedies.push(format!("apt-get install --no-install-recommends {}", packages.join(" ")));
    }
    if missing.contains(&MUSL) {
        remedies.push(format!("rustup target add {}-unknown-linux-musl", std::env::consts::ARCH));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_installs_all_that_is_missing() {
        let needs = [
            need("no-such-program-b", "package-b"),
            need("sh", "dash"),
            need("no-such-program-a", "package-a"),
            need("no-such-program-c", "package-b"),
        ];
        assert_eq!(remedies(&needs), ["apt-get install --no-install-recommends package-a package-b"]);
        assert!(remedies(&needs[1..2]).is_empty());
    }

    #[test]
    fn a_path_is_a_program_if_it_is_a_file() {
        assert_eq!(find("/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(find("/no/such/program"), None);
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
    }
}
