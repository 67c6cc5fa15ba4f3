//! The byte stream as the application sees it: write, read, and data arriving by DSN.

use super::mapping::Mapped;
use super::receive_window::SHORT;
use super::{Connection, ConnectionError, Multipath, News, SendHalf};
use crate::SubflowId;
use crate::mib::Counter;
use crate::seq::{Dsn, Ssn};
use crate::time::Duration;
use bytes::Bytes;

/// Pieces that wait for data before them, from all subflows: more is an attack.
const MAX_PIECES: usize = 64 * 1024;

/// The send buffer before the congestion windows say what is useful.
const SEND_BUFFER_MIN: u64 = 256 * 1024;
/// Bytes that may wait to be sent for the first time where round trips are [`SHORT`]: enough while the application wakes up.
/// What waits longer has left the caches when its turn comes, and is no better off here than with the application (Linux:
/// tcp_notsent_lowat).
const UNSENT: usize = 512 * 1024;

/// Why data of a subflow does not get into the connection's stream.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Nobody said where these bytes, in order on their subflow, belong.
    Unmapped(Ssn, Bytes),
    /// They are not what was sent.
    Corrupt,
    /// They lie where the peer must not send, and would only cost memory.
    Violation,
}

impl Connection {
    /// Bytes that a write may add now.
    pub(crate) fn write_room(&self, max: usize) -> usize {
        let unsent = self.send.end().since(self.data_nxt) as usize;
        self.send_capacity(max).saturating_sub(self.send.len()).min(self.unsent_limit().saturating_sub(unsent))
    }

    fn unsent_limit(&self) -> usize {
        let longest = self.iter().filter_map(|(_, s)| s.tcp.rtt.srtt()).max();
        if longest.is_some_and(|rtt| rtt < SHORT) { UNSENT } else { usize::MAX }
    }

    /// What schedulers are to reckon with, of `unsent` bytes: an application that waits for room has more, as much as it could
    /// have written without that limit.
    pub(super) fn to_be_sent(&self, unsent: u64) -> u64 {
        if !self.writes_more || !self.has_several_paths() || self.unsent_limit() == usize::MAX {
            return unsent;
        }
        let in_flight = self.data_nxt.since(self.data_una);
        unsent.max((self.send_capacity(self.config.send_buffer_max) as u64).saturating_sub(in_flight))
    }

    /// Notes what a write leaves behind, before which so much was unsent.
    fn note_write(&mut self, unsent: u64, short: bool) {
        self.writable_wanted |= short;
        self.writes_more = short || self.writes_more && unsent > 0;
    }

    /// Three windows of all subflows: one in flight, one to send when it is acknowledged, and one that waits at the data
    /// level. Where round trips differ, what the slowest subflow has out keeps the others' from being released: twice the
    /// rate of all of them for the longest round trip.
    pub(super) fn send_capacity(&self, max: usize) -> usize {
        let (mut windows, mut rate, mut longest) = (0_u64, 0.0_f64, 0.0_f64);
        for (id, s) in self.iter() {
            let window = self.congestion.window(id);
            windows += window;
            if let Some(srtt) = s.tcp.rtt.srtt().filter(|srtt| !srtt.is_zero()) {
                rate += window as f64 / srtt.as_secs_f64();
                longest = longest.max(srtt.as_secs_f64());
            }
        }
        // [8684-3.3.5-5]
        (3 * windows).max((2.0 * rate * longest) as u64).max(SEND_BUFFER_MIN).min(max as u64) as usize
    }

    fn check_writable(&self) -> Result<(), ConnectionError> {
        match (self.error, self.send_half) {
            (Some(error), _) => Err(error),
            (None, SendHalf::Open) => Ok(()),
            (None, _) => Err(ConnectionError::Closed),
        }
    }

    pub(crate) fn write(&mut self, max: usize, data: &[u8]) -> Result<usize, ConnectionError> {
        self.check_writable()?;
        let (n, unsent) = (data.len().min(self.write_room(max)), self.send.end().since(self.data_nxt));
        self.send.write(&data[..n]);
        self.note_write(unsent, n < data.len());
        Ok(n)
    }

    pub(crate) fn write_bytes(&mut self, max: usize, data: &mut Bytes) -> Result<usize, ConnectionError> {
        self.check_writable()?;
        let (n, unsent) = (data.len().min(self.write_room(max)), self.send.end().since(self.data_nxt));
        self.send.push(data.split_to(n));
        self.note_write(unsent, !data.is_empty());
        Ok(n)
    }

    /// The peer acknowledged the stream up to `una`.
    pub(super) fn data_acknowledged(&mut self, max: usize, una: Dsn) {
        if una <= self.data_una || una > self.data_nxt {
            return;
        }
        self.data_una = una;
        self.stuck = None;
        // [8684-3.3.2-5]
        self.send.release(una.min(self.send.end()));
        if self.send_half == SendHalf::FinSent && self.is_active() && una > self.send.end() {
            self.send_half = SendHalf::FinAcked;
        }
        self.tell_writable(max);
    }

    /// There is room, because something was acknowledged or sent, or because the buffer has grown with the windows. A quarter
    /// of it at a time: no wake-ups for slivers (Linux: sk_stream_min_wspace).
    pub(super) fn tell_writable(&mut self, max: usize) {
        if self.writable_wanted && self.write_room(max) >= (self.send_capacity(max) / 4).min(self.unsent_limit() / 2) {
            self.writable_wanted = false;
            self.news.push_back(News::Writable);
        }
    }

    /// At most `max` bytes, if any are there; an empty piece is the end of the stream.
    pub(crate) fn read(&mut self, max: usize) -> Result<Option<Bytes>, ConnectionError> {
        if max == 0 {
            return Ok(None);
        }
        let Some(data) = self.inbox.pop(max) else { return self.nothing_to_read() };
        self.taken(data.len());
        Ok(Some(data))
    }

    /// Fills `buf` as far as there are bytes; 0 is the end of the stream.
    pub(crate) fn read_into(&mut self, buf: &mut [u8]) -> Result<Option<usize>, ConnectionError> {
        let filled = self.inbox.read_into(buf);
        if filled == 0 && !buf.is_empty() {
            return Ok(self.nothing_to_read()?.map(|_| 0));
        }
        self.taken(filled);
        Ok(Some(filled))
    }

    fn nothing_to_read(&self) -> Result<Option<Bytes>, ConnectionError> {
        match (self.eof, self.error) {
            (true, _) => Ok(Some(Bytes::new())),
            (false, Some(error)) => Err(error),
            (false, None) => Ok(None),
        }
    }

    /// The longest round trip, as far as anything is known of it.
    pub(super) fn longest_rtt(&self) -> Duration {
        let rtts = self.iter().filter_map(|(_, s)| s.tcp.rcv_rtt.max(s.tcp.rtt.srtt()));
        rtts.max().unwrap_or(Duration::from_millis(10))
    }

    /// The longest of those that the subflows had at best.
    pub(super) fn longest_min_rtt(&self) -> Duration {
        self.iter().filter_map(|(_, s)| s.tcp.rtt.min().or(s.tcp.rcv_rtt)).max().unwrap_or(Duration::from_millis(10))
    }

    fn taken(&mut self, bytes: usize) {
        if bytes > 0 && self.window.update_is_due(Dsn(self.assembler.next()), self.inbox.len()) {
            // On every subflow: a peer may hold each to the window that it saw itself (Linux does).
            self.ack_on_all();
        }
    }

    /// Moves what a subflow has in order into the connection's stream.
    pub(super) fn drain_subflow(&mut self, id: SubflowId) -> Result<(), Obstacle> {
        let had = self.assembler.next();
        let mut result = Ok(());
        while let Some(subflow) = self.get_mut(id).filter(|_| result.is_ok()) {
            let Some((ssn, data)) = subflow.tcp.pop_data() else { break };
            result = self.place(id, ssn, data);
        }
        self.settle_doubt(id);
        if let Some(subflow) = self.get_mut(id) {
            let rcv_nxt = subflow.tcp.rcv_nxt();
            subflow.rx.release(rcv_nxt);
        }
        self.collect_in_order(had);
        result
    }

    /// Puts subflow bytes where their mappings say.
    fn place(&mut self, id: SubflowId, mut ssn: Ssn, mut data: Bytes) -> Result<(), Obstacle> {
        while !data.is_empty() {
            if let Multipath::Fallback(_) = self.multipath {
                // Plain TCP: the subflow's stream is the connection's.
                // [8684-3.8-2]
                return self.assemble(Dsn(ssn.0), data);
            }
            let Some(subflow) = self.get_mut(id) else { return Err(Obstacle::Violation) };
            let before = data.len();
            match subflow.rx.place(ssn, &mut data) {
                Mapped::At(dsn, piece) => self.assemble(dsn, piece)?,
                Mapped::Held => {}
                Mapped::Verified => self.assemble_held(id)?,
                Mapped::Corrupt(dsn) => self.on_corrupt_mapping(id, dsn)?,
                Mapped::Unmapped(data) => return Err(Obstacle::Unmapped(ssn, data)),
            }
            ssn += (before - data.len()) as u64;
        }
        Ok(())
    }

    /// Takes what was held until its mapping was verified.
    fn assemble_held(&mut self, id: SubflowId) -> Result<(), Obstacle> {
        let held = self.get_mut(id).map(|s| s.rx.take_held()).unwrap_or_default();
        held.into_iter().try_for_each(|(ssn, piece)| {
            let dsn = self.get(id).and_then(|s| s.rx.dsn_of(ssn));
            self.assemble(dsn.ok_or(Obstacle::Violation)?, piece)
        })
    }

    /// Takes bytes into the connection's stream.
    pub(super) fn assemble(&mut self, dsn: Dsn, piece: Bytes) -> Result<(), Obstacle> {
        // Far beyond the window, or beyond the end.
        let end = dsn + piece.len() as u64;
        let limit = self.receive_end();
        let crumbs = self.assembler.pieces() >= MAX_PIECES;
        if self.is_active() && (crumbs || end > limit || self.data_fin_at.is_some_and(|fin| end > fin)) {
            return Err(Obstacle::Violation);
        }
        let fresh = self.assembler.insert(dsn.0, piece);
        if fresh == 0 {
            self.journal.count(Counter::MPTcpExtDuplicateData);
        } else if dsn.0 > self.assembler.next() {
            self.journal.count(Counter::MPTcpExtOFOQueue);
        }
        Ok(())
    }

    pub(super) fn collect_in_order(&mut self, had: u64) {
        let until = self.doubted_from().map_or(u64::MAX, |dsn| dsn.0);
        while let Some((_, data)) = self.assembler.pop_before(until) {
            if !self.orphaned {
                self.inbox.push(data);
            }
        }
        // [8684-3.3.3-4]
        let fin_reached = !self.eof && until == u64::MAX && self.data_fin_at == Some(Dsn(self.assembler.next()));
        if fin_reached {
            self.eof = true;
            self.assembler.skip_one();
            // Every live subflow tells: the peer waits for nothing else.
            self.ack_on_all();
        }
        if (fin_reached || self.assembler.next() > had) && !self.orphaned {
            self.news.push_back(News::Readable);
        }
    }
}
