//! Sleeping until the device, a timer or another thread wants something: epoll and an eventfd.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

const DEVICE: u64 = 0;
const KICK: u64 = 1;
const ALARM: u64 = 2;

/// Why [`Poller::wait`] returned. Everything false: the time is up.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ready {
    /// The device has packets, or is broken, which a read will tell.
    pub(crate) readable: bool,
    /// The device takes packets again.
    pub(crate) writable: bool,
}

/// One epoll instance with a device and an eventfd in it. Any thread may call [`kick`](Self::kick)
/// and [`want_write`](Self::want_write) while another one waits.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    eventfd: OwnedFd,
}

impl Poller {
    pub(crate) fn new(device: &impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, device, epoll::EventData::new_u64(DEVICE), epoll::EventFlags::IN)?;
        // Edge-triggered: the counter need never be read back to zero.
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(KICK), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        Ok(Self { epoll, eventfd })
    }

    /// Wakes the waiting thread, or the next one to wait.
    pub(crate) fn kick(&self) {
        // It fails only when the counter is full, and then the wake-up is on its way.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// Whether to wake up when the device takes packets again.
    pub(crate) fn want_write(&self, device: &impl AsFd, on: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, on);
        Ok(epoll::modify(&self.epoll, device, epoll::EventData::new_u64(DEVICE), flags)?)
    }

    /// Sleeps for at most `timeout` (for ever if `None`), with the resolution of the kernel's
    /// high-resolution timers.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        Ok(self.look(timeout.as_ref())?.unwrap_or_default())
    }

    /// What there is, without sleeping; `None` where nothing has happened since the last time.
    pub(crate) fn poll(&self) -> io::Result<Option<Ready>> {
        self.look(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    /// Has `alarm` wake whoever waits, too.
    pub(crate) fn watch(&self, alarm: &impl AsFd) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, alarm, epoll::EventData::new_u64(ALARM), flags)?)
    }

    fn look(&self, timeout: Option<&Timespec>) -> io::Result<Option<Ready>> {
        let mut events = [const { MaybeUninit::uninit() }; 3];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout) {
            Ok(events) => events,
            Err(rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if events.is_empty() {
            return Ok(None);
        }
        let mut ready = Ready::default();
        for event in events.iter().filter(|event| event.data.u64() == DEVICE) {
            let flags = event.flags;
            ready.readable |= flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            ready.writable |= flags.contains(epoll::EventFlags::OUT);
        }
        Ok(Some(ready))
    }
}

/// For another poller, such as tokio's: readable when [`Poller::poll`] may find something.
impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const MOMENT: Option<Duration> = Some(Duration::from_millis(1));

    #[test]
    fn a_kick_wakes_once_each() {
        let (device, _peer) = UnixStream::pair().unwrap();
        let poller = Poller::new(&device).unwrap();
        poller.kick();
        // Without the kick this would not return.
        assert_eq!(poller.wait(None).unwrap(), Ready::default());
        poller.kick();
        poller.kick();
        assert_eq!(poller.wait(None).unwrap(), Ready::default());
        assert_eq!(poller.wait(MOMENT).unwrap(), Ready::default());
    }

    #[test]
    fn a_wait_may_be_shorter_than_a_millisecond() {
        let (device, _peer) = UnixStream::pair().unwrap();
        let poller = Poller::new(&device).unwrap();
        let wait = |_| {
            let start = std::time::Instant::now();
            poller.wait(Some(Duration::from_micros(100))).unwrap();
            start.elapsed()
        };
        // Pacing lives on it. However busy the machine is, one of many is on time; rounded up, none would be.
        let shortest = (0..100).map(wait).min().unwrap();
        assert!(shortest < Duration::from_millis(1), "{shortest:?}");
    }

    #[test]
    fn a_kick_from_another_thread_ends_the_wait() {
        let (device, _peer) = UnixStream::pair().unwrap();
        let poller = Poller::new(&device).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| poller.wait(None).unwrap());
            poller.kick();
            assert_eq!(waiting.join().unwrap(), Ready::default());
        });
    }

    #[test]
    fn the_device_is_told_apart_by_direction() {
        let (device, mut peer) = UnixStream::pair().unwrap();
        let poller = Poller::new(&device).unwrap();
        assert_eq!(poller.wait(MOMENT).unwrap(), Ready::default());
        poller.want_write(&device, true).unwrap();
        let ready = poller.wait(None).unwrap();
        assert_eq!((ready.readable, ready.writable), (false, true));
        poller.want_write(&device, false).unwrap();
        peer.write_all(b"x").unwrap();
        let ready = poller.wait(None).unwrap();
        assert_eq!((ready.readable, ready.writable), (true, false));
    }
}
