//! The TUN device: one file descriptor, one packet for each read and write, super-packets of up to
//! 64 KB in both directions.

use std::ffi::{c_int, c_uint};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use polypath_wire::HeaderBuf;
use rustix::ioctl;
use smallvec::SmallVec;

use super::virtio::{VIRTIO_NET_HDR_LEN, VirtioNetHdr};

const DEVICE: &str = "/dev/net/tun";

/// Largest packet the device hands over or takes in one piece: the IPv4 length field's limit.
/// Longer ones would be cut up in software by the kernel.
pub(crate) const MAX_PACKET: usize = 65_535;
/// What a read needs so that no packet is cut short, which the kernel would not tell.
pub(crate) const READ_LEN: usize = VIRTIO_NET_HDR_LEN + MAX_PACKET;

// Request numbers of `if_tun.h`.
const TUNSETIFF: ioctl::Opcode = ioctl::opcode::write::<c_int>(b'T', 202);
const TUNSETOFFLOAD: ioctl::Opcode = ioctl::opcode::write::<c_uint>(b'T', 208);
const TUNSETSNDBUF: ioctl::Opcode = ioctl::opcode::write::<c_int>(b'T', 212);
const TUNSETVNETHDRSZ: ioctl::Opcode = ioctl::opcode::write::<c_int>(b'T', 216);

/// Every flag needs the checksum one. Without the ECN flag the kernel would cut a CE-marked
/// super-packet into segments.
const OFFLOADS: c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// Most pieces one `writev` takes (`UIO_MAXIOV`); the virtio header and ours are two of them.
const MAX_PIECES: usize = 1024 - 2;
/// Pieces that need no allocation: a super-segment of 64 KB in a few application writes.
const INLINE_PIECES: usize = 18;

/// What the kernel agreed to do on packets we write, and leaves undone on packets we read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Offload {
    /// Checksums and TCP segmentation.
    Segmentation,
    /// Nothing: whole checksums, packets of at most the MTU.
    None,
}

/// An open, non-blocking TUN device. It vanishes, with its routes, when this is dropped.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
    name: String,
    offload: Offload,
}

impl Tun {
    /// Creates (or attaches to a persistent) device `name` in the calling thread's network
    /// namespace. `%d` in the name stands for the first free number. `send_buffer` bounds the
    /// bytes written but not yet consumed further down; beyond it writes say
    /// [`WouldBlock`](io::ErrorKind::WouldBlock). An offload that the kernel does not know is done without.
    pub(crate) fn open(name: &str, send_buffer: Option<u32>, wanted: Offload) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(DEVICE)
            .map_err(|error| during(&error, format_args!("cannot open {DEVICE}")))?;
        let name = create_interface(&file, name).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => during(&error, format_args!("{name} is an interface of another kind: another --tun")),
            _ => during(&error, format_args!("cannot create TUN device {name}")),
        })?;
        set_header_len(&file).map_err(|error| during(&error, format_args!("TUNSETVNETHDRSZ on {name}")))?;
        if let Some(bytes) = send_buffer {
            set_send_buffer(&file, bytes).map_err(|error| during(&error, format_args!("TUNSETSNDBUF on {name}")))?;
        }
        let offload = match wanted {
            Offload::None => Offload::None,
            Offload::Segmentation => match set_offload(&file, OFFLOADS) {
                Ok(()) => Offload::Segmentation,
                Err(error) => {
                    tracing::warn!(%error, name, "no segmentation offload: expect a tenth of the speed");
                    Offload::None
                }
            },
        };
        Ok(Self { file, name, offload })
    }

    /// The interface's name, with `%d` replaced.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn offload(&self) -> Offload {
        self.offload
    }

    /// Reads one packet, virtio header first, into `buf` of at least [`READ_LEN`] bytes.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buf)
    }

    /// Writes one TCP packet without copying its payload. With [`Offload::Segmentation`] the
    /// checksum field must hold the pseudo-header sum.
    pub(crate) fn write(&self, headers: &HeaderBuf, payload: &[Bytes], segment_size: Option<u16>) -> io::Result<()> {
        let payload_len: usize = payload.iter().map(Bytes::len).sum();
        let virtio = match self.offload {
            Offload::Segmentation => VirtioNetHdr::for_tcp(headers, payload_len, segment_size),
            Offload::None => VirtioNetHdr::default(),
        }
        .encode();
        let flattened;
        let payload = if payload.len() > MAX_PIECES {
            // Rare: a program that writes a few bytes at a time. A short write would be a short
            // packet, so the pieces become one.
            flattened = [Bytes::from(payload.concat())];
            &flattened[..]
        } else {
            payload
        };
        let mut pieces: SmallVec<[IoSlice<'_>; INLINE_PIECES]> = SmallVec::new();
        pieces.push(IoSlice::new(&virtio));
        pieces.push(IoSlice::new(headers));
        pieces.extend(payload.iter().map(|piece| IoSlice::new(piece)));
        let written = (&self.file).write_vectored(&pieces)?;
        debug_assert_eq!(
            written,
            VIRTIO_NET_HDR_LEN + headers.len() + payload_len,
            "a TUN device takes a packet whole"
        );
        Ok(())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The same error, with the failed step in front of it.
pub(crate) fn during(error: &io::Error, step: std::fmt::Arguments<'_>) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => " (CAP_NET_ADMIN is needed: sudo)",
        io::ErrorKind::NotFound => " (sudo modprobe tun; in a container: --device /dev/net/tun)",
        io::ErrorKind::ResourceBusy => " (another process holds a device of this name: another --tun)",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{step}: {error}{advice}"))
}

fn create_interface(file: &File, name: &str) -> io::Result<String> {
    // SAFETY: an all-zero `ifreq` is valid: integers, and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: the kernel wants a terminated name.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface name has 1 to 15 bytes"));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq` in place and keeps no pointer to it.
    unsafe { ioctl::ioctl(file, ioctl::Updater::<TUNSETIFF, _>::new(&mut request))? };
    let bytes: Vec<u8> = request.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn set_header_len(file: &File) -> io::Result<()> {
    let len = VIRTIO_NET_HDR_LEN as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    unsafe { ioctl::ioctl(file, ioctl::Setter::<TUNSETVNETHDRSZ, c_int>::new(len)) }?;
    Ok(())
}

fn set_send_buffer(file: &File, bytes: u32) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: TUNSETSNDBUF reads one int.
    unsafe { ioctl::ioctl(file, ioctl::Setter::<TUNSETSNDBUF, c_int>::new(bytes)) }?;
    Ok(())
}

/// `flags`: the `TUN_F_*` of what we leave to the kernel and take from it undone.
fn set_offload(file: &File, flags: c_uint) -> io::Result<()> {
    let flags = flags as usize;
    // SAFETY: TUNSETOFFLOAD takes its flags by value and touches no memory of ours.
    unsafe { ioctl::ioctl(file, ioctl::IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags)) }?;
    Ok(())
}
