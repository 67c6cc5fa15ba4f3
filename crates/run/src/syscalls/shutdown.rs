//! `shutdown`: done by the kernel on the UNIX socket; we only have to know of it before.

use std::sync::Arc;

use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::Errno;

pub(super) fn shutdown<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, _)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let how = call.int(1);
    if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
        return Err(libc::EINVAL);
    }
    let mut inner = socket.lock();
    match inner.state {
        State::Connected { .. } => {
            inner.shut.read |= how != libc::SHUT_WR;
            inner.shut.write |= how != libc::SHUT_RD;
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
        State::Listening if how != libc::SHUT_WR => {
            drop(inner);
            Ok(stop_listening(shared, call, &socket))
        }
        // As long as the peer has not closed its side, too.
        State::Listening | State::Over { peer: Some(_), .. } => Ok(Answer::Value(0)),
        _ => Err(libc::ENOTCONN),
    }
}

/// The socket listens no more; the call is answered when that is over. The program's file is dead: a listen or
/// a connect puts another in its place, and not this call, since who waits in epoll is told by its end.
pub(super) fn stop_listening<N: Network>(shared: &Arc<Shared<N>>, call: &Call, socket: &Socket) -> Answer {
    socket.stop_shadow();
    let Some(listening) = shared.listenings.get(socket.cookie) else { return Answer::Value(0) };
    listening.stop();
    let (shared, call) = (Arc::clone(shared), *call);
    shared.runtime.clone().spawn(async move {
        listening.ended().await;
        shared.listener.answer(call.id, Answer::Value(0));
    });
    Answer::Later
}
