//! Data with the SYN (RFC 7413): how much of it there may be, and what was taken of it.

use super::{State, Tcp};
use crate::seq::Ssn;
use bytes::Bytes;
use polypath_wire::{MAX_OPTIONS_LEN, Segment};

impl Tcp {
    /// Payload that a SYN has room for, if the peer takes segments of `peer_mss` bytes.
    pub(crate) fn syn_room(&self, peer_mss: u16) -> u64 {
        let mss = peer_mss.min(self.local_mss).min(self.path.limit());
        u64::from(mss).saturating_sub(MAX_OPTIONS_LEN as u64)
    }

    /// So many bytes go with the SYN. They are sent again after the handshake, should the peer not take them.
    pub(crate) fn note_syn_data(&mut self, len: u64) {
        self.syn_sent = len;
        self.counters.bytes_sent += len;
    }

    /// Bytes of ours that went with the SYN and were taken.
    pub(crate) fn syn_bytes_sent(&self) -> u64 {
        self.syn_taken
    }

    /// Bytes of the peer's SYN that were taken.
    pub(crate) fn syn_bytes_received(&self) -> u64 {
        self.syn_received
    }

    /// Takes the data of the peer's SYN; the connection has it already.
    pub(crate) fn take_syn_data(&mut self, payload: &Bytes) {
        self.syn_received = payload.len() as u64;
        self.counters.bytes_received += self.syn_received;
        self.assembler.insert(Ssn::FIRST.0, payload.clone());
        while self.assembler.pop().is_some() {}
    }

    /// New data may be sent: also before the third ACK, to a peer whose SYN had a good cookie. [7413-4.2.2-4]
    pub(crate) fn can_send(&self) -> bool {
        self.state.can_send() || (self.state == State::SynReceived && self.syn_received > 0)
    }

    /// A SYN or SYN/ACK has been sent.
    pub(crate) fn handshake_began(&self) -> bool {
        self.recovery.handshake_sent().is_some()
    }

    /// The furthest that an acknowledgement may reach that ends the handshake: what went with our SYN, or after our
    /// SYN/ACK.
    pub(super) fn handshake_end(&self) -> Ssn {
        self.snd_nxt.max(Ssn::FIRST + self.syn_sent)
    }

    /// Our SYN is acknowledged, and what the peer took of its data: the rest is sent from there.
    pub(super) fn take_syn_acknowledgement(&mut self, seg: &Segment) {
        self.snd_una = self.snd_space.unwrap(seg.tcp.ack, Ssn::FIRST);
        self.syn_taken = self.snd_una - Ssn::FIRST;
        (self.snd_nxt, self.round_end) = (self.snd_una, self.snd_una);
    }
}
