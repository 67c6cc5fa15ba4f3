//! Path MTUs that were learned, for subflows to come (RFC 8201, section 5.2).
//!
//! A path is a pair of addresses here. The destination alone would do for a host with one uplink; in Multipath TCP one
//! destination is reached over several, of which one may be a tunnel.

use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// RFC 8201, section 5.3.
const LIFE: Duration = crate::tcp::RAISE_AFTER;
/// Most paths that are remembered. To whom further ones belong learns by itself.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct PathMtus {
    /// In bytes of an IP packet, and until when it is believed.
    known: BTreeMap<(IpAddr, IpAddr), (u32, Instant)>,
}

impl PathMtus {
    pub(super) fn learn(&mut self, now: Instant, local: IpAddr, remote: IpAddr, mtu: u32) {
        if self.known.len() >= MOST {
            self.known.retain(|_, (_, until)| *until > now);
        }
        if self.known.len() < MOST || self.known.contains_key(&(local, remote)) {
            self.known.insert((local, remote), (mtu, now + LIFE));
        }
    }

    /// What is known, and until when.
    pub(super) fn get(&self, now: Instant, local: IpAddr, remote: IpAddr) -> Option<(u32, Instant)> {
        self.known.get(&(local, remote)).copied().filter(|(_, until)| *until > now)
    }
}
