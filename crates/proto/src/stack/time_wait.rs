//! TIME-WAIT (RFC 9293, section 3.10.7.4; RFC 6191): what is left of a subflow that closed in order.

use super::FourTuple;
use crate::mptcp::TimeWait;
use crate::tcp::Challenges;
use crate::time::{Duration, Instant};
use core::hash::BuildHasher;
use polypath_wire::{Segment, SeqNum, TcpFlags};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// Linux: TCP_TIMEWAIT_LEN; RFC 9293 says twice the MSL of two minutes.
// [9293-MUST-13]
const LENGTH: Duration = Duration::from_secs(60);
/// The slowest timestamp clock that RFC 7323, section 5.4, allows ticks once in this time.
const REUSABLE_AFTER: Duration = Duration::from_secs(1);
/// Beyond what the old connection has sent, and may have in the network (Linux: 65,535 + 2).
const ISN_STEP: u32 = 65_537;

/// More are not remembered: the oldest go first (Linux: tcp_max_tw_buckets).
const MOST: usize = 65_536;

#[derive(Debug)]
struct Waiting {
    what: TimeWait,
    until: Instant,
    challenges: Challenges,
}

/// All of them expire after the same time, so a queue is their timer.
#[derive(Debug)]
pub(super) struct TimeWaits<S> {
    by_tuple: HashMap<FourTuple, Waiting, S>,
    order: VecDeque<(Instant, FourTuple)>,
}

impl<S: BuildHasher> TimeWaits<S> {
    pub(super) fn new(hasher: S) -> Self {
        TimeWaits { by_tuple: HashMap::with_hasher(hasher), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, now: Instant, tuple: FourTuple, what: TimeWait) {
        let until = now + LENGTH;
        if self.order.len() >= MOST
            && let Some((until, oldest)) = self.order.pop_front()
            && self.by_tuple.get(&oldest).is_some_and(|waiting| waiting.until == until)
        {
            self.by_tuple.remove(&oldest);
        }
        self.by_tuple.insert(tuple, Waiting { what, until, challenges: Challenges::default() });
        self.order.push_back((until, tuple));
    }

    pub(super) fn len(&self) -> usize {
        self.by_tuple.len()
    }

    pub(super) fn contains(&self, tuple: &FourTuple) -> bool {
        self.by_tuple.contains_key(tuple)
    }

    pub(super) fn local_ends(&self) -> impl Iterator<Item = SocketAddr> {
        self.by_tuple.keys().map(|tuple| tuple.local)
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
            if self.by_tuple.get(&tuple).is_some_and(|waiting| waiting.until <= now) {
                self.by_tuple.remove(&tuple);
            }
        }
    }

    /// Whether a SYN is so new that it may open the pair again.
    pub(super) fn reopens(&self, tuple: &FourTuple, syn: &Segment) -> bool {
        let Some(Waiting { what: tw, .. }) = self.by_tuple.get(tuple) else { return false };
        // RFC 6191, section 2: later than anything of the old connection, by timestamps or else by number.
        // [9293-SHLD-4]
        let age =
            tw.timestamps.zip(syn.options.timestamps).map_or(0, |(old, new)| new.val.wrapping_sub(old.ecr) as i32);
        // [9293-MAY-2]
        age > 0 || (age == 0 && syn.tcp.seq.distance(tw.rcv_nxt) >= 0)
    }

    /// Whether we may open the pair again ourselves: timestamps keep what is left of the old connection in the network out
    /// of the new one, once their clock has moved on for certain (RFC 6191, section 2; Linux: tcp_tw_reuse).
    pub(super) fn is_reusable(&self, now: Instant, tuple: &FourTuple) -> bool {
        let old_enough = |waiting: &Waiting| waiting.until + REUSABLE_AFTER <= now + LENGTH;
        self.by_tuple.get(tuple).is_some_and(|waiting| waiting.what.timestamps.is_some() && old_enough(waiting))
    }

    /// `iss`, or a number beyond all that the pair's old connection has sent.
    pub(super) fn beyond(&self, tuple: &FourTuple, iss: SeqNum) -> SeqNum {
        match self.by_tuple.get(tuple) {
            // [9293-MAY-2]
            Some(Waiting { what: tw, .. }) if iss.distance(tw.snd_nxt) <= 0 => tw.snd_nxt.wrapping_add(ISN_STEP),
            _ => iss,
        }
    }

    /// What the peer sends again was not acknowledged, as far as it knows. The same answer gets a SYN that is no new one
    /// (RFC 5961, section 4.2).
    pub(super) fn answer(
        &mut self,
        now: Instant,
        tuple: &FourTuple,
        seg: &Segment,
    ) -> Option<(Segment, crate::LinkId)> {
        let Waiting { what: tw, until, challenges } = self.by_tuple.get_mut(tuple)?;
        let flags = seg.tcp.flags;
        if flags.contains(TcpFlags::RST) {
            return None;
        }
        if flags.contains(TcpFlags::FIN) {
            // [9293-3.10.7.4-5]
            *until = now + LENGTH;
            self.order.push_back((*until, *tuple));
            return Some((acknowledgement(tuple, tw), tw.link));
        }
        // [9293-3.10.7.4-1]
        let old = seg.tcp.seq.distance(tw.rcv_nxt) < 0;
        let due = (old || flags.contains(TcpFlags::SYN)) && challenges.take(now);
        due.then(|| (acknowledgement(tuple, tw), tw.link))
    }
}

/// Our last word on a connection, which may have to be said again.
pub(super) fn acknowledgement(tuple: &FourTuple, tw: &TimeWait) -> Segment {
    let mut segment = super::bare_segment(tuple.local, tuple.remote, tw.snd_nxt, tw.rcv_nxt, TcpFlags::ACK);
    // RFC 7323, section 3.2: on every segment once agreed. [7323-3.2-2]
    segment.options.timestamps = tw.timestamps;
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkId;
    use foldhash::quality::FixedState;
    use std::net::Ipv4Addr;

    #[test]
    fn no_more_are_remembered_than_a_peer_is_worth() {
        let mut waits = TimeWaits::new(FixedState::default());
        let zero = SeqNum(0);
        let what = TimeWait { snd_nxt: zero, rcv_nxt: zero, link: LinkId(0), timestamps: None, owes_ack: false };
        let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
        let tuple = |n: u32| FourTuple { local, remote: SocketAddr::new(Ipv4Addr::from(n).into(), 1) };
        for n in 0..MOST as u32 + 10 {
            waits.insert(Instant::ZERO, tuple(n), what);
        }
        assert_eq!((waits.by_tuple.len(), waits.order.len()), (MOST, MOST));
        assert!(!waits.contains(&tuple(9)) && waits.contains(&tuple(10)));
    }
}
