//! What is done for each intercepted call, one file for each group.

mod accept;
mod bind;
mod closing;
mod connect;
mod create;
mod fast_open;
mod ioctl;
mod listen;
mod names;
mod options;
mod refused;
mod shutdown;
mod told;
mod transfer;

use std::sync::Arc;

use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::supervisor::Shared;
use crate::sys::Errno;

/// Handles one call. An error is the errno with which it fails.
pub(crate) fn dispatch<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    match call.nr {
        libc::SYS_socket => create::socket(shared, call),
        libc::SYS_connect => connect::connect(shared, call),
        libc::SYS_bind => bind::bind(shared, call),
        libc::SYS_listen => listen::listen(shared, call),
        libc::SYS_accept | libc::SYS_accept4 => accept::accept(shared, call),
        libc::SYS_shutdown => shutdown::shutdown(shared, call),
        libc::SYS_getsockname => names::getsockname(shared, call),
        libc::SYS_getpeername => names::getpeername(shared, call),
        libc::SYS_setsockopt => options::setsockopt(shared, call),
        libc::SYS_getsockopt => options::getsockopt(shared, call),
        libc::SYS_sendto => transfer::sendto(shared, call),
        libc::SYS_sendmsg => transfer::sendmsg(shared, call),
        libc::SYS_sendmmsg => transfer::sendmmsg(shared, call),
        libc::SYS_recvfrom => transfer::recvfrom(shared, call),
        libc::SYS_recvmsg => transfer::flagged_receive(shared, call, call.int(2)),
        libc::SYS_recvmmsg => transfer::flagged_receive(shared, call, call.int(3)),
        libc::SYS_ioctl => ioctl::ioctl(shared, call),
        _ => Ok(Answer::Continue),
    }
}
