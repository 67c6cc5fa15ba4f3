//! TIME-WAIT (RFC 9293, section 3.10.7.4): what is left of a subflow that closed in order.

use super::FourTuple;
use crate::mptcp::TimeWait;
use crate::time::{Duration, Instant};
use core::hash::BuildHasher;
use polypath_wire::{Ecn, IpHeader, Segment, TcpFlags, TcpHeader, TcpOptions};
use std::collections::{HashMap, VecDeque};

/// Linux: TCP_TIMEWAIT_LEN; RFC 9293 says twice the MSL of two minutes.
const LENGTH: Duration = Duration::from_secs(60);

/// All of them expire after the same time, so a queue is their timer.
#[derive(Debug)]
pub(super) struct TimeWaits<S> {
    by_tuple: HashMap<FourTuple, (TimeWait, Instant), S>,
    order: VecDeque<(Instant, FourTuple)>,
}

impl<S: BuildHasher> TimeWaits<S> {
    pub(super) fn new(hasher: S) -> Self {
        TimeWaits { by_tuple: HashMap::with_hasher(hasher), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, now: Instant, tuple: FourTuple, what: TimeWait) {
        self.by_tuple.insert(tuple, (what, now + LENGTH));
        self.order.push_back((now + LENGTH, tuple));
    }

    pub(super) fn contains(&self, tuple: &FourTuple) -> bool {
        self.by_tuple.contains_key(tuple)
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple) {
        self.by_tuple.remove(tuple);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.order.front().map(|(at, _)| *at)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, tuple)) = self.order.front().filter(|(at, _)| *at <= now).copied() {
            self.order.pop_front();
            if self.by_tuple.get(&tuple).is_some_and(|(_, at)| *at <= now) {
                self.by_tuple.remove(&tuple);
            }
        }
    }

    /// The peer sent its FIN again: our last acknowledgement was lost.
    pub(super) fn answer(&self, tuple: &FourTuple, seg: &Segment) -> Option<(Segment, crate::LinkId)> {
        let (tw, _) = self.by_tuple.get(tuple)?;
        if seg.tcp.flags.contains(TcpFlags::RST) || !seg.tcp.flags.contains(TcpFlags::FIN) {
            return None;
        }
        let tcp = TcpHeader {
            src_port: tuple.local.port(),
            dst_port: tuple.remote.port(),
            seq: tw.snd_nxt,
            ack: tw.rcv_nxt,
            flags: TcpFlags::ACK,
            window: 0,
            urgent: 0,
        };
        let ip = IpHeader { src: tuple.local.ip(), dst: tuple.remote.ip(), hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 };
        Some((Segment { ip, tcp, options: TcpOptions::default() }, tw.link))
    }
}
