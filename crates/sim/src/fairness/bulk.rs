//! The programs: one that sends without end for a while, and one that reads.

use std::net::SocketAddr;

use bytes::Bytes;
use polypath_proto::{ConnectOptions, ConnectionId, ConnectionInfo, Event, Instant, Stack};

use crate::app::{Application, Context};
use crate::pattern::Pattern;

/// Bytes of one write, and most bytes of one read.
const PIECE: usize = 64 * 1024;
const READ: usize = 1 << 20;

/// One end of a flow.
pub(super) struct Bulk {
    role: Role,
    id: Option<ConnectionId>,
    received: u64,
    error: Option<String>,
}

/// What an end does.
pub(super) enum Role {
    /// Connects at a time, and sends until another.
    Sender { local: SocketAddr, remote: SocketAddr, from: Instant, to: Instant },
    /// Listens, and reads; the other end will be gone at that time.
    Receiver { local: SocketAddr, to: Instant },
}

impl Bulk {
    pub(super) fn new(role: Role) -> Self {
        Self { role, id: None, received: 0, error: None }
    }

    /// Bytes read so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// What went wrong.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The connection as its stack sees it.
    pub(super) fn info(&self, stack: &Stack) -> Option<ConnectionInfo> {
        stack.connection_info(self.id?)
    }

    fn fail(&mut self, error: impl Into<String>) {
        self.error.get_or_insert_with(|| error.into());
    }

    fn ended(&self, now: Instant) -> bool {
        let (Role::Sender { to, .. } | Role::Receiver { to, .. }) = self.role;
        now >= to
    }

    fn connect(&mut self, cx: &mut Context<'_>) {
        let Role::Sender { local, remote, to, .. } = self.role else { return };
        let options = ConnectOptions { local: Some(local), ..ConnectOptions::default() };
        match cx.stack.connect(cx.now, remote, options) {
            Ok(id) => self.id = Some(id),
            Err(error) => self.fail(format!("connect: {error}")),
        }
        cx.wake_at(to);
    }

    fn pump(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = self.read(cx).and_then(|()| self.write(cx)) {
            self.fail(error);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while let Some(mut connection) = self.id.and_then(|id| cx.stack.connection(cx.now, id)) {
            match connection.read(READ) {
                Ok(Some(bytes)) if bytes.is_empty() => break,
                Ok(Some(bytes)) => self.received += bytes.len() as u64,
                Ok(None) => break,
                Err(_) if self.ended(cx.now) => break,
                Err(error) => return Err(format!("the connection failed: {error}")),
            }
        }
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        if matches!(self.role, Role::Receiver { .. }) || self.ended(cx.now) {
            return Ok(());
        }
        while let Some(mut connection) = self.id.and_then(|id| cx.stack.connection(cx.now, id)) {
            let mut piece: Bytes = Pattern::Blank.bytes(0, PIECE);
            connection.write_bytes(&mut piece).map_err(|error| format!("write: {error}"))?;
            if !piece.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Application for Bulk {
    fn start(&mut self, cx: &mut Context<'_>) {
        match self.role {
            Role::Sender { from, .. } => cx.wake_at(from),
            Role::Receiver { local, .. } => {
                if let Err(error) = cx.stack.listen(local, 16) {
                    self.fail(format!("listen: {error}"));
                }
            }
        }
    }

    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event) {
        match event {
            Event::Acceptable(listener) => {
                if let Some(id) = cx.stack.accept(*listener).filter(|_| self.id.is_none()) {
                    self.id = Some(id);
                    self.pump(cx);
                }
            }
            Event::Connected(_) | Event::Readable(_) | Event::Writable(_) => self.pump(cx),
            Event::Closed { error, .. } if !self.ended(cx.now) => {
                let why = error.map_or_else(|| "in order".to_owned(), |error| error.to_string());
                self.fail(format!("the connection ended: {why}"));
            }
            _ => {}
        }
    }

    fn handle_wake(&mut self, cx: &mut Context<'_>) {
        match (&self.role, self.id) {
            (Role::Sender { .. }, None) => self.connect(cx),
            // What is buffered would go on for a while: it ends here.
            (Role::Sender { .. }, Some(id)) => {
                if let Some(mut connection) = cx.stack.connection(cx.now, id) {
                    connection.abort();
                }
            }
            (Role::Receiver { .. }, _) => {}
        }
    }
}
