//! `ioctl`: questions about interfaces, which a UNIX socket does not answer, and about what is
//! unsent, of which it knows only a part.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use crate::bpf;
use crate::memory::{self, Waiting};
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};

/// `struct ifreq` on 64-bit systems.
const IFREQ_LEN: usize = 40;
/// `struct arpreq`.
const ARPREQ_LEN: usize = 68;
/// `struct timeval` and `struct timespec`.
const TIME_LEN: usize = 16;
/// More interfaces than this are not told.
const IFCONF_MAX: usize = 1024 * IFREQ_LEN;

/// How much was written and not sent yet (linux/sockios.h).
const SIOCOUTQNSD: u32 = 0x894b;

/// When the last packet came (linux/sockios.h).
const SIOCGSTAMP: u32 = 0x8906;
const SIOCGSTAMPNS: u32 = 0x8907;

/// Questions about one interface whose `ifreq` holds no pointer.
const QUESTIONS: [u32; 11] = [
    libc::SIOCGIFNAME as u32,
    libc::SIOCGIFFLAGS as u32,
    libc::SIOCGIFADDR as u32,
    libc::SIOCGIFDSTADDR as u32,
    libc::SIOCGIFBRDADDR as u32,
    libc::SIOCGIFNETMASK as u32,
    libc::SIOCGIFMETRIC as u32,
    libc::SIOCGIFMTU as u32,
    libc::SIOCGIFHWADDR as u32,
    libc::SIOCGIFINDEX as u32,
    // SIOCGIFTXQLEN
    0x8942,
];

pub(super) fn ioctl<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, _)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let (command, argument) = (call.args[1] as u32, call.args[2]);
    let waiting = shared.waiting(call);
    let is_listening = || matches!(socket.lock().state, State::Listening);
    match command {
        bpf::SIOCOUTQ | SIOCOUTQNSD if is_listening() => return Err(libc::EINVAL),
        bpf::SIOCOUTQ | SIOCOUTQNSD => {
            // In this order: what goes on meanwhile is counted twice, and never not at all.
            let queued = socket.waiting() as u64 + in_network(&socket, command == SIOCOUTQNSD);
            memory::write(waiting, argument, &i32::try_from(queued).unwrap_or(i32::MAX).to_ne_bytes())?;
        }
        // Urgent data is not carried: the mark is never reached.
        bpf::SIOCATMARK => memory::write(waiting, argument, &0i32.to_ne_bytes())?,
        command if command == libc::SIOCGIFCONF as u32 => list_interfaces(&socket, waiting, argument)?,
        command if QUESTIONS.contains(&command) => ask_and_tell(&socket, waiting, argument, IFREQ_LEN)?,
        command if command == libc::SIOCGARP as u32 => ask_and_tell(&socket, waiting, argument, ARPREQ_LEN)?,
        SIOCGSTAMP | SIOCGSTAMPNS => ask_and_tell(&socket, waiting, argument, TIME_LEN)?,
        command if bpf::PROTOCOL_IOCTLS.contains(&command) => return Err(libc::ENOTTY),
        // What is left the kernel answers alike for every kind of socket, or refuses.
        _ => return Ok(Answer::Continue),
    }
    Ok(Answer::Value(0))
}

/// Bytes that the peer has not acknowledged yet, or those of them that were not sent.
fn in_network(socket: &Socket, unsent: bool) -> u64 {
    let (by_kernel, shadow) = {
        let inner = socket.lock();
        (inner.by_kernel && matches!(inner.state, State::Connected { .. }), inner.shadow_fd())
    };
    if by_kernel {
        let command = if unsent { SIOCOUTQNSD } else { bpf::SIOCOUTQ };
        return sys::ask_int(shadow, command as libc::Ioctl).ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    }
    let Some(look) = socket.control().and_then(|control| control.look()) else { return 0 };
    let (all, sent) = (look.info.send_queue as u64, look.info.bytes_sent.saturating_sub(look.info.bytes_acked));
    if unsent { all.saturating_sub(sent) } else { all }
}

/// `SIOCGIFCONF`: `struct ifconf { int len; char *buffer; }`; with a null buffer it asks how much
/// room is needed.
fn list_interfaces(socket: &Socket, waiting: Waiting<'_>, at: u64) -> Result<(), Errno> {
    let theirs = memory::read(waiting.1.tid, at, 16)?;
    let word = |n: usize| theirs[n..n + 8].try_into().map(u64::from_ne_bytes);
    let (len, buffer) = (word(0).unwrap_or(0) as u32 as usize, word(8).unwrap_or(0));
    let mut list = vec![0u8; len.min(IFCONF_MAX)];
    let ours = if buffer == 0 { std::ptr::null_mut() } else { list.as_mut_ptr() };
    let mut request =
        libc::ifconf { ifc_len: list.len() as i32, ifc_ifcu: libc::__c_anonymous_ifc_ifcu { ifcu_buf: ours.cast() } };
    ask(socket, libc::SIOCGIFCONF as u32, (&raw mut request).cast())?;
    if buffer != 0 {
        let told = (request.ifc_len as usize).min(list.len());
        memory::write(waiting, buffer, &list[..told])?;
    }
    memory::write(waiting, at, &request.ifc_len.to_ne_bytes())
}

/// Lets the kernel answer in a copy of what the program gave, of `len` bytes.
fn ask_and_tell(socket: &Socket, waiting: Waiting<'_>, at: u64, len: usize) -> Result<(), Errno> {
    let call = waiting.1;
    let mut request = memory::read(call.tid, at, len)?;
    ask(socket, call.args[1] as u32, request.as_mut_ptr().cast())?;
    memory::write(waiting, at, &request)
}

fn ask(socket: &Socket, command: u32, argument: *mut libc::c_void) -> Result<(), Errno> {
    let shadow = socket.lock().shadow.as_raw_fd();
    // SAFETY: `argument` is to a live structure of the kind that `command` takes.
    let result = unsafe { libc::ioctl(shadow, command as libc::Ioctl, argument) };
    sys::check(result).map(drop).map_err(|error| sys::errno_of(&error))
}
