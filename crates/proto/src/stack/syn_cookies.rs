//! SYN cookies (RFC 4987, section 3.6): under a flood of SYNs nothing is kept of a handshake. What has to be known
//! again when the third ACK comes stands in our initial sequence number and timestamp, which it echoes; our key follows
//! from a secret, and the third ACK of Multipath TCP brings both keys for this very case (RFC 8684, section 3.1).

use super::FourTuple;
use crate::time::{Duration, Instant};
use hmac::{Hmac, KeyInit, Mac};
use polypath_wire::{Key, Segment, SeqNum, Timestamps};
use sha2::Sha256;
use std::net::IpAddr;

/// How long a cookie may be on its way: two of these at most.
const SLOT: Duration = Duration::from_secs(64);
/// What of the peer's MSS survives: the largest of these that is not larger.
const MSS: [u16; 8] = [88, 536, 1220, 1300, 1360, 1440, 1460, 8960];
/// Window scale, SACK, and whether Multipath TCP was agreed on stand in the lower bits of our timestamp.
const TIMESTAMP_BITS: u32 = 0x3f;
const NO_SCALE: u32 = 0xf;
const SACK: u32 = 0x10;
const MULTIPATH: u32 = 0x20;

/// When to use them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// Never: beyond the backlog SYNs are not answered.
    Off,
    /// When too many handshakes are under way.
    #[default]
    UnderPressure,
    /// For each connection; for trying it out.
    Always,
}

#[derive(Debug)]
pub(super) struct CookieJar {
    secret: [u8; 32],
    last_made: Option<Instant>,
}

/// What a cookie remembers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Baked {
    pub(super) iss: SeqNum,
    pub(super) key: Key,
    mss: u16,
}

impl CookieJar {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        CookieJar { secret, last_made: None }
    }

    /// For the SYN/ACK that answers `syn` now.
    pub(super) fn bake(&mut self, now: Instant, tuple: &FourTuple, syn: &Segment) -> Baked {
        self.last_made = Some(now);
        let slot = slot_of(now);
        let offered = syn.options.mss.unwrap_or(536);
        let index = MSS.iter().rposition(|mss| *mss <= offered).unwrap_or(0);
        Baked { iss: self.number(tuple, syn.tcp.seq, slot, index), key: self.key(tuple, slot), mss: MSS[index] }
    }

    /// What the segment's acknowledgement shows to have been promised; None: nothing, or too long ago.
    pub(super) fn eat(&self, now: Instant, tuple: &FourTuple, seg: &Segment) -> Option<Baked> {
        self.last_made.filter(|at| now - *at < 2 * SLOT)?;
        let iss = seg.tcp.ack.wrapping_sub(1);
        let index = (iss.0 >> 24 & 7) as usize;
        let current = slot_of(now);
        let slot = [current, current.wrapping_sub(1)].into_iter().find(|slot| (slot & 31) as u32 == iss.0 >> 27)?;
        let right = self.number(tuple, seg.tcp.seq.wrapping_sub(1), slot, index) == iss;
        right.then(|| Baked { iss, key: self.key(tuple, slot), mss: MSS[index] })
    }

    /// Whether a cookie of these minutes for this pair is acknowledged by what need not be the third ACK.
    pub(super) fn is_current(&self, now: Instant, tuple: &FourTuple, seg: &Segment) -> bool {
        if self.last_made.is_none_or(|at| now - at >= 2 * SLOT) {
            return false;
        }
        let iss = seg.tcp.ack.wrapping_sub(1).0;
        let current = slot_of(now);
        let mut slots = [current, current.wrapping_sub(1)].into_iter();
        slots.any(|slot| (slot & 31) as u32 == iss >> 27 && iss & 0xff == self.pair(tuple, slot))
    }

    /// Five bits of time, three of MSS, 16 of a keyed hash over everything, and 8 of one over the pair alone, by which
    /// segments other than the third ACK are known. One of 65,536 of those is taken for the third ACK.
    fn number(&self, tuple: &FourTuple, peer_isn: SeqNum, slot: u64, index: usize) -> SeqNum {
        let [a, b, ..] = self.hash(&[&peer_isn.0.to_be_bytes(), &[index as u8], b"number"], tuple, slot);
        let all = u32::from_be_bytes([0, 0, a, b]);
        SeqNum((slot & 31) as u32 * (1 << 27) + (index as u32) * (1 << 24) + (all << 8) + self.pair(tuple, slot))
    }

    fn pair(&self, tuple: &FourTuple, slot: u64) -> u32 {
        let [a, ..] = self.hash(&[b"pair"], tuple, slot);
        a.into()
    }

    fn key(&self, tuple: &FourTuple, slot: u64) -> Key {
        let [a, b, c, d, e, f, g, h, ..] = self.hash(&[b"key"], tuple, slot);
        Key(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn hash(&self, parts: &[&[u8]], tuple: &FourTuple, slot: u64) -> [u8; 32] {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        for end in [tuple.local, tuple.remote] {
            match end.ip() {
                IpAddr::V4(v4) => mac.update(&v4.octets()),
                IpAddr::V6(v6) => mac.update(&v6.octets()),
            }
            mac.update(&end.port().to_be_bytes());
        }
        mac.update(&slot.to_be_bytes());
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

fn slot_of(now: Instant) -> u64 {
    now.as_nanos() / SLOT.as_nanos() as u64
}

/// The timestamp of a SYN/ACK that says what was agreed. It is never later than `now`'s.
pub(super) fn mark(timestamps: Timestamps, syn: &Segment, multipath: bool) -> Timestamps {
    let scale = syn.options.window_scale.map_or(NO_SCALE, |scale| u32::from(scale.min(14)));
    let sack = if syn.options.sack_permitted { SACK } else { 0 };
    let bits = scale | sack | if multipath { MULTIPATH } else { 0 };
    let marked = timestamps.val & !TIMESTAMP_BITS | bits;
    let val =
        if marked.wrapping_sub(timestamps.val) as i32 > 0 { marked.wrapping_sub(TIMESTAMP_BITS + 1) } else { marked };
    Timestamps { val, ..timestamps }
}

/// Whether the SYN/ACK whose timestamp `ack` echoes had MP_CAPABLE.
pub(super) fn was_multipath(ack: &Segment) -> bool {
    ack.options.timestamps.is_some_and(|ts| ts.ecr & MULTIPATH != 0)
}

impl Baked {
    /// The SYN that it was baked for, as far as it matters.
    pub(super) fn syn(&self, ack: &Segment) -> Segment {
        let mut syn = ack.clone();
        syn.tcp.seq = ack.tcp.seq.wrapping_sub(1);
        syn.options.mss = Some(self.mss);
        // Without timestamps nothing else is known, and nothing else was promised.
        let bits = ack.options.timestamps.map(|ts| ts.ecr & TIMESTAMP_BITS);
        syn.options.window_scale = bits.map(|bits| bits & NO_SCALE).filter(|scale| *scale != NO_SCALE).map(|s| s as u8);
        syn.options.sack_permitted = bits.is_some_and(|bits| bits & SACK != 0);
        syn.options.sack.clear();
        syn
    }
}
