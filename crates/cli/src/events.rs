//! `--events FILE`: what happens to connections and subflows, as JSON lines, and a summary at the end.

use anyhow::Context as _;
use polypath_net::Host;
use polypath_proto::{Event, MultipathState, SubflowEvent};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use tokio::sync::{broadcast::error::RecvError, oneshot};
use tokio::task::JoinHandle;

/// Writes events until it is told to finish.
pub(crate) struct EventLog {
    task: JoinHandle<std::io::Result<()>>,
    finish: oneshot::Sender<()>,
}

struct Writer {
    file: File,
    start: Instant,
    /// Small numbers in order of appearance, instead of the stack's handles.
    connections: HashMap<polypath_proto::ConnectionId, usize>,
    /// Ended subflows, and the last known state of live ones.
    subflows: Vec<Value>,
    multipath: Option<String>,
}

impl EventLog {
    pub(crate) fn start(host: &Host, path: &Path) -> anyhow::Result<EventLog> {
        let file = File::create(path).with_context(|| format!("cannot write events to {}", path.display()))?;
        let mut events = host.events();
        let host = host.clone();
        let (finish, mut finished) = oneshot::channel();
        let mut writer =
            Writer { file, start: Instant::now(), connections: HashMap::new(), subflows: Vec::new(), multipath: None };
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    event = events.recv() => match event {
                        Ok(event) => writer.write(&host, &event)?,
                        Err(RecvError::Lagged(missed)) => writer.line("lagged", json!({ "missed": missed }))?,
                        Err(RecvError::Closed) => break,
                    },
                    _ = &mut finished => break,
                }
            }
            writer.summary(&host)
        });
        Ok(EventLog { task, finish })
    }

    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        let _ = self.finish.send(());
        self.task.await.context("writing events")?.context("writing events")
    }
}

impl Writer {
    fn line(&mut self, event: &str, details: Value) -> std::io::Result<()> {
        let mut line = Map::new();
        line.insert("t_ms".into(), json!(self.start.elapsed().as_micros() as f64 / 1000.0));
        line.insert("event".into(), event.into());
        if let Value::Object(details) = details {
            line.extend(details.into_iter().filter(|(_, value)| !value.is_null()));
        }
        writeln!(self.file, "{}", Value::Object(line))
    }

    fn write(&mut self, host: &Host, event: &Event) -> std::io::Result<()> {
        let next = self.connections.len();
        let mut number = |id| *self.connections.entry(id).or_insert(next);
        match event {
            Event::Connected(id) => {
                let id = number(*id);
                self.note_multipath(host);
                self.line("connected", json!({ "connection": id }))
            }
            Event::Closed { id, error } => {
                let id = number(*id);
                self.line("closed", json!({ "connection": id, "reason": error.map(|e| e.to_string()) }))
            }
            Event::Subflow { connection, subflow, local, remote, name, bytes_sent, bytes_received, what } => {
                let id = number(*connection);
                let (event, reason) = match what {
                    SubflowEvent::Established => ("subflow_established", None),
                    SubflowEvent::Stalled => ("subflow_stalled", None),
                    SubflowEvent::Recovered => ("subflow_recovered", None),
                    SubflowEvent::Closed(reason) => ("subflow_closed", Some(format!("{reason:?}"))),
                };
                self.note_multipath(host);
                let mut record = json!({
                    "name": name.as_deref(), "local": local.to_string(), "remote": remote.to_string(),
                    "bytes_sent": bytes_sent, "bytes_received": bytes_received,
                });
                if let SubflowEvent::Closed(_) = what {
                    self.subflows.push(record.clone());
                }
                record["connection"] = json!(id);
                record["subflow"] = json!(subflow.0);
                record["reason"] = json!(reason);
                self.line(event, record)
            }
            _ => Ok(()),
        }
    }

    /// Connections may be gone at the end: remember what they were.
    fn note_multipath(&mut self, host: &Host) {
        for info in host.connections() {
            match info.multipath {
                MultipathState::Negotiating => {}
                MultipathState::Active => self.multipath = Some("active".into()),
                MultipathState::Fallback(reason) => self.multipath = Some(format!("fallback: {reason}")),
            }
        }
    }

    fn summary(&mut self, host: &Host) -> std::io::Result<()> {
        for info in host.connections() {
            for s in info.subflows {
                self.subflows.push(json!({
                    "name": s.name.as_deref(), "local": s.local.to_string(), "remote": s.remote.to_string(),
                    "bytes_sent": s.bytes_sent, "bytes_received": s.bytes_received,
                }));
            }
        }
        let (subflows, multipath) = (std::mem::take(&mut self.subflows), self.multipath.clone());
        self.line("summary", json!({ "subflows": subflows, "multipath": multipath }))
    }
}
