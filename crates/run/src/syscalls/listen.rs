//! `listen`: in the network and, with the shadow, in the kernel, which is where connections from this host come to.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use polypath_config::Program;

use crate::address;
use crate::hub::{Hub, Seat};
use crate::link;
use crate::listening::Listening;
use crate::network::{Listen, Network};
use crate::notify::{Answer, Call};
use crate::program;
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::{closing, connect};

/// Linux since 5.4, where `/proc` does not tell.
const SOMAXCONN: usize = 4096;

pub(super) fn listen<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    if let Some(listening) = shared.listenings.get(socket.cookie) {
        listening.set_backlog(backlog(call.int(1)));
        listen_in_kernel(&socket, call.int(1)).map_err(|error| sys::errno_of(&error))?;
        return Ok(Answer::Value(0));
    }
    let is_spent = match socket.lock().state {
        State::Idle => false,
        State::Spent => true,
        _ => return Err(libc::EINVAL),
    };
    // It has been shut down, or a connect has failed: the program's file is dead.
    let (socket, end) = if is_spent { connect::replace(shared, call, &socket, &end)? } else { (socket, end) };
    let port = socket.lock().bound.map_or(0, |bound| bound.port());
    closing::attempt(shared, call, port, {
        let (shared, asked) = (Arc::clone(shared), call.int(1));
        let program = shared.network.asks_for_programs().then(|| Arc::new(program::of(call.tid)));
        move || start(&shared, &socket, &end, (asked, program.clone()))
    })
}

/// Everything, or nothing.
fn start<N: Network>(
    shared: &Arc<Shared<N>>,
    socket: &Arc<Socket>,
    end: &OwnedFd,
    (asked, program): (i32, Option<Arc<Program>>),
) -> io::Result<()> {
    socket.retake_address()?;
    // The kernel chooses a port, if there was no bind, and knows whether others have it.
    listen_in_kernel(socket, asked)?;
    let kernel = socket.lock().shadow.try_clone()?;
    let started = start_in_network(shared, socket, end, (backlog(asked), program), kernel);
    if started.is_err() {
        socket.stop_shadow();
    }
    started
}

fn listen_in_kernel(socket: &Socket, asked: i32) -> io::Result<()> {
    let mut inner = socket.lock();
    let shadow = inner.shadow.as_raw_fd();
    // SAFETY: no pointers.
    sys::check(unsafe { libc::listen(shadow, asked) })?;
    sys::set_nonblocking(shadow, true)?;
    inner.bound = Some(address::kernel_name(shadow)?);
    inner.holds_address = true;
    Ok(())
}

fn start_in_network<N: Network>(
    shared: &Arc<Shared<N>>,
    socket: &Arc<Socket>,
    end: &OwnedFd,
    (backlog, program): (usize, Option<Arc<Program>>),
    kernel: OwnedFd,
) -> io::Result<()> {
    let seat = seat(shared, socket, backlog, program)?;
    let ours = shared.linker.link(end.as_fd())?;
    link::stuff(end.as_fd())?;
    // Writing to it fails instead of waiting.
    // SAFETY: no pointers.
    sys::check(unsafe { libc::shutdown(end.as_raw_fd(), libc::SHUT_WR) })?;
    let room = seat.as_ref().map_or_else(Arc::default, Seat::room);
    let port = socket.lock().bound.map_or(0, |bound| bound.port());
    let listening = Arc::new(Listening::new(port, ours, backlog, room));
    let hub = seat.map(|seat| seat.take(&listening));
    shared.listenings.insert(socket.cookie, Arc::clone(&listening));
    socket.set_state(State::Listening);
    let (shared, socket) = (Arc::clone(shared), Arc::clone(socket));
    shared.runtime.clone().spawn(async move {
        listening.attend(kernel).await;
        let stopped = listening.is_stopped();
        listening.stop();
        if let Some(hub) = hub {
            hub.leave(&listening).await;
        }
        if stopped {
            // By a shutdown: the program still has it.
            socket.give_up_port();
            socket.set_state(State::Spent);
        } else {
            shared.table.remove(socket.cookie);
            socket.let_go();
        }
        shared.listenings.remove(socket.cookie);
        listening.finish();
    });
    Ok(())
}

/// A place where the connections are shared out that come in over the network for the socket's address. `None`: nothing
/// comes in there.
fn seat<N: Network>(
    shared: &Arc<Shared<N>>,
    socket: &Socket,
    backlog: usize,
    program: Option<Arc<Program>>,
) -> io::Result<Option<Seat<N::Stream>>> {
    let (local, shadow) = {
        let inner = socket.lock();
        (inner.bound.map(address::canonical), inner.shadow.as_raw_fd())
    };
    let Some(local) = local.filter(|local| !local.ip().is_loopback()) else { return Ok(None) };
    let option = |level, name| sys::get_int_option(shadow, level, name).unwrap_or(0);
    let with = Listen {
        backlog,
        v6_only: local.is_ipv6() && option(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) != 0,
        fast_open: usize::try_from(option(libc::IPPROTO_TCP, libc::TCP_FASTOPEN)).unwrap_or(0),
        program,
    };
    shared.listenings.seat((local, with.v6_only), move || {
        let Some(listener) = shared.network.listen(local, with)? else { return Ok(None) };
        let hub = Hub::new();
        hub.serve(&shared.runtime, listener);
        Ok(Some(hub))
    })
}

/// As the kernel takes it.
fn backlog(asked: i32) -> usize {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
    let limit: usize = limit.unwrap_or(SOMAXCONN);
    // One more waits than is said.
    usize::try_from(asked).map_or(limit, |asked| asked.min(limit)) + 1
}
