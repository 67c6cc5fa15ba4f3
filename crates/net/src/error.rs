//! The stack's errors as the kernel's: programs written for `std::net` and `tokio::net` look at
//! [`io::Error::kind`] and [`raw_os_error`](io::Error::raw_os_error), so both are as a kernel
//! socket would have them.

use std::io;

use polypath_proto::{ConnectError, ConnectionError, ListenError};

fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// The error of a read, a write, or a connect that was under way.
pub(crate) fn connection(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Refused => os(libc::ECONNREFUSED),
        ConnectionError::Reset => os(libc::ECONNRESET),
        ConnectionError::HostUnreachable => os(libc::EHOSTUNREACH),
        ConnectionError::NetworkUnreachable => os(libc::ENETUNREACH),
        ConnectionError::TimedOut => os(libc::ETIMEDOUT),
        // As Linux where an administrator destroys a socket.
        ConnectionError::Aborted | ConnectionError::AddressRemoved => os(libc::ECONNABORTED),
        ConnectionError::Closed => os(libc::EPIPE),
    }
}

/// The error of a connect that could not begin.
pub(crate) fn connect(error: ConnectError) -> io::Error {
    match error {
        ConnectError::Unreachable { .. } | ConnectError::NotUnicast(_) => os(libc::ENETUNREACH),
        // The kernel says so for want of ports too.
        ConnectError::AddressNotAvailable(_) | ConnectError::NoPort => os(libc::EADDRNOTAVAIL),
        ConnectError::AddressInUse(_) => os(libc::EADDRINUSE),
    }
}

/// The error of a bind.
pub(crate) fn listen(error: ListenError) -> io::Error {
    match error {
        ListenError::NotAvailable => os(libc::EADDRNOTAVAIL),
        ListenError::InUse | ListenError::NoPort => os(libc::EADDRINUSE),
    }
}

/// The application let go of its own connection, or the stack forgot it.
pub(crate) fn not_connected() -> io::Error {
    os(libc::ENOTCONN)
}

/// What `try_*` says where a poll would be pending.
pub(crate) fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}
