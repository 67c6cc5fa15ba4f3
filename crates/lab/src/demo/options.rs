//! What a demonstration is made of. The default needs no configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use crate::link::Rate;
use crate::scenario::{Owner, PathSpec, client_v4};

/// The port the server listens on.
pub const SERVER_PORT: u16 = 80;

/// What carries the program's traffic over several paths.
#[derive(Clone, Debug)]
pub enum Runner {
    /// `EXECUTABLE run --tun pp0 --address ADDRESS=NAME … --events FILE ARGUMENTS… -- PROGRAM …`
    Polypath {
        /// The `polypath` executable.
        executable: PathBuf,
        /// More arguments of `run`.
        arguments: Vec<OsString>,
    },
    /// The kernel, which then owns the client's addresses: `PREFIX… PROGRAM …`.
    Kernel {
        /// What stands before the program; it sees to it that the program's sockets are MPTCP ones. The word
        /// `{events}` stands for the file that takes events, as those of `polypath run`.
        prefix: Vec<OsString>,
    },
}

impl Runner {
    /// Who has the client's addresses.
    pub(super) const fn owner(&self) -> Owner {
        match self {
            Self::Polypath { .. } => Owner::Stack,
            Self::Kernel { .. } => Owner::Kernel,
        }
    }

    /// The whole command line for `program`, with events written to `events`.
    pub(super) fn command_line(&self, paths: &[PathSpec], events: &Path, program: &[OsString]) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        match self {
            Self::Polypath { executable, arguments } => {
                line.push(executable.into());
                // What this host is configured for is not what is shown.
                line.extend(["run", "--config", "none", "--tun", "pp0"].map(OsString::from));
                for (index, path) in paths.iter().enumerate() {
                    line.extend(["--address".into(), format!("{}={}", client_v4(index), path.name).into()]);
                }
                line.extend(["--events".into(), events.into()]);
                line.extend(arguments.iter().cloned());
                line.push("--".into());
            }
            Self::Kernel { prefix } => {
                let word = |word: &OsString| if word == "{events}" { events.into() } else { word.clone() };
                line.extend(prefix.iter().map(word));
            }
        }
        line.extend(program.iter().cloned());
        line
    }
}

/// Who serves the file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The kernel where it has MPTCP, polypath otherwise.
    Auto,
    /// The kernel's MPTCP.
    Linux,
    /// A polypath server.
    Polypath,
}

/// Where progress is shown.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// On standard output: a live view if that is a terminal, a line each second if it is not.
    Terminal,
    /// On standard error, so that standard output is for the report alone.
    Json,
}

/// What to demonstrate.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// What carries the program's traffic.
    pub runner: Runner,
    /// Who serves.
    pub peer: Peer,
    /// The command line of a polypath server for [`Peer::Polypath`], run in the server's namespace. It answers `GET
    /// /bytes/N` on the address and port of [`SERVER_PORT`](super::SERVER_PORT) with the payload of the seed (the
    /// word `{seed}` stands for it), and prints a line once it listens. Empty: there is none.
    pub polypath_server: Vec<OsString>,
    /// The program that downloads to its standard output; the URL is appended.
    pub program: Vec<OsString>,
    /// The paths. The first one is cut.
    pub paths: Vec<PathSpec>,
    /// Size of the file.
    pub bytes: u64,
    /// The first path is cut when this part of the file (0 to 1) has reached the program.
    pub cut_at: f64,
    /// It comes back at this part.
    pub return_at: f64,
    /// How long plain TCP is measured on each path alone.
    pub baseline: Duration,
    /// The download is given up when nothing has arrived for so long.
    pub patience: Duration,
    /// Decides the content and which packets are lost.
    pub seed: u64,
    /// Where the picture goes; `None` for no picture.
    pub svg: Option<PathBuf>,
    /// Where progress is shown.
    pub output: Output,
}

impl DemoOptions {
    /// The demonstration without any configuration: curl downloads 40 MB over Wi-Fi (50 Mbit/s, 20 ms, 0.5 % loss,
    /// 20 ms of queue) and LTE (20 Mbit/s, 60 ms, 100 ms of queue); Wi-Fi is cut at 40 % and comes back at 80 %.
    #[must_use]
    pub fn new(runner: Runner) -> Self {
        let ms = Duration::from_millis;
        Self {
            runner,
            peer: Peer::Auto,
            polypath_server: Vec::new(),
            program: ["curl", "-sS", "-o", "-"].map(OsString::from).into(),
            paths: vec![
                PathSpec::new("wifi", Rate::mbit(50), ms(20), ms(20)).with_loss(0.005),
                PathSpec::new("lte", Rate::mbit(20), ms(60), ms(100)),
            ],
            bytes: 40_000_000,
            cut_at: 0.4,
            return_at: 0.8,
            baseline: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            seed: 1,
            svg: Some("demo.svg".into()),
            output: Output::Terminal,
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        let order = 0.0 < self.cut_at && self.cut_at < self.return_at && self.return_at < 1.0;
        ensure!(order, "the cut ({}) comes before the return ({}), both within 0 and 1", self.cut_at, self.return_at);
        ensure!(self.bytes > 0, "there must be something to download");
        ensure!(self.paths.len() >= 2, "a demonstration needs two paths");
        ensure!(!self.program.is_empty(), "a demonstration needs a program");
        Ok(())
    }

    /// Bytes the program has received when the first path is cut, and when it comes back.
    pub(super) fn marks(&self) -> (u64, u64) {
        let at = |part: f64| (self.bytes as f64 * part) as u64;
        (at(self.cut_at), at(self.return_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_gets_each_address_with_its_name() {
        let runner = Runner::Polypath { executable: "/x/polypath".into(), arguments: vec!["--verbose".into()] };
        let options = DemoOptions::new(runner);
        let line = options.runner.command_line(&options.paths, Path::new("/e"), &options.program);
        let words: Vec<_> = line.iter().filter_map(|word| word.to_str()).collect();
        assert_eq!(
            words.join(" "),
            "/x/polypath run --config none --tun pp0 --address 10.1.0.2=wifi --address 10.2.0.2=lte --events /e --verbose \
             -- curl -sS -o -"
        );
        assert_eq!(options.marks(), (16_000_000, 32_000_000));
    }

    #[test]
    fn impossible_stories_are_refused() {
        let good = DemoOptions::new(Runner::Kernel { prefix: Vec::new() });
        good.check().unwrap();
        assert!(DemoOptions { cut_at: 0.9, ..good.clone() }.check().is_err());
        assert!(DemoOptions { bytes: 0, ..good.clone() }.check().is_err());
        assert!(DemoOptions { paths: good.paths[..1].to_vec(), ..good }.check().is_err());
    }
}
