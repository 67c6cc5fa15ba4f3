//! Both ends of a transfer: a host of ours, a kernel socket, and bytes whose every position is
//! checked.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use polypath_net::Host;
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::{KERNEL_V4, KERNEL_V6};

/// Where our host lives.
pub(crate) const HOST_V4: &str = "10.1.0.2";
pub(crate) const HOST_V6: &str = "2001:db8:1::2";

/// No test takes as long; what hangs is to fail.
const LIMIT: Duration = Duration::from_secs(60);

/// A host with an address of each family.
pub(crate) fn host() -> Host {
    Host::builder()
        .address(HOST_V4.parse().unwrap(), Some("four"), false)
        .address(HOST_V6.parse().unwrap(), Some("six"), false)
        .start()
        .unwrap()
}

/// Runs a future on this thread, which is in the right namespace.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await }).expect("the test hangs")
}

/// The kernel's address of the family of `addr`, port unset.
pub(crate) fn kernel_addr(v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { KERNEL_V6 } else { KERNEL_V4 }.parse().unwrap();
    SocketAddr::new(ip, 0)
}

/// A kernel socket that listens, for Multipath TCP or for plain TCP only.
pub(crate) fn kernel_listener(v6: bool, multipath: bool) -> TcpListener {
    let protocol = if multipath { Protocol::MPTCP } else { Protocol::TCP };
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, Some(protocol)).unwrap();
    socket.bind(&kernel_addr(v6).into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

/// A kernel socket connected to `remote`.
pub(crate) fn kernel_stream(remote: SocketAddr, multipath: bool) -> io::Result<std::net::TcpStream> {
    let protocol = if multipath { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(protocol))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(&remote.into())?;
    Ok(socket.into())
}

/// Runs blocking socket calls beside the test, in its namespace.
pub(crate) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(work)
}

/// The byte at each position of every test stream.
fn byte_at(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// `len` bytes of the test stream from `position`.
pub(crate) fn pattern(position: usize, len: usize) -> Vec<u8> {
    (position..position + len).map(byte_at).collect()
}

/// Follows a received test stream.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) received: usize,
}

impl Checker {
    pub(crate) fn check(&mut self, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            let position = self.received + offset;
            assert_eq!(*byte, byte_at(position), "at position {position}");
        }
        self.received += bytes.len();
    }
}

/// Sends the test stream through a blocking socket.
pub(crate) fn send_pattern(stream: &mut impl Write, len: usize) {
    const CHUNK: usize = 128 * 1024;
    let mut position = 0;
    while position < len {
        let chunk = CHUNK.min(len - position);
        stream.write_all(&pattern(position, chunk)).unwrap();
        position += chunk;
    }
}

/// Receives the test stream to its end through a blocking socket, and returns its length.
pub(crate) fn receive_pattern(stream: &mut impl Read) -> usize {
    let mut checker = Checker::default();
    let mut buf = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buf).unwrap() {
            0 => return checker.received,
            len => checker.check(&buf[..len]),
        }
    }
}
