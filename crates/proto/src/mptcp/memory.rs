//! What a connection holds, and what it does where the stack holds as much as it may.

use super::{Connection, Env, Subflow};
use crate::SubflowId;
use crate::buffer::PIECE;
use crate::seq::{Dsn, Ssn};
use polypath_wire::Segment;

/// So much may wait in each direction of every connection, however full the stack is: none stands still for others.
pub(crate) const GUARANTEED: usize = 64 * 1024;

impl Connection {
    /// Bytes of memory, but for what the allocator rounds up.
    pub(crate) fn memory(&self) -> usize {
        let subflow = |s: &Subflow| size_of::<Subflow>() + s.tcp.memory() + s.rx.memory();
        let subflows: usize = self.subflows.iter().flatten().map(|s| subflow(s)).sum();
        let reinjections = self.reinjections.len() * PIECE;
        size_of::<Connection>() + subflows + self.received_memory() + self.send.memory() + reinjections
    }

    /// Nothing is under way: queues keep no room for what may come one day. Of many connections most are idle.
    pub(crate) fn give_back(&mut self) {
        for s in self.subflows.iter_mut().flatten() {
            s.give_back();
        }
        self.subflows.shrink_to_fit();
        self.send.give_back();
        self.assembler.give_back();
        self.inbox.give_back();
        self.reinjections.shrink_to_fit();
        self.signals.shrink_to_fit();
        self.news.shrink_to_fit();
        self.requests.shrink_to_fit();
        self.path_events.shrink_to_fit();
        self.known_remotes.shrink_to_fit();
        self.local_ids.shrink_to_fit();
        self.journal.give_back();
    }

    fn received_memory(&self) -> usize {
        self.inbox.memory() + self.assembler.memory()
    }

    /// Received bytes that count against the window: where the stack is full, so many that it does not open.
    pub(super) fn unread(&self, env: &Env<'_>) -> usize {
        let shut = env.memory_full && self.inbox.len() > GUARANTEED / 2;
        if shut { self.inbox.len().max(self.window.capacity()) } else { self.inbox.len() }
    }

    /// Up to where a subflow's bytes are taken. In plain TCP that is the window, and a buffer more (see
    /// [`assemble`](Self::assemble)); in Multipath TCP the connection's numbers say it, once bytes are in order. Out of
    /// order no more waits on all subflows together than the connection may have. What is not taken is as if it had been
    /// lost.
    pub(super) fn receive_limit(&self, env: &Env<'_>, id: SubflowId, seg: &Segment) -> Ssn {
        let Some(s) = self.get(id) else { return Ssn::ORIGIN };
        let waiting: usize = self.iter().map(|(_, s)| s.tcp.waiting_bytes()).sum();
        let crowded = env.memory_full && waiting + self.received_memory() > GUARANTEED;
        let capacity = self.window.capacity();
        let early = s.tcp.seq_of(seg) > s.tcp.rcv_nxt();
        if crowded || early && waiting > 2 * capacity {
            return s.tcp.rcv_nxt();
        }
        if self.is_active() { Ssn(u64::MAX) } else { Ssn(self.receive_end().0) }
    }

    /// The end of what the peer may send, and a buffer more: Linux pairs a new DATA_ACK with the window of the segment
    /// before. The edge follows what arrives beyond it; what was read does not, and half a buffer more than that and the
    /// buffer itself is all that is ever offered.
    pub(super) fn receive_end(&self) -> Dsn {
        let capacity = self.window.capacity() as u64;
        let read = Dsn(self.assembler.next() - self.inbox.len() as u64);
        (self.window.edge() + capacity).min(read + capacity * 5 / 2)
    }

    /// How large the send buffer may be: all of `max`, or what it has and what is `left` in the stack.
    pub(crate) fn send_limit(&self, max: usize, left: usize) -> usize {
        max.min((self.send.len() + left).max(GUARANTEED))
    }
}
