//! Sockets that listen and that their programs have closed, which is seen a moment later: an address is free at once all the
//! same, and nobody is let in any more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::listening::Listening;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};

/// What a parked accept takes, once it looks, to see that its caller is dead and to let go of the socket.
const LOOK: Duration = Duration::from_millis(3);
/// A busy machine takes a few of them. Who still waits in accept then is alive.
const LOOKS: u32 = 10;

/// Does what needs an address. If others have it that may be on their way out, the call waits for them, and it is done
/// once more.
pub(super) fn attempt<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    port: u16,
    operation: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> Result<Answer, Errno> {
    match operation() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && shared.listenings.has(port) => {}
        done => return done.map(|()| Answer::Value(0)).map_err(|error| sys::errno_of(&error)),
    }
    let (shared, call) = (Arc::clone(shared), *call);
    shared.runtime.clone().spawn(async move {
        ended(&shared, port).await;
        // It may ask about the caller, whom nothing keeps from holding it up.
        let done = tokio::task::spawn_blocking(operation).await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let answer = done.map_or_else(|error| Answer::Error(sys::errno_of(&error)), |()| Answer::Value(0));
        shared.listener.answer(call.id, answer);
    });
    Ok(Answer::Later)
}

/// Completes when all that programs have closed by now of what listened on `port` is at its end.
pub(super) async fn ended<N: Network>(shared: &Shared<N>, port: u16) {
    for _ in 0..LOOKS {
        if !shared.listenings.is_awaited(port) {
            break;
        }
        shared.patrols.notify_waiters();
        tokio::time::sleep(LOOK).await;
    }
    let closed: Vec<Arc<Listening<N::Stream>>> = shared.listenings.closed(port);
    for listening in closed {
        listening.ended().await;
    }
}
