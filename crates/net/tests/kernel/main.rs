//! Hosts of ours against the sockets of this machine's kernel, in network namespaces of their own.

mod multipath;
mod namespace;
mod peer;
mod runtime;
mod shutdown;
mod sockets;
mod transfer;
