//! Hosts of ours against the sockets of this machine's kernel, in network namespaces of their own.

mod namespace;
mod peer;
mod sockets;
mod transfer;
