//! A blocking rtnetlink socket: the few requests a TUN device needs, dumps, and news of what changes.
//!
//! The requests are rare and answered by the kernel at once, so there is no event loop here. The
//! socket belongs to the network namespace in which it was opened, whichever thread uses it later.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// An acknowledgement echoes the request; ours are below 200 bytes.
const REPLY_LEN: usize = 8192;
/// The kernel fills at most 32 KB of a dump into one datagram.
const DUMP_LEN: usize = 64 * 1024;
/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile, and parts may contradict each other.
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often an interrupted dump is begun again, before it is taken as it is.
const DUMP_TRIES: u32 = 5;

#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Self::listen(0)
    }

    /// Opens a socket that is told of changes: `groups` is a mask of `RTMGRP_*`.
    pub(crate) fn listen(groups: u32) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0, the default.
            None,
        )?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Index of the interface `name` in this socket's namespace.
    pub(crate) fn interface_index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    /// Sends one request with `flags` added, and waits for the kernel's verdict.
    pub(crate) fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.verdict()
    }

    /// Everything the kernel has of what `message` asks for. Messages of a kind that is not understood are left out.
    pub(crate) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 1..DUMP_TRIES {
            if let (all, false) = self.dump_once(message.clone())? {
                return Ok(all);
            }
        }
        Ok(self.dump_once(message.clone())?.0)
    }

    /// A dump, and whether it was interrupted.
    fn dump_once(&mut self, message: RouteNetlinkMessage) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut all, mut interrupted) = (Vec::new(), false);
        let mut buf = vec![0; DUMP_LEN];
        loop {
            let (len, _) = rustix::net::recv(&self.socket, &mut buf[..], RecvFlags::empty())?;
            let mut rest = buf.get(..len).unwrap_or(&buf);
            while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
                let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
                // Messages are padded to 4 bytes.
                rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
                let Ok(reply) = reply else { continue };
                if reply.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= reply.header.flags & DUMP_INTERRUPTED != 0;
                match reply.payload {
                    NetlinkPayload::InnerMessage(message) => all.push(message),
                    NetlinkPayload::Done(_) => return Ok((all, interrupted)),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Takes in all news that wait, and forgets them: what they mean is asked for by dumps. Whether there were any.
    pub(crate) fn drain_news(&self) -> bool {
        let mut buf = [0; REPLY_LEN];
        let mut any = false;
        loop {
            match rustix::net::recv(&self.socket, &mut buf[..], RecvFlags::DONTWAIT) {
                Ok(_) => any = true,
                // Some were lost, which is news too.
                Err(rustix::io::Errno::NOBUFS) => any = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
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

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
