//! What runs on a host: small state machines that the network drives.

use polypath_proto::{Event, Instant, Stack};

use crate::packet::Packet;
use crate::trace::Trace;

/// A program on a simulated host. It is called when something happens and must not wait for anything.
pub trait Application {
    /// The simulation starts.
    fn start(&mut self, cx: &mut Context<'_>);

    /// The host's stack reports something.
    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event);

    /// A time asked for with [`Context::wake_at`] has come, or an earlier one.
    fn handle_wake(&mut self, cx: &mut Context<'_>);

    /// A packet has left the host's stack, or is about to reach it: for applications that watch it.
    fn observe(&mut self, _seen: &Seen<'_>) {}
}

/// A packet between a host's stack and its links, as it is on the wire.
#[derive(Copy, Clone, Debug)]
pub struct Seen<'a> {
    /// The virtual time.
    pub now: Instant,
    /// The stack, as it is after it sent, or before it receives.
    pub stack: &'a Stack,
    /// The packet.
    pub packet: &'a Packet,
    /// Whether the stack has sent it; otherwise it receives it.
    pub sent: bool,
}

/// What an application may use while it is called.
pub struct Context<'a> {
    /// The virtual time.
    pub now: Instant,
    /// The host's stack. The network drains it after the call.
    pub stack: &'a mut Stack,
    pub(crate) host: &'a str,
    pub(crate) wake: &'a mut Option<Instant>,
    pub(crate) trace: &'a mut Trace,
}

impl Context<'_> {
    /// Asks for [`Application::handle_wake`] at this time. Of several wishes the earliest counts, and is then gone.
    pub fn wake_at(&mut self, at: Instant) {
        *self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    /// Writes a line into the packet log, if there is one.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.note(self.now, self.host, text);
    }
}
