//! Initial sequence numbers (RFC 6528; RFC 9293, section 3.4.1).

use crate::time::Instant;
use hmac::{Hmac, KeyInit, Mac};
use polypath_wire::SeqNum;
use sha2::Sha256;
use std::net::{IpAddr, SocketAddr};

/// Makes numbers that grow with the clock for each pair of ends, and tell nothing of any other pair's.
#[derive(Debug)]
pub(super) struct IsnGenerator {
    /// Has taken the secret already: that is half of the work.
    keyed: Hmac<Sha256>,
}

impl IsnGenerator {
    /// `secret` is drawn anew for each stack.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        IsnGenerator { keyed: Hmac::new_from_slice(&secret).expect("HMAC takes a key of any length") }
    }

    /// The number for a SYN or SYN/ACK that leaves now.
    pub(super) fn next(&self, now: Instant, local: SocketAddr, remote: SocketAddr) -> SeqNum {
        // It advances every 4 microseconds, and so goes round in 4.77 hours. [9293-MUST-8, 6528-3-1, 8684-3-2]
        let clock = (now.as_nanos() / 4_000) as u32;
        self.of_pair(local, remote).wrapping_add(clock)
    }

    /// A keyed hash: who knows the number of one pair cannot compute that of another.
    // [9293-SHLD-1, 9293-MUST-9, 6528-3-2]
    fn of_pair(&self, local: SocketAddr, remote: SocketAddr) -> SeqNum {
        let mut mac = self.keyed.clone();
        for end in [local, remote] {
            match end.ip() {
                IpAddr::V4(v4) => mac.update(&v4.octets()),
                IpAddr::V6(v6) => mac.update(&v6.octets()),
            }
            mac.update(&end.port().to_be_bytes());
        }
        let [a, b, c, d, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        SeqNum(u32::from_be_bytes([a, b, c, d]))
    }
}
