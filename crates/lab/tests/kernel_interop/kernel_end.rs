//! The kernel's application: blocking sockets, a thread for each direction.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use polypath_lab::kernel::{KernelClient, Transport, listen};
use polypath_lab::payload::Hasher;

use crate::cell::{Cell, Ending, Fallback};
use crate::network::{self, Network, PORT};
use crate::script::{self, PATIENCE, POLYPATH_SEED, Progress, Script, Signals, Step};

/// Where a kernel socket comes from.
pub(crate) enum Opening {
    Accept(TcpListener),
    Connect { transport: Transport, local: SocketAddr, remote: SocketAddr },
}

impl Opening {
    /// Listens already, if the kernel is the server.
    pub(crate) fn prepare(cell: &Cell, network: &Network) -> io::Result<Self> {
        let transport = match cell.fallback {
            Fallback::KernelPlain => Transport::Tcp,
            _ => Transport::Mptcp,
        };
        if cell.polypath_serves() {
            let remote = network::connect_to(cell);
            let local = match network::client(cell, 0) {
                std::net::IpAddr::V4(v4) if remote.is_ipv6() => v4.to_ipv6_mapped().into(),
                address => address,
            };
            return Ok(Self::Connect { transport, local: SocketAddr::new(local, 0), remote });
        }
        Ok(Self::Accept(listen(network.kernel(), transport, PORT)?))
    }
}

/// In time: Linux's Multipath TCP knows no SO_RCVTIMEO in accept, and a client that has failed never comes.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stream, _) = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        tokio::time::timeout(PATIENCE, listener.accept()).await?
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Plays the kernel's part of a cell; to be called inside its namespace.
pub(crate) fn run(cell: &Cell, opening: Opening, signals: &Signals) -> Result<(), String> {
    let said = |error: io::Error| format!("the kernel's application: {error}");
    // Linux refuses joins once the listener is closed: it is kept to the end.
    let (_listener, stream) = match opening {
        Opening::Accept(listener) => {
            let stream = accept(&listener).map_err(said)?;
            (Some(listener), stream)
        }
        Opening::Connect { transport, local, remote } => {
            let client = KernelClient::connect_here(transport, Some(local), remote).map_err(said)?;
            (None, client.into_stream())
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(said)?;
    let script = Script::new(cell, false);
    let hasher = thread::scope(|scope| {
        let sending = scope.spawn(|| send(cell, &stream, &script, signals));
        let hasher = receive(cell, &stream, signals).map_err(said);
        sending.join().expect("the sending thread")?;
        hasher
    })?;
    script::check_content(cell, hasher, POLYPATH_SEED, "the kernel's application")?;
    match cell.ending {
        // With something unread in the queue, closing is MP_FASTCLOSE: wait for it.
        Ending::KernelAborts => stream.peek(&mut [0]).map(drop).map_err(said),
        Ending::PolypathAborts => match (&stream).read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            other => Err(format!("the kernel's application saw {other:?}, not a reset")),
        },
        _ => Ok(()),
    }
}

fn send(cell: &Cell, mut stream: &TcpStream, script: &Script, signals: &Signals) -> Result<(), String> {
    let said = |error: io::Error| format!("the kernel's application, sending: {error}");
    // Only for its clock: signals are not tied to a runtime.
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(said)?;
    for step in &script.steps {
        match step {
            Step::Write(part) => {
                for piece in script::pieces(cell, &script.payload[part.clone()]) {
                    stream.write_all(&piece).map_err(said)?;
                }
            }
            Step::Wait(stage) => clock.block_on(signals.reached(*stage))?,
            Step::WaitForEnd => clock.block_on(script::wait(&signals.kernel, |p| p.ended, "the end"))?,
            Step::Shutdown => stream.shutdown(Shutdown::Write).map_err(said)?,
        }
    }
    Ok(())
}

/// Reads to the end; or to the last byte, where no end comes.
fn receive(cell: &Cell, mut stream: &TcpStream, signals: &Signals) -> io::Result<Hasher> {
    let (mut hasher, mut buf) = (Hasher::default(), vec![0; 64 * 1024]);
    let limit = if script::aborts(cell) { script::bytes(cell) } else { u64::MAX };
    while hasher.len() < limit {
        let room = usize::try_from(limit - hasher.len()).unwrap_or(buf.len()).min(buf.len());
        let n = stream.read(&mut buf[..room])?;
        hasher.update(&buf[..n]);
        signals.kernel.send_replace(Progress { read: hasher.len(), ended: n == 0 });
        if n == 0 {
            break;
        }
    }
    Ok(hasher)
}
