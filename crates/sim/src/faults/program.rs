//! The program on each host: all its connections, and the watch over its packets.

use std::net::SocketAddr;
use std::time::Duration;

use polypath_proto::{ConnectOptions, ConnectionId, Event, Instant, ListenerId};

use super::scenario::{ConnectionPlan, Ending, Flow, Quit, Scenario, Side};
use super::wire::Wire;
use crate::app::{Application, Context, Seen};
use crate::pattern::Pattern;
use crate::rng::{self, Stream as RngStream};
use crate::stream::{Finish, Pace, Stream, StreamError, StreamPlan};

/// The program of one host.
pub(super) struct Program {
    backlog: usize,
    pub(super) sessions: Vec<Session>,
    pub(super) wire: Wire,
}

/// One end of one connection.
pub(super) struct Session {
    role: Role,
    quit: Option<Quit>,
    pub(super) stream: Stream,
    pub(super) id: Option<ConnectionId>,
    /// Connecting or listening failed.
    pub(super) refused: Option<String>,
    /// It let go before its time.
    pub(super) has_quit: bool,
    /// A second connection came to the listener.
    pub(super) doubled: bool,
}

enum Role {
    Client { at: Instant, local: SocketAddr, remote: SocketAddr, plain: bool },
    Server { local: SocketAddr, listener: Option<ListenerId> },
}

impl Session {
    /// Nothing more will come of it here.
    pub(super) fn is_over(&self) -> bool {
        self.stream.is_done() || self.refused.is_some()
    }

    /// Whether it has begun at this end.
    pub(super) fn has_begun(&self) -> bool {
        self.id.is_some() || self.refused.is_some()
    }
}

impl Program {
    pub(super) fn new(scenario: &Scenario, side: Side, wire: Wire) -> Self {
        let number = side as u32;
        let sessions = scenario.connections.iter().zip(0..).map(|(plan, index)| {
            let rng = rng::stream(scenario.seed, RngStream::Application(2 * index + number));
            let (local, remote) = super::build::ends(scenario, plan, index as u16);
            let role = match side {
                Side::Client => {
                    let at = Instant::ZERO + Duration::from_millis(plan.start_ms);
                    Role::Client { at, local, remote, plain: plan.plain }
                }
                Side::Server => Role::Server { local: remote, listener: None },
            };
            Session {
                role,
                quit: plan.quit.filter(|quit| quit.side == side),
                stream: Stream::new(stream_plan(scenario.seed, plan, index, side), rng),
                id: None,
                refused: None,
                has_quit: false,
                doubled: false,
            }
        });
        Self { backlog: scenario.host(side).settings.backlog, sessions: sessions.collect(), wire }
    }

    /// Lets go of a connection that cannot come to anything any more.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>, index: usize) {
        self.sessions[index].let_go(cx, true);
    }

    /// Stops listening.
    pub(super) fn stop_listening(&mut self, cx: &mut Context<'_>) {
        for session in &mut self.sessions {
            if let Role::Server { listener, .. } = &mut session.role
                && let Some(listener) = listener.take()
            {
                cx.stack.close_listener(cx.now, listener);
            }
        }
    }

    /// Does what can be done now.
    fn pump(&mut self, cx: &mut Context<'_>) {
        for session in &mut self.sessions {
            session.connect_in_time(cx);
            session.stream.pump(cx);
            session.look(cx);
        }
    }
}

impl Session {
    fn connect_in_time(&mut self, cx: &mut Context<'_>) {
        let Role::Client { at, local, remote, plain } = self.role else { return };
        if self.has_begun() {
            return;
        }
        if cx.now < at {
            return cx.wake_at(at);
        }
        let options = ConnectOptions { local: Some(local), no_multipath: plain, ..ConnectOptions::default() };
        match cx.stack.connect(cx.now, remote, options) {
            Ok(id) => self.id = Some(id),
            Err(error) => self.refused = Some(format!("connect failed: {error}")),
        }
    }

    /// Whether it is time to quit: because it was planned, or because there is nothing to stay for.
    fn look(&mut self, cx: &mut Context<'_>) {
        if self.stream.is_done() || self.id.is_none() {
            return;
        }
        if self.stream.error().is_some() {
            return self.let_go(cx, true);
        }
        let passed = self.stream.written() + self.stream.received();
        if let Some(quit) = self.quit.filter(|quit| passed >= quit.after) {
            self.has_quit = true;
            self.let_go(cx, quit.reset);
        }
    }

    /// Also of a connection that is not established yet.
    fn let_go(&mut self, cx: &mut Context<'_>, reset: bool) {
        self.stream.quit(cx, reset);
        if let Some(mut connection) = self.id.and_then(|id| cx.stack.connection(cx.now, id)) {
            connection.close();
        }
    }

    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event) {
        let mine = |id: &ConnectionId| self.id.as_ref() == Some(id);
        match event {
            Event::Acceptable(of) => {
                if !matches!(&self.role, Role::Server { listener, .. } if listener.as_ref() == Some(of)) {
                    return;
                }
                let Some(id) = cx.stack.accept(*of) else { return };
                if self.id.is_some() {
                    self.doubled = true;
                    if let Some(mut connection) = cx.stack.connection(cx.now, id) {
                        connection.abort();
                        connection.close();
                    }
                    return;
                }
                self.id = Some(id);
                self.stream.attach(cx, id);
            }
            Event::Connected(id) if mine(id) && self.stream.connection().is_none() => self.stream.attach(cx, *id),
            Event::Readable(id) if mine(id) => self.stream.readable(cx),
            Event::Writable(id) if mine(id) => self.stream.writable(cx),
            Event::Closed { id, error } if mine(id) => {
                if self.stream.connection().is_none() {
                    // It never came about.
                    self.refused = Some(error.map_or_else(|| "closed".to_owned(), |error| error.to_string()));
                    if let Some(mut connection) = cx.stack.connection(cx.now, *id) {
                        connection.close();
                    }
                    return;
                }
                self.stream.connection_closed(error.as_ref());
            }
            _ => return,
        }
        self.look(cx);
    }
}

impl Application for Program {
    fn start(&mut self, cx: &mut Context<'_>) {
        for session in &mut self.sessions {
            if let Role::Server { local, listener } = &mut session.role {
                match cx.stack.listen(*local, self.backlog) {
                    Ok(id) => *listener = Some(id),
                    Err(error) => session.refused = Some(format!("listen failed: {error}")),
                }
            }
        }
        self.pump(cx);
    }

    fn handle_event(&mut self, cx: &mut Context<'_>, event: &Event) {
        for session in &mut self.sessions {
            session.handle_event(cx, event);
        }
    }

    fn handle_wake(&mut self, cx: &mut Context<'_>) {
        self.pump(cx);
    }

    fn observe(&mut self, seen: &Seen<'_>) {
        self.wire.observe(seen);
    }
}

/// How one end uses a connection.
fn stream_plan(seed: u64, plan: &ConnectionPlan, index: u32, side: Side) -> StreamPlan {
    let pattern = |way: u64| Pattern::Seeded(seed.wrapping_mul(64).wrapping_add(u64::from(index) * 2 + way));
    let (up, down) = ((&plan.up, pattern(0)), (&plan.down, pattern(1)));
    let ((send, send_pattern), (receive, receive_pattern)) = match side {
        Side::Client => (up, down),
        Side::Server => (down, up),
    };
    let finish = match (plan.ending, side) {
        (Ending::ClientLast, Side::Client) | (Ending::ServerLast, Side::Server) => Finish::AfterPeer,
        (Ending::ClientLeaves, Side::Client) | (Ending::ServerLeaves, Side::Server) => Finish::CloseWhenWritten,
        _ => Finish::HalfClose,
    };
    let pace = |bytes, ms| (bytes > 0).then(|| Pace { bytes, rest: Duration::from_millis(ms) });
    StreamPlan {
        send: send.bytes,
        send_pattern,
        receive: receive.bytes,
        receive_pattern,
        write_sizes: send.write.0..=send.write.1,
        zero_copy: f64::from(send.zero_copy) / 1_000.0,
        write_pace: pace(send.write_pause_after, send.write_pause_ms),
        read_sizes: receive.read.0..=receive.read.1,
        read_pace: pace(receive.read_pause_after, receive.read_pause_ms),
        finish,
    }
}

/// Bytes of a flow and what its reader made of it, for messages.
pub(super) fn describe_error(error: &StreamError, flow: &Flow) -> String {
    match error {
        StreamError::Connection(error) => format!("the connection failed: {error}"),
        StreamError::Vanished => "the connection vanished".to_owned(),
        other => format!("{other:?}, of {} bytes", flow.bytes),
    }
}
