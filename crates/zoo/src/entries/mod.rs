//! What is tried: each program as a client, a server, or both.

mod databases;
mod files;
mod runtimes;
mod streams;
mod web;

use crate::act::Act;
use crate::packages::{Need, find, need};
use serde::Serialize;
use std::process::{Command, Stdio};

/// On which end the program under `polypath run` is. The other one has the kernel's sockets.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It connects to a server with kernel Multipath TCP.
    Client,
    /// Clients with kernel Multipath TCP and with plain TCP connect to it.
    Server,
}

impl Role {
    /// `client` or `server`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// One program in one role.
#[derive(Copy, Clone)]
pub struct Entry {
    /// What it is called with `--only`.
    pub name: &'static str,
    /// The program, as people know it.
    pub program: &'static str,
    /// Which end is under `polypath run`.
    pub role: Role,
    /// All programs that take part.
    pub needs: &'static [Need],
    /// A command that tells the program's version.
    version: &'static [&'static str],
    /// What is done, in a line.
    pub tried: &'static str,
    /// Does it, and looks whether what arrived is right.
    pub(crate) work: fn(&Act<'_>) -> anyhow::Result<()>,
}

impl Entry {
    /// The program's version: of what it says about itself the first word with a number and a dot.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let (program, arguments) = self.version.split_first()?;
        let mut command = Command::new(find(program)?);
        let output = command.args(arguments).stdin(Stdio::null()).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        version_in(&String::from_utf8_lossy(&said))
    }
}

fn version_in(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || "\"(),;=".contains(c));
    // `go1.19.8`, `v20.20.2`, `OpenSSH_9.2p1`, `nginx/1.22.1`.
    let number = |word: &str| Some(word[word.find(|c: char| c.is_ascii_digit())?..].to_owned());
    words.filter(|word| !word.contains(':')).filter_map(number).find(|word| word.contains('.'))
}

const CURL: Need = need("curl", "curl");
const MPTCPIZE: Need = need("mptcpize", "mptcpize");
const OPENSSL: Need = need("openssl", "openssl");
const PYTHON: Need = need("python3", "python3");

/// All of them, clients first.
#[must_use]
pub fn all() -> Vec<Entry> {
    let rooms = [web::ENTRIES, files::ENTRIES, streams::ENTRIES, runtimes::ENTRIES, databases::ENTRIES];
    let (clients, servers): (Vec<Entry>, Vec<Entry>) =
        rooms.into_iter().flatten().partition(|entry| entry.role == Role::Client);
    [clients, servers].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_can_be_listed() {
        let mut names: Vec<&str> = all().iter().map(|entry| entry.name).collect();
        assert!(names.iter().all(|name| !name.contains([',', ' '])));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, version) in [
            ("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1", "7.88.1"),
            ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19", "9.2p1"),
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("go version go1.19.8 linux/amd64", "1.19.8"),
            ("openjdk version \"17.0.15\" 2025-04-15", "17.0.15"),
            ("BusyBox v1.35.0 (Debian 1:1.35.0-4+b1) multi-call binary.", "1.35.0"),
            ("Redis server v=7.0.15 sha=00000000:0", "7.0.15"),
        ] {
            assert_eq!(version_in(said).as_deref(), Some(version), "{said}");
        }
        assert_eq!(version_in("no version here"), None);
    }
}
