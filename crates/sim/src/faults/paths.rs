//! Who could get anywhere: what the judge expects of a connection, given the state of the network.

use polypath_proto::{ConnectionId, MultipathState};

use super::build::{address, link, node};
use super::program::Program;
use super::scenario::{ConnectionPlan, Scenario, Side};
use crate::middlebox::Direction;
use crate::network::Network;

/// A link that loses more than this counts as down.
const TOO_LOSSY: f64 = 0.12;

/// Whether a connection can make progress now.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Some pair of addresses works.
    Open,
    /// None does, for the time being: links are down.
    Down,
    /// None does, and an address that it needs is gone: it may fail.
    Gone,
}

/// A look at the network.
pub(super) struct Paths<'a> {
    pub(super) network: &'a Network<Program>,
    pub(super) scenario: &'a Scenario,
}

impl Paths<'_> {
    /// `known`: how many addresses the client was told of, if both ends know that it is Multipath TCP. A server that has
    /// just taken one back can only tell where a path is left, so that many count for nothing unless they are all.
    pub(super) fn way(&self, plan: &ConnectionPlan, known: impl FnOnce() -> Option<usize>) -> Way {
        let first = self.pair(plan.from, plan.to);
        // With places for few, the subflows there are may all lie where nothing gets through, and who only reads does not
        // see it.
        let (client, server) = (&self.scenario.client, &self.scenario.server);
        let places = client.links.len() + server.links.len() - 1;
        let sound = |side: Side, count: usize| (0..count).all(|n| self.has_address(side, n) && self.is_clean(side, n));
        let all_sound = sound(Side::Client, client.links.len()) && sound(Side::Server, server.links.len());
        if client.settings.max_subflows < places && !all_sound {
            return if first == Way::Gone { first } else { Way::Down };
        }
        // Who takes no joins there does not get back what is lost with an address.
        if first == Way::Open || (first == Way::Gone && !self.scenario.server.settings.allow_join_initial) {
            return first;
        }
        // Between two others there is a subflow only when one of those that share an end with the first is seen to be dead.
        let near = move |(from, to): (usize, usize)| (from == plan.from) != (to == plan.to);
        let others = |all: bool| {
            let (from, to) = (0..self.scenario.client.links.len(), 0..self.scenario.server.links.len());
            from.flat_map(move |from| to.clone().map(move |to| (from, to)))
                .filter(move |pair| near(*pair) && self.may_join(plan, *pair))
                .filter(move |(_, to)| all || *to == plan.to)
                .map(|(from, to)| self.pair(from, to))
        };
        if others(true).all(|other| other == Way::Gone) {
            return first;
        }
        let Some(known) = known() else { return first };
        match others(known + 1 >= self.scenario.server.links.len()).any(|other| other == Way::Open) {
            true => Way::Open,
            false => Way::Down,
        }
    }

    fn pair(&self, from: usize, to: usize) -> Way {
        let ends = [(Side::Client, from), (Side::Server, to)];
        if !ends.iter().all(|(side, number)| self.has_address(*side, *number)) {
            Way::Gone
        } else if ends.iter().all(|(side, number)| self.is_clean(*side, *number)) {
            Way::Open
        } else {
            Way::Down
        }
    }

    /// Whether the client may be expected to open a subflow there.
    fn may_join(&self, plan: &ConnectionPlan, (from, to): (usize, usize)) -> bool {
        let (client, server) = (&self.scenario.client, &self.scenario.server);
        let (near, far) = (&client.links[from], &server.links[to]);
        let barred = near.boxes.iter().chain(&client.links[plan.from].boxes).any(|plan| plan.bars_multipath());
        let told = if to == plan.to { server.settings.allow_join_initial } else { server.settings.announce };
        let several = client.settings.max_subflows > 1 && server.settings.max_subflows > 1;
        near.ipv6 == far.ipv6 && told && several && !barred
    }

    fn has_address(&self, side: Side, number: usize) -> bool {
        let addr = address(self.scenario, side, number);
        self.network.host(node(side)).stack.addresses().iter().any(|known| known.addr == addr)
    }

    fn is_clean(&self, side: Side, number: usize) -> bool {
        let link = link(self.scenario, side, number);
        [Direction::Forward, Direction::Backward].into_iter().all(|direction| {
            let wire = self.network.direction(link, direction);
            wire.is_up() && wire.params().loss <= TOO_LOSSY
        })
    }

    /// How many addresses the client was told of, if both ends know that the connection is Multipath TCP, for good.
    pub(super) fn known(&self, ids: [(Side, Option<ConnectionId>); 2]) -> Option<usize> {
        let [client, server] = ids.map(|(side, id)| {
            let info = self.network.host(node(side)).stack.connection_info(id?)?;
            info.session.filter(|session| session.confirmed && info.multipath == MultipathState::Active)
        });
        server.and(client).map(|session| session.announced.1)
    }
}
