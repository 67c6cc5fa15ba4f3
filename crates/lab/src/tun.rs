//! A TUN device as the end of an emulated link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use crate::namespace::Namespace;
use crate::sys;

/// A TUN device without offloads: every packet on it is an IP packet of at most one MTU with its checksums filled
/// in, as on a wire. It vanishes when this value is dropped.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
}

impl Tun {
    /// Creates the device `name` in `namespace`, down and without addresses.
    pub(crate) fn create(namespace: &Namespace, name: &str) -> io::Result<Self> {
        let opened = namespace.run(|| sys::open_tun(name))?;
        let file = opened
            .map_err(|error| io::Error::new(error.kind(), format!("cannot create the TUN device {name}: {error}")))?;
        Ok(Self { file })
    }

    /// The next packet the namespace sends on the device, if there is one.
    pub(crate) fn receive(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buf) {
            Ok(len) => Ok(Some(len)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a packet to the namespace. Fails while the interface is down.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
