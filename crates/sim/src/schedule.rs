//! What changes in the network, and when.

use std::net::IpAddr;
use std::time::Duration;

use polypath_proto::{Instant, LocalAddress};

use crate::app::Application;
use crate::link::{LinkParams, Rate};
use crate::middlebox::Direction;
use crate::network::Network;
use crate::topology::{LinkIndex, NodeId};

/// One change of the network.
#[derive(Clone, Debug)]
pub enum Change {
    /// Both directions of a link go down; what is queued or under way is lost. The hosts are not told.
    Cut {
        /// Which link.
        link: LinkIndex,
        /// After how long it comes back; `None`: never.
        lasting: Option<Duration>,
    },
    /// Both directions of a link come up again.
    Restore(LinkIndex),
    /// Both directions get another rate.
    Rate(LinkIndex, Rate),
    /// Both directions get another propagation delay.
    Delay(LinkIndex, Duration),
    /// Both directions get another probability of loss, 0 to 1.
    Loss(LinkIndex, f64),
    /// One direction gets another probability of loss, 0 to 1.
    LossOneWay(LinkIndex, Direction, f64),
    /// A host's address is to be used only as a backup, or not any more.
    Backup(NodeId, IpAddr, bool),
    /// A host learns that it has an address.
    AddAddress(NodeId, LocalAddress),
    /// A host learns that it no longer has an address.
    RemoveAddress(NodeId, IpAddr),
}

/// When a change happens.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum When {
    /// At this time.
    At(Instant),
    /// As soon as so many bytes, of both directions together, have reached the applications of a transfer.
    Delivered(u64),
}

impl<A: Application> Network<A> {
    /// Changes the network now.
    pub fn apply(&mut self, change: Change) {
        let now = self.heap.now();
        let text = if self.trace.is_on() { self.describe(&change) } else { String::new() };
        self.trace.note(now, "network", || text);
        match change {
            Change::Cut { link, lasting } => {
                self.set_up(link, false);
                if let Some(lasting) = lasting {
                    self.schedule(now + lasting, Change::Restore(link));
                }
            }
            Change::Restore(link) => self.set_up(link, true),
            Change::Rate(link, rate) => self.change(link, |params| params.rate = rate),
            Change::Delay(link, delay) => self.change(link, |params| params.delay = delay),
            Change::Loss(link, loss) => self.change(link, |params| params.loss = loss),
            Change::LossOneWay(link, direction, loss) => self.direction_mut(link, direction).params_mut().loss = loss,
            Change::Backup(host, addr, backup) => {
                self.host_mut(host).stack.set_backup(now, addr, backup);
                self.settle(host);
            }
            Change::AddAddress(host, address) => {
                self.host_mut(host).stack.add_address(now, address);
                self.settle(host);
            }
            Change::RemoveAddress(host, addr) => {
                self.host_mut(host).stack.remove_address(now, addr);
                self.settle(host);
            }
        }
    }

    fn describe(&self, change: &Change) -> String {
        let name = |link: &LinkIndex| &self.links[link.0 as usize].name;
        match change {
            Change::Cut { link, lasting: Some(lasting) } => format!("cut {} for {lasting:?}", name(link)),
            Change::Cut { link, lasting: None } => format!("cut {} for good", name(link)),
            Change::Restore(link) => format!("restore {}", name(link)),
            Change::Rate(link, rate) => format!("{}: {rate:?}", name(link)),
            Change::Delay(link, delay) => format!("{}: delay {delay:?}", name(link)),
            Change::Loss(link, loss) => format!("{}: loss {loss}", name(link)),
            Change::LossOneWay(link, direction, loss) => format!("{}: loss {loss} {direction:?}", name(link)),
            Change::Backup(host, addr, backup) => format!("{}: {addr} is a backup: {backup}", self.name(*host)),
            Change::AddAddress(host, address) => {
                format!("{} gets {}", self.name(*host), address.addr)
            }
            Change::RemoveAddress(host, addr) => format!("{} loses {addr}", self.name(*host)),
        }
    }

    fn set_up(&mut self, link: LinkIndex, up: bool) {
        let now = self.heap.now();
        for direction in &mut self.links[link.0 as usize].directions {
            direction.set_up(now, up);
        }
    }

    fn change(&mut self, link: LinkIndex, change: impl Fn(&mut LinkParams)) {
        for direction in &mut self.links[link.0 as usize].directions {
            change(direction.params_mut());
        }
    }
}
