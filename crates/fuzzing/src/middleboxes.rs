//! Two stacks and hostile middleboxes on each path, held against a byte queue.
//!
//! What one application writes is what the other reads: every byte once and in order, then the end; or it is told that
//! the connection failed, where the boxes give a reason for that. Once they have done their worst, all of it comes to an
//! end in time.

use crate::boxes::Path;
use crate::choices::Choices;
use crate::settings::settings;
use crate::world::{CLIENT, Packet, SERVER, World};
use polypath_proto::{ConnectionError, Duration, Instant};
use std::collections::BTreeMap;

/// When both applications are to be done. A timeout of 15 minutes without an answer has its place in it.
const LIMIT: Duration = Duration::from_secs(3_600);
/// Packets of both stacks for each input: a few of each byte.
const MOST_PACKETS: u64 = 200_000;

/// First how it is set up, then the boxes, then the applications, then what becomes of each packet.
pub fn middleboxes(data: &[u8]) {
    let mut choices = Choices::new(data);
    let settings = settings(&mut choices);
    let mut paths: Vec<Path> = (0..settings.client_addresses).map(|_| Path::new(&mut choices)).collect();
    let impatient = settings.client.keepalive.is_some() || settings.server.keepalive.is_some();
    let mut world = World::new(&settings, true);
    world.alters = paths.iter().any(Path::alters);
    // Bytes, and whether somebody takes his time to read.
    let sizes = [choices.u16(), choices.u16()];
    let slow = choices.byte();
    for (end, size) in world.ends.iter_mut().zip(sizes) {
        end.to_write = usize::from(size / 2);
        end.finish = true;
    }
    let rests = [slow & 1 != 0, slow & 2 != 0];
    let wakes = world.now + Duration::from_millis(u64::from(slow) * 20);
    let mut run = Run { world, wire: BTreeMap::new(), count: 0, out: Vec::new(), fetched: Vec::new() };
    run.world.ends.iter_mut().zip(rests).for_each(|(end, rests)| end.deaf = rests);
    run.drain(&mut paths, &mut choices);
    run.until_at(wakes, &mut paths, &mut choices);
    run.world.ends.iter_mut().for_each(|end| end.deaf = false);
    run.drain(&mut paths, &mut choices);
    run.until_at(run.world.now + LIMIT, &mut paths, &mut choices);
    assert!(run.is_done(), "not done: {}", run.report());
    let hostile = paths.iter().any(|path| path.expectation().error);
    for end in &run.world.ends {
        // A few lost questions, and who asked gives up: that is what was asked for.
        let excused = hostile || end.error == Some(ConnectionError::TimedOut) && impatient;
        assert!(excused || end.error.is_none(), "{:?} without a reason: {}", end.error, run.report());
    }
    run.world.wind_up(&mut run.fetched);
}

struct Run {
    world: World,
    wire: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    out: Vec<(Duration, Packet)>,
    fetched: Vec<Packet>,
}

impl Run {
    fn drain(&mut self, paths: &mut [Path], choices: &mut Choices<'_>) {
        self.world.drain(&mut self.fetched);
        for packet in self.fetched.drain(..) {
            let path = packet.path().min(paths.len() - 1);
            paths[path].pass(packet, choices, &mut self.out);
            for (later, packet) in self.out.drain(..) {
                self.count += 1;
                self.wire.insert((self.world.now + later, self.count), packet);
            }
        }
    }

    /// Both have all, or know that they will not. Where one was told so and gave up, the other may wait for ever: the
    /// reset may have been lost, and who has nothing to send asks nothing.
    fn is_done(&self) -> bool {
        let [client, server] = &self.world.ends;
        client.is_done() && server.is_done() || client.error.is_some() || server.error.is_some()
    }

    /// Everything up to this time, or until both are done.
    fn until_at(&mut self, until: Instant, paths: &mut [Path], choices: &mut Choices<'_>) {
        while !self.is_done() && self.step(until, paths, choices) {
            assert!(self.count < MOST_PACKETS, "{} packets: {}", self.count, self.report());
        }
    }

    /// The next packet or timer; false: there is none before that time.
    fn step(&mut self, until: Instant, paths: &mut [Path], choices: &mut Choices<'_>) -> bool {
        let arrival = self.wire.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= until);
        if !self.world.sleep(arrival.unwrap_or(until)) {
            let Some((_, packet)) = arrival.and_then(|_| self.wire.pop_first()) else { return false };
            self.world.deliver(&packet);
        }
        self.drain(paths, choices);
        true
    }

    fn report(&self) -> String {
        let end = |side: usize| {
            let end = &self.world.ends[side];
            let info = end.id.and_then(|id| end.stack.connection_info(id));
            format!("read {} eof {} error {:?} closed {} {info:?}", end.read, end.eof, end.error, end.closed)
        };
        format!("at {:?}\nclient: {}\nserver: {}", self.world.now, end(CLIENT), end(SERVER))
    }
}
