//! Bulk data over a stream, hashed at both ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::payload::{Hasher, Payload, Sha256Digest};

/// Bytes taken from a socket at once.
const BUFFER: usize = 256 * 1024;

/// What went over one connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Bytes written to the stream.
    pub sent: u64,
    /// Bytes read from it, up to its end.
    pub received: u64,
    /// SHA-256 of what was read.
    pub received_sha256: Sha256Digest,
}

/// Sends the first `len` bytes of the payload of `seed` and closes the sending side, and at the same time reads to
/// the end of what the peer sends.
///
/// # Errors
/// Those of the stream, in either direction.
pub fn exchange(stream: &TcpStream, seed: u64, len: u64) -> io::Result<Transfer> {
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut out = stream;
            Payload::new(seed).write_to(&mut out, len)?;
            stream.shutdown(Shutdown::Write)
        });
        let hasher = read_to_end(stream, |_| ())?;
        sending.join().unwrap_or_else(|_| Err(io::Error::other("the sending thread panicked")))?;
        Ok(Transfer { sent: len, received: hasher.len(), received_sha256: hasher.finish() })
    })
}

/// Reads to the end of the stream and only then answers with the 32 bytes of the SHA-256.
pub(crate) fn sink(stream: &TcpStream) -> io::Result<Transfer> {
    let hasher = read_to_end(stream, |_| ())?;
    let received = hasher.len();
    let received_sha256 = hasher.finish();
    let mut out = stream;
    out.write_all(&received_sha256.0)?;
    stream.shutdown(Shutdown::Write)?;
    Ok(Transfer { sent: received_sha256.0.len() as u64, received, received_sha256 })
}

/// Sends everything back as it comes.
pub(crate) fn echo(stream: &TcpStream) -> io::Result<Transfer> {
    let mut out = stream;
    let mut result = Ok(());
    let hasher = read_to_end(stream, |bytes| {
        if result.is_ok() {
            result = out.write_all(bytes);
        }
    })?;
    result?;
    stream.shutdown(Shutdown::Write)?;
    Ok(Transfer { sent: hasher.len(), received: hasher.len(), received_sha256: hasher.finish() })
}

/// Hashes everything up to the end of the stream, showing each piece to `look`.
pub(crate) fn read_to_end(mut stream: impl Read, mut look: impl FnMut(&[u8])) -> io::Result<Hasher> {
    let mut buf = vec![0; BUFFER];
    let mut hasher = Hasher::default();
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return Ok(hasher),
            Ok(len) => {
                hasher.update(&buf[..len]);
                look(&buf[..len]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
