//! The two ends of a run as processes of their own.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use crate::case::{Case, Who};
use crate::end::{Mark, Means, Part, Said, Side};
use crate::network::{Network, SERVER, client, uplink};

/// How long an end may take to say something that takes it no work.
const PATIENCE: Duration = Duration::from_secs(20);
/// Packets of a stack without offload: what IPv6 asks of every path.
pub(crate) const SMALL_MTU: u32 = 1280;

/// One end, with all that it has started. Dropping it ends it.
pub(crate) struct End {
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<Said>,
    name: &'static str,
}

impl End {
    /// Starts an end of `case`. The child dies with the calling thread.
    pub(crate) fn start(program: &Path, case: &Case, network: &Network, side: Side) -> anyhow::Result<Self> {
        let (who, namespace, name) = match side {
            Side::Client => (case.client, &network.client, "the client"),
            Side::Server => (case.server, &network.server, "the server"),
        };
        let addresses = match side {
            Side::Client => (0..case.paths).map(client).collect(),
            Side::Server => vec![SERVER],
        };
        let means = match who {
            Who::KernelTcp | Who::Run => Means::KernelTcp,
            Who::KernelMptcp => Means::KernelMptcp,
            Who::Library | Who::Thread | Who::Pieces | Who::NoOffload => Means::Polypath {
                addresses,
                mtu: if who == Who::NoOffload { SMALL_MTU } else { 1500 },
                offload: who != Who::NoOffload,
                in_runtime: who != Who::Thread,
                pieces: who == Who::Pieces,
            },
        };
        let part = serde_json::to_string(&Part { side, means, load: case.load })?;
        let mut words: Vec<OsString> = Vec::new();
        if who == Who::Run {
            words.push("run".into());
            for path in 0..case.paths {
                words.extend(["--path".into(), uplink(path).into()]);
            }
            words.extend(["--".into(), program.into()]);
        }
        words.extend(["bench-end".into(), part.into()]);
        let mut command = namespace.command(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.context("a child without output")?;
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Somebody else in the same process may print, too.
                if let Ok(what) = serde_json::from_str(&line)
                    && tell.send(what).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { child, input, said, name })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, word: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("an end that has been ended")?;
        if let Err(error) = writeln!(input, "{word}") {
            return Err(self.complain(anyhow!(error)));
        }
        Ok(())
    }

    pub(crate) fn wait_ready(&mut self) -> anyhow::Result<()> {
        self.expect(PATIENCE, |said| matches!(said, Said::Ready).then_some(()))
    }

    pub(crate) fn wait_connected(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.expect(patience, |said| matches!(said, Said::Connected).then_some(()))
    }

    pub(crate) fn mark(&mut self) -> anyhow::Result<Mark> {
        self.tell("mark")?;
        self.expect(PATIENCE, |said| if let Said::Mark(mark) = said { Some(mark) } else { None })
    }

    pub(crate) fn joined(&mut self) -> anyhow::Result<u64> {
        self.tell("joined")?;
        self.expect(PATIENCE, |said| if let Said::Joined(count) = said { Some(count) } else { None })
    }

    fn expect<T>(&mut self, patience: Duration, wanted: impl Fn(Said) -> Option<T>) -> anyhow::Result<T> {
        match self.said.recv_timeout(patience) {
            Ok(Said::Failed(error)) => bail!("{}: {error}", self.name),
            Ok(said) => {
                let what = format!("{}: an unexpected {said:?}", self.name);
                wanted(said).context(what)
            }
            Err(RecvTimeoutError::Timeout) => bail!("{}: nothing heard of it for {patience:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => Err(self.complain(anyhow!("it has ended"))),
        }
    }

    /// The error, with what the end printed before its own.
    fn complain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let _ = self.child.kill();
        let mut complaint = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut complaint);
        }
        let name = self.name;
        if complaint.is_empty() { error.context(name) } else { error.context(format!("{name}: {}", complaint.trim())) }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // A program under `run` ends when its input does; what started it need not wait for anything then.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
