//! `--events FILE`: what happens to connections and subflows, as JSON lines, and a summary at the end.

use anyhow::Context as _;
use polypath_net::Host;
use polypath_proto::{ConnectionId, Event, MultipathState, SubflowEvent};
use serde_json::{Map, Value, json};
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
        let mut writer = Writer { file, start: Instant::now(), subflows: Vec::new(), multipath: None };
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
        match event {
            Event::Connected(id) => {
                self.note_multipath(host, *id);
                self.line("connected", json!({ "connection": id.number() }))
            }
            Event::Closed { id, error } => {
                self.line("closed", json!({ "connection": id.number(), "reason": error.map(|e| e.to_string()) }))
            }
            Event::Subflow { connection, subflow, local, remote, name, counters, what } => {
                let (event, reason) = match what {
                    SubflowEvent::Established => ("subflow_established", None),
                    SubflowEvent::Stalled => ("subflow_stalled", None),
                    SubflowEvent::Recovered => ("subflow_recovered", None),
                    SubflowEvent::Closed(reason) => ("subflow_closed", Some(format!("{reason:?}"))),
                };
                self.note_multipath(host, *connection);
                let mut record = json!({
                    "name": name.as_deref(), "local": local.to_string(), "remote": remote.to_string(),
                    "bytes_sent": counters.bytes_sent, "bytes_received": counters.bytes_received,
                });
                if let SubflowEvent::Closed(_) = what {
                    self.subflows.push(record.clone());
                }
                record["connection"] = json!(connection.number());
                record["subflow"] = json!(subflow.0);
                record["reason"] = json!(reason);
                self.line(event, record)
            }
            _ => Ok(()),
        }
    }

    /// Connections may be gone at the end: remember what they were.
    fn note_multipath(&mut self, host: &Host, id: ConnectionId) {
        match host.connection_info(id).map(|info| info.multipath) {
            None | Some(MultipathState::Negotiating) => {}
            Some(MultipathState::Active) => self.multipath = Some("active".into()),
            Some(MultipathState::Fallback(reason)) => self.multipath = Some(format!("fallback: {reason}")),
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
