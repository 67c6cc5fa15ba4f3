//! `getsockname` and `getpeername`.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::address;
use crate::memory;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::State;
use crate::supervisor::Shared;
use crate::sys::Errno;

pub(super) fn getsockname<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, _)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    tell(shared, call, socket.name(), socket.domain)
}

pub(super) fn getpeername<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, _)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let (State::Connected { peer, .. } | State::Over { peer: Some(peer), .. }) = socket.lock().state else {
        return Err(libc::ENOTCONN);
    };
    tell(shared, call, peer, socket.domain)
}

fn tell<N: Network>(shared: &Shared<N>, call: &Call, name: SocketAddr, domain: i32) -> Result<Answer, Errno> {
    let bytes = address::emit(name, domain);
    memory::write_sized(shared.waiting(call), call.args[1], call.args[2], &bytes, bytes.len())?;
    Ok(Answer::Value(0))
}
