//! Carries the bytes of one established connection between the program's socket and the network.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::network::NetStream;
use crate::socket::Socket;
use crate::sys::{self, Errno};

/// Buffers begin at this size and grow to the other when reads fill them: idle connections stay
/// cheap, busy ones take few system calls.
const BUFFER_MIN: usize = 16 * 1024;
const BUFFER_MAX: usize = 256 * 1024;

/// How long the program may take, once the network takes no more, to read what came before; and
/// how long a write may stand still that a reset is going to discard anyway.
const GRACE: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program closed its socket; the network finishes what is left.
    Closed,
    /// Both directions were closed in order, and the program may still hold its socket.
    Finished,
    /// The program shut both directions, which leaves nothing to carry.
    ShutDown,
    /// The network failed: the program has to be told.
    Failed(Errno),
}

/// Why the direction from the program to the network stopped.
enum Up {
    /// The program closed its socket or the write side of it; all was passed on.
    End { closed: bool },
    /// The program closed its socket with unread data, or wants a reset when it closes.
    Reset,
    /// The network takes no more.
    Failed(io::Error),
}

/// Runs until both directions are done. `stream` is then closed or reset, as the program asked.
pub(crate) async fn carry<S>(socket: &Socket, end: &UnixStream, stream: S) -> Ended
where
    S: AsyncRead + AsyncWrite + NetStream + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (ended, reset) = converse(socket, end, &mut reader, &mut writer).await;
    let stream = reader.unsplit(writer);
    if reset {
        stream.abort();
    }
    ended
}

async fn converse(
    socket: &Socket,
    end: &UnixStream,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> (Ended, bool) {
    let mut up = pin!(send_up(socket, end, writer));
    let mut down = pin!(send_down(end, reader));
    let mut closing = pin!(closed(end));
    let mut grace = pin!(tokio::time::sleep(GRACE));
    let (mut up_done, mut down_done) = (false, false);
    let mut failed = None;
    loop {
        tokio::select! {
            reason = &mut up, if !up_done => match reason {
                Up::End { closed: true } => return (Ended::Closed, false),
                Up::End { closed: false } => up_done = true,
                Up::Reset => return (Ended::Closed, true),
                // What the peer sent before it refused more is still to be read, as with TCP:
                // often it says why.
                Up::Failed(error) => {
                    up_done = true;
                    failed = Some(reset_errno(&error));
                    grace.as_mut().reset(Instant::now() + GRACE);
                }
            },
            reason = &mut down, if !down_done => match (reason, failed) {
                // The caller notes the end before it drops `end`: what the program sees last must find it noted.
                (Ok(()), None) if up_done => return (Ended::Finished, false),
                (Ok(()), None) => {
                    down_done = true;
                    shut_write(end);
                }
                // A read after the error that the write has told finds an end that is none.
                (Ok(()), Some(errno)) => return (Ended::Failed(errno), false),
                (Err(error), _) => return (Ended::Failed(reset_errno(&error)), false),
            },
            // Before `up` is done it sees the close itself, after the last byte.
            () = &mut closing, if up_done => return match is_closed(socket) {
                true => (Ended::Closed, socket.resets_on_close()),
                false => (Ended::ShutDown, false),
            },
            () = &mut grace, if failed.is_some() => {
                return (Ended::Failed(failed.unwrap_or(libc::ECONNRESET)), false);
            }
        }
        if up_done && down_done {
            return (Ended::Finished, false);
        }
    }
}

/// Whether a hang-up is a close: shutting both directions looks the same, but is always
/// intercepted before it takes effect.
fn is_closed(socket: &Socket) -> bool {
    let shut = socket.lock().shut;
    !(shut.read && shut.write)
}

/// Program to network.
async fn send_up(socket: &Socket, end: &UnixStream, writer: &mut (impl AsyncWrite + Unpin)) -> Up {
    let mut buffer = Vec::new();
    let mut reset = false;
    loop {
        let got = match read_end(socket, end, &mut buffer).await {
            Ok(0) => break,
            Ok(got) => got,
            Err(_) => return Up::Reset,
        };
        let passed = pass_on(socket, end, writer, &buffer[..got], &mut reset).await;
        socket.passing.store(0, Ordering::Relaxed);
        match passed {
            Ok(true) => {}
            Ok(false) => return Up::Reset,
            Err(error) => return Up::Failed(error),
        }
    }
    // Every shutdown is intercepted before it takes effect: without one this is a close.
    let closed = !socket.lock().shut.write;
    if reset || (closed && wants_reset(socket, end)) {
        return Up::Reset;
    }
    match writer.shutdown().await {
        Err(error) if !closed && error.kind() != io::ErrorKind::NotConnected => Up::Failed(error),
        _ => Up::End { closed },
    }
}

/// Writes a piece to the network. If the program closes meanwhile in a way that resets, `reset` is
/// set; the piece then has [`GRACE`] to go, after which it is `false`: with a peer that reads
/// nothing, TCP's own reset would not have waited either.
async fn pass_on(
    socket: &Socket,
    end: &UnixStream,
    writer: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
    reset: &mut bool,
) -> io::Result<bool> {
    let mut write = pin!(async {
        writer.write_all(piece).await?;
        writer.flush().await
    });
    if !*reset {
        tokio::select! {
            // The watch costs nothing unless the network is slower than the program.
            biased;
            written = &mut write => return written.map(|()| true),
            () = closed(end) => *reset = is_closed(socket) && wants_reset(socket, end),
        }
    }
    if !*reset {
        return write.await.map(|()| true);
    }
    match tokio::time::timeout(GRACE, write).await {
        Ok(written) => written.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Whether a socket that the program has closed is to be reset: by its wish, or because it left
/// data unread (RFC 2525, section 2.17), which our end shows as an error (once).
fn wants_reset(socket: &Socket, end: &UnixStream) -> bool {
    let error = sys::get_int_option(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR);
    error.is_ok_and(|error| error != 0) || socket.resets_on_close()
}

/// Network to program, until the network's end of file.
async fn send_down(end: &UnixStream, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_MIN];
    let mut discard = false;
    loop {
        let got = reader.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        // The program closed its socket, or shut the read side of it. What the peer sends is taken
        // and forgotten: a peer that waits for that may in turn not take what we have for it.
        discard = discard || write_end(end, &buffer[..got]).await.is_err();
        if got == buffer.len() && got < BUFFER_MAX {
            buffer.resize(2 * got, 0);
        }
    }
}

/// Reads from the program. The buffer exists only while there is something to read.
async fn read_end(socket: &Socket, end: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.is_empty() {
        end.readable().await?;
        buffer.resize(BUFFER_MIN, 0);
    }
    loop {
        match end.try_io(Interest::READABLE, || socket.read(end, buffer)) {
            Ok(got) => {
                if got == buffer.len() && got < BUFFER_MAX {
                    buffer.resize(2 * got, 0);
                }
                return Ok(got);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => end.readable().await?,
            Err(error) => return Err(error),
        }
    }
}

/// Writes all of `data` to the program.
async fn write_end(end: &UnixStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match end.try_write(data) {
            Ok(put) => data = &data[put..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => end.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells the program that the peer has closed its side.
fn shut_write(end: &UnixStream) {
    // SAFETY: no pointers. It fails if the program is gone, who then needs not be told.
    unsafe { libc::shutdown(end.as_raw_fd(), libc::SHUT_WR) };
}

/// Completes when the program's end is closed, or shut both ways.
///
/// Registered on its own for urgent data alone, with which hang-ups always come: the readiness of
/// `end` itself belongs to the two directions.
pub(crate) async fn closed(end: &impl AsFd) {
    let watch = end.as_fd().try_clone_to_owned().and_then(|dup| sys::watch(dup, Interest::PRIORITY));
    let Ok(watch) = watch else {
        // Out of descriptors: look from time to time.
        while !sys::hung_up(end.as_fd()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        return;
    };
    while !sys::hung_up(end.as_fd()) {
        match watch.ready(Interest::PRIORITY).await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => return,
        }
    }
}

/// Whatever the network's complaint, an established connection that fails is at least reset.
fn reset_errno(error: &io::Error) -> Errno {
    match sys::errno_of(error) {
        libc::EPIPE | libc::EIO | libc::ECONNABORTED => libc::ECONNRESET,
        errno => errno,
    }
}
