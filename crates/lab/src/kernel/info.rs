//! What the kernel tells of one of its connections: `TCP_INFO`, and the same of Multipath TCP.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys;

// From `linux/mptcp.h`.
const SOL_MPTCP: libc::c_int = 284;
const MPTCP_INFO: libc::c_int = 1;
const MPTCP_TCPINFO: libc::c_int = 2;
/// Bytes of `struct tcp_info` that are asked for, of each subflow.
const TCP_INFO_LEN: usize = 240;
/// `tcpi_rcv_wnd` in it, since Linux 6.2.
const RCV_WND: usize = 232;
/// `struct mptcp_subflow_data`, which stands before them.
const SUBFLOW_DATA_LEN: usize = 16;
/// `mptcpi_bytes_retrans` and `mptcpi_bytes_sent` in `struct mptcp_info`, since Linux 6.5.
const BYTES_RETRANS: usize = 48;
const BYTES_SENT: usize = 56;
/// More subflows than a lab's connection has.
const MAX_SUBFLOWS: usize = 16;

/// What a Multipath TCP connection has sent.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct SentBytes {
    /// Payload bytes sent, each once.
    pub sent: u64,
    /// Payload bytes sent again on another subflow.
    pub again: u64,
}

/// What the Multipath TCP connection `socket` has sent.
///
/// # Errors
/// For a socket that does not speak Multipath TCP, or fell back, and on Linux before 6.5.
pub fn sent_bytes(socket: BorrowedFd<'_>) -> io::Result<SentBytes> {
    let mut info = [0; 128];
    let len = sys::socket_option(socket, SOL_MPTCP, MPTCP_INFO, &mut info)?;
    let info = &info[..len];
    match (number(info, BYTES_SENT), number(info, BYTES_RETRANS)) {
        (Some(sent), Some(again)) => Ok(SentBytes { sent, again }),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel does not count what it sends again")),
    }
}

/// The receive window that `socket` advertises, in bytes; of Multipath TCP the largest of its subflows.
///
/// # Errors
/// For a socket that speaks neither, and on Linux before 6.2.
pub fn receive_window(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let window = |info: &[u8]| info.get(RCV_WND..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let mut all = [0; SUBFLOW_DATA_LEN + MAX_SUBFLOWS * TCP_INFO_LEN];
    all[..4].copy_from_slice(&(SUBFLOW_DATA_LEN as u32).to_ne_bytes());
    all[12..16].copy_from_slice(&(TCP_INFO_LEN as u32).to_ne_bytes());
    let windows = match sys::socket_option(socket, SOL_MPTCP, MPTCP_TCPINFO, &mut all) {
        Ok(len) => {
            let each = all[..len].get(SUBFLOW_DATA_LEN..).unwrap_or_default().chunks(TCP_INFO_LEN);
            each.filter_map(window).max()
        }
        Err(_) => {
            let len = sys::socket_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut all[..TCP_INFO_LEN])?;
            window(&all[..len])
        }
    };
    windows.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "this kernel does not tell its receive window"))
}

fn number(info: &[u8], at: usize) -> Option<u64> {
    info.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}
