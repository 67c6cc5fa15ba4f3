//! A connection's subflows in the hands of somebody outside: see [`SteeringError`].

use super::api::Connection;
use crate::SubflowId;
use crate::mptcp::SteeringError;
use std::net::{IpAddr, SocketAddr};

impl Connection<'_> {
    /// Joins a subflow from one of this host's addresses to one of the peer's (MP_JOIN, RFC 8684, section 3.2), whatever
    /// the path manager thinks; `backup`: to be used only where nothing else works. What becomes of it is told by
    /// [`Event::Subflow`](crate::Event::Subflow).
    ///
    /// # Errors
    /// Why it is not even tried.
    pub fn open_subflow(&mut self, local: IpAddr, remote: SocketAddr, backup: bool) -> Result<(), SteeringError> {
        let asked = self.stack.with_connection(self.id, |c, env| c.ask_for_subflow(env, local, remote, backup));
        self.stack.mark_ready(self.id);
        asked.unwrap_or(Err(SteeringError::NotMultipath))
    }

    /// Closes a subflow with a reset; what is not acknowledged on it goes over others, or waits for one. The path manager
    /// does not open it again. Closing the last one leaves the connection without any until one is opened.
    ///
    /// # Errors
    /// Why it is not done.
    pub fn close_subflow(&mut self, subflow: SubflowId) -> Result<(), SteeringError> {
        let now = self.now;
        let asked = self.stack.with_connection(self.id, |c, env| c.ask_to_close(now, env, subflow));
        self.stack.mark_ready(self.id);
        asked.unwrap_or(Err(SteeringError::NotMultipath))
    }

    /// Makes a subflow a backup at both ends, or no longer (MP_PRIO, RFC 8684, section 3.3.8).
    ///
    /// # Errors
    /// Why it is not done.
    pub fn set_subflow_backup(&mut self, subflow: SubflowId, backup: bool) -> Result<(), SteeringError> {
        let asked = self.stack.with_connection(self.id, |c, _| c.ask_for_priority(subflow, backup));
        self.stack.mark_ready(self.id);
        asked.unwrap_or(Err(SteeringError::NotMultipath))
    }
}
