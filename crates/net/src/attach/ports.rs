//! A block of local ports that no socket of the kernel uses.
//!
//! The kernel's own connections take theirs from `net.ipv4.ip_local_port_range`, which ends below these unless
//! somebody has widened it. A block is claimed by binding its first port with a socket that never listens: whoever
//! asks for it next, another instance above all, gets `EADDRINUSE`. Where the kernel's range reaches into the block,
//! every port of it is held: the kernel passes over bound ports when it chooses one for a connection.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use super::claims;

/// Above the kernel's default range, which ends at 60,999.
const FIRST: u16 = 61_000;
/// So many instances at a time, each with so many ports for each pair of an address and a destination.
const BLOCKS: u16 = 8;
const BLOCK: u16 = 500;

/// A claimed block. Others may have it when this is dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    _held: Vec<OwnedFd>,
}

impl Ports {
    /// Claims the first free block in the calling thread's network namespace.
    pub(crate) fn claim() -> io::Result<Self> {
        let kernels = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
        let kernels = kernels.as_deref().and_then(parse_range);
        for block in 0..BLOCKS {
            let first = FIRST + block * BLOCK;
            let range = first..=first + BLOCK - 1;
            let shared = kernels.as_ref().is_some_and(|k| k.start() <= range.end() && range.start() <= k.end());
            let to_hold = if shared { range.clone() } else { first..=first };
            match to_hold.map(hold).collect() {
                Ok(held) => return Ok(Self { range, _held: held }),
                Err(error) if error == rustix::io::Errno::ADDRINUSE => {}
                Err(error) => return Err(io::Error::from(error)),
            }
        }
        let last = FIRST + BLOCKS * BLOCK - 1;
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("every block of ports from {FIRST} to {last} is in use; see `ss -tulnp` and `ss -tanp`"),
        ))
    }

    /// How many blocks are free, and how many are not.
    pub(super) fn count() -> io::Result<(usize, usize)> {
        let (mut free, mut taken) = (0, 0);
        for block in 0..BLOCKS {
            match hold(FIRST + block * BLOCK) {
                Ok(_) => free += 1,
                Err(rustix::io::Errno::ADDRINUSE) => taken += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((free, taken))
    }

    /// First and last port.
    pub(crate) fn range(&self) -> RangeInclusive<u16> {
        self.range.clone()
    }
}

/// Binds `port` for both families.
fn hold(port: u16) -> Result<OwnedFd, rustix::io::Errno> {
    claims::hold(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).map(|(socket, _)| socket)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::testing::in_namespace;

    #[test]
    fn blocks_are_exclusive_and_return() {
        in_namespace(|| {
            let blocks: Vec<Ports> = (0..BLOCKS).map(|_| Ports::claim().unwrap()).collect();
            for (at, one) in blocks.iter().enumerate() {
                assert!(blocks[..at].iter().all(|other| other.range().end() < one.range().start()));
            }
            assert_eq!(Ports::claim().unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let first = blocks[0].range();
            assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, *first.start())).is_err());
            drop(blocks);
            assert_eq!(Ports::claim().unwrap().range(), first);
        });
    }

    #[test]
    fn a_block_that_the_kernel_chooses_from_is_held_whole() {
        in_namespace(|| {
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "61100 61120").unwrap();
            let ports = Ports::claim().unwrap();
            assert_eq!(ports.range(), 61_000..=61_499);
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, 61_110)).is_err());
        });
    }

    #[test]
    fn a_range_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse_range("none"), None);
    }
}
