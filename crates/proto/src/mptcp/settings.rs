//! What the application may set and change during a connection's life.

use super::Connection;
use crate::scheduler::Scheduler;
use crate::time::{Duration, Instant};
use crate::trace::TraceEvent;
use crate::{Config, Keepalive};
use polypath_wire::IpHeader;

/// One connection's settings; at first those of its stack.
#[derive(Copy, Clone, Debug)]
pub(super) struct Settings {
    pub(super) nodelay: bool,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) user_timeout: Option<Duration>,
    hop_limit: u8,
    dscp: u8,
}

impl Settings {
    pub(super) fn new(config: &Config) -> Self {
        let Config { nodelay, keepalive, user_timeout, hop_limit, dscp, .. } = *config;
        Settings { nodelay, keepalive, user_timeout, hop_limit: hop_limit.max(1), dscp: dscp.min(63) }
    }

    /// What goes with every packet.
    // [9293-SHLD-22, 9293-MUST-49]
    pub(super) fn mark(&self, ip: &mut IpHeader) {
        (ip.hop_limit, ip.dscp) = (self.hop_limit, self.dscp);
    }
}

impl Connection {
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

    // [9293-MUST-24, 9293-MUST-27]
    pub(crate) fn set_keepalive(&mut self, now: Instant, keepalive: Option<Keepalive>) {
        self.settings.keepalive = keepalive;
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
