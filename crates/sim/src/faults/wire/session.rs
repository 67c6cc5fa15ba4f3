//! One connection of Multipath TCP, as its packets show it.
//!
//! Positions count from the first byte, which has 0.

use polypath_wire::{CapableKeys, Dss, DssMapping, Key, Segment, Token, WireDsn};

use super::flow::{Flow, Mappings};
use super::ranges::Ranges;
use super::unwrap;

/// What follows from one host's key.
#[derive(Copy, Clone, Debug)]
pub(super) struct Numbers {
    pub(super) token: Token,
    first: u64,
}

impl Numbers {
    fn of(key: Key) -> Self {
        Self { token: key.token(), first: key.idsn().wrapping_add(1) }
    }

    /// The position of a number next to `near`.
    fn position(&self, near: u64, number: WireDsn) -> u64 {
        match number {
            WireDsn::Short(low) => unwrap(near, low.wrapping_sub(self.first as u32)),
            WireDsn::Long(all) => all.wrapping_sub(self.first),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) local: Option<Numbers>,
    pub(super) remote: Option<Numbers>,
    // Sending.
    snd_nxt: u64,
    snd_una: u64,
    fin_sent: Option<u64>,
    edge: u64,
    // Receiving.
    arrived: Ranges,
    ack_sent: u64,
}

/// A mapping in a segment, as positions.
struct Mapping {
    ssn: u64,
    dsn: u64,
    len: u64,
    fin: bool,
}

impl Session {
    pub(super) fn learn_local(&mut self, key: Key) {
        self.local = Some(Numbers::of(key));
    }

    /// The keys that a segment from `self.local` (or from the peer) brings.
    fn learn(&mut self, segment: &Segment, ours: bool) {
        let Some(capable) = segment.options.mp_capable() else { return };
        let (sender, receiver) = match capable.keys {
            CapableKeys::Syn => return,
            CapableKeys::SynAck { sender } => (sender, None),
            CapableKeys::Ack { sender, receiver } | CapableKeys::Data { sender, receiver, .. } => {
                (sender, Some(receiver))
            }
        };
        let (mine, theirs) = if ours { (Some(sender), receiver) } else { (receiver, Some(sender)) };
        self.local = self.local.or(mine.map(Numbers::of));
        self.remote = self.remote.or(theirs.map(Numbers::of));
    }

    /// The finite mapping of a segment whose sender numbers its data so; places are next to `near`.
    fn mapping(segment: &Segment, sender: Numbers, near_ssn: u64, near_dsn: u64) -> Option<Mapping> {
        if let Some(CapableKeys::Data { data_len, .. }) = segment.options.mp_capable().map(|capable| capable.keys) {
            return Some(Mapping { ssn: 1, dsn: 0, len: data_len.into(), fin: false });
        }
        let Dss { mapping, data_fin: fin, .. } = *segment.options.dss()?;
        let DssMapping { dsn, ssn, len, .. } = mapping.filter(|mapping| !mapping.is_infinite())?;
        let dsn = sender.position(near_dsn, dsn);
        Some(Mapping { ssn: unwrap(near_ssn, ssn), dsn, len: u64::from(len).saturating_sub(fin.into()), fin })
    }

    /// A segment of one of its subflows has arrived, with `len` bytes at `position`.
    pub(super) fn received(&mut self, segment: &Segment, flow: &mut Flow, position: u64, len: u64) {
        self.learn(segment, false);
        let window = flow.window_of(segment);
        if let (Some(local), Some(ack)) = (self.local, segment.options.dss().and_then(|dss| dss.data_ack)) {
            let ack = local.position(self.snd_una, ack);
            if ack <= self.snd_nxt {
                self.snd_una = self.snd_una.max(ack);
            }
        }
        self.edge = self.edge.max(self.snd_una + window);
        let Some(remote) = self.remote else { return };
        let near = self.arrived.contiguous();
        if let Some(mapping) = Self::mapping(segment, remote, flow.contiguous(), near) {
            if mapping.fin {
                self.arrived.insert(mapping.dsn + mapping.len..mapping.dsn + mapping.len + 1);
            }
            if mapping.len > 0 {
                flow.received_mappings.insert(mapping.ssn, (mapping.len, mapping.dsn));
            }
        }
        let covering = flow.received_mappings.range(..=position).next_back();
        if let Some((ssn, (mapped, dsn))) = covering.filter(|_| len > 0) {
            let skip = position - ssn;
            self.arrived.insert(dsn + skip.min(*mapped)..dsn + (skip + len).min(*mapped));
        }
    }

    /// A segment of one of its subflows leaves, with `len` bytes at `position`. Whether they have a mapping.
    pub(super) fn sent(&mut self, segment: &Segment, flow: &mut Flow, position: u64, len: u64) -> Result<bool, String> {
        self.learn(segment, true);
        if let (Some(remote), Some(ack)) = (self.remote, segment.options.dss().and_then(|dss| dss.data_ack)) {
            self.check_data_ack(remote.position(self.ack_sent, ack))?;
        }
        let Some(local) = self.local else { return Ok(false) };
        let near = if len > 0 { position } else { 1 };
        let Some(mapping) = Self::mapping(segment, local, near, self.snd_nxt) else { return Ok(false) };
        if flow.plain {
            return Err("sent a mapping after data without".to_owned());
        }
        self.check_mapping(&mapping)?;
        if len == 0 {
            return Ok(false);
        }
        let Mapping { ssn, dsn, len: mapped, .. } = mapping;
        if position < ssn || position + len > ssn + mapped {
            let what = format!("{len} bytes at {position} with a mapping of {mapped} bytes at {ssn}");
            return Err(format!("sent {what}"));
        }
        add_mapping(&mut flow.sent_mappings, ssn, mapped, dsn)?;
        Ok(true)
    }

    fn check_data_ack(&mut self, ack: u64) -> Result<(), String> {
        let arrived = self.arrived.contiguous();
        if ack > arrived {
            return Err(format!("DATA_ACK of {ack}, but only {arrived} has arrived"));
        }
        if ack < self.ack_sent {
            return Err(format!("DATA_ACK of {ack} after {}", self.ack_sent));
        }
        self.ack_sent = ack;
        Ok(())
    }

    fn check_mapping(&mut self, mapping: &Mapping) -> Result<(), String> {
        let end = mapping.dsn + mapping.len;
        if mapping.dsn > self.snd_nxt {
            return Err(format!("mapped {}, but nothing between {} and that", mapping.dsn, self.snd_nxt));
        }
        if mapping.len > 0 && end > self.edge {
            return Err(format!("mapped up to {end}, beyond the connection's window, which ends at {}", self.edge));
        }
        if mapping.fin && *self.fin_sent.get_or_insert(end) != end {
            return Err(format!("sent a DATA_FIN at {end}, and one at {:?} before", self.fin_sent));
        }
        if self.fin_sent.is_some_and(|fin| end > fin) {
            return Err(format!("mapped up to {end}, beyond its DATA_FIN at {:?}", self.fin_sent));
        }
        self.snd_nxt = self.snd_nxt.max(end + u64::from(mapping.fin));
        Ok(())
    }
}

/// While a mapping is valid it is the only one for its bytes (RFC 8684, section 3.3.1).
fn add_mapping(mappings: &mut Mappings, ssn: u64, len: u64, dsn: u64) -> Result<(), String> {
    let clash = |(at, (other, to)): (&u64, &(u64, u64))| -> Option<String> {
        let same = (*at, *other, *to) == (ssn, len, dsn);
        let apart = at + other <= ssn || ssn + len <= *at;
        (!same && !apart).then(|| format!("mapped {len} bytes at {ssn} to {dsn}, and {other} at {at} to {to} before"))
    };
    let before = mappings.range(..=ssn).next_back().and_then(clash);
    if let Some(clash) = before.or_else(|| mappings.range(ssn + 1..).next().and_then(clash)) {
        return Err(clash);
    }
    mappings.insert(ssn, (len, dsn));
    Ok(())
}
