//! What the application may set and change during a connection's life.

use super::Connection;
use crate::congestion::CongestionControl;
use crate::scheduler::Scheduler;
use crate::time::{Duration, Instant};
use crate::trace::{CongestionReason, TraceEvent};
use crate::{Config, ConnectOptions, Keepalive};
use polypath_wire::IpHeader;

/// One connection's settings; at first those of its stack.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) nodelay: bool,
    /// Few have it: on its own.
    pub(super) keepalive: Option<Box<Keepalive>>,
    pub(super) user_timeout: Option<Duration>,
    hop_limit: u8,
    dscp: u8,
}

impl Settings {
    pub(super) fn new(config: &Config) -> Self {
        let Config { nodelay, keepalive, user_timeout, hop_limit, dscp, .. } = *config;
        Settings {
            nodelay,
            keepalive: keepalive.map(Box::new),
            user_timeout,
            hop_limit: hop_limit.max(1),
            dscp: dscp.min(63),
        }
    }

    /// What goes with every packet.
    // [9293-SHLD-22, 9293-MUST-49]
    pub(super) fn mark(&self, ip: &mut IpHeader) {
        (ip.hop_limit, ip.dscp) = (self.hop_limit, self.dscp);
    }
}

impl Connection {
    /// What one connection is opened with instead of the stack's.
    pub(crate) fn take_options(&mut self, now: Instant, options: ConnectOptions) {
        let ConnectOptions { local: _, no_multipath: _, fast_open: _, congestion, keepalive, .. } = options;
        let ConnectOptions { user_timeout, hop_limit, dscp, .. } = options;
        let ConnectOptions { scheduler, path_manager, max_subflows, paths, .. } = options;
        if let Some(congestion) = congestion {
            self.set_congestion(now, congestion.build());
        }
        if let Some(scheduler) = scheduler {
            self.set_scheduler(scheduler.build());
        }
        if let Some(path_manager) = path_manager {
            self.path_manager = path_manager.build();
        }
        self.max_subflows = max_subflows.map_or(self.max_subflows, |most| most.clamp(1, 64));
        self.paths = paths;
        if let Some(keepalive) = keepalive {
            self.settings.keepalive = Some(Box::new(keepalive));
        }
        self.settings.user_timeout = user_timeout.or(self.settings.user_timeout);
        self.settings.hop_limit = hop_limit.map_or(self.settings.hop_limit, |limit| limit.max(1));
        self.settings.dscp = dscp.map_or(self.settings.dscp, |dscp| dscp.min(63));
    }

    // [9293-MUST-17]
    pub(crate) fn set_nodelay(&mut self, nodelay: bool) {
        self.settings.nodelay = nodelay;
    }

    pub(crate) fn nodelay(&self) -> bool {
        self.settings.nodelay
    }

    pub(crate) fn set_scheduler(&mut self, scheduler: Box<dyn Scheduler>) {
        self.scheduler = scheduler;
        self.journal.trace(|| TraceEvent::SchedulerChanged { scheduler: self.scheduler.name() });
    }

    /// Subflows go on from the windows that they have.
    pub(crate) fn set_congestion(&mut self, now: Instant, mut fresh: Box<dyn CongestionControl>) {
        if fresh.name() == self.congestion.name() {
            return;
        }
        let option_bytes = self.data_option_bytes();
        let established: Vec<_> = self.iter().filter(|(_, s)| s.established).map(|(id, _)| id).collect();
        for id in &established {
            let Some(s) = self.get(*id) else { continue };
            let (window, ssthresh) = (self.congestion.window(*id), self.congestion.ssthresh(*id));
            fresh.on_subflow_adopted(*id, s.tcp.mss_with(option_bytes), window, ssthresh);
        }
        self.congestion = fresh;
        self.journal.trace(|| TraceEvent::CongestionChanged { congestion_control: self.congestion.name() });
        for id in established {
            self.set_pacing_rate(id);
            self.begin_pacing(now, id);
            self.trace_congestion(id, CongestionReason::Start);
        }
    }

    pub(crate) fn congestion_name(&self) -> &'static str {
        self.congestion.name()
    }

    // [9293-MUST-24, 9293-MUST-27]
    pub(crate) fn set_keepalive(&mut self, now: Instant, keepalive: Option<Keepalive>) {
        self.settings.keepalive = keepalive.map(Box::new);
        for id in self.ids() {
            self.start_keepalive(now, id);
        }
    }

    // [9293-MUST-21]
    pub(crate) fn set_user_timeout(&mut self, now: Instant, timeout: Option<Duration>) {
        self.settings.user_timeout = timeout;
        self.restart_user_timeout(now);
    }

    pub(crate) fn set_hop_limit(&mut self, hop_limit: u8) {
        self.settings.hop_limit = hop_limit.max(1);
    }

    // [9293-MUST-48, 9293-SHLD-21]
    pub(crate) fn set_dscp(&mut self, dscp: u8) {
        self.settings.dscp = dscp.min(63);
    }
}
