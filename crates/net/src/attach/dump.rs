//! Dumps as bytes, over a netlink socket of any protocol: for messages of which only a few fields are wanted.

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const DUMP: u16 = 0x1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_LEN: usize = 16;
/// The kernel fills at most 32 KB of a dump into one datagram.
const DATAGRAM_LEN: usize = 64 * 1024;
/// The upper bits say that an attribute is nested, or in which byte order it is.
const KIND: u16 = 0x3fff;

/// What the kernel has of `kind`, as `body` narrows it down: each message without its netlink header. `protocol`:
/// `None` is rtnetlink. In the calling thread's network namespace.
pub(super) fn dump(protocol: Option<Protocol>, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADER_LEN + body.len());
    request.extend_from_slice(&((HEADER_LEN + body.len()) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut buf = vec![0; DATAGRAM_LEN];
    let mut all = Vec::new();
    loop {
        let (len, _) = rustix::net::recv(&socket, &mut buf[..], RecvFlags::empty())?;
        let mut rest = buf.get(..len).unwrap_or(&buf);
        while let Some(length) = word(rest, 0) {
            let payload = rest.get(HEADER_LEN..length as usize).unwrap_or_default();
            match half(rest, 4) {
                Some(NLMSG_DONE) => return Ok(all),
                Some(NLMSG_ERROR) => {
                    let code = word(payload, 0).map_or(libc::EPROTO, |code| -code.cast_signed());
                    return Err(io::Error::from_raw_os_error(code));
                }
                _ => all.push(payload.to_vec()),
            }
            // Messages are padded to 4 bytes.
            rest = rest.get((length as usize).next_multiple_of(4).max(HEADER_LEN)..).unwrap_or_default();
        }
    }
}

/// The attributes in `bytes`, without the bits that say how they are written.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)? & KIND);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of this kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A string, up to its end.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// 32 bits at `offset`, in the host's byte order.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_the_bytes_do() {
        let bytes = [6, 0, 1, 0x80, 7, 8, 0, 0, 5, 0, 2, 0, 9, 0, 0, 0];
        let all: Vec<_> = attributes(&bytes).collect();
        assert_eq!(all, [(1, &[7, 8][..]), (2, &[9][..])]);
        assert_eq!(attribute(&bytes, 2), Some(&[9][..]));
        for broken in [&bytes[..5], &[0, 0, 1, 0][..], &[200, 0, 1, 0, 1][..]] {
            assert_eq!(attributes(broken).count(), 0, "{broken:?}");
        }
        assert_eq!((text(b"u1\0x"), text(b"u1")), ("u1".into(), "u1".into()));
    }
}
