//! A Multipath TCP connection (RFC 8684): one byte stream over its subflows, and over plain TCP as the case
//! of a single one.
//!
//! The life of a byte, outgoing: `stream` (the application's write) -> `schedule` (which subflow) ->
//! `output` (mapping, options, packet). Incoming: `input` (segment, options) -> `mapping` (SSN to DSN) ->
//! `stream` (the application's read).

mod address;
mod afresh;
mod checksum;
mod close;
mod empty_stream;
mod fast_open;
mod feedback;
mod first_syns;
mod fruitless;
mod handshake;
mod held;
mod in_flight_limit;
mod info;
mod input;
mod join;
mod keepalive;
mod liveness;
mod lost_resets;
mod mapping;
mod memory;
mod narrate;
mod opportunistic;
mod output;
mod pace;
mod path_mtu;
mod placement;
mod receive_window;
mod schedule;
mod session;
mod settings;
mod standby;
mod steering;
mod stream;
mod stuck;
mod subflow;
mod suspicion;
mod timers;

pub use info::{ConnectionError, ConnectionInfo, MultipathState, SessionInfo, SubflowInfo};
pub use session::FallbackReason;
pub use steering::SteeringError;
pub use subflow::CloseReason;

pub(crate) use fast_open::FastOpenOutcome;
pub(crate) use first_syns::CapableSyns;
pub(crate) use handshake::{Terms, echoed_key, offers_multipath, usable_offer};
pub(crate) use info::{SubflowChange, SubflowNews};
pub(crate) use join::JoinSyn;
pub use output::{Transmit, TransmitBuf};
pub(crate) use session::{Multipath, Session};
pub(crate) use subflow::{Handshake, Subflow};

use crate::Ends;
use crate::buffer::{Assembler, Inbox, SendBuffer};
use crate::congestion::CongestionControl;
use crate::journal::Journal;
use crate::mib::Counter;
use crate::path_manager::{PathEvent, PathManager};
use crate::path_policy::PathPolicy;
use crate::scheduler::{Scheduler, SubflowSet};
use crate::seq::Dsn;
use crate::stack::Reach;
use crate::tcp::Counters;
use crate::time::Instant;
use crate::{Config, LinkConfig, LocalAddress, SubflowId};
use checksum::Farewell;
use polypath_wire::{FastOpenCookie, MpFail, MptcpOption};
use receive_window::ReceiveWindow;
use schedule::Reinjection;
use settings::Settings;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use timers::ConnectionTimers;

/// What a connection may look at and draw from while it works.
pub(crate) struct Env<'a> {
    pub(crate) config: &'a Config,
    pub(crate) links: &'a [LinkConfig],
    pub(crate) addresses: &'a [LocalAddress],
    pub(crate) reach: &'a Reach,
    /// All connections together hold as much as they may.
    pub(crate) memory_full: bool,
}

/// Which end of a connection this is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one that opened it.
    Client,
    /// The one that accepted it.
    Server,
}

/// Our half of the connection's stream.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum SendHalf {
    Open,
    /// The application is done; the end of stream goes after what is buffered.
    FinQueued,
    /// The end of stream (DATA_FIN, or FIN in plain TCP) is sent.
    FinSent,
    FinAcked,
}

/// What the stack shall do for a connection.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Open a subflow from `local` to `remote`.
    Open { local: IpAddr, remote: SocketAddr, backup: bool },
    /// Answer a segment that acknowledges what was never sent with a reset.
    Refuse { local: SocketAddr, remote: SocketAddr, link: crate::LinkId, seq: polypath_wire::SeqNum },
    /// Packets of so many bytes pass between two addresses: for subflows to come.
    LearnPathMtu { local: IpAddr, remote: IpAddr, mtu: u32 },
    /// What a client's handshake has shown of Fast Open between two addresses.
    LearnFastOpen { local: IpAddr, remote: IpAddr, outcome: FastOpenOutcome },
    /// What became of a client's SYNs with MP_CAPABLE between two addresses.
    LearnCapable { local: IpAddr, remote: IpAddr, outcome: CapableSyns },
    /// A reset ended a handshake whose data was taken early.
    NoteFastOpenReset,
    /// Forget a subflow's addresses, or keep them in TIME-WAIT.
    Release { local: SocketAddr, remote: SocketAddr, time_wait: Option<TimeWait>, counters: Box<Counters> },
}

/// An option that goes on an acknowledgement of its own.
#[derive(Clone, Debug)]
struct Signal {
    option: MptcpOption,
    /// None: the best there is.
    on: Option<SubflowId>,
}

/// What must be remembered of a subflow in TIME-WAIT.
#[derive(Copy, Clone, Debug)]
pub(crate) struct TimeWait {
    pub(crate) snd_nxt: polypath_wire::SeqNum,
    pub(crate) rcv_nxt: polypath_wire::SeqNum,
    pub(crate) link: crate::LinkId,
    pub(crate) timestamps: Option<polypath_wire::Timestamps>,
    /// The peer's FIN is not acknowledged yet.
    pub(crate) owes_ack: bool,
}

/// News for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Connected,
    Readable,
    Writable,
    Closed(Option<ConnectionError>),
    Subflow(Box<SubflowNews>),
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The stack's.
    config: Arc<Config>,
    pub(crate) role: Role,
    pub(crate) multipath: Multipath,
    pub(crate) subflows: Vec<Option<Box<Subflow>>>,
    /// Of the first subflow.
    initial: Ends,
    // What our MP_CAPABLE says, and what the peer's SYN said.
    checksum: bool,
    deny_join_initial: bool,
    peer_denies_join_initial: bool,
    established: bool,
    /// What a client's SYN carries, until it is answered (RFC 7413).
    fast_open: Option<Box<fast_open::FastOpen>>,
    /// The cookie on a server's SYN/ACK.
    granted_cookie: Option<Box<FastOpenCookie>>,
    /// The application has this since the SYN, with its data.
    fast_opened: bool,
    // Sending, by DSN.
    send: SendBuffer,
    send_half: SendHalf,
    data_una: Dsn,
    data_nxt: Dsn,
    data_wnd_end: Dsn,
    /// The end of the last piece sent that was less than a full segment: Nagle waits for its acknowledgement.
    small_end: Dsn,
    reinjections: VecDeque<Reinjection>,
    /// Up to here bytes were sent again because they kept the window shut.
    unblocked_to: Dsn,
    /// How much that was in all.
    unblocked_bytes: u64,
    /// Where the DATA_FIN is to be sent now.
    data_fin_on: SubflowSet,
    data_fin_tries: u32,
    /// Those that may not have arrived.
    lost_resets: Vec<lost_resets::LostReset>,
    /// How far DATA_ACKs were when the DATA_FIN was first repeated, and when that was.
    data_fin_unanswered: Option<(Dsn, Instant)>,
    writable_wanted: bool,
    /// The application has filled the buffer, and not let it run dry since.
    writes_more: bool,
    // Receiving, by DSN.
    assembler: Assembler,
    inbox: Inbox,
    data_fin_at: Option<Dsn>,
    eof: bool,
    window: ReceiveWindow,
    // Decisions.
    pub(crate) congestion: Box<dyn CongestionControl>,
    scheduler: Box<dyn Scheduler>,
    path_manager: Box<dyn PathManager>,
    /// At most this many.
    max_subflows: usize,
    /// Which local addresses are used; none: all.
    paths: Option<PathPolicy>,
    // Signals.
    signals: VecDeque<Signal>,
    /// When signals last began to go out, and how many have since.
    signals_sent: (Instant, u32),
    remote_addresses: Vec<(u8, SocketAddr)>,
    /// The peer took back the address of the first subflow (ID 0).
    initial_removed: bool,
    /// Remote ends that have answered.
    known_remotes: Vec<SocketAddr>,
    announced: Vec<address::Announced>,
    local_ids: Vec<(IpAddr, u8)>,
    last_local_id: u8,
    // Housekeeping.
    timers: ConnectionTimers,
    settings: Settings,
    /// A router's last word on packets that did not arrive, until the peer is heard of again.
    soft_error: Option<ConnectionError>,
    error: Option<ConnectionError>,
    /// The application let go of it.
    pub(crate) orphaned: bool,
    finished: bool,
    pub(crate) news: VecDeque<News>,
    pub(crate) requests: Vec<Request>,
    pub(crate) journal: Journal,
    /// What the path manager is to be told when there is an occasion.
    path_events: Vec<PathEvent>,
    bytes_reinjected: u64,
    /// A new subflow between these is to take the place of one that is silent.
    renewing: Option<Box<(IpAddr, SocketAddr)>>,
    /// Since when all is delivered on its subflow and no DATA_ACK comes, and how often that was found.
    stuck: Option<(Instant, u32)>,
    /// What subflows that are gone have counted.
    retired: Option<Box<Counters>>,
    ever_joined: bool,
    /// The path last given up as silent, and how often that was hasty.
    given_up: Option<Box<(IpAddr, Instant)>>,
    false_alarms: u32,
    fruitless: fruitless::Fruitless,
    /// A DATA_ACK has come.
    data_ack_seen: bool,
    /// A mapping of the peer's was taken.
    mapping_seen: bool,
    /// When so much was sent: how fast the numbers are used up.
    rate_mark: (Instant, Dsn),
    /// A zero-window probe timer may be running.
    persisting: bool,
    /// MP_FASTCLOSE goes with the resets.
    fastclose: bool,
    /// MP_FAIL, on every acknowledgement until the peer has answered.
    mp_fail: Option<MpFail>,
    /// Asked for plain TCP, and what the peer sends after its answer has not come.
    asked: Option<placement::Asked>,
    /// Segments without an answer to that, since.
    unanswered: u32,
    /// An infinite mapping, on data until some of that is acknowledged.
    farewell: Option<Box<Farewell>>,
}

impl Connection {
    pub(crate) fn new(
        role: Role,
        multipath: Multipath,
        config: &Arc<Config>,
        local: SocketAddr,
        remote: SocketAddr,
        journal: Journal,
    ) -> Self {
        let mut connection = Connection {
            config: Arc::clone(config),
            role,
            multipath,
            subflows: Vec::new(),
            initial: Ends::new(local, remote),
            checksum: config.dss_checksum,
            deny_join_initial: !config.allow_join_initial,
            peer_denies_join_initial: false,
            established: false,
            fast_open: None,
            granted_cookie: None,
            fast_opened: false,
            send: SendBuffer::new(Dsn::FIRST),
            send_half: SendHalf::Open,
            data_una: Dsn::FIRST,
            data_nxt: Dsn::FIRST,
            data_wnd_end: Dsn::FIRST,
            small_end: Dsn::FIRST,
            reinjections: VecDeque::new(),
            unblocked_to: Dsn::FIRST,
            unblocked_bytes: 0,
            data_fin_on: SubflowSet::default(),
            data_fin_tries: 0,
            lost_resets: Vec::new(),
            data_fin_unanswered: None,
            writable_wanted: false,
            writes_more: false,
            assembler: Assembler::new(Dsn::FIRST.0),
            inbox: Inbox::default(),
            data_fin_at: None,
            eof: false,
            window: ReceiveWindow::new(config.recv_buffer_max),
            congestion: config.congestion.build(),
            scheduler: config.scheduler.build(),
            path_manager: config.path_manager.build(),
            max_subflows: config.max_subflows,
            paths: None,
            signals: VecDeque::new(),
            signals_sent: (Instant::ZERO, 0),
            remote_addresses: Vec::new(),
            initial_removed: false,
            known_remotes: Vec::new(),
            announced: Vec::new(),
            // [8684-3.2-3]
            local_ids: vec![(local.ip(), 0)],
            last_local_id: 0,
            timers: ConnectionTimers::default(),
            settings: Settings::new(config),
            soft_error: None,
            error: None,
            orphaned: false,
            finished: false,
            news: VecDeque::new(),
            requests: Vec::new(),
            journal,
            path_events: Vec::new(),
            bytes_reinjected: 0,
            renewing: None,
            stuck: None,
            retired: None,
            ever_joined: false,
            given_up: None,
            false_alarms: 0,
            fruitless: fruitless::Fruitless::default(),
            data_ack_seen: false,
            mapping_seen: false,
            rate_mark: (Instant::ZERO, Dsn::FIRST),
            persisting: false,
            fastclose: false,
            mp_fail: None,
            asked: None,
            unanswered: 0,
            farewell: None,
        };
        connection.trace_started();
        connection
    }

    fn get(&self, id: SubflowId) -> Option<&Subflow> {
        self.subflows.get(usize::from(id.0))?.as_deref()
    }

    fn get_mut(&mut self, id: SubflowId) -> Option<&mut Subflow> {
        self.subflows.get_mut(usize::from(id.0))?.as_deref_mut()
    }

    fn ids(&self) -> impl Iterator<Item = SubflowId> + use<> {
        self.iter().fold(SubflowSet::default(), |set, (id, _)| set.with(id)).iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SubflowId, &Subflow)> {
        self.subflows.iter().enumerate().filter_map(|(i, s)| Some((SubflowId(i as u16), s.as_deref()?)))
    }

    pub(crate) fn subflow_count(&self) -> usize {
        self.subflows.iter().flatten().count()
    }

    /// Gives a subflow a place. None: there are too many.
    pub(crate) fn add_subflow(&mut self, max: usize, subflow: Subflow) -> Option<SubflowId> {
        if self.subflow_count() >= max.min(64) {
            return None;
        }
        let free = self.subflows.iter().position(Option::is_none).unwrap_or_else(|| {
            self.subflows.push(None);
            self.subflows.len() - 1
        });
        self.subflows[free] = Some(Box::new(subflow));
        let id = SubflowId(free as u16);
        self.trace_opened(id);
        Some(id)
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.multipath, Multipath::Active(_))
    }

    /// Plain TCP from here on. Allowed only while the first subflow is the only one, and bytes stand at the
    /// same place in its stream as in the connection's.
    fn fall_back(&mut self, reason: FallbackReason) {
        // [8684-3.7-18]
        // The peer may not know yet.
        let farewell = self.multipath.session().map(|session| Box::new(Farewell::new(session, self.data_una)));
        self.farewell = farewell.or(self.farewell.take());
        self.multipath = Multipath::Fallback(reason);
        self.trace_multipath();
        match reason {
            FallbackReason::SynDropped => self.journal.count(Counter::MPTcpExtMPCapableSYNTXDrop),
            FallbackReason::NoDss => self.journal.count(Counter::MPTcpExtDssFallback),
            FallbackReason::SimultaneousOpen => self.journal.count(Counter::MPTcpExtSimultConnectFallback),
            _ => {}
        }
        if matches!(self.send_half, SendHalf::FinSent | SendHalf::FinAcked) {
            // The DATA_FIN says nothing to a peer without DSS: a FIN must.
            self.send_half = SendHalf::FinQueued;
            self.data_nxt = self.send.end();
            self.data_una = self.data_una.min(self.data_nxt);
            self.data_fin_on = SubflowSet::default();
            self.timers.stop(timers::ConnectionTimer::DataFin);
        }
        self.signals.clear();
        self.reinjections.clear();
        for s in self.subflows.iter_mut().flatten() {
            s.refusals = None;
        }
        self.release_held();
    }

    /// The window in a SYN/ACK of a stack with these settings.
    pub(crate) fn first_window(config: &Config) -> u16 {
        ReceiveWindow::first(config.recv_buffer_max)
    }

    /// The SYN/ACK was sent, and forgotten, before this was made: its window holds.
    pub(crate) fn resume_window(&mut self) {
        self.window.offer(Dsn::FIRST, 0, 0);
    }

    /// What the peer's SYN asks for.
    pub(crate) fn take_terms(&mut self, terms: Terms) {
        self.checksum |= terms.checksum;
        self.peer_denies_join_initial = terms.deny_join_initial;
    }

    /// Of the first subflow: local, remote.
    pub(crate) fn first_ends(&self) -> (SocketAddr, SocketAddr) {
        (self.initial.local(), self.initial.remote())
    }

    pub(crate) fn was_established(&self) -> bool {
        self.established || self.fast_opened
    }

    /// Nothing more will happen.
    pub(crate) fn is_over(&self) -> bool {
        self.subflow_count() == 0 && (self.finished || self.error.is_some())
    }

    /// Nothing more will happen, and the application has been told: the slot may go.
    pub(crate) fn is_dead(&self) -> bool {
        self.orphaned && self.is_over()
    }

    /// Passes on what happened where the path manager could not be called.
    fn tell_path_manager(&mut self, now: Instant, env: &Env<'_>) {
        for event in core::mem::take(&mut self.path_events) {
            self.notify_path_manager(now, env, &event);
        }
    }

    fn notify_path_manager(&mut self, now: Instant, env: &Env<'_>, event: &PathEvent) {
        if self.is_active() && self.error.is_none() && !self.finished {
            self.run_path_manager(now, env, event);
        }
    }
}
