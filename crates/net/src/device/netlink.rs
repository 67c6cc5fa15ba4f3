//! A blocking rtnetlink socket for the few requests a TUN device needs.
//!
//! The requests are rare and answered by the kernel at once, so there is no event loop here. The
//! socket belongs to the network namespace in which it was opened, whichever thread uses it later.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// An acknowledgement echoes the request; ours are below 200 bytes.
const REPLY_LEN: usize = 8192;

#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0, the default.
            None,
        )?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Index of the interface `name` in this socket's namespace.
    pub(crate) fn interface_index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    /// Sends one request with `flags` added, and waits for the kernel's verdict.
    pub(crate) fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        self.verdict()
    }

    fn verdict(&self) -> io::Result<()> {
        let mut buf = vec![0; REPLY_LEN];
        loop {
            let (len, _) = rustix::net::recv(&self.socket, &mut buf[..], RecvFlags::empty())?;
            let mut rest = buf.get(..len).unwrap_or(&buf);
            while !rest.is_empty() {
                let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if let NetlinkPayload::Error(error) = reply.payload
                    && reply.header.sequence_number == self.sequence
                {
                    return error.code.map_or(Ok(()), |_| Err(error.to_io()));
                }
                // Messages are padded to 4 bytes.
                let next = (reply.header.length as usize).next_multiple_of(4).max(4);
                rest = rest.get(next..).unwrap_or(&[]);
            }
        }
    }
}
