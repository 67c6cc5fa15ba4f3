//! The zoo's own programs: scripts and sources, compiled with what is installed when they are first needed.

use crate::packages;
use anyhow::{Context as _, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of the programs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    AsyncioClient,
    AsyncioServer,
    HttpsPeer,
    GitPeer,
    NodeClient,
    NodeServer,
    WrkCheck,
    Go,
    Java,
    StaticRust,
}

impl Program {
    /// The file it is written to, and what is in it.
    const fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::AsyncioClient => ("asyncio_client.py", include_str!("programs/asyncio_client.py")),
            Self::AsyncioServer => ("asyncio_server.py", include_str!("programs/asyncio_server.py")),
            Self::HttpsPeer => ("https_peer.py", include_str!("programs/https_peer.py")),
            Self::GitPeer => ("git_peer.py", include_str!("programs/git_peer.py")),
            Self::NodeClient => ("client.js", include_str!("programs/client.js")),
            Self::NodeServer => ("server.js", include_str!("programs/server.js")),
            Self::WrkCheck => ("check.lua", include_str!("programs/check.lua")),
            Self::Go => ("zoo.go", include_str!("programs/zoo.go")),
            Self::Java => ("Zoo.java", include_str!("programs/Zoo.java")),
            Self::StaticRust => ("static.rs", include_str!("programs/static.rs")),
        }
    }
}

/// The folder with the programs.
pub(crate) struct Workshop {
    folder: PathBuf,
}

impl Workshop {
    pub(crate) fn new(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The program as it is given to whoever runs it: the script, the executable, or Java's folder of classes.
    pub(crate) fn get(&self, program: Program) -> anyhow::Result<String> {
        let (name, text) = program.source();
        let source = self.folder.join(name);
        if !source.exists() {
            fs::write(&source, text).with_context(|| format!("writing {}", source.display()))?;
        }
        let made = match program {
            Program::Go => self.compile(&source, "go-program", |made| {
                let mut command = command("go");
                command.args(["build", "-o"]).arg(made).arg(&source);
                // Static, from this file alone, and nothing is left in anybody's home.
                command.envs([("CGO_ENABLED", "0"), ("GO111MODULE", "off"), ("GOFLAGS", "")]);
                command.env("GOCACHE", self.folder.join("go-cache")).env("GOPATH", self.folder.join("go"));
                command
            })?,
            Program::Java => self.compile(&source, "java-classes", |made| {
                let mut command = command("javac");
                command.arg("-d").arg(made).arg(&source);
                command
            })?,
            Program::StaticRust => {
                let target = packages::musl_target().context("rustc has no musl target")?;
                self.compile(&source, "rust-program", |made| {
                    let mut command = command("rustc");
                    command.args(["--edition", "2021", "-O", "--target", &target, "-o"]).arg(made).arg(&source);
                    command
                })?
            }
            _ => source,
        };
        Ok(made.to_string_lossy().into_owned())
    }

    /// Compiles once.
    fn compile(&self, source: &Path, name: &str, compiler: impl FnOnce(&Path) -> Command) -> anyhow::Result<PathBuf> {
        let made = self.folder.join(name);
        if !made.exists() {
            let output = compiler(&made).stdin(Stdio::null()).output();
            let output = output.with_context(|| format!("compiling {}", source.display()))?;
            if !output.status.success() {
                bail!("{} cannot be compiled: {}", source.display(), String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        Ok(made)
    }
}

fn command(program: &str) -> Command {
    Command::new(packages::find(program).unwrap_or_else(|| program.into()))
}
