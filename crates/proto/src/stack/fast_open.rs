//! TCP Fast Open (RFC 7413): the cookies that let data go with a SYN. A server makes them out of a secret and the
//! client's address, and keeps nothing; a client keeps one for each path.

use crate::mptcp::FastOpenOutcome;
use crate::time::{Duration, Instant};
use hmac::{Hmac, KeyInit, Mac};
use polypath_wire::FastOpenCookie;
use sha2::Sha256;
use std::collections::HashMap;
use std::net::IpAddr;

/// How long a server's cookie is good: two of these at most. [7413-4.1.2-2]
const SLOT: Duration = Duration::from_secs(3600);
/// As many as a SYN/ACK has room for beside MP_CAPABLE and timestamps.
const COOKIE_BYTES: usize = 6;
/// SYNs in a row that went unanswered with the option, and were answered without, before it is left out.
const FAILURES: u32 = 2;
/// For so long. [7413-4.1.3-3]
const LEFT_OUT_FOR: Duration = Duration::from_secs(3600);
/// Paths that a client remembers.
const MAX_PATHS: usize = 256;

/// From a local address to a remote one.
type Path = (IpAddr, IpAddr);

/// What a client knows of a server.
#[derive(Copy, Clone, Debug)]
struct Known {
    cookie: FastOpenCookie,
    /// The largest segment that it takes, in bytes.
    mss: u16,
    failures: u32,
    heard: Instant,
}

#[derive(Debug)]
pub(super) struct FastOpens {
    secret: [u8; 32],
    known: HashMap<Path, Known>,
}

impl FastOpens {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        FastOpens { secret, known: HashMap::new() }
    }

    /// The cookie for a client, as server.
    pub(super) fn cookie(&self, now: Instant, (local, remote): Path) -> FastOpenCookie {
        self.cookie_of(now.as_nanos() / SLOT.as_nanos() as u64, (local, remote))
    }

    /// Whether it was made for this client, and lately.
    // [7413-4.1.2-1]
    pub(super) fn is_good(&self, now: Instant, path: Path, cookie: FastOpenCookie) -> bool {
        let slot = now.as_nanos() / SLOT.as_nanos() as u64;
        [Some(slot), slot.checked_sub(1)].into_iter().flatten().any(|slot| self.cookie_of(slot, path) == cookie)
    }

    fn cookie_of(&self, slot: u64, (local, remote): Path) -> FastOpenCookie {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        for addr in [local, remote] {
            match addr {
                IpAddr::V4(v4) => mac.update(&v4.octets()),
                IpAddr::V6(v6) => mac.update(&v6.octets()),
            }
        }
        mac.update(&slot.to_be_bytes());
        let hash = mac.finalize().into_bytes();
        FastOpenCookie::new(&hash[..COOKIE_BYTES]).expect("a cookie may have 6 bytes")
    }

    /// What a client's SYN shall carry, and the peer's MSS: a cookie, the request for one, or nothing where that does not
    /// get through.
    pub(super) fn offer(&self, now: Instant, path: Path) -> Option<(FastOpenCookie, u16)> {
        let Some(known) = self.known.get(&path) else { return Some((FastOpenCookie::REQUEST, 0)) };
        let left_out = known.failures >= FAILURES && now - known.heard < LEFT_OUT_FOR;
        // [7413-4.1.3-2]
        (!left_out).then_some((known.cookie, known.mss))
    }

    /// Whether a SYN to `remote` would carry data.
    pub(super) fn has_cookie(&self, now: Instant, remote: IpAddr) -> bool {
        let mut paths = self.known.keys().filter(|path| path.1 == remote);
        paths.any(|path| self.offer(now, *path).is_some_and(|(cookie, _)| !cookie.is_request()))
    }

    /// A client's handshake is over. True: the option is left out from now on.
    // [7413-4.1.3-1]
    pub(super) fn learn(&mut self, now: Instant, path: Path, outcome: &FastOpenOutcome) -> bool {
        if !self.known.contains_key(&path) && self.known.len() >= MAX_PATHS {
            let oldest = self.known.iter().min_by_key(|(path, k)| (k.heard, **path)).map(|(path, _)| *path);
            oldest.map(|path| self.known.remove(&path));
        }
        let fresh = Known { cookie: FastOpenCookie::REQUEST, mss: outcome.mss, failures: 0, heard: now };
        let known = self.known.entry(path).or_insert(fresh);
        (known.heard, known.mss) = (now, outcome.mss);
        known.failures = if outcome.syn_lost { known.failures + 1 } else { 0 };
        if let Some(cookie) = outcome.cookie {
            known.cookie = cookie;
        } else if outcome.refused || outcome.syn_lost {
            // It may have been the cookie.
            known.cookie = FastOpenCookie::REQUEST;
        }
        known.failures == FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn there(n: u32) -> Path {
        (HERE, std::net::Ipv4Addr::from(0xc000_0200 + n).into())
    }

    // [7413-4.1.2-1, 7413-4.1.2-2]
    #[test]
    fn a_cookie_is_good_for_one_address_and_for_a_while() {
        let jar = FastOpens::new([1; 32]);
        let start = Instant::from_millis(1_000);
        let cookie = jar.cookie(start, there(1));
        assert!(jar.is_good(start, there(1), cookie));
        assert!(!jar.is_good(start, there(2), cookie));
        assert!(!FastOpens::new([2; 32]).is_good(start, there(1), cookie));
        assert!(jar.is_good(start + SLOT, there(1), cookie));
        assert!(!jar.is_good(start + SLOT * 2, there(1), cookie));
    }

    #[test]
    fn so_many_servers_are_remembered_and_the_oldest_is_forgotten() {
        let mut jar = FastOpens::new([1; 32]);
        let cookie = FastOpenCookie::new(&[1, 2, 3, 4]);
        let outcome = FastOpenOutcome { cookie, mss: 1000, syn_lost: false, refused: false };
        for n in 0..=256 {
            jar.learn(Instant::from_millis(u64::from(n)), there(n), &outcome);
        }
        let now = Instant::from_millis(300);
        assert_eq!(jar.offer(now, there(0)), Some((FastOpenCookie::REQUEST, 0)));
        assert_eq!(jar.offer(now, there(1)), cookie.map(|cookie| (cookie, 1000)));
        assert_eq!(jar.known.len(), MAX_PATHS);
    }
}
