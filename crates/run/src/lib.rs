//! Unmodified programs over polypath, by seccomp user notification.
//!
//! ```no_run
//! # async fn example(network: impl polypath_run::Network) -> Result<(), polypath_run::RunError> {
//! let mut command = std::process::Command::new("curl");
//! command.arg("http://example.org/");
//! let status = polypath_run::Runner::new(command, network).run().await?;
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! The program runs under a seccomp filter, inherited by all that it starts, which stops a few
//! control calls and announces them to the supervisor. `socket` for an Internet stream is answered
//! with a UNIX stream socket; at connect its other end is taken by the supervisor, and a task
//! carries bytes between it and a stream of the [`Network`]. Reading, writing, polling,
//! duplicating, forking and passing descriptors are the kernel's own on that socket and are never
//! intercepted; static and dynamic programs are the same to it.
//!
//! - **Identity.** A descriptor is recognised by the socket's cookie, so that dup, fork, exec and
//!   passing it on need no bookkeeping. No duplicate of the program's end is kept: it would hide
//!   the program's close, which is seen as a hang-up.
//! - **Connecting** is a full send buffer: no `POLLOUT`, `EAGAIN`. On success the junk in it is
//!   drained: one `POLLOUT`. On failure our end closes with the junk unread, which looks like a
//!   refused connection; `SO_ERROR` tells the true errno.
//! - **A blocking connect** is parked, never a thread. Its end is linked only on success, so that
//!   the descriptor can connect again after a failure. Every 20 ms a parked call looks for signals
//!   that have to be delivered.
//! - **A reset** shows only if our end of the UNIX socket closes with something unread. So something
//!   always is: the last byte that the program wrote is passed on, but taken from the queue only when
//!   there are more. A connection that fails must never look like one that has ended, not even when
//!   `run` itself is killed.
//! - **Listening.** The program's end is linked and full, as if it were connecting, and has a byte to read as long as
//!   a connection waits. `accept` is answered with a descriptor: one end of a pair for a connection that came over the
//!   network; the kernel's own socket for one that came to the shadow, which listens on the same address for this host's
//!   own connections. An accept that has to wait is parked.
//! - **The shadow.** Each virtual socket has a kernel TCP socket that does not speak, unless it listens. Options and
//!   binds are done on it: checked, kept and told by the kernel. What is done on the shadow is
//!   done with the caller's rights: a program without privileges gains none. If it connects to a loopback
//!   address (or to one that the network does not [carry](Network::carries)), the shadow connects,
//!   and is bridged like any other stream: a descriptor replaced at connect would lose its epoll
//!   registrations and duplicates.
//!
//! # What is intercepted
//!
//! | call | when | why |
//! |---|---|---|
//! | `socket` | `AF_INET`, `AF_INET6` with `SOCK_STREAM` | gives a UNIX socket |
//! | `connect` | always | starts a connection; other kinds of sockets continue |
//! | `bind`, `listen` | always | done on the shadow, and in the network |
//! | `accept`, `accept4` | always | gives one of the connections that wait |
//! | `shutdown` | always | tells a half-close from a close; see "A reset" |
//! | `getsockname`, `getpeername` | always | a UNIX socket has other names |
//! | `setsockopt`, `getsockopt` | but not `SO_RCVTIMEO`, `SO_SNDTIMEO`, `SO_RCVLOWAT`, `SO_PEEK_OFF` | asked of the shadow; steer, or are told by, the connection |
//! | `sendto`, `recvfrom` | with an address | TCP ignores it; a UNIX socket does not |
//! | `sendto`, `sendmsg`, `sendmmsg` | with `MSG_OOB` or `MSG_FASTOPEN` | a UNIX socket means something else |
//! | `recvfrom`, `recvmsg`, `recvmmsg` | with `MSG_OOB` or `MSG_ERRQUEUE`, `recvfrom` also with `MSG_TRUNC` | the same |
//! | `ioctl` | interface questions, `SIOCATMARK`, `SIOCOUTQ`, `SIOCGSTAMP`, a protocol's own | a UNIX socket says `ENOTTY`, or counts otherwise |
//! | `io_uring_setup` | always | `ENOSYS`: rings make sockets unseen |
//! | any | 32-bit conventions | the process is ended with a sentence; x32 gets `ENOSYS` |
//!
//! docs/unmodified-programs.md says what becomes of each option.
//!
//! # The end
//!
//! [`Runner::run`] returns the program's exit status when it and everything it started have exited
//! and what they wrote has been passed on and [delivered](Network::drained), for at most
//! [`Options::linger`]. A close by the program itself never waits.
//!
//! # Limits
//!
//! - A server that was given its listening socket by somebody outside (systemd) is a kernel server.
//! - A read from a listening socket takes what shows that connections wait, or waits itself.
//! - `listen` takes connections as soon as they come: a client sees them established up to twice the backlog.
//! - After a failed non-blocking connect, connecting the same descriptor again replaces its file:
//!   epoll registrations are lost. `connect` with `AF_UNSPEC` likewise, and `listen` after a `shutdown` of the listener.
//! - `read` after a failed or timed-out connection says `ECONNRESET`, though `SO_ERROR` tells the
//!   true errno. On a socket never connected, `read` says `EINVAL` and `write` `ENOTCONN`.
//! - A write after the peer has reset says `EPIPE` where TCP says `ECONNRESET` once.
//! - `recvmsg` with a name buffer gets a UNIX name where TCP gives none (a filter cannot see into
//!   the `msghdr`); `sendmsg` with a name says `EISCONN`.
//! - `SO_RCVLOWAT` counts for reads, but not for polling.
//! - Urgent data, `TCP_FASTOPEN_CONNECT`, zero-copy, messages beside the data and kernel TLS are refused.
//! - Options that choose a path (`SO_BINDTODEVICE`, `SO_MARK`) are kept, without effect.
//! - After `shutdown` of both sides, a close cannot be seen: the record is collected later.
//! - Edge-triggered epoll may report `EPOLLOUT` twice after a connect, without news.
//! - A program in a network namespace of its own gets its kernel sockets from ours.
//! - If `run` itself is killed by SIGKILL, intercepted calls say `ENOSYS` from then on.
//! - Without root, processes that may not be traced (setuid programs) get `EPERM`.
//!
//! It needs Linux 5.14. Since 5.19 signals cannot disturb a call that is being answered, since 6.6
//! an intercepted call wakes the supervisor on the same processor, since 6.9 threads are told
//! apart from their process: earlier kernels do without.

mod address;
mod attempt;
mod bpf;
mod bridge;
mod connection;
mod host_network;
mod hub;
mod identity;
mod info;
mod link;
mod listening;
mod memory;
mod network;
mod notify;
mod parked;
mod pass;
mod preflight;
mod privileges;
mod program;
mod reader;
mod rights;
mod runner;
mod settings;
mod signals;
mod socket;
mod spawn;
mod supervisor;
mod sys;
mod syscalls;
mod table;
mod turn;

pub use host_network::HostNetwork;
pub use network::{Control, Listen, Look, NetListener, NetStream, Network, NoListener, Opening};
pub use preflight::{Missing, preflight};
pub use runner::{Options, RunError, Runner};
pub use settings::Settings;
