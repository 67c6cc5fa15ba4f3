//! What somebody outside may ask of a connection's subflows: an application, or an external path manager. The path manager
//! goes on with its own work, and does not undo what was asked for.

use super::{CloseReason, Connection, Env, Request};
use crate::SubflowId;
use crate::time::Instant;
use polypath_wire::ResetReason;
use std::net::{IpAddr, SocketAddr};

/// Why a subflow cannot be opened, or changed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SteeringError {
    /// It is plain TCP, not connected yet, or has ended.
    #[error("the connection is not Multipath TCP that is established")]
    NotMultipath,
    /// There is no such subflow.
    #[error("the connection has no such subflow")]
    UnknownSubflow,
    /// This host has no such address.
    #[error("{0} is not an address of this host that may be used")]
    UnknownAddress(IpAddr),
    /// One is IPv4, the other IPv6.
    #[error("{0} and {1} are not of one address family")]
    Family(IpAddr, IpAddr),
    /// [`Config::max_subflows`](crate::Config::max_subflows).
    #[error("the connection has {0} subflows already, as many as are allowed")]
    TooMany(usize),
}

impl Connection {
    /// Joins a subflow.
    pub(crate) fn ask_for_subflow(
        &mut self,
        env: &Env<'_>,
        local: IpAddr,
        remote: SocketAddr,
        backup: bool,
    ) -> Result<(), SteeringError> {
        self.require_multipath()?;
        if !self.may_use(env, local) {
            return Err(SteeringError::UnknownAddress(local));
        }
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(SteeringError::Family(local, remote.ip()));
        }
        if self.subflow_count() >= self.most_subflows() {
            return Err(SteeringError::TooMany(self.subflow_count()));
        }
        self.requests.push(Request::Open { local, remote, backup });
        Ok(())
    }

    /// Closes a subflow for good; the path manager does not open it again.
    pub(crate) fn ask_to_close(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) -> Result<(), SteeringError> {
        self.require_multipath()?;
        self.get(id).ok_or(SteeringError::UnknownSubflow)?;
        self.close_subflow_with_reset(now, env, id, ResetReason::AdministrativelyProhibited, CloseReason::Asked);
        Ok(())
    }

    /// Makes a subflow a backup at both ends, or no longer (RFC 8684, section 3.3.8).
    pub(crate) fn ask_for_priority(&mut self, id: SubflowId, backup: bool) -> Result<(), SteeringError> {
        self.require_multipath()?;
        let s = self.get_mut(id).ok_or(SteeringError::UnknownSubflow)?;
        if s.backup != backup {
            s.backup = backup;
            s.priority_said = false;
            if s.established {
                self.say_priority(id);
            }
        }
        Ok(())
    }

    fn require_multipath(&self) -> Result<(), SteeringError> {
        let works = self.is_active() && self.error.is_none() && !self.finished;
        if works { Ok(()) } else { Err(SteeringError::NotMultipath) }
    }
}
