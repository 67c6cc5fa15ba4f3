//! A running pair is fed with its own segments, altered: by somebody on the path, who knows all there is to know.
//!
//! What the applications read is then not a finding, whatever it is. These are: a panic, a stack that does not come to
//! rest, a limit that does not hold (`World::check`), an exchange of packets that never ends, and anything that is left
//! when both applications have given up.

use crate::choices::Choices;
use crate::mutate::mutate;
use crate::settings::{congestion, scheduler, settings};
use crate::world::{CLIENT, Packet, SERVER, World, client_address};
use polypath_proto::{ChecksumMode, Duration, HeaderBuf, Instant, Keepalive, LinkId, LocalAddress};
use polypath_wire::emit_headers;
use std::collections::VecDeque;
use std::net::IpAddr;

/// One way.
const DELAY: Duration = Duration::from_millis(10);
/// Steps that are taken of one input.
const MOST_STEPS: usize = 1_000;
/// How many of the last packets can be played again.
const REMEMBERED: usize = 64;
/// In the calm afterwards: how long it lasts, and how many packets both stacks may send in it.
const CALM: Duration = Duration::from_secs(60);
const MOST_PACKETS: u64 = 20_000;

/// Every byte a decision: what becomes of the next packet, and what the applications and hosts do.
pub fn live(data: &[u8]) {
    let mut choices = Choices::new(data);
    let settings = settings(&mut choices);
    let mut run =
        Run { world: World::new(&settings, false), wire: VecDeque::new(), seen: VecDeque::new(), fetched: Vec::new() };
    // Something to say at once: joins begin when the first of it has arrived.
    run.world.ends.iter_mut().for_each(|end| end.to_write = 4_000);
    run.drain();
    for _ in 0..MOST_STEPS {
        if choices.is_over() {
            break;
        }
        run.step(&mut choices);
        run.drain();
    }
    run.calm_down();
    run.world.wind_up(&mut run.fetched);
}

struct Run {
    world: World,
    wire: VecDeque<(Instant, Packet)>,
    seen: VecDeque<Packet>,
    fetched: Vec<Packet>,
}

impl Run {
    fn drain(&mut self) {
        self.world.drain(&mut self.fetched);
        let at = self.world.now + DELAY;
        for packet in self.fetched.drain(..) {
            if self.seen.len() == REMEMBERED {
                self.seen.pop_front();
            }
            self.seen.push_back(packet.clone());
            self.wire.push_back((at, packet));
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() {
            n @ 0..=95 => {
                for _ in 0..=n / 24 {
                    self.deliver(0, |_| ());
                    self.drain();
                }
            }
            n @ 96..=145 => {
                let keys = self.keys();
                self.deliver(0, |packet| (0..=n % 3).for_each(|_| mutate(packet, keys, choices)));
            }
            n @ 146..=169 => self.replay(n % 3, choices),
            170..=179 => drop(self.wire.pop_front()),
            180..=189 => {
                let index = choices.below(8);
                self.deliver(index, |_| ());
            }
            n @ 190..=209 => {
                let end = &mut self.world.ends[usize::from(n & 1)];
                end.to_write = (end.to_write + usize::from(choices.u16())).min(1 << 17);
            }
            210..=221 => {
                self.world.sleep(self.world.now + Duration::from_secs(600));
            }
            222..=227 => {
                let until = self.world.now + Duration::from_millis(choices.u16().into());
                while self.world.sleep(until) {
                    self.drain();
                }
            }
            n @ 228..=231 => self.world.ends[usize::from(n & 1)].deaf ^= true,
            n @ 232..=235 => self.world.ends[usize::from(n & 1)].finish = true,
            236..=240 => self.icmp(choices),
            _ => self.host(choices),
        }
    }

    fn keys(&self) -> [polypath_wire::Key; 2] {
        [self.world.ends[CLIENT].key, self.world.ends[SERVER].key]
    }

    /// The packet in this place of the queue arrives; what is due before that happens first.
    fn deliver(&mut self, index: usize, alter: impl FnOnce(&mut Packet)) {
        let Some((at, mut packet)) = self.wire.remove(index.min(self.wire.len().saturating_sub(1))) else {
            self.world.sleep(self.world.now + Duration::from_secs(600));
            return;
        };
        while self.world.sleep(at) {
            self.drain();
        }
        alter(&mut packet);
        self.world.deliver(&packet);
    }

    /// A packet that was seen before, altered, besides those that are under way.
    fn replay(&mut self, changes: u8, choices: &mut Choices<'_>) {
        let back = choices.below(REMEMBERED).min(self.seen.len().saturating_sub(1));
        let Some(mut packet) = self.seen.iter().rev().nth(back).cloned() else { return };
        let keys = self.keys();
        (0..=changes).for_each(|_| mutate(&mut packet, keys, choices));
        self.world.deliver(&packet);
    }

    /// A router complains about a packet.
    fn icmp(&mut self, choices: &mut Choices<'_>) {
        let back = choices.below(REMEMBERED).min(self.seen.len().saturating_sub(1));
        let Some(packet) = self.seen.iter().rev().nth(back) else { return };
        let mut seg = packet.seg.clone();
        if choices.flag() {
            seg.tcp.seq = seg.tcp.seq.wrapping_add(choices.offset());
        }
        let mut inner = HeaderBuf::new();
        emit_headers(&seg, core::slice::from_ref(&packet.payload), ChecksumMode::Full, &mut inner);
        let mut outer = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0];
        let code = choices.pick(&[4, 4, 4, 0, 1, 3]);
        outer.extend([3, code, 0, 0, 0, 0]);
        outer.extend(choices.u16().to_be_bytes());
        outer.extend(&inner);
        let sender = packet.to ^ 1;
        self.world.ends[sender].stack.handle_icmp(self.world.now, &outer);
    }

    /// An application or a host changes something.
    fn host(&mut self, choices: &mut Choices<'_>) {
        let now = self.world.now;
        let side = usize::from(choices.flag());
        let n = choices.byte();
        let end = &mut self.world.ends[side];
        let addr: IpAddr = client_address(usize::from(n & 3));
        match choices.below(12) {
            0 => end.stack.remove_address(now, addr),
            1 if side == CLIENT => {
                let link = LinkId(0);
                end.stack.add_address(now, LocalAddress { addr, link, backup: n & 4 != 0, name: None });
            }
            2 => end.stack.set_backup(now, addr, n & 4 != 0),
            what => {
                let Some(mut c) = end.id.and_then(|id| end.stack.connection(now, id)) else { return };
                match what {
                    3 => c.set_scheduler(&scheduler(n)),
                    4 => c.set_congestion(congestion(n)),
                    5 => c.set_nodelay(n & 1 != 0),
                    6 => c.set_user_timeout((n & 1 != 0).then_some(Duration::from_secs(u64::from(n)))),
                    7 => {
                        let (idle, interval) = (Duration::from_secs(n.into()), Duration::from_secs(1));
                        c.set_keepalive((n & 1 != 0).then_some(Keepalive { idle, interval, probes: 3 }));
                    }
                    8 if n > 192 => c.abort(),
                    9 if n > 192 => c.close(),
                    10 => drop(c.read(usize::from(n))),
                    _ => drop(c.write(&[n; 3])),
                }
            }
        }
    }

    /// Nothing is altered any more: the packets between the two come to an end, or at least become few.
    fn calm_down(&mut self) {
        let before: u64 = self.world.ends.iter().map(|end| end.sent).sum();
        let until = self.world.now + CALM;
        loop {
            let Some((at, _)) = self.wire.front() else {
                if !self.world.sleep(until) {
                    break;
                }
                self.drain();
                continue;
            };
            if *at > until {
                break;
            }
            self.deliver(0, |_| ());
            self.drain();
            let sent = self.world.ends.iter().map(|end| end.sent).sum::<u64>() - before;
            assert!(sent < MOST_PACKETS, "{sent} packets in {CALM:?}");
        }
    }
}
