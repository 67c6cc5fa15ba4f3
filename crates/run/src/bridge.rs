//! Carries the bytes of one established connection between the program's socket and the network.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::network::NetStream;
use crate::socket::Socket;
use crate::sys::{self, Errno};

/// Buffers begin at this size and grow to the other when reads fill them: idle connections stay
/// cheap, busy ones take few system calls.
const BUFFER_MIN: usize = 16 * 1024;
const BUFFER_MAX: usize = 256 * 1024;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program closed its socket; the network finishes what is left.
    Closed,
    /// Both directions were closed in order, and the program may still hold its socket.
    Finished,
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

/// Why the direction from the network to the program stopped.
enum Down {
    /// The peer closed its side; all was passed on.
    End,
    /// The program takes no more: it closed its socket.
    Closed,
    /// The network failed.
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
    let mut down = pin!(send_down(socket, end, reader));
    let mut closing = pin!(closed(end));
    let (mut up_done, mut down_done, mut watching) = (false, false, true);
    loop {
        tokio::select! {
            reason = &mut up, if !up_done => match reason {
                Up::End { closed: true } => return (Ended::Closed, false),
                Up::End { closed: false } => up_done = true,
                Up::Reset => return (Ended::Closed, true),
                Up::Failed(error) => return (Ended::Failed(reset_errno(&error)), false),
            },
            reason = &mut down, if !down_done => match reason {
                Down::End => {
                    down_done = true;
                    shut_write(end);
                }
                // What the program wrote before is still on its way.
                Down::Closed if !up_done => down_done = true,
                Down::Closed => return (Ended::Closed, false),
                Down::Failed(error) => return (Ended::Failed(reset_errno(&error)), false),
            },
            // Before `up` is done it sees the close itself, after the last byte.
            () = &mut closing, if up_done && watching => {
                // If the program has shut both directions, a close cannot be told apart from that.
                watching = false;
                if !socket.lock().shut.read {
                    return (Ended::Closed, socket.resets_on_close());
                }
            }
        }
        if up_done && down_done {
            return (Ended::Finished, false);
        }
    }
}

/// Program to network.
async fn send_up(socket: &Socket, end: &UnixStream, writer: &mut (impl AsyncWrite + Unpin)) -> Up {
    let mut buffer = Vec::new();
    loop {
        let got = match read_end(end, &mut buffer).await {
            Ok(0) => break,
            Ok(got) => got,
            // The program closed its socket with unread data in it (RFC 2525, section 2.17).
            Err(_) => return Up::Reset,
        };
        if let Err(error) = writer.write_all(&buffer[..got]).await {
            return Up::Failed(error);
        }
        if let Err(error) = writer.flush().await {
            return Up::Failed(error);
        }
    }
    // Every shutdown is intercepted before it takes effect: without one this is a close.
    let closed = !socket.lock().shut.write;
    if closed && socket.resets_on_close() {
        return Up::Reset;
    }
    match writer.shutdown().await {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Up::Failed(error),
        _ => Up::End { closed },
    }
}

/// Network to program.
async fn send_down(socket: &Socket, end: &UnixStream, reader: &mut (impl AsyncRead + Unpin)) -> Down {
    let mut buffer = vec![0; BUFFER_MIN];
    let mut discard = false;
    loop {
        let got = match reader.read(&mut buffer).await {
            Ok(0) => return Down::End,
            Ok(got) => got,
            Err(error) => return Down::Failed(error),
        };
        if !discard && write_end(end, &buffer[..got]).await.is_err() {
            // After SHUT_RD the peer may go on sending: it is read and forgotten.
            discard = socket.lock().shut.read;
            if !discard {
                return Down::Closed;
            }
        }
        if got == buffer.len() && got < BUFFER_MAX {
            buffer.resize(2 * got, 0);
        }
    }
}

/// Reads from the program. The buffer exists only while there is something to read.
async fn read_end(end: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.is_empty() {
        end.readable().await?;
        buffer.resize(BUFFER_MIN, 0);
    }
    loop {
        match end.try_read(buffer) {
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
