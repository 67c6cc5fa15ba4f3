//! A host: a stack, the application on it, and the loop between the two.

use std::time::Duration;

use polypath_proto::{Instant, LinkConfig, LinkId, Received, RxChecksum, Stack, TransmitBuf};
use polypath_wire::{ChecksumMode, Coalesced, Coalescer, verify_checksum};

use crate::app::{Application, Context, Seen};
use crate::packet::{self, Packet};
use crate::topology::{Checksums, Port};
use crate::trace::Trace;

/// More transmissions than this at one instant: the stack does not come to rest.
const MOST_TRANSMITS: u32 = 100_000;
/// More timeouts than this at one instant: the timer does not move on.
const MOST_TIMEOUTS: u32 = 1_000;

/// A stack and its application.
pub struct Host<A> {
    pub(crate) name: String,
    /// The stack.
    pub stack: Stack,
    /// The application.
    pub app: A,
    /// By the stack's link number.
    ports: Vec<Port>,
    buf: TransmitBuf,
    cut: Vec<Packet>,
    /// What has arrived over links that coalesce, by the stack's link number.
    gathered: Vec<(u32, Packet)>,
    /// When the application wants to be called.
    app_wake: Option<Instant>,
    /// The earliest wake-up in the event heap.
    armed: Option<Instant>,
    /// Timers expire at multiples of this only; zero: exactly.
    pub(crate) tick: Duration,
    timeouts: Repeats,
    transmits: Repeats,
}

/// A stack that does not come to rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// [`Stack::poll_transmit`] gives packets without end.
    EndlessTransmit {
        /// Whose stack.
        host: String,
        /// When.
        at: Instant,
    },
    /// [`Stack::poll_timeout`] stays in the past after [`Stack::handle_timeout`].
    StuckTimer {
        /// Whose stack.
        host: String,
        /// When.
        at: Instant,
    },
}

/// Counts how often something happens at one instant.
#[derive(Debug, Default)]
struct Repeats {
    at: Instant,
    count: u32,
}

impl Repeats {
    fn exceed(&mut self, now: Instant, most: u32) -> bool {
        if self.at != now {
            *self = Self { at: now, count: 0 };
        }
        self.count += 1;
        self.count > most
    }
}

impl<A: Application> Host<A> {
    pub(crate) fn new(name: String, stack: Stack, app: A) -> Self {
        Self {
            name,
            stack,
            app,
            ports: Vec::new(),
            buf: TransmitBuf::default(),
            cut: Vec::new(),
            gathered: Vec::new(),
            app_wake: None,
            armed: None,
            tick: Duration::ZERO,
            timeouts: Repeats::default(),
            transmits: Repeats::default(),
        }
    }

    /// What the host is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a link; its number.
    pub(crate) fn add_port(&mut self, port: Port, config: LinkConfig) -> u32 {
        let LinkId(number) = self.stack.add_link(config);
        assert_eq!(number as usize, self.ports.len(), "a stack numbers its links from 0 on");
        self.ports.push(port);
        number
    }

    pub(crate) fn start(&mut self, now: Instant, trace: &mut Trace) {
        let (app, mut cx) = self.context(now, trace);
        app.start(&mut cx);
    }

    pub(crate) fn context<'a>(&'a mut self, now: Instant, trace: &'a mut Trace) -> (&'a mut A, Context<'a>) {
        let Self { name, stack, app, app_wake, .. } = self;
        (app, Context { now, stack, host: name, wake: app_wake, trace })
    }

    pub(crate) fn receive(&mut self, now: Instant, port: u32, packet: Packet, checksums: Checksums) {
        let checksum = match checksums {
            Checksums::Offloaded => RxChecksum::Verified,
            Checksums::Computed => RxChecksum::Unverified,
        };
        self.app.observe(&Seen { now, stack: &self.stack, packet: &packet, sent: false });
        let Packet { headers, payload } = packet;
        self.stack.handle_packet(now, LinkId(port), Received { headers: &headers, payload, checksum });
    }

    /// Keeps a packet for [`receive_gathered`](Self::receive_gathered); whether it is the first.
    ///
    /// Coalescing does not look at checksums: a packet with a wrong one is dropped here, as a network card's driver
    /// would hand it over unmerged and the stack would drop it.
    pub(crate) fn gather(&mut self, port: u32, packet: Packet, checksums: Checksums) -> bool {
        if checksums == Checksums::Computed && !verify_checksum(&packet.headers, &packet.payload) {
            return false;
        }
        self.gathered.push((port, packet));
        self.gathered.len() == 1
    }

    /// Hands the gathered packets to the stack, merged where that is possible.
    pub(crate) fn receive_gathered(&mut self, now: Instant, trace: &mut Trace) {
        let mut gathered = std::mem::take(&mut self.gathered);
        let before = gathered.len();
        let mut after = 0;
        let mut coalescer = Coalescer::new(ChecksumMode::Zero);
        let mut last_port = None;
        for (port, packet) in gathered.drain(..) {
            self.app.observe(&Seen { now, stack: &self.stack, packet: &packet, sent: false });
            let other_link = last_port.filter(|last| *last != port).and_then(|last| Some((last, coalescer.flush()?)));
            let merged = coalescer.push(&packet.headers, packet.payload).map(|merged| (port, merged));
            for (port, merged) in other_link.into_iter().chain(merged) {
                after += 1;
                self.receive_merged(now, port, &merged);
            }
            last_port = Some(port);
        }
        if let (Some(port), Some(merged)) = (last_port, coalescer.flush()) {
            after += 1;
            self.receive_merged(now, port, &merged);
        }
        self.gathered = gathered;
        trace.note(now, &self.name, || format!("coalesced {before} packets into {after}"));
    }

    fn receive_merged(&mut self, now: Instant, port: u32, merged: &Coalesced) {
        let payload = packet::join(&merged.payload);
        let received = Received { headers: &merged.headers, payload, checksum: RxChecksum::Verified };
        self.stack.handle_packet(now, LinkId(port), received);
    }

    /// Takes out what the stack wants to send, cut into frames.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        checksums: Checksums,
        out: &mut Vec<(Port, Packet)>,
    ) -> Result<(), Fault> {
        while let Some(transmit) = self.stack.poll_transmit(now, &mut self.buf) {
            if self.transmits.exceed(now, MOST_TRANSMITS) {
                return Err(Fault::EndlessTransmit { host: self.name.clone(), at: now });
            }
            let port = self.ports[transmit.link.0 as usize];
            packet::cut(&transmit, &self.buf, checksums.mode(), &mut self.cut);
            for packet in &self.cut {
                self.app.observe(&Seen { now, stack: &self.stack, packet, sent: true });
            }
            out.extend(self.cut.drain(..).map(|packet| (port, packet)));
        }
        Ok(())
    }

    /// Hands the stack's events to the application; whether there were any.
    pub(crate) fn dispatch(&mut self, now: Instant, trace: &mut Trace) -> bool {
        let mut any = false;
        while let Some(event) = self.stack.poll_event() {
            any = true;
            trace.event(now, &self.name, &event);
            let (app, mut cx) = self.context(now, trace);
            app.handle_event(&mut cx, &event);
        }
        any
    }

    /// A wake-up from the event heap; whether anything was due.
    pub(crate) fn wake(&mut self, now: Instant, trace: &mut Trace) -> Result<bool, Fault> {
        // Wake-ups are never taken out of the heap: one that is not the armed one is out of date.
        if self.armed != Some(now) {
            return Ok(false);
        }
        self.armed = None;
        let mut due = false;
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            if self.timeouts.exceed(now, MOST_TIMEOUTS) {
                return Err(Fault::StuckTimer { host: self.name.clone(), at: now });
            }
            trace.note(now, &self.name, || "timeout".to_owned());
            self.stack.handle_timeout(now);
            due = true;
        }
        if self.app_wake.is_some_and(|at| at <= now) {
            self.app_wake = None;
            let (app, mut cx) = self.context(now, trace);
            app.handle_wake(&mut cx);
            due = true;
        }
        Ok(due)
    }

    /// When a timer for `at` expires by the host's clock.
    fn late(&self, at: Instant) -> Instant {
        let tick = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX);
        if tick == 0 { at } else { Instant::from_nanos(at.as_nanos().div_ceil(tick).saturating_mul(tick)) }
    }

    /// The wake-up that has to go into the event heap, if the one there does not do.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        let at = self.late([self.stack.poll_timeout(), self.app_wake].into_iter().flatten().min()?);
        if self.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        self.armed = Some(at);
        Some(at)
    }
}
