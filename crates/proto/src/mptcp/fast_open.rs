//! TCP Fast Open (RFC 7413) in a connection: data with the SYN.
//!
//! In Multipath TCP (RFC 8684, appendix B) these bytes come before the keys, and so have no data sequence numbers: the
//! connection's numbers, and the first subflow's in mappings, begin after them. A server of Multipath TCP answers when
//! the third ACK has brought the client's key, one of plain TCP at once.

use super::timers::ConnectionTimer;
use super::{Connection, Env, Multipath, News, Request, SendHalf};
use crate::SubflowId;
use crate::buffer::Chunks;
use crate::mib::Counter;
use crate::seq::Dsn;
use crate::time::{Duration, Instant};
use bytes::Bytes;
use polypath_wire::{FastOpenCookie, Segment, TcpFlags};

/// How long a SYN that may carry data waits for the application to write some.
const WAIT: Duration = Duration::from_millis(10);
/// Cookies longer than this leave no room for MP_CAPABLE and timestamps.
const MAX_COOKIE_WITH_CAPABLE: usize = 14;

/// What a client's SYN carries.
#[derive(Copy, Clone, Debug)]
pub(super) struct FastOpen {
    cookie: FastOpenCookie,
    /// The largest segment that the server takes, as it once said, in bytes.
    mss: u16,
    /// The SYN went with the option, and then again without.
    syn_lost: bool,
    /// So many bytes went with it.
    sent: u64,
}

/// What a client's handshake has shown.
#[derive(Copy, Clone, Debug)]
pub(crate) struct FastOpenOutcome {
    /// A new cookie.
    pub(crate) cookie: Option<FastOpenCookie>,
    pub(crate) mss: u16,
    /// The SYN was answered only when it came without the option.
    pub(crate) syn_lost: bool,
    /// Data went, and was not taken.
    pub(crate) refused: bool,
}

impl Connection {
    /// A client that wants to send data with its SYN; without a cookie it asks for one.
    pub(crate) fn prepare_fast_open(&mut self, now: Instant, cookie: FastOpenCookie, mss: u16) {
        let negotiating = matches!(self.multipath, Multipath::Negotiating { .. });
        if negotiating && cookie.as_bytes().len() > MAX_COOKIE_WITH_CAPABLE {
            return;
        }
        self.fast_open = Some(Box::new(FastOpen { cookie, mss, syn_lost: false, sent: 0 }));
        if !cookie.is_request() {
            self.timers.set(ConnectionTimer::FastOpen, now + WAIT);
        }
    }

    /// The SYN waits for data to go with it.
    pub(super) fn syn_waits(&self) -> bool {
        let nothing_yet = self.send.len() == 0 && self.send_half == SendHalf::Open && self.error.is_none();
        nothing_yet && self.timers.is_set(ConnectionTimer::FastOpen)
    }

    /// The option for a SYN or SYN/ACK.
    pub(super) fn fast_open_option(&self, flags: TcpFlags) -> Option<FastOpenCookie> {
        match (flags.contains(TcpFlags::SYN), flags.contains(TcpFlags::ACK)) {
            (true, false) => self.fast_open.as_ref().filter(|f| !f.syn_lost).map(|f| f.cookie),
            // Joins that come later asked for none.
            (true, true) => self.granted_cookie.as_deref().copied().filter(|_| !self.established),
            _ => None,
        }
    }

    /// The data for the first SYN.
    pub(super) fn syn_payload(&mut self, id: SubflowId) -> Chunks {
        let Some(fast_open) = self.fast_open.as_deref().copied() else { return Chunks::default() };
        let Some(s) = self.get_mut(id) else { return Chunks::default() };
        if s.tcp.handshake_began() {
            // What went once with its SYN may not get through: now it is any other. [7413-4.1.3.1-1]
            self.fast_open = Some(Box::new(FastOpen { syn_lost: true, ..fast_open }));
            return Chunks::default();
        }
        self.timers.stop(ConnectionTimer::FastOpen);
        if fast_open.cookie.is_request() {
            self.journal.count(Counter::TcpExtTCPFastOpenCookieReqd);
            return Chunks::default();
        }
        // [7413-4.2.1-1]
        let Some(room) = self.get(id).map(|s| s.tcp.syn_room(fast_open.mss)) else { return Chunks::default() };
        let len = room.min(self.send.len() as u64);
        let payload = self.send.slice(self.data_una, len as usize);
        self.fast_open = Some(Box::new(FastOpen { sent: len, ..fast_open }));
        if let Some(s) = self.get_mut(id) {
            s.tcp.note_syn_data(len);
        }
        payload
    }

    /// A client's handshake is over: what of the SYN's data was taken is acknowledged.
    pub(super) fn settle_syn_data(&mut self, env: &Env<'_>, id: SubflowId) {
        // [7413-4.2.1-2]
        let una = Dsn::FIRST + self.get(id).map_or(0, |s| s.tcp.syn_bytes_sent());
        self.data_nxt = self.data_nxt.max(una);
        self.data_acknowledged(env.config.send_buffer_max, una);
    }

    /// A client's SYN/ACK has come: what became of the data, and of the cookie?
    pub(super) fn settle_fast_open(&mut self, env: &Env<'_>, id: SubflowId, seg: &Segment) {
        self.settle_syn_data(env, id);
        let Some(s) = self.get(id) else { return };
        let (local, remote, taken) = (s.tcp.local().ip(), s.tcp.remote().ip(), s.tcp.syn_bytes_sent());
        let Some(fast_open) = self.fast_open.take() else { return };
        if fast_open.sent > 0 {
            let active = taken > 0;
            self.journal.count(match active {
                true => Counter::TcpExtTCPFastOpenActive,
                false => Counter::TcpExtTCPFastOpenActiveFail,
            });
        }
        let outcome = FastOpenOutcome {
            cookie: seg.options.fast_open.filter(|cookie| !cookie.is_request()),
            mss: seg.options.mss.unwrap_or(536),
            syn_lost: fast_open.syn_lost,
            refused: fast_open.sent > 0 && taken == 0,
        };
        self.requests.push(Request::LearnFastOpen { local, remote, outcome });
    }

    /// A server gives the client a cookie for the next time.
    pub(crate) fn grant_cookie(&mut self, cookie: FastOpenCookie) {
        self.granted_cookie = Some(Box::new(cookie));
    }

    /// A server takes the data of a SYN with a good cookie: the application has it before the handshake is over.
    pub(crate) fn accept_fast_open(&mut self, now: Instant, id: SubflowId, payload: Bytes) {
        // [7413-4.2.2-3]
        let Some(s) = self.get_mut(id) else { return };
        s.tcp.take_syn_data(&payload);
        self.fast_opened = true;
        self.journal.count(Counter::TcpExtTCPFastOpenPassive);
        self.news.push_back(News::Connected);
        let had = self.assembler.next();
        if self.assemble(Dsn::FIRST, payload).is_ok() {
            self.collect_in_order(had);
        }
        // [8684-B-2]
        if !matches!(self.multipath, Multipath::Negotiating { .. }) {
            // [7413-4.2.2-4]
            self.on_connection_established(now, id);
        }
    }

    /// Whether the handshake of a connection whose data was taken early is still under way.
    pub(crate) fn is_opening_fast(&self) -> bool {
        self.fast_opened && self.iter().any(|(_, s)| s.tcp.state == crate::tcp::State::SynReceived)
    }
}
