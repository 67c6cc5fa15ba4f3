//! Where other hosts reach the ports that are listened on, and which ports are still in use.

use super::Stack;
use crate::time::Instant;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The addresses and ports that packets from other hosts come to.
#[derive(Debug, Default)]
pub(crate) enum Reach {
    /// Every port of every address.
    #[default]
    All,
    Only(BTreeSet<SocketAddr>),
}

impl Reach {
    pub(crate) fn has(&self, local: SocketAddr) -> bool {
        match self {
            Reach::All => true,
            Reach::Only(ends) => ends.contains(&local),
        }
    }
}

impl Stack {
    /// Other hosts reach this stack at these addresses and ports only, besides the ports of outgoing connections. A
    /// connection that was accepted announces no other to its peer (RFC 8684, section 3.4.1). At first everything is
    /// reached.
    pub fn set_reach(&mut self, now: Instant, ends: impl IntoIterator<Item = SocketAddr>) {
        self.reach = Reach::Only(ends.into_iter().collect());
        self.for_each_connection(now, |c, env| c.on_address_added(now, env));
    }

    /// The addresses at which connections have this local port, in no order, also those that are closing and those in
    /// TIME-WAIT: packets for them still come. One that waits for a join counts at the address that it began with.
    pub fn addresses_in_use(&self, port: u16) -> impl Iterator<Item = IpAddr> {
        let live = self.connections.iter().filter(|(_, slot)| !slot.connection.is_over());
        let first = live.map(|(_, slot)| slot.connection.first_ends().0);
        let subflows = self.flows.local_ends();
        let ends = first.chain(subflows).chain(self.time_waits.local_ends());
        ends.filter(move |local| local.port() == port).map(|local| local.ip())
    }
}
