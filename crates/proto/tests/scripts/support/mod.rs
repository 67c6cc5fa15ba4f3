//! What every file of tests here works with: segments with relative numbers, a script that plays the peer of one
//! stack, and a pair of stacks on a virtual network.

mod join;
mod pair;
mod script;
mod seg;

pub(crate) use join::*;
pub(crate) use pair::{Pair, PairOptions, Sent, Side};
pub(crate) use script::{
    LTE, PEER, PEER_2, PEER_ISN, PEER_KEY, PEER_PORT, Packet, RTT, STACK_PORT, Script, ScriptOptions, WIFI,
};
pub(crate) use seg::*;

use polypath_proto::Duration;
use polypath_proto::scheduler::{Decision, Scheduler, View};

/// Milliseconds.
pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Payload of a full plain TCP segment with timestamps on a link of 1,500 bytes.
pub(crate) const MSS: u32 = 1448;
/// The same with a DSS of 32-bit DATA_ACK and mapping.
pub(crate) const DSS_MSS: u32 = 1428;

/// The byte at a place of the stream (0 is the first): what a place holds tells which place it is.
pub(crate) fn byte_at(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A stretch of that stream.
pub(crate) fn stream(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(byte_at).collect()
}

/// A scheduler that never sends anything.
#[derive(Debug)]
pub(crate) struct Never;

impl Scheduler for Never {
    fn name(&self) -> &'static str {
        "never"
    }

    fn schedule(&mut self, _: &View<'_>) -> Decision {
        Decision::Wait
    }
}
