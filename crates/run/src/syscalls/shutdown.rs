//! `shutdown`: done by the kernel on the UNIX socket; we only have to know of it before.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::Errno;

pub(super) fn shutdown<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let how = call.int(1);
    if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
        return Err(libc::EINVAL);
    }
    let mut inner = socket.lock();
    match inner.state {
        State::Connected { .. } => {
            let ends_writing = how != libc::SHUT_RD && !inner.shut.write;
            inner.shut.read |= how != libc::SHUT_WR;
            inner.shut.write |= how != libc::SHUT_RD;
            drop(inner);
            if ends_writing {
                set_mark(shared, &socket, &end);
            }
            Ok(Answer::Continue)
        }
        State::Connecting => {
            // Linux takes it as a disconnect; dropping the attempt closes our end.
            if let Some(task) = inner.task.take() {
                task.abort();
            }
            inner.state = State::Spent;
            Ok(Answer::Value(0))
        }
        _ => Err(libc::ENOTCONN),
    }
}

/// From here on what the program has written is read up to the mark only.
fn set_mark<N>(shared: &Shared<N>, socket: &Socket, end: &OwnedFd) {
    let mut mark = socket.mark.lock();
    match shared.linker.mark(end.as_fd()) {
        Ok(charge) => *mark = Some(charge),
        Err(error) => {
            tracing::debug!(%error, "no mark: a reset of this half-closed connection shows as an end of file");
        }
    }
}
