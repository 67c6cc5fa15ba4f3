//! Opening a connection: SYNs, and MP_CAPABLE, as client and as server (RFC 8684, section 3.1).

use super::info::SubflowChange;
use super::input::is_transient;
use super::{
    CloseReason, Connection, ConnectionError, Env, FallbackReason, Handshake, Multipath, News, Request, Role, Session,
    Subflow,
};
use crate::Config;
use crate::SubflowId;
use crate::congestion::INITIAL_WINDOW_SEGMENTS;
use crate::mib::Counter;
use crate::path_manager::PathEvent;
use crate::seq::Dsn;
use crate::tcp::{Mapping, State};
use crate::time::Instant;
use crate::trace::CongestionReason;
use polypath_wire::{
    CapableFlags, CapableKeys, Key, MpCapable, MpJoin, MptcpOption, Segment, TcpFlags, join_ack_hmac, join_synack_hmac,
};

/// The version of the protocol spoken (RFC 8684).
// [8684-3.1-7]
const VERSION: u8 = 1;

/// Remote ends that are remembered to have answered.
const MAX_REMOTES: usize = 32;

fn capable_of(seg: &Segment) -> Option<&MpCapable> {
    seg.options.mptcp.iter().find_map(|option| match option {
        MptcpOption::MpCapable(capable) => Some(capable),
        _ => None,
    })
}

/// The peer offers, whether or not it is of use.
pub(crate) fn offers_multipath(seg: &Segment) -> bool {
    capable_of(seg).is_some()
}

/// Our key, as a third ACK (or the first data) brings it back.
pub(crate) fn echoed_key(seg: &Segment) -> Option<Key> {
    match capable_of(seg)?.keys {
        CapableKeys::Ack { receiver, .. } | CapableKeys::Data { receiver, .. } => Some(receiver),
        CapableKeys::Syn | CapableKeys::SynAck { .. } => None,
    }
}

/// What a server makes of a SYN's MP_CAPABLE: nothing to fall back from, or the reason to.
pub(crate) fn usable_offer(seg: &Segment, multipath: bool) -> Result<(), FallbackReason> {
    if !multipath {
        return Err(FallbackReason::Disabled);
    }
    match capable_of(seg) {
        Some(c) if c.keys == CapableKeys::Syn => judge(c),
        // [8684-3.7-1]
        _ => Err(FallbackReason::NotOffered),
    }
}

/// RFC 8684, section 3.1: the version and the algorithm must suit both.
fn judge(capable: &MpCapable) -> Result<(), FallbackReason> {
    let flags = capable.flags;
    // Flag B announces something unknown. [8684-3.1-8, 8684-3.1-12, 8684-3.1-15]
    if capable.version != VERSION
        || !flags.contains(CapableFlags::HMAC_SHA256)
        || flags.contains(CapableFlags::EXTENSIBILITY)
    {
        return Err(FallbackReason::NotOffered);
    }
    Ok(())
}

/// What the peer's MP_CAPABLE says besides its keys.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Flag A: use checksums.
    pub(crate) checksum: bool,
    /// Flag C: no joins to this address and port.
    pub(crate) deny_join_initial: bool,
}

impl Terms {
    fn of(flags: CapableFlags) -> Terms {
        Terms {
            checksum: flags.contains(CapableFlags::CHECKSUM_REQUIRED),
            deny_join_initial: flags.contains(CapableFlags::NO_JOIN_INITIAL),
        }
    }

    /// The MP_CAPABLE of a SYN/ACK for which nothing is kept.
    pub(crate) fn answer(self, config: &Config, key: Key) -> MptcpOption {
        let mut flags = CapableFlags::HMAC_SHA256;
        flags.set(CapableFlags::CHECKSUM_REQUIRED, config.dss_checksum || self.checksum);
        flags.set(CapableFlags::NO_JOIN_INITIAL, !config.allow_join_initial);
        MptcpOption::MpCapable(MpCapable { version: VERSION, flags, keys: CapableKeys::SynAck { sender: key } })
    }

    /// Of a SYN; nothing where it offers nothing.
    pub(crate) fn offered(seg: &Segment) -> Terms {
        capable_of(seg).map(|capable| Terms::of(capable.flags)).unwrap_or_default()
    }
}

impl Connection {
    pub(super) fn is_initial_handshake(&self) -> bool {
        !self.established
    }

    /// The option that goes with a SYN or SYN/ACK.
    pub(super) fn syn_option(&self, s: &Subflow) -> Option<MptcpOption> {
        // [8684-3.1-11, 8684-3.1-14, 8684-3.1-16]
        let capable = |keys| self.capable_option(keys);
        match (s.handshake, &self.multipath) {
            // [8684-3.1-4]
            (Handshake::Capable, Multipath::Negotiating { local_key }) => Some(capable(match s.tcp.state {
                State::SynReceived => CapableKeys::SynAck { sender: *local_key },
                _ => CapableKeys::Syn,
            })),
            (Handshake::JoinSyn { nonce }, Multipath::Active(session)) => Some(MptcpOption::MpJoin(MpJoin::Syn {
                backup: s.backup,
                address_id: s.local_id,
                token: session.remote_token,
                nonce,
            })),
            // [8684-3.2-6]
            (Handshake::JoinSynAck { nonce, remote_nonce }, Multipath::Active(session)) => {
                Some(MptcpOption::MpJoin(MpJoin::SynAck {
                    backup: s.backup,
                    address_id: s.local_id,
                    hmac: join_synack_hmac(session.local_key, session.remote_key, nonce, remote_nonce),
                    nonce,
                }))
            }
            _ => None,
        }
    }

    fn capable_option(&self, keys: CapableKeys) -> MptcpOption {
        let mut flags = CapableFlags::HMAC_SHA256;
        // Used where either end asks for it; the answer and all that follows agree. [8684-3.1-29]
        flags.set(CapableFlags::CHECKSUM_REQUIRED, self.checksum);
        flags.set(CapableFlags::NO_JOIN_INITIAL, self.deny_join_initial);
        MptcpOption::MpCapable(MpCapable { version: VERSION, flags, keys })
    }

    /// The handshake option that a pure ACK still has to carry.
    pub(super) fn third_ack_option(&self, s: &Subflow) -> Option<MptcpOption> {
        let session = self.multipath.session()?;
        match s.handshake {
            Handshake::JoinAck { nonce, remote_nonce } => Some(MptcpOption::MpJoin(MpJoin::Ack {
                hmac: join_ack_hmac(session.local_key, session.remote_key, nonce, remote_nonce),
            })),
            // [8684-3.1-4]
            _ if self.role == Role::Client && !session.confirmed => {
                let (sender, receiver) = (session.local_key, session.remote_key);
                Some(self.capable_option(CapableKeys::Ack { sender, receiver }))
            }
            _ => None,
        }
    }

    /// The keys once more, with the first data, until the peer has shown that it got them.
    pub(super) fn capable_data_option(&self, session: &Session, mapping: &Mapping) -> MptcpOption {
        let (sender, receiver) = (session.local_key, session.remote_key);
        let (data_len, checksum) = (mapping.len, mapping.checksum);
        self.capable_option(CapableKeys::Data { sender, receiver, data_len, checksum })
    }

    /// SYN-SENT (RFC 9293, section 3.10.7.3).
    pub(super) fn on_syn_sent(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment) {
        let flags = seg.tcp.flags;
        let Some(s) = self.get_mut(id) else { return };
        if flags.contains(TcpFlags::RST) {
            // [9293-3.10.7.3-1]
            if flags.contains(TcpFlags::ACK) && s.tcp.acknowledges_syn(seg) {
                if self.is_initial_handshake() {
                    return self.fail(now, ConnectionError::Refused);
                }
                self.take_reset_reason(id, seg);
                if self.subflow_count() == 1 && is_transient(seg) != Some(true) {
                    // Nothing else is left, and the peer knows the connection no more.
                    return self.on_forgotten(now, id);
                }
                self.close_subflow(now, env, id, CloseReason::ResetByPeer);
            }
            return;
        }
        // [9293-3.10.7.3-2]
        if flags.contains(TcpFlags::ACK) && !s.tcp.acknowledges_syn(seg) {
            // RFC 9293, section 3.10.7.3: somebody has an old connection there; it must go first.
            let (local, remote, link) = (s.tcp.local(), s.tcp.remote(), s.tcp.link);
            return self.requests.push(Request::Refuse { local, remote, link, seq: seg.tcp.ack });
        }
        if flags & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN {
            return self.on_crossing_syn(now, id, seg);
        }
        if !flags.contains(TcpFlags::SYN | TcpFlags::ACK) {
            return;
        }
        self.judge_first_syns(id, seg);
        let Some(s) = self.get_mut(id) else { return };
        s.tcp.on_syn_ack(now, seg);
        match s.handshake {
            Handshake::JoinSyn { nonce } => self.on_join_syn_ack(now, env, id, nonce, seg),
            _ => self.on_capable_syn_ack(now, env, id, seg),
        }
    }

    /// The peer opens the connection too (RFC 9293, section 3.5). RFC 8684 does not say what MP_CAPABLE means then:
    /// plain TCP, as in Linux.
    fn on_crossing_syn(&mut self, now: Instant, id: SubflowId, seg: &Segment) {
        // A join that crosses another one proves nothing to either end.
        let Some(s) = self.get_mut(id).filter(|s| s.handshake == Handshake::Capable) else { return };
        // [9293-MUST-10]
        s.tcp.on_crossing_syn(now, seg);
        s.send_syn = true;
        if let Multipath::Negotiating { .. } = self.multipath {
            self.fall_back(FallbackReason::SimultaneousOpen);
        }
    }

    fn on_capable_syn_ack(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment) {
        let unnumbered = self.get(id).map_or(0, |s| s.tcp.syn_bytes_sent());
        if let Multipath::Negotiating { local_key } = self.multipath {
            // [8684-3.1-17]
            let answer = capable_of(seg).ok_or(FallbackReason::NotOffered).and_then(|c| judge(c).map(|()| c));
            self.multipath = match answer {
                Ok(MpCapable { flags, keys: CapableKeys::SynAck { sender }, .. }) => {
                    let terms = Terms::of(*flags);
                    self.checksum |= terms.checksum;
                    let mut session = Session::new(local_key, *sender).after_syn_data(unnumbered, 0);
                    session.checksum = self.checksum;
                    session.deny_join_initial = terms.deny_join_initial;
                    Multipath::Active(session)
                }
                Ok(_) => Multipath::Fallback(FallbackReason::NotOffered),
                // [8684-3.1-9]
                Err(reason) => Multipath::Fallback(reason),
            };
            self.journal.count(match self.multipath {
                Multipath::Active(_) => Counter::MPTcpExtMPCapableSYNACKRX,
                _ => Counter::MPTcpExtMPCapableFallbackSYNACK,
            });
            self.trace_multipath();
        }
        self.settle_fast_open(env, id, seg);
        self.on_connection_established(now, id);
    }

    /// SYN-RECEIVED (RFC 9293, section 3.10.7.4). True: the handshake is over, go on with the segment.
    pub(super) fn on_syn_received(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment) -> bool {
        let (initial, role, fast_opened) = (self.is_initial_handshake(), self.role, self.fast_opened);
        let Some(s) = self.get_mut(id) else { return false };
        let flags = seg.tcp.flags;
        if flags.contains(TcpFlags::RST) {
            if s.tcp.seq_of(seg) == s.tcp.rcv_nxt() {
                if fast_opened && !matches!(s.handshake, Handshake::JoinSynAck { .. }) {
                    self.requests.push(Request::NoteFastOpenReset);
                }
                if initial {
                    // An active open is told that it was refused; a passive one is forgotten. [9293-MUST-11]
                    let active = role == Role::Client;
                    self.fail(now, if active { ConnectionError::Refused } else { ConnectionError::Reset });
                } else {
                    self.close_subflow(now, env, id, CloseReason::ResetByPeer);
                }
            }
            return false;
        }
        // The peer's answer to our SYN, after both crossed. [9293-MUST-10]
        let crossed = role == Role::Client && flags.contains(TcpFlags::ACK) && s.tcp.repeats_syn(seg);
        if flags.contains(TcpFlags::SYN) && !crossed {
            // Our SYN/ACK was lost. One that is no answer to our SYN gets none: two ends would go on for ever.
            if !flags.contains(TcpFlags::ACK) {
                s.tcp.on_repeated_syn(seg);
                s.send_syn = true;
                let plain = initial && role == Role::Server && capable_of(seg).is_none();
                if plain && matches!(self.multipath, Multipath::Negotiating { .. }) {
                    // The client has given up on options: something may drop SYN/ACKs that have them.
                    self.fall_back(FallbackReason::NotOffered);
                }
            }
            return false;
        }
        if !flags.contains(TcpFlags::ACK) || !s.tcp.acknowledges_syn(seg) {
            return false;
        }
        match s.handshake {
            Handshake::JoinSynAck { nonce, remote_nonce } => {
                self.on_join_third_ack(now, env, id, (nonce, remote_nonce), seg)
            }
            _ => self.on_capable_third_ack(now, env, id, seg),
        }
    }

    fn on_capable_third_ack(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, seg: &Segment) -> bool {
        if let Multipath::Negotiating { local_key } = self.multipath {
            let capable = capable_of(seg);
            let unnumbered = self.get(id).map_or(0, |s| s.tcp.syn_bytes_received());
            if capable.is_none() && seg.options.mptcp.iter().any(|o| matches!(o, MptcpOption::Dss(_))) {
                // It overtook the segment with the keys, which will come (again): the client repeats it.
                return false;
            }
            // [8684-3.1-6]
            self.multipath = match capable.map(|c| &c.keys) {
                Some(CapableKeys::Ack { sender, receiver } | CapableKeys::Data { sender, receiver, .. })
                    if *receiver == local_key =>
                {
                    let session = Session { confirmed: true, ..Session::new(local_key, *sender) };
                    let mut session = session.after_syn_data(0, unnumbered);
                    session.checksum = self.checksum;
                    session.deny_join_initial = self.peer_denies_join_initial;
                    Multipath::Active(session)
                }
                // [8684-3.1-19, 8684-3.1-21]
                _ => Multipath::Fallback(FallbackReason::ThirdAckWithoutCapable),
            };
            self.journal.count(match self.multipath {
                Multipath::Active(_) => Counter::MPTcpExtMPCapableACKRX,
                _ => Counter::MPTcpExtMPCapableFallbackACK,
            });
            self.trace_multipath();
        }
        if let Some(s) = self.get_mut(id) {
            s.tcp.on_handshake_ack(now, seg);
        }
        if self.role == Role::Client {
            // The SYNs crossed.
            self.settle_syn_data(env, id);
        }
        if !self.established {
            self.on_connection_established(now, id);
        }
        self.on_confirmed(now, env);
        true
    }

    pub(super) fn on_connection_established(&mut self, now: Instant, id: SubflowId) {
        self.established = true;
        if let Some(s) = self.get(id) {
            self.data_wnd_end = Dsn(s.tcp.window_edge().0);
        }
        self.restart_user_timeout(now);
        if !self.fast_opened {
            self.news.push_back(News::Connected);
        }
        self.on_subflow_established(now, id);
    }

    pub(super) fn on_subflow_established(&mut self, now: Instant, id: SubflowId) {
        let option_bytes = self.data_option_bytes();
        let Some(s) = self.get_mut(id) else { return };
        let joined = s.handshake != Handshake::Capable;
        s.handshake = Handshake::Done;
        s.established = true;
        let mss = s.tcp.mss_with(option_bytes);
        // A SYN that asked whether a dead path lives was lost for another reason than congestion. [5681-3.1-2]
        let initial = if s.tcp.handshake_was_lost() && !s.worked_before { 1 } else { INITIAL_WINDOW_SEGMENTS };
        let (local, remote) = (s.tcp.local().ip(), s.tcp.remote());
        self.ever_joined |= joined;
        self.judge_alarm(now, local);
        if self.role == Role::Client && !self.known_remotes.contains(&remote) && self.known_remotes.len() < MAX_REMOTES
        {
            self.known_remotes.push(remote);
        }
        self.congestion.on_subflow_added(id, mss, initial);
        self.begin_pacing(now, id);
        if !self.orphaned && !self.finished {
            self.timers.stop(super::timers::ConnectionTimer::Abandon);
        }
        self.start_keepalive(now, id);
        self.trace_congestion(id, CongestionReason::Start);
        self.subflow_news(id, SubflowChange::Established);
        if joined {
            self.say_priority(id);
            if self.is_alone(id) {
                // What was said of the end had nobody to go to.
                self.hurry_data_fin();
            }
        }
        if !self.writable_wanted {
            return;
        }
        self.writable_wanted = false;
        self.news.push_back(News::Writable);
    }

    /// The peer has shown that it knows both keys: subflows may be added.
    pub(super) fn on_confirmed(&mut self, now: Instant, env: &Env<'_>) {
        for id in self.ids() {
            self.say_priority(id);
        }
        self.notify_path_manager(now, env, &PathEvent::Established);
    }

    pub(crate) fn name_subflow(&self, env: &Env<'_>, subflow: &mut Subflow) {
        if let Some(address) = env.addresses.iter().find(|a| a.addr == subflow.tcp.local().ip()) {
            subflow.name.clone_from(&address.name);
            // Where the peer began it at an address that is not to be used, it is better than none.
            subflow.backup = self.backup_by_policy(address).unwrap_or(true);
            // MP_CAPABLE has no flag for it.
            subflow.priority_said = !subflow.backup || subflow.handshake != Handshake::Capable;
        }
    }
}
