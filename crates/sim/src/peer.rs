//! The two applications of a transfer: one connects, the other listens.

use std::net::SocketAddr;

use polypath_proto::{ConnectOptions, ConnectionId, Event, Instant, ListenerId};

use crate::app::{Application, Context};
use crate::stream::{Stream, StreamError};

/// One end of a transfer over one connection.
#[derive(Debug)]
pub struct Peer {
    role: Role,
    stream: Stream,
    started: Option<ConnectionId>,
    events: Vec<(Instant, String)>,
    fault: Option<String>,
}

#[derive(Debug)]
enum Role {
    Client { local: Option<SocketAddr>, remote: SocketAddr },
    Server { local: SocketAddr, listener: Option<ListenerId> },
}

impl Peer {
    /// The end that connects when the simulation starts.
    pub fn client(local: Option<SocketAddr>, remote: SocketAddr, stream: Stream) -> Self {
        Self::new(Role::Client { local, remote }, stream)
    }

    /// The end that listens, accepts one connection and keeps its listener.
    pub fn server(local: SocketAddr, stream: Stream) -> Self {
        Self::new(Role::Server { local, listener: None }, stream)
    }

    fn new(role: Role, stream: Stream) -> Self {
        Self { role, stream, started: None, events: Vec::new(), fault: None }
    }

    /// The connection's state.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// What the stack reported about subflows and ends, as text, with its time.
    pub fn events(&self) -> &[(Instant, String)] {
        &self.events
    }

    /// Whether something went wrong.
    pub fn has_failed(&self) -> bool {
        self.fault.is_some() || self.stream.error().is_some()
    }

    /// What went wrong, if something did.
    pub fn error(&self) -> Option<String> {
        let stream = self.stream.error().map(|error| match error {
            StreamError::Connection(error) => format!("the connection failed: {error}"),
            other => format!("{other:?}"),
        });
        self.fault.clone().or(stream)
    }

    fn accept(&mut self, cx: &mut Context<'_>, from: ListenerId) {
        let Some(id) = cx.stack.accept(from) else {
            return;
        };
        if self.started.is_some() {
            self.fault = Some("a second connection was accepted".to_owned());
            return;
        }
        self.started = Some(id);
        self.stream.attach(cx, id);
    }
}

impl Application for Peer {
    fn start(&mut self, cx: &mut Context<'_>) {
        match &mut self.role {
            Role::Client { local, remote } => {
                let options = ConnectOptions { local: *local, ..ConnectOptions::default() };
                match cx.stack.connect(cx.now, *remote, options) {
                    Ok(id) => self.started = Some(id),
                    Err(error) => self.fault = Some(format!("connect failed: {error}")),
                }
            }
            Role::Server { local, listener } => match cx.stack.listen(*local, 16) {
                Ok(id) => *listener = Some(id),
                Err(error) => self.fault = Some(format!("listen failed: {error}")),
            },
        }
    }

    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event) {
        let mine = |id: &ConnectionId| self.started.as_ref() == Some(id);
        match event {
            Event::Acceptable(listener) => self.accept(cx, *listener),
            Event::Connected(id) if mine(id) && self.stream.connection().is_none() => {
                self.stream.attach(cx, *id);
            }
            Event::Readable(id) if mine(id) => self.stream.readable(cx),
            Event::Writable(id) if mine(id) => self.stream.writable(cx),
            Event::Closed { id, error } => {
                self.events.push((cx.now, format!("{event:?}")));
                if mine(id) {
                    self.stream.connection_closed(error.as_ref());
                }
            }
            Event::Subflow { .. } => self.events.push((cx.now, format!("{event:?}"))),
            _ => {}
        }
    }

    fn handle_wake(&mut self, cx: &mut Context<'_>) {
        self.stream.pump(cx);
    }
}
