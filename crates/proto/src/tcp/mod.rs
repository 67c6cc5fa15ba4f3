//! The TCP engine of one subflow (RFC 9293): sequence numbers, acknowledgements, loss recovery, windows.
//!
//! It knows nothing of Multipath TCP. The connection above decides what data goes in, what options ride
//! along, and how large the advertised window is; plain TCP is a connection with one of these.

mod ack;
mod challenge;
mod counters;
mod ecn;
mod fast_open;
mod info;
mod pacing;
mod path_mtu;
mod prr;
mod rack;
mod rate;
mod receive;
mod recovery;
mod rtt;
mod scoreboard;
mod send;
mod send_window;
mod timers;

pub(crate) use challenge::Challenges;
pub use counters::Counters;
pub(crate) use counters::Tally;
pub use info::TcpInfo;
pub(crate) use path_mtu::{ProbeOutcome, RAISE_AFTER};
pub(crate) use receive::{AckOutcome, Verdict};
pub(crate) use rtt::{INITIAL_RTO, MAX_RTO};
pub(crate) use scoreboard::{Mapping, TxRecord};
pub(crate) use timers::Timer;

use crate::buffer::Assembler;
use crate::config::EcnMode;
use crate::seq::{Ssn, SsnSpace};
use crate::time::{Duration, Instant};
use crate::{Ends, LinkId};
use polypath_wire::{Ecn, IpHeader, Segment, SeqNum};
use std::net::SocketAddr;

/// RFC 9293, section 3.3.2. LISTEN and TIME-WAIT live in the stack: they need none of this.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A SYN was sent.
    SynSent,
    /// A SYN was received and answered.
    SynReceived,
    /// Open.
    Established,
    /// Our FIN is sent.
    FinWait1,
    /// Our FIN is acknowledged.
    FinWait2,
    /// The peer's FIN has come.
    CloseWait,
    /// Both FINs are sent; ours is not acknowledged.
    Closing,
    /// The peer closed first; our FIN is sent.
    LastAck,
    /// Both FINs are acknowledged and ours was first.
    TimeWait,
    /// Nothing is left.
    Closed,
}

impl State {
    /// The handshake is over.
    pub(crate) fn is_synchronized(self) -> bool {
        !matches!(self, State::SynSent | State::SynReceived | State::Closed)
    }

    /// New data may be sent.
    pub(crate) fn can_send(self) -> bool {
        matches!(self, State::Established | State::CloseWait)
    }

    /// The transitions of RFC 9293, figure 5, that a sent FIN causes.
    fn after_fin_sent(self) -> State {
        match self {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other,
        }
    }

    /// Those that an acknowledgement of our FIN causes.
    fn after_fin_acked(self) -> State {
        match self {
            State::FinWait1 => State::FinWait2,
            State::Closing => State::TimeWait,
            State::LastAck => State::Closed,
            other => other,
        }
    }

    /// Those that the peer's FIN causes.
    fn after_fin_received(self) -> State {
        match self {
            State::Established => State::CloseWait,
            // [9293-3.10.7.4-4]
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            other => other,
        }
    }
}

/// Timestamps (RFC 7323), once both ends agreed.
#[derive(Copy, Clone, Debug)]
struct TimestampState {
    /// TS.Recent.
    recent: u32,
    recent_at: Instant,
}

/// What a subflow is made with.
#[derive(Clone, Debug)]
pub(crate) struct TcpParams {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) link: LinkId,
    pub(crate) iss: SeqNum,
    /// Largest segment payload without options that the link carries.
    pub(crate) mss: u16,
    /// What was learned of the path: the largest IP packet that passes, in bytes, and until when that is believed.
    pub(crate) path_mtu: Option<(u32, Instant)>,
    pub(crate) window_scale: u8,
    pub(crate) ecn: EcnMode,
    /// Added to the clock for timestamps, so that they tell nothing of the host (RFC 7323, section 5.4).
    pub(crate) ts_offset: u32,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Tcp {
    ends: Ends,
    pub(crate) link: LinkId,
    pub(crate) state: State,
    // What was agreed.
    local_mss: u16,
    peer_mss: u16,
    path: path_mtu::PathMtu,
    rcv_wscale: u8,
    snd_wscale: u8,
    wscale_agreed: bool,
    sack_ok: bool,
    ts: Option<TimestampState>,
    ts_offset: u32,
    // Sending: RFC 9293, section 3.3.1.
    snd_space: SsnSpace,
    snd_una: Ssn,
    snd_nxt: Ssn,
    /// Bytes that went with our SYN, and how many of them the peer took (RFC 7413).
    syn_sent: u64,
    syn_taken: u64,
    snd_wnd: SendWindow,
    board: scoreboard::Scoreboard,
    recovery: recovery::Recovery,
    rate: rate::RateEstimator,
    /// None: as fast as the window allows.
    pacer: Option<Box<pacing::Pacer>>,
    ecn: ecn::EcnState,
    /// What was sent before this has seen the window reduced once already.
    reduced_until: Option<Ssn>,
    fin_sent: bool,
    /// What was out when this round trip began ends here.
    round_end: Ssn,
    last_data_sent: Instant,
    // Receiving.
    rcv_space: SsnSpace,
    /// Bytes of the peer's SYN that were taken.
    syn_received: u64,
    assembler: Assembler,
    fin_at: Option<Ssn>,
    /// The largest window ever advertised: segments are accepted this far ahead.
    max_window: u64,
    last_ack_sent: Ssn,
    challenges: Challenges,
    ack: ack::AckPolicy,
    // Time.
    pub(crate) rtt: rtt::RttEstimator,
    pub(crate) timers: Timers,
    /// The round trip as a receiver sees it: from our ACK to data that echoes its timestamp.
    pub(crate) rcv_rtt: Option<Duration>,
    pub(crate) last_received: Instant,
    pub(crate) counters: Tally,
}

use send_window::SendWindow;
use timers::Timers;

impl Tcp {
    /// Active open: the SYN is still to be sent.
    pub(crate) fn connect(now: Instant, p: &TcpParams) -> Tcp {
        Tcp::new(now, p, State::SynSent, None)
    }

    fn new(now: Instant, p: &TcpParams, state: State, syn: Option<&Segment>) -> Tcp {
        Tcp {
            ends: Ends::new(p.local, p.remote),
            link: p.link,
            state,
            local_mss: p.mss,
            // RFC 9293, section 3.7.1: what holds without an MSS option. [9293-MUST-15]
            peer_mss: if p.remote.is_ipv4() { 536 } else { 1220 },
            path: path_mtu::PathMtu::new(p.path_mtu.map(|(mtu, until)| {
                let headers = if p.remote.is_ipv4() { 40 } else { 60 };
                (u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX), until)
            })),
            rcv_wscale: p.window_scale,
            snd_wscale: 0,
            wscale_agreed: false,
            sack_ok: false,
            ts: None,
            ts_offset: p.ts_offset,
            snd_space: SsnSpace::new(p.iss),
            snd_una: Ssn::ORIGIN,
            snd_nxt: Ssn::ORIGIN,
            syn_sent: 0,
            syn_taken: 0,
            snd_wnd: SendWindow::closed(),
            board: scoreboard::Scoreboard::default(),
            recovery: recovery::Recovery::default(),
            rate: rate::RateEstimator::default(),
            pacer: None,
            ecn: ecn::EcnState::new(p.ecn, state, syn),
            reduced_until: None,
            fin_sent: false,
            round_end: Ssn::FIRST,
            last_data_sent: now,
            rcv_space: SsnSpace::new(SeqNum(0)),
            syn_received: 0,
            assembler: Assembler::new(Ssn::FIRST.0),
            fin_at: None,
            max_window: 65_535,
            last_ack_sent: Ssn::FIRST,
            challenges: Challenges::default(),
            ack: ack::AckPolicy::default(),
            rtt: rtt::RttEstimator::default(),
            timers: Timers::default(),
            rcv_rtt: None,
            last_received: now,
            counters: Tally::default(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.ends.local()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.ends.remote()
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.remote().is_ipv4()
    }

    pub(crate) fn rcv_nxt(&self) -> Ssn {
        Ssn(self.assembler.next())
    }

    /// What waits out of order, and what has to be known of what is out. The bytes that are out belong to the connection.
    pub(crate) fn memory(&self) -> usize {
        self.assembler.memory() + self.board.memory()
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn give_back(&mut self) {
        self.assembler.give_back();
        self.board.give_back();
    }

    /// Bytes that have arrived before others that have not.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.assembler.waiting_bytes()
    }

    pub(crate) fn snd_una(&self) -> Ssn {
        self.snd_una
    }

    pub(crate) fn snd_nxt(&self) -> Ssn {
        self.snd_nxt
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.board.in_flight()
    }

    /// Sent and not acknowledged cumulatively.
    pub(crate) fn outstanding(&self) -> impl DoubleEndedIterator<Item = &TxRecord> {
        self.board.records()
    }

    pub(crate) fn outstanding_bytes(&self) -> u64 {
        self.board.total()
    }

    /// Bytes received out of order, and the pieces that they are in.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.assembler.waiting_bytes(), self.assembler.pieces())
    }

    pub(crate) fn has_outstanding(&self) -> bool {
        !self.board.is_empty()
    }

    /// The peer's FIN has been reached.
    pub(crate) fn fin_received(&self) -> bool {
        self.fin_at.is_some_and(|at| at < self.rcv_nxt())
    }

    /// What both ends' MSS allow, whatever the path carries.
    fn ceiling(&self) -> u16 {
        self.local_mss.min(self.peer_mss)
    }

    fn mss(&self) -> u16 {
        self.ceiling().min(self.path.limit())
    }

    /// Payload of a full segment when each carries `option_bytes` besides timestamps.
    pub(crate) fn mss_with(&self, option_bytes: usize) -> u64 {
        let timestamps = if self.ts.is_some() { 12 } else { 0 };
        // [9293-MUST-16]
        u64::from(self.mss()).saturating_sub(timestamps + option_bytes as u64).max(48)
    }

    fn ip_header(&self, ecn: Ecn) -> IpHeader {
        IpHeader {
            // [9293-MUST-45]
            src: self.local().ip(),
            dst: self.remote().ip(),
            hop_limit: 64,
            ecn,
            dscp: 0,
        }
    }
}
