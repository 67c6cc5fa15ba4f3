//! The application at each end: sends a stream in two halves with a pause between them, and keeps what it receives.

use std::net::SocketAddr;
use std::time::Duration;

use polypath_proto::{
    CloseReason, ConnectOptions, ConnectionError, ConnectionId, ConnectionInfo, Event, Instant, ListenerId,
    SubflowEvent,
};
use polypath_sim::{Application, Context};

/// Longer than a box with a short memory remembers.
pub(crate) const PAUSE: Duration = Duration::from_secs(3);

#[derive(Copy, Clone)]
pub(crate) enum Opening {
    Connect { local: SocketAddr, remote: SocketAddr },
    Listen(SocketAddr),
}

pub(crate) struct End {
    opening: Opening,
    listener: Option<ListenerId>,
    id: Option<ConnectionId>,
    send: Vec<u8>,
    written: usize,
    resume_at: Option<Instant>,
    shut: bool,
    pub(crate) received: Vec<u8>,
    pub(crate) ended: bool,
    /// Closed in order, by this end.
    pub(crate) done: bool,
    pub(crate) error: Option<ConnectionError>,
    pub(crate) info: Option<ConnectionInfo>,
    /// Subflows that did not end in order, by their remote and local address.
    pub(crate) lost: Vec<(SocketAddr, CloseReason)>,
    pub(crate) joined: Vec<SocketAddr>,
}

impl End {
    pub(crate) fn new(opening: Opening, send: Vec<u8>) -> Self {
        Self {
            opening,
            listener: None,
            id: None,
            send,
            written: 0,
            resume_at: None,
            shut: false,
            received: Vec::new(),
            ended: false,
            done: false,
            error: None,
            info: None,
            lost: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// Nothing more will happen here.
    pub(crate) fn is_over(&self) -> bool {
        self.done || self.error.is_some()
    }

    /// No connection has reached it.
    pub(crate) fn waits(&self) -> bool {
        self.id.is_none()
    }

    /// Grows whenever something gets on.
    pub(crate) fn progress(&self) -> usize {
        self.received.len() + self.written + usize::from(self.id.is_some()) + usize::from(self.ended)
    }

    fn fail(&mut self, error: ConnectionError) {
        self.error.get_or_insert(error);
    }

    fn pump(&mut self, cx: &mut Context<'_>) {
        let Some(id) = self.id.filter(|_| !self.is_over()) else { return };
        if let Err(error) = self.write(cx, id).and_then(|()| self.read(cx, id)) {
            self.keep_info(cx, id);
            return self.fail(error);
        }
        self.keep_info(cx, id);
        let Some(mut connection) = cx.stack.connection(cx.now, id) else { return };
        if self.shut && self.ended {
            connection.close();
            self.done = true;
        }
    }

    fn keep_info(&mut self, cx: &mut Context<'_>, id: ConnectionId) {
        if let Some(connection) = cx.stack.connection(cx.now, id) {
            self.info = Some(connection.info());
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, id: ConnectionId) -> Result<(), ConnectionError> {
        if let Some(at) = self.resume_at.filter(|at| *at > cx.now) {
            cx.wake_at(at);
            return Ok(());
        }
        let half = self.send.len() / 2;
        let until = if self.resume_at.is_some() { self.send.len() } else { half };
        while self.written < until {
            let Some(mut connection) = cx.stack.connection(cx.now, id) else { return Ok(()) };
            let piece = &self.send[self.written..until.min(self.written + 5_000)];
            let taken = connection.write(piece)?;
            if taken == 0 {
                return Ok(());
            }
            self.written += taken;
        }
        if self.resume_at.is_none() {
            self.resume_at = Some(cx.now + PAUSE);
            cx.wake_at(cx.now + PAUSE);
        } else if !self.shut {
            self.shut = true;
            if let Some(mut connection) = cx.stack.connection(cx.now, id) {
                connection.shutdown();
            }
        }
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>, id: ConnectionId) -> Result<(), ConnectionError> {
        while !self.ended {
            let Some(mut connection) = cx.stack.connection(cx.now, id) else { return Ok(()) };
            let Some(bytes) = connection.read(65_536)? else { break };
            self.ended = bytes.is_empty();
            self.received.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

impl Application for End {
    fn start(&mut self, cx: &mut Context<'_>) {
        match self.opening {
            Opening::Connect { local, remote } => {
                let options = ConnectOptions { local: Some(local), ..ConnectOptions::default() };
                self.id = Some(cx.stack.connect(cx.now, remote, options).expect("a connection to begin"));
            }
            Opening::Listen(local) => {
                self.listener = Some(cx.stack.listen(local, 16).expect("a listener"));
            }
        }
    }

    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event) {
        match event {
            Event::Acceptable(listener) if self.id.is_none() => self.id = cx.stack.accept(*listener),
            Event::Closed { id, error: Some(error) } if self.id == Some(*id) && !self.done => {
                self.keep_info(cx, *id);
                self.fail(*error);
            }
            Event::Subflow { local, remote, what, .. } => match what {
                SubflowEvent::Established => self.joined.extend([*local, *remote]),
                SubflowEvent::Closed(reason) if *reason != CloseReason::Finished && !self.shut_and_ended() => {
                    self.lost.extend([(*local, *reason), (*remote, *reason)]);
                }
                _ => {}
            },
            _ => {}
        }
        self.pump(cx);
    }

    fn handle_wake(&mut self, cx: &mut Context<'_>) {
        self.pump(cx);
    }
}

impl End {
    /// What happens to subflows afterwards is housekeeping.
    fn shut_and_ended(&self) -> bool {
        self.shut && self.ended
    }
}
