//! Whose a packet is: from the two ends of a subflow to its connection.
//!
//! There is an entry for each subflow of the stack, and a hash table is up to twice as large as what is in it. So the ends
//! of IPv4, of which there are most, have a table of their own, in which they take 12 bytes instead of 64.

use super::{ConnectionId, FourTuple};
use crate::SubflowId;
use core::hash::BuildHasher;
use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4};

type Owner = (ConnectionId, SubflowId);

/// An address and a port; flow label and scope are no part of who an end is.
type EndV6 = (Ipv6Addr, u16);

/// The ends of all subflows.
#[derive(Debug)]
pub(super) struct Flows<S> {
    v4: HashMap<(SocketAddrV4, SocketAddrV4), Owner, S>,
    v6: HashMap<(EndV6, EndV6), Owner, S>,
}

impl<S: BuildHasher + Clone> Flows<S> {
    pub(super) fn new(hasher: S) -> Self {
        Flows { v4: HashMap::with_hasher(hasher.clone()), v6: HashMap::with_hasher(hasher) }
    }

    pub(super) fn get(&self, tuple: &FourTuple) -> Option<Owner> {
        match key(tuple) {
            Key::V4(key) => self.v4.get(&key),
            Key::V6(key) => self.v6.get(&key),
        }
        .copied()
    }

    pub(super) fn contains(&self, tuple: &FourTuple) -> bool {
        self.get(tuple).is_some()
    }

    pub(super) fn insert(&mut self, tuple: &FourTuple, owner: Owner) {
        match key(tuple) {
            Key::V4(key) => self.v4.insert(key, owner),
            Key::V6(key) => self.v6.insert(key, owner),
        };
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple) {
        match key(tuple) {
            Key::V4(key) => self.v4.remove(&key),
            Key::V6(key) => self.v6.remove(&key),
        };
    }

    pub(super) fn local_ends(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.v4.keys().map(|(local, _)| SocketAddr::V4(*local));
        v4.chain(self.v6.keys().map(|((addr, port), _)| SocketAddr::from((*addr, *port))))
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

enum Key {
    V4((SocketAddrV4, SocketAddrV4)),
    V6((EndV6, EndV6)),
}

fn key(tuple: &FourTuple) -> Key {
    let end = |of: SocketAddr| match of {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()),
        SocketAddr::V6(v6) => (*v6.ip(), v6.port()),
    };
    match (tuple.local, tuple.remote) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => Key::V4((local, remote)),
        (local, remote) => Key::V6((end(local), end(remote))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::slab::Slab;
    use foldhash::quality::FixedState;

    #[test]
    fn ends_are_told_apart_by_address_port_and_family() {
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        let ends = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"].map(end);
        let ends_v6 = ["[2001:db8::1]:1", "[2001:db8::1]:2", "[::ffff:192.0.2.1]:1"].map(end);
        let pairs = |of: [SocketAddr; 3]| of.map(|local| of.map(|remote| FourTuple { local, remote })).concat();
        let tuples = [pairs(ends), pairs(ends_v6)].concat();
        let (mut flows, mut slab) = (Flows::new(FixedState::default()), Slab::new());
        let owners: Vec<Owner> = tuples.iter().map(|_| (ConnectionId(slab.insert(())), SubflowId(1))).collect();
        for (tuple, owner) in tuples.iter().zip(&owners) {
            assert!(!flows.contains(tuple), "{tuple:?}");
            flows.insert(tuple, *owner);
        }
        assert_eq!(flows.len(), 18);
        for (tuple, owner) in tuples.iter().zip(&owners) {
            assert_eq!(flows.get(tuple), Some(*owner), "{tuple:?}");
            flows.remove(tuple);
            assert!(!flows.contains(tuple), "{tuple:?}");
        }
        assert_eq!(flows.len(), 0);
    }
}
