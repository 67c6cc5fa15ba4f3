//! `--events FILE`: what happens to connections and subflows, as JSON lines, and a summary at the end.

use anyhow::Context as _;
use polypath_net::{Host, event_json};
use polypath_proto::{ConnectionId, Event, MultipathState};
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
                        Err(RecvError::Lagged(missed)) => writer.line(json!({ "event": "lagged", "missed": missed }))?,
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
    fn line(&mut self, mut record: Value) -> std::io::Result<()> {
        record["t_ms"] = json!(self.start.elapsed().as_micros() as f64 / 1000.0);
        writeln!(self.file, "{record}")
    }

    fn write(&mut self, host: &Host, event: &Event) -> std::io::Result<()> {
        match event {
            Event::Connected(id) => self.note_multipath(host, *id),
            Event::Subflow { connection, .. } => self.note_multipath(host, *connection),
            _ => {}
        }
        let Some(record) = event_json(event) else { return Ok(()) };
        if record["event"] == "subflow_closed" {
            let mut ended = Map::new();
            for key in ["name", "local", "remote", "bytes_sent", "bytes_received"] {
                ended.insert(key.into(), record[key].clone());
            }
            self.subflows.push(Value::Object(ended));
        }
        self.line(record)
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
        let mut summary = json!({ "event": "summary", "subflows": subflows });
        if let Some(multipath) = multipath {
            summary["multipath"] = multipath.into();
        }
        self.line(summary)
    }
}
