//! One subflow, or one connection of plain TCP, as its packets show it.
//!
//! Positions count from the SYN, which has 0.

use std::collections::BTreeMap;

use polypath_wire::{MpJoin, MptcpOption, Segment, SeqNum, TcpFlags, TcpOptions};

use super::ranges::Ranges;
use super::unwrap;

/// How far the handshake of a join is.
#[derive(Copy, Clone, Debug)]
pub(super) enum Join {
    /// Ours: nothing may follow the third ACK before the fourth (RFC 8684, section 3.2).
    Opened { answered: bool },
    /// The peer's: nothing may go before the third ACK has come.
    Accepted { confirmed: bool },
}

impl Join {
    pub(super) fn may_send(self) -> bool {
        match self {
            Join::Opened { answered: done } | Join::Accepted { confirmed: done } => done,
        }
    }
}

#[derive(Debug)]
pub(super) struct Flow {
    iss: SeqNum,
    irs: Option<SeqNum>,
    offered: TcpOptions,
    /// Units of our window and the peer's, where both offered them.
    scales: Option<(u8, u8)>,
    timestamps: bool,
    sack: bool,
    // Sending.
    snd_nxt: u64,
    snd_una: u64,
    fin_sent: Option<u64>,
    /// The furthest right edge of the peer's window.
    edge: u64,
    // Receiving.
    arrived: Ranges,
    ack_sent: u64,
    /// After that the window means nothing.
    fin_arrived: bool,
    /// The furthest right edge of our window, where it counts from the acknowledgement.
    offered_edge: u64,
    // Multipath TCP.
    /// Which connection it belongs to, or would if the peer agreed.
    pub(super) session: Option<usize>,
    pub(super) join: Option<Join>,
    /// Sends data without mappings.
    pub(super) plain: bool,
    /// Mappings sent and received: place, length, data sequence number.
    pub(super) sent_mappings: Mappings,
    pub(super) received_mappings: Mappings,
}

/// Mappings of one direction: place in the subflow to length and place in the connection.
pub(super) type Mappings = BTreeMap<u64, (u64, u64)>;

impl Flow {
    /// The flow that a SYN of ours opens, or our answer to `syn`.
    pub(super) fn new(segment: &Segment, syn: Option<&Segment>) -> Self {
        let mut flow = Self {
            iss: segment.tcp.seq,
            irs: None,
            offered: segment.options.clone(),
            scales: None,
            timestamps: false,
            sack: false,
            snd_nxt: 1,
            snd_una: 0,
            fin_sent: None,
            edge: 0,
            arrived: Ranges::default(),
            ack_sent: 0,
            fin_arrived: false,
            offered_edge: 0,
            session: None,
            join: None,
            plain: false,
            sent_mappings: BTreeMap::new(),
            received_mappings: BTreeMap::new(),
        };
        if let Some(syn) = syn {
            flow.agree(syn);
            flow.edge = 1 + u64::from(syn.tcp.window);
        }
        flow
    }

    /// Whether a SYN or SYN/ACK of ours is this flow's, sent again.
    pub(super) fn is_of(&self, segment: &Segment) -> bool {
        let answers = segment.tcp.flags.contains(TcpFlags::ACK);
        self.iss == segment.tcp.seq && (!answers || self.irs == Some(segment.tcp.ack.wrapping_sub(1)))
    }

    /// The peer's SYN or SYN/ACK.
    fn agree(&mut self, peer: &Segment) {
        self.irs = Some(peer.tcp.seq);
        self.arrived.insert(0..1);
        self.scales = self.offered.window_scale.zip(peer.options.window_scale);
        self.timestamps = self.offered.timestamps.is_some() && peer.options.timestamps.is_some();
        self.sack = self.offered.sack_permitted && peer.options.sack_permitted;
    }

    /// The answer to our SYN.
    pub(super) fn take_answer(&mut self, segment: &Segment) {
        if self.irs.is_none() && segment.tcp.ack == self.iss.wrapping_add(1) {
            self.agree(segment);
        }
    }

    /// The peer's window in a segment, in bytes.
    pub(super) fn window_of(&self, segment: &Segment) -> u64 {
        let shift = if segment.tcp.flags.contains(TcpFlags::SYN) { 0 } else { self.scales.map_or(0, |(_, peer)| peer) };
        u64::from(segment.tcp.window) << shift
    }

    /// A segment has arrived: where its payload begins, if it belongs here.
    pub(super) fn received(&mut self, segment: &Segment, len: u64) -> Option<u64> {
        let tcp = &segment.tcp;
        let irs = self.irs?;
        if tcp.flags.contains(TcpFlags::RST) {
            return None;
        }
        let syn = u64::from(tcp.flags.contains(TcpFlags::SYN));
        let position = unwrap(self.arrived.contiguous(), tcp.seq.distance(irs).cast_unsigned()) + syn;
        let fin = u64::from(tcp.flags.contains(TcpFlags::FIN));
        self.fin_arrived |= fin > 0;
        self.arrived.insert(position..position + len + fin);
        if tcp.flags.contains(TcpFlags::ACK) {
            let ack = unwrap(self.snd_una, tcp.ack.distance(self.iss).cast_unsigned());
            if ack <= self.snd_nxt {
                self.snd_una = self.snd_una.max(ack);
                self.edge = self.edge.max(ack + self.window_of(segment));
            }
        }
        match (&mut self.join, segment.options.mp_join()) {
            (Some(Join::Opened { answered }), _) if syn == 0 => *answered = true,
            (Some(Join::Accepted { confirmed }), Some(MpJoin::Ack { .. })) => *confirmed = true,
            _ => {}
        }
        Some(position)
    }

    /// A byte below what is acknowledged: a question to a silent peer.
    pub(super) fn is_garbage(&self, position: u64, len: u64) -> bool {
        len == 1 && position < self.snd_una
    }

    /// Bytes of the peer's that are there, without a gap, from the SYN on.
    pub(super) fn contiguous(&self) -> u64 {
        self.arrived.contiguous()
    }

    /// A segment, but no SYN and no reset, leaves: where its payload begins.
    pub(super) fn sent(&mut self, segment: &Segment, len: u64) -> Result<u64, String> {
        let tcp = &segment.tcp;
        let position = unwrap(self.snd_nxt, tcp.seq.distance(self.iss).cast_unsigned());
        let end = position + len;
        if position > self.snd_nxt {
            return Err(format!("sent {position}, but nothing between {} and that", self.snd_nxt));
        }
        if len > 0 && end > self.edge {
            return Err(format!("sent up to {end}, beyond the peer's window, which ends at {}", self.edge));
        }
        if tcp.flags.contains(TcpFlags::FIN) {
            if *self.fin_sent.get_or_insert(end) != end {
                return Err(format!("sent a FIN at {end}, and one at {:?} before", self.fin_sent));
            }
            self.snd_nxt = self.snd_nxt.max(end + 1);
        }
        if len > 0 && self.fin_sent.is_some_and(|fin| end > fin) {
            return Err(format!("sent data up to {end}, beyond its FIN at {:?}", self.fin_sent));
        }
        self.snd_nxt = self.snd_nxt.max(end);
        self.check_acknowledgement(segment)?;
        self.check_options(segment)?;
        Ok(position)
    }

    fn check_acknowledgement(&mut self, segment: &Segment) -> Result<(), String> {
        let tcp = &segment.tcp;
        if !tcp.flags.contains(TcpFlags::ACK) {
            return Err("sent a segment without an acknowledgement".to_owned());
        }
        let Some(irs) = self.irs else { return Err("sent a segment before the SYN/ACK came".to_owned()) };
        let position = |number: SeqNum| unwrap(self.ack_sent, number.distance(irs).cast_unsigned());
        let ack = position(tcp.ack);
        let arrived = self.arrived.contiguous();
        if ack > arrived {
            return Err(format!("acknowledged {ack}, but only {arrived} has arrived"));
        }
        if ack < self.ack_sent {
            return Err(format!("acknowledged {ack} after {}", self.ack_sent));
        }
        for block in &segment.options.sack {
            let range = position(block.left)..position(block.right);
            if range.is_empty() || !self.arrived.contains(&range) {
                return Err(format!("SACK of {range:?}, which has not arrived"));
            }
        }
        self.ack_sent = ack;
        if self.session.is_none() && !self.fin_arrived {
            self.check_window(tcp.window, ack)?;
        }
        Ok(())
    }

    /// A reset of ours has ended it. What a cookie makes anew of a late segment begins with a window of its own.
    pub(super) fn reset(&mut self) {
        (self.offered_edge, self.ack_sent, self.fin_sent) = (0, 0, None);
    }

    /// The right edge of the window must not move back (RFC 9293, section 3.8.6.2.1), but by a part of a unit.
    fn check_window(&mut self, field: u16, ack: u64) -> Result<(), String> {
        let shift = self.scales.map_or(0, |(ours, _)| ours);
        let edge = ack + (u64::from(field) << shift);
        let known = self.offered_edge;
        // The largest field may not be able to say more.
        let taken_back = if shift > 0 { edge + (1 << shift) <= known } else { edge < known };
        if taken_back && field < u16::MAX {
            return Err(format!("took its window back from {known} to {edge}"));
        }
        self.offered_edge = known.max(edge);
        Ok(())
    }

    fn check_options(&self, segment: &Segment) -> Result<(), String> {
        let options = &segment.options;
        // An ADD_ADDR of IPv6 with a port leaves no room for them.
        let crowded = options.mptcp.iter().any(|option| matches!(option, MptcpOption::AddAddr(_)));
        if options.timestamps.is_some() != self.timestamps && !crowded {
            let agreed = if self.timestamps { "were" } else { "were not" };
            return Err(format!("timestamps {agreed} agreed on, but are {:?}", options.timestamps));
        }
        if !options.sack.is_empty() && !self.sack {
            return Err("sent SACK, which was not agreed on".to_owned());
        }
        if options.mss.is_some() || options.window_scale.is_some() || options.sack_permitted {
            return Err("sent an option that belongs on a SYN".to_owned());
        }
        Ok(())
    }
}
