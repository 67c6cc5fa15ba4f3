//! What runs on a host: small state machines that the network drives.

use polypath_proto::{Event, Instant, Stack};

use crate::trace::Trace;

/// A program on a simulated host. It is called when something happens and must not wait for anything.
pub trait Application {
    /// The simulation starts.
    fn start(&mut self, cx: &mut Context<'_>);

    /// The host's stack reports something.
    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event);

    /// A time asked for with [`Context::wake_at`] has come, or an earlier one.
    fn handle_wake(&mut self, cx: &mut Context<'_>);
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
