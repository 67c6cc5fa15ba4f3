//! The face of the crate: start a program over a network and wait for it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::network::Network;
use crate::preflight::{Missing, explain_filter};
use crate::privileges;
use crate::signals::Forwarder;
use crate::spawn::{self, SpawnError};
use crate::supervisor::Shared;
use crate::sys;

/// With less, a byte that is [left unread](crate::reader) would leave a program no room.
pub(crate) const PIPE_BUFFER_MIN: i32 = 256 << 10;

/// Settings of a [`Runner`], all with defaults.
#[derive(Clone)]
pub struct Options {
    pub(crate) linger: Duration,
    pub(crate) pipe_buffer: i32,
    pub(crate) forward_signals: bool,
    keep_privileges: bool,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            linger: Duration::from_secs(30),
            // Enough for a UNIX socket to run at its best; the kernel doubles it.
            pipe_buffer: 512 * 1024,
            forward_signals: true,
            keep_privileges: true,
            notice: Arc::new(|text| eprintln!("polypath run: {text}")),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { linger, pipe_buffer, forward_signals, keep_privileges, notice: _ } = self;
        f.debug_struct("Options")
            .field("linger", linger)
            .field("pipe_buffer", pipe_buffer)
            .field("forward_signals", forward_signals)
            .field("keep_privileges", keep_privileges)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// How long [`Runner::run`] stays after the last program has exited while data that programs
    /// wrote is not delivered yet. 30 seconds unless set; 0 leaves at once. A Ctrl-C ends it.
    #[must_use]
    pub fn linger(mut self, most: Duration) -> Options {
        self.linger = most;
        self
    }

    /// How many bytes wait, in each direction, between a program and the network. 512 KiB unless
    /// set; a program's own `SO_SNDBUF` goes first. From 256 KiB to 1 GiB; values outside are
    /// brought to the nearest of the two.
    #[must_use]
    pub fn pipe_buffer(mut self, bytes: usize) -> Options {
        self.pipe_buffer = bytes.clamp(PIPE_BUFFER_MIN as usize, 1 << 30) as i32;
        self
    }

    /// Whether signals sent to this process (SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, and SIGINT and
    /// SIGQUIT unless the terminal sends them to the program itself) are passed on to the program.
    /// Yes unless set.
    #[must_use]
    pub fn forward_signals(mut self, yes: bool) -> Options {
        self.forward_signals = yes;
        self
    }

    /// Whether this process keeps its capabilities once the program has been started. If not, all of its threads lay down
    /// what carrying programs does not take, for good; the program itself is not concerned. Yes unless set.
    #[must_use]
    pub fn keep_privileges(mut self, yes: bool) -> Options {
        self.keep_privileges = yes;
        self
    }

    /// Where sentences for the user go: standard error unless set.
    #[must_use]
    pub fn on_notice(mut self, notice: impl Fn(&str) + Send + Sync + 'static) -> Options {
        self.notice = Arc::new(notice);
        self
    }

    pub(crate) fn notice(&self, text: &str) {
        (self.notice)(text);
    }
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system lacks something: one sentence, and the command that gives it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The program did not start: no such file, not executable, …
    #[error("cannot start {program}: {source}")]
    Program {
        /// The program as it was given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The supervisor itself failed.
    #[error("the supervisor failed: {0}")]
    Supervisor(#[source] io::Error),
}

/// Runs one program, and all that it starts, over a network.
#[derive(Debug)]
pub struct Runner<N> {
    command: Command,
    network: Arc<N>,
    options: Options,
}

impl<N: Network> Runner<N> {
    /// Will run `command`, with the environment, directory and standard streams it says.
    #[must_use]
    pub fn new(command: Command, network: N) -> Runner<N> {
        Runner { command, network: Arc::new(network), options: Options::default() }
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Runner<N> {
        self.options = options;
        self
    }

    /// Starts the program and waits until it and all that it started have exited, and until what
    /// they wrote is delivered (capped by [`Options::linger`]). Returns the program's own exit
    /// status. Connections run as tasks of the current tokio runtime, which needs its time and
    /// network drivers.
    ///
    /// # Errors
    /// [`RunError`]: something is missing, or the program could not be started. Once it runs, only
    /// a failure of the supervisor itself is an error.
    ///
    /// Dropped before it completes, it kills the program (but not what that has started).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run(self) -> Result<ExitStatus, RunError> {
        let Runner { command, network, options } = self;
        let program = command.get_program().to_string_lossy().into_owned();
        let files = raise_file_limit().map_err(RunError::Supervisor)?;
        // Before the program starts: a signal in between is for it already.
        let mut signals = Forwarder::new(&options).map_err(RunError::Supervisor)?;
        let (child, listener) = spawn::spawn(command, files).map_err(|error| match error {
            SpawnError::Filter(error) => RunError::Missing(explain_filter(&error)),
            SpawnError::Program(source) => RunError::Program { program, source },
        })?;
        supervise(child, listener, network, options, &mut signals).await.map_err(RunError::Supervisor)
    }
}

/// From the program's start to the delivery of the last byte.
async fn supervise<N: Network>(
    child: Child,
    listener: OwnedFd,
    network: Arc<N>,
    options: Options,
    signals: &mut Forwarder,
) -> io::Result<ExitStatus> {
    let mut program = Program::new(child)?;
    if !options.keep_privileges {
        privileges::reduce()?;
    }
    let shared = Arc::new(Shared::new(listener, network, options)?);
    let mut supervised = pin!(answer_calls(&shared));
    let status = tokio::select! {
        biased;
        status = program.wait(signals) => status?,
        // The loop ends before the program only if it failed, or if the program has just exited.
        ended = &mut supervised => {
            ended?;
            let status = program.wait(signals).await?;
            deliver(&shared, signals).await;
            return Ok(status);
        }
    };
    signals.ignoring(supervised).await?;
    deliver(&shared, signals).await;
    Ok(status)
}

/// Answers calls until the last program has exited: in a thread of its own, a stopped program waiting for nothing but this,
/// and in another when that is held up.
async fn answer_calls<N: Network>(shared: &Arc<Shared<N>>) -> io::Result<()> {
    let (done, mut over) = mpsc::unbounded_channel();
    start_thread(shared, &done, 0)?;
    loop {
        tokio::select! {
            ended = over.recv() => return ended.unwrap_or(Ok(())),
            thread = shared.turn.passes() => {
                tracing::warn!(thread, "a program holds up the call that it makes; another thread takes over");
                if let Err(error) = start_thread(shared, &done, thread) {
                    // The next look may have more luck; calls wait meanwhile.
                    tracing::warn!(%error, "no thread to take over");
                }
            }
        }
    }
}

/// `done` hears of the end, but not from a thread that has lost its turn.
fn start_thread<N: Network>(
    shared: &Arc<Shared<N>>,
    done: &mpsc::UnboundedSender<io::Result<()>>,
    number: u32,
) -> io::Result<()> {
    let (shared, done) = (Arc::clone(shared), done.clone());
    let run = move || {
        let supervised = std::panic::catch_unwind(AssertUnwindSafe(|| shared.supervise(number)));
        let ended = match supervised.unwrap_or_else(|_| Err(io::Error::other("its thread panicked"))) {
            Ok(true) => Ok(()),
            Ok(false) => return,
            Err(error) => Err(error),
        };
        // The receiver is gone only if nobody waits any more.
        let _ = done.send(ended);
    };
    thread::Builder::new().name("polypath-run".into()).spawn(run).map(drop)
}

/// The program. Without its supervisor each of its calls would wait for ever: if we fail before it
/// has exited, it is killed.
struct Program {
    child: Child,
    exit: AsyncFd<OwnedFd>,
}

impl Program {
    fn new(mut child: Child) -> io::Result<Program> {
        match sys::pidfd_open(child.id(), 0).and_then(|pidfd| sys::watch(pidfd, Interest::READABLE)) {
            Ok(exit) => Ok(Program { child, exit }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Waits for its exit, passing signals on meanwhile.
    async fn wait(&mut self, signals: &mut Forwarder) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                exited = self.exit.readable() => {
                    let _guard = exited?;
                    return self.child.wait();
                }
                signal = signals.next() => signals.forward(self.exit.as_fd(), signal),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Stays until what the programs wrote is delivered.
async fn deliver<N: Network>(shared: &Shared<N>, signals: &mut Forwarder) {
    let delivered = async {
        shared.activity.wait_idle().await;
        shared.network.drained().await;
    };
    tokio::select! {
        () = delivered => {}
        () = tokio::time::sleep(shared.options.linger) => shared.options.notice(&format!(
            "gave up after {:?}: the data of {} connections is not delivered.",
            shared.options.linger,
            shared.activity.count(),
        )),
        () = signals.interrupted() => {}
    }
}

/// Raises our own limit of open files: a connection takes a few of ours for one of the program's.
/// Returns the limit before, for the program.
fn raise_file_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    sys::check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: as above. Up to the hard limit it is always allowed.
    sys::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) })?;
    Ok(limit)
}
