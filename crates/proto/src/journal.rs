//! What a connection has to say of itself: counted always, told in detail where somebody traces.

use crate::mib::Counter;
use crate::trace::{TraceEvent, WaitReason};

/// Collected by the stack after each call.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) counted: Vec<Counter>,
    /// None: nobody traces.
    traced: Option<Vec<TraceEvent>>,
    /// Why data waits, as last told.
    waiting: Option<WaitReason>,
}

impl Journal {
    pub(crate) fn new(tracing: bool) -> Self {
        Journal { counted: Vec::new(), traced: tracing.then(Vec::new), waiting: None }
    }

    pub(crate) fn set_tracing(&mut self, on: bool) {
        if on != self.is_tracing() {
            self.traced = on.then(Vec::new);
        }
    }

    pub(crate) fn is_tracing(&self) -> bool {
        self.traced.is_some()
    }

    pub(crate) fn count(&mut self, counter: Counter) {
        self.counted.push(counter);
    }

    /// `event` is made only where somebody traces.
    pub(crate) fn trace(&mut self, event: impl FnOnce() -> TraceEvent) {
        if let Some(traced) = &mut self.traced {
            traced.push(event());
        }
    }

    /// Tells why data waits, where that is news.
    pub(crate) fn trace_waiting(&mut self, reason: WaitReason, pending: u64) {
        if self.is_tracing() && self.waiting.replace(reason) != Some(reason) {
            self.trace(|| TraceEvent::Waiting { reason, pending });
        }
    }

    /// Data waits no more.
    pub(crate) fn ends_waiting(&mut self) {
        self.waiting = None;
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn give_back(&mut self) {
        self.counted.shrink_to_fit();
    }

    pub(crate) fn take_traced(&mut self) -> impl Iterator<Item = TraceEvent> + use<> {
        self.traced.as_mut().map(core::mem::take).unwrap_or_default().into_iter()
    }
}
