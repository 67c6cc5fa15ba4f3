//! After every call into a connection: what it wants of the stack, and what the application hears.

use super::{ConnectionId, Event, FourTuple, Stack, SubflowEvent, bare_segment};
use crate::mib::Counter;
use crate::mptcp::{News, Request, SubflowChange};
use crate::time::Instant;
use crate::trace::Trace;
use polypath_wire::TcpFlags;

impl Stack {
    /// After anything happened to a connection: it may have packets, news, requests and a new deadline.
    pub(super) fn settle(&mut self, now: Instant, id: ConnectionId) {
        self.mark_ready(id);
        self.drain_connection(now, id);
    }

    pub(super) fn mark_ready(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id.0)
            && !core::mem::replace(&mut slot.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    pub(super) fn drain_connection(&mut self, now: Instant, id: ConnectionId) {
        while let Some(slot) = self.connections.get_mut(id.0).filter(|s| !s.connection.requests.is_empty()) {
            for request in core::mem::take(&mut slot.connection.requests) {
                self.on_request(now, id, request);
            }
        }
        while let Some(news) = self.connections.get_mut(id.0).and_then(|s| s.connection.news.pop_front()) {
            self.on_news(now, id, news);
        }
        self.collect_journal(now, id);
        self.account(id);
        if self.connections.get(id.0).is_some_and(|slot| slot.connection.is_dead()) {
            if let Some(slot) = self.connections.remove(id.0) {
                self.memory -= slot.memory;
                self.timers.remove(slot.armed, id);
                slot.token.map(|token| self.by_token.remove(&token));
            }
            return;
        }
        self.arm(id);
    }

    pub(super) fn collect_journal(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.connections.get_mut(id.0) else { return };
        let journal = &mut slot.connection.journal;
        for counter in journal.counted.drain(..) {
            self.mib.count(counter);
        }
        if self.tracing {
            self.traces.extend(journal.take_traced().map(|event| Trace { at: now, connection: id, event }));
        }
    }

    pub(super) fn arm(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id.0)
            && let Some(at) = slot.connection.next_timeout()
            && slot.armed.is_none_or(|armed| at < armed)
        {
            let old = slot.armed.replace(at);
            self.timers.replace(old, at, id);
        }
    }

    pub(super) fn on_request(&mut self, now: Instant, id: ConnectionId, request: Request) {
        match request {
            Request::Open { local, remote, backup } => self.open_join(now, id, (local, remote), backup),
            Request::LearnPathMtu { local, remote, mtu } => self.path_mtus.learn(now, local, remote, mtu),
            Request::LearnFastOpen { local, remote, outcome } => {
                if self.fast_opens.learn(now, (local, remote), &outcome) {
                    self.mib.count(Counter::TcpExtTCPFastOpenBlackhole);
                }
            }
            Request::LearnCapable { local, remote, outcome } => self.learn_of_blackholes(now, (local, remote), outcome),
            Request::NoteFastOpenReset => self.note_fast_open_reset(now, id),
            Request::Release { local, remote, time_wait, counters } => {
                self.mib.add_subflow(&counters);
                let tuple = FourTuple { local, remote };
                self.flows.remove(&tuple);
                if let Some(what) = time_wait {
                    if what.owes_ack {
                        self.replies.push_back((super::time_wait::acknowledgement(&tuple, &what), what.link));
                    }
                    self.time_waits.insert(now, tuple, what);
                }
            }
            Request::Refuse { local, remote, link, seq } => {
                let no_ack = polypath_wire::SeqNum(0);
                self.replies.push_back((bare_segment(local, remote, seq, no_ack, TcpFlags::RST), link));
                self.mib.count(Counter::TcpOutRsts);
            }
        }
    }

    pub(super) fn on_news(&mut self, now: Instant, id: ConnectionId, news: News) {
        let event = match news {
            News::Connected => match self.connections.get(id.0).and_then(|slot| slot.listener) {
                Some(listener) => return self.on_accepted(now, id, listener),
                None => Event::Connected(id),
            },
            News::Readable => Event::Readable(id),
            News::Writable => Event::Writable(id),
            News::Closed(error) => {
                self.forget_unaccepted(id);
                Event::Closed { id, error }
            }
            News::Subflow(news) => Event::Subflow {
                connection: id,
                subflow: news.id,
                local: news.local,
                remote: news.remote,
                name: news.name,
                counters: news.counters,
                what: match news.what {
                    SubflowChange::Established => SubflowEvent::Established,
                    SubflowChange::Stalled => SubflowEvent::Stalled,
                    SubflowChange::Recovered => SubflowEvent::Recovered,
                    SubflowChange::Closed(reason) => SubflowEvent::Closed(reason),
                },
            },
        };
        self.events.push_back(event);
    }
}
