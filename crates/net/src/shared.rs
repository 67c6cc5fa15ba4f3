//! The stack and everything that must change together with it, behind one lock.
//!
//! Application tasks and the driver thread call the stack in the same way: one change, then drain
//! what it wants to send and to say. So a write goes out from the thread that wrote, without a
//! hop; the driver is woken only where it would sleep past the stack's next timer.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polypath_proto::{Connection, ConnectionId, Event, Instant, Stack};
use tokio::sync::{Notify, broadcast};

use crate::buffer::BufferPool;
use crate::capture::Tap;
use crate::clock::Clock;
use crate::device::Tun;
use crate::ledger::Ledger;
use crate::poller::Poller;
use crate::stats::DeviceStats;
use crate::trace::TraceFeed;
use crate::transmit::Transmitter;
use crate::waiting::{ConnectionWait, Waiting, Wakeups};

/// Events an observer may fall behind before it misses some.
const EVENT_BACKLOG: usize = 1024;

/// How long what is delivered may take to close: peers may still have something to say, which nobody is going to read, and a
/// subflow whose path is cut closes for a minute.
const GRACE: Duration = Duration::from_secs(1);

/// The driver is not asleep: it looks at the timers before it goes to sleep.
const AWAKE: u64 = 0;
/// The driver sleeps without a timer.
const NO_TIMER: u64 = u64::MAX;

/// What the driver thread and all streams share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    clock: Clock,
    /// Buffers for packets read and for data written.
    pub(crate) pool: BufferPool,
    pub(crate) poller: Poller,
    /// The stack's time until which the driver sleeps, in nanoseconds, or one of the constants
    /// above. Set under the lock before sleeping, reset to awake without it afterwards.
    asleep_until: AtomicU64,
    /// When the driver last said it would wake up by itself; its own.
    alarm: AtomicU64,
    events: broadcast::Sender<Event>,
    /// Told after every change while the host drains.
    changed: Arc<Notify>,
}

/// What the lock protects.
pub(crate) struct Core {
    pub(crate) stack: Stack,
    pub(crate) waiting: Waiting,
    pub(crate) stats: DeviceStats,
    /// Sees every packet, where there is a capture.
    pub(crate) tap: Option<Tap>,
    /// Takes the stack's decisions, where somebody traces.
    pub(crate) trace: Option<TraceFeed>,
    /// Keeps account of subflows, where somebody wants to know.
    pub(crate) ledger: Option<Box<Ledger>>,
    run: Run,
    /// The host is being shut down, and somebody waits for connections to finish.
    draining: bool,
}

enum Run {
    Running(Transmitter),
    /// Nothing moves any more, for this reason.
    Stopped(Arc<str>),
}

impl Shared {
    pub(crate) fn new(stack: Stack, clock: Clock, tun: &Arc<Tun>) -> io::Result<Self> {
        Ok(Self {
            core: Mutex::new(Core {
                stack,
                waiting: Waiting::default(),
                stats: DeviceStats::default(),
                tap: None,
                trace: None,
                ledger: None,
                run: Run::Running(Transmitter::new(Arc::clone(tun))),
                draining: false,
            }),
            clock,
            pool: BufferPool::default(),
            poller: Poller::new(&**tun)?,
            asleep_until: AtomicU64::new(AWAKE),
            alarm: AtomicU64::new(AWAKE),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            changed: Arc::new(Notify::new()),
        })
    }

    /// One change to the stack by an application, and all that follows from it.
    ///
    /// # Errors
    /// The host has stopped.
    pub(crate) fn call<R>(&self, change: impl FnOnce(&mut Core, Instant) -> R) -> io::Result<R> {
        let _guard = KickOnPanic(&self.poller);
        let mut core = self.lock()?;
        let now = self.clock.now();
        let result = change(&mut core, now);
        let wakeups = self.settle(&mut core, now);
        let next = core.next_timeout();
        drop(core);
        if next < self.asleep_until.load(Ordering::Relaxed) {
            self.poller.kick();
        }
        wakeups.wake_all();
        Ok(result)
    }

    /// The driver's turn: `change`, timers that are due, and all that follows. Where
    /// `going_to_sleep`, returns how long to.
    ///
    /// # Errors
    /// The host has stopped.
    pub(crate) fn drive(
        &self,
        going_to_sleep: bool,
        change: impl FnOnce(&mut Core, Instant),
    ) -> io::Result<Option<Duration>> {
        let mut core = self.lock()?;
        let now = self.clock.now();
        change(&mut core, now);
        core.flush(now, &self.poller);
        if core.stack.poll_timeout().is_some_and(|at| at <= now) {
            core.stack.handle_timeout(now);
        }
        let wakeups = self.settle(&mut core, now);
        let mut next = core.next_timeout();
        if going_to_sleep {
            next = self.keep_alarm(now, next);
            self.asleep_until.store(next, Ordering::Relaxed);
        }
        drop(core);
        wakeups.wake_all();
        if next == NO_TIMER {
            return Ok(None);
        }
        let left = next.saturating_sub(self.clock.now().as_nanos());
        Ok(Some(Duration::from_nanos(left)))
    }

    /// When to wake up where the next timer is at `next`. An earlier wake-up that was once wanted is kept: it costs less than to
    /// kick the driver for each write of an application that waits for an answer each time, which sets a timer and clears it.
    fn keep_alarm(&self, now: Instant, next: u64) -> u64 {
        let alarm = self.alarm.load(Ordering::Relaxed);
        let until = if alarm > now.as_nanos() { alarm.min(next) } else { next };
        self.alarm.store(until, Ordering::Relaxed);
        until
    }

    /// The driver is up again and will look at the timers before it sleeps.
    pub(crate) fn driver_is_awake(&self) {
        // Nothing is ordered by this: one who still sees the old value kicks once too often.
        self.asleep_until.store(AWAKE, Ordering::Relaxed);
    }

    /// Looks without changing anything that packets or other tasks would follow from.
    ///
    /// # Errors
    /// The host has stopped.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut Core, Instant) -> R) -> io::Result<R> {
        let mut core = self.lock()?;
        let now = self.clock.now();
        Ok(look(&mut core, now))
    }

    /// Looks at what is there even if the host has stopped: then as it was at that moment.
    pub(crate) fn observe<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.lock_anyway())
    }

    /// Attaches or detaches an instrument, and looks at what is there; also when the host has stopped.
    pub(crate) fn configure<R>(&self, change: impl FnOnce(&mut Core) -> R) -> R {
        change(&mut self.lock_anyway())
    }

    /// The stack's time.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Ends everything: every call fails from now on, with `reason`. The first reason stays.
    pub(crate) fn stop(&self, reason: &str) {
        // A panic inside the stack is no reason to leave tasks waiting for ever.
        let mut core = self.lock_anyway();
        if let Run::Running(_) = core.run {
            // The device closes with its last owner, the driver.
            core.run = Run::Stopped(reason.into());
        }
        let wakeups = core.waiting.wake_everyone();
        drop(core);
        wakeups.wake_all();
        self.changed.notify_waiters();
        self.poller.kick();
    }

    /// Closes all listeners, and waits until everything is delivered that applications have ended, by a shutdown or by letting
    /// go, or the host has stopped. What they have let go of has [so long](GRACE) to close in order then.
    pub(crate) async fn drained(&self) {
        let _ = self.call(|core, now| {
            core.draining = true;
            for listener in core.waiting.listener_ids() {
                core.stack.close_listener(now, listener);
            }
        });
        let grace = tokio::time::sleep(GRACE);
        tokio::pin!(grace);
        let mut delivered = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enlisted before looking, so that nothing falls between.
            changed.as_mut().enable();
            let owed = self.undelivered();
            if owed + self.unfinished() == 0 {
                return;
            }
            if !std::mem::replace(&mut delivered, owed == 0) && delivered {
                grace.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
            tokio::select! {
                () = changed => {}
                () = &mut grace, if delivered => return,
            }
        }
    }

    /// Gives up what applications have ended, and tells the peers.
    pub(crate) fn abandon_ended(&self) {
        // Where the host has stopped there is nobody to tell any more.
        let _ = self.call(|core, now| core.stack.abandon_ended(now));
    }

    /// Connections that applications have let go of.
    fn unfinished(&self) -> usize {
        self.look(|core, _| {
            let held = core.waiting.connection_count();
            core.stack.connection_count().saturating_sub(held)
        })
        .unwrap_or(0)
    }

    /// Connections that still deliver what was ended.
    pub(crate) fn undelivered(&self) -> usize {
        self.look(|core, _| core.stack.undelivered_count()).unwrap_or(0)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, Core>> {
        let core = self.core.lock().map_err(|_| stopped("the stack panicked"))?;
        match &core.run {
            Run::Running(_) => Ok(core),
            Run::Stopped(reason) => Err(stopped(reason)),
        }
    }

    fn lock_anyway(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is to be sent and passes on what the stack has to say.
    fn settle(&self, core: &mut Core, now: Instant) -> Wakeups {
        core.flush(now, &self.poller);
        let mut wakeups = Wakeups::default();
        while let Some(event) = core.stack.poll_event() {
            core.waiting.on_event(&event, &mut wakeups);
            if let Some(ledger) = &mut core.ledger {
                ledger.on_event(now, &event, &core.stack);
            }
            if matches!(event, Event::Connected(_) | Event::Closed { .. } | Event::Subflow { .. }) {
                // Nobody listening is no error.
                let _ = self.events.send(event);
            }
        }
        if let Some(feed) = &mut core.trace {
            while let Some(trace) = core.stack.poll_trace() {
                feed.push(trace);
            }
        }
        if core.draining {
            wakeups.add_notify(&self.changed);
        }
        wakeups
    }
}

impl Core {
    /// The connection, unless the stack has forgotten it.
    pub(crate) fn connection(&mut self, now: Instant, id: ConnectionId) -> Option<Connection<'_>> {
        self.stack.connection(now, id)
    }

    /// The connection and what waits on it.
    pub(crate) fn connection_and_wait(
        &mut self,
        now: Instant,
        id: ConnectionId,
    ) -> Option<(Connection<'_>, &mut ConnectionWait)> {
        Some((self.stack.connection(now, id)?, self.waiting.connection(id)?))
    }

    /// The application has dropped the connection. What it wrote is still delivered, unless
    /// `at_once`.
    pub(crate) fn let_go(&mut self, now: Instant, id: ConnectionId, at_once: bool) {
        if let Some(ledger) = &mut self.ledger {
            ledger.look(now, &self.stack);
        }
        let wait = self.waiting.remove_connection(id);
        let Some(mut connection) = self.stack.connection(now, id) else {
            return;
        };
        // RFC 9293 section 3.10.4: data received and not read is a reset. The stack does not know
        // of what only a peek has seen.
        if at_once || wait.is_some_and(|wait| !wait.peeked.is_empty()) {
            connection.abort();
        }
        connection.close();
    }

    /// The device takes packets again.
    pub(crate) fn device_writable(&mut self, poller: &Poller) {
        if let Run::Running(transmitter) = &mut self.run {
            transmitter.unblock(poller);
        }
    }

    fn flush(&mut self, now: Instant, poller: &Poller) {
        if let Run::Running(transmitter) = &mut self.run {
            transmitter.flush(&mut self.stack, now, poller, &mut self.stats, self.tap.as_mut());
        }
    }

    /// The stack's next timeout in nanoseconds, or [`NO_TIMER`].
    fn next_timeout(&self) -> u64 {
        self.stack
            .poll_timeout()
            // Never the value that means awake.
            .map_or(NO_TIMER, |at| at.as_nanos().max(1))
    }
}

/// Where the stack panics under an application, the driver has to find out: it ends the host, and
/// so the wait of everybody else.
struct KickOnPanic<'a>(&'a Poller);

impl Drop for KickOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.kick();
        }
    }
}

fn stopped(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NetworkDown, format!("the polypath host is down: {reason}"))
}
