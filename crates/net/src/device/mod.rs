//! The device side: the TUN file descriptor, the header on its packets, and the kernel's routes
//! into it. Knows nothing of the protocol above.

mod netlink;
mod routes;
#[cfg(test)]
mod tests;
mod tun;
mod virtio;

pub(crate) use netlink::Netlink;
pub(crate) use routes::Interface;
pub(crate) use tun::{MAX_PACKET, Offload, READ_LEN, Tun, during};
pub(crate) use virtio::{VIRTIO_NET_HDR_LEN, VirtioNetHdr};
