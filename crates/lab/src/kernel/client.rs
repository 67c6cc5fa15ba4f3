//! Programs with kernel sockets in a namespace, as clients.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::Domain;

use super::transfer::read_to_end;
use super::{Transfer, Transport, exchange};
use crate::namespace::Namespace;
use crate::payload::Hasher;

/// A connection from a namespace to somewhere, over a kernel socket.
#[derive(Debug)]
pub struct KernelClient {
    stream: TcpStream,
}

impl KernelClient {
    /// Connects from inside `namespace`, from the address `local` if one is given. Gives up after 10 seconds.
    ///
    /// # Errors
    /// Those of the sockets.
    pub fn connect(
        namespace: &Namespace,
        transport: Transport,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) -> io::Result<Self> {
        namespace.run(|| Self::connect_here(transport, local, remote))?
    }

    /// Connects from the calling thread's namespace.
    ///
    /// # Errors
    /// Those of the sockets.
    pub fn connect_here(transport: Transport, local: Option<SocketAddr>, remote: SocketAddr) -> io::Result<Self> {
        let socket = transport.socket(Domain::for_address(remote))?;
        if let Some(local) = local {
            socket.bind(&local.into())?;
        }
        socket.connect_timeout(&remote.into(), Duration::from_secs(10))?;
        Ok(Self { stream: socket.into() })
    }

    /// Connects from the calling thread's namespace with TCP Fast Open: of `data` as much as possible goes with the SYN
    /// (MSG_FASTOPEN), and then the rest.
    ///
    /// # Errors
    /// Those of the sockets; the namespace's `net.ipv4.tcp_fastopen` must have bit 0.
    pub fn connect_fast_here(transport: Transport, remote: SocketAddr, data: &[u8]) -> io::Result<Self> {
        let socket = transport.socket(Domain::for_address(remote))?;
        let sent = socket.send_to_with_flags(data, &remote.into(), libc::MSG_FASTOPEN)?;
        let mut stream: TcpStream = socket.into();
        stream.write_all(&data[sent..])?;
        Ok(Self { stream })
    }

    /// The connection's stream.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream, for the caller to keep.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends `len` bytes of the payload of `seed` and reads what comes until the peer ends; see [`exchange`]. With
    /// nothing to send prefer [`KernelClient::receive`]: Linux joins no more paths to a connection whose sending side
    /// is closed.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn exchange(&self, seed: u64, len: u64) -> io::Result<Transfer> {
        exchange(&self.stream, seed, len)
    }

    /// Reads to the end of what the peer sends, and keeps the sending side open meanwhile.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn receive(&self) -> io::Result<Transfer> {
        let hasher = read_to_end(&self.stream, |_| ())?;
        Ok(Transfer { sent: 0, received: hasher.len(), received_sha256: hasher.finish() })
    }

    /// Fetches `path` by HTTP and shows each piece of the body to `look`. Returns the body's length and hash.
    ///
    /// # Errors
    /// Those of the stream, and any answer but 200.
    pub fn get(self, path: &str, mut look: impl FnMut(&[u8])) -> io::Result<Hasher> {
        let mut stream = self.stream;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut head = Vec::new();
        let body_at = loop {
            let mut buf = [0; 4096];
            let len = stream.read(&mut buf)?;
            if len == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed without an answer"));
            }
            head.extend_from_slice(&buf[..len]);
            if let Some(at) = body_start(&head)? {
                break at;
            }
        };
        read_to_end(head[body_at..].chain(stream), &mut look)
    }
}

/// Where the body begins, once the head of the answer is whole.
fn body_start(head: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(_) if response.code != Some(200) => {
            Err(io::Error::other(format!("the server answered {}", response.code.unwrap_or(0))))
        }
        httparse::Status::Complete(len) => Ok(Some(len)),
    }
}
