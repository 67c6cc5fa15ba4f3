//! An external controller's session: commands in, answers and events out, a JSON object on each line.
//!
//! ```text
//! > {"command":"events"}
//! < {"ok":true}
//! < {"event":"subflow_established","connection":0,"subflow":0,"name":"wlan0","local":"10.1.0.2:61234",…}
//! > {"command":"open","connection":0,"local":"10.2.0.2","remote":"10.9.0.1:443","backup":true,"id":7}
//! < {"ok":true,"id":7}
//! > {"command":"close","connection":0,"subflow":5}
//! < {"ok":false,"error":"the connection has no such subflow"}
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};

use polypath_proto::SubflowId;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::event_json::event_json;
use crate::monitor::Monitor;

/// Longest command line, with its end.
pub(super) const LINE: usize = 4096;

/// What a controller may ask for.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Command {
    /// Tell of all that happens from now on.
    Events,
    /// Tell how things stand: the document of `polypath ss --json`.
    Snapshot,
    /// Join a subflow.
    Open {
        connection: u32,
        local: IpAddr,
        remote: SocketAddr,
        #[serde(default)]
        backup: bool,
    },
    /// Close a subflow; it is not opened again.
    Close { connection: u32, subflow: u16 },
    /// Make a subflow a backup, or no longer.
    Priority { connection: u32, subflow: u16, backup: bool },
    /// Another packet scheduler.
    Scheduler { connection: u32, name: String },
    /// Another congestion control.
    CongestionControl { connection: u32, name: String },
}

/// Serves one controller until it goes away. `first`: a line that has been read already.
pub(super) async fn serve<S>(stream: S, first: String, monitor: &Monitor) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let mut events = None;
    let mut line = first.into_bytes();
    loop {
        if line.ends_with(b"\n") {
            let answer = obey(&line, monitor, &mut events);
            tell(&mut writer, &answer).await?;
            line.clear();
        }
        let room = LINE.saturating_sub(line.len()) as u64;
        if room == 0 {
            return tell(&mut writer, &refusal(format!("a command has more than {LINE} bytes"))).await;
        }
        let mut limited = (&mut reader).take(room);
        tokio::select! {
            // What was read before an event came is in `line` already.
            read = limited.read_until(b'\n', &mut line) => if read? == 0 {
                return Ok(());
            },
            event = next(&mut events) => match event {
                Ok(event) => if let Some(event) = event_json(&event) {
                    tell(&mut writer, &event).await?;
                },
                Err(RecvError::Lagged(missed)) => tell(&mut writer, &json!({ "event": "lagged", "missed": missed })).await?,
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

async fn next<T: Clone>(events: &mut Option<Receiver<T>>) -> Result<T, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn tell(writer: &mut (impl AsyncWrite + Unpin), value: &Value) -> io::Result<()> {
    writer.write_all(format!("{value}\n").as_bytes()).await
}

fn refusal(error: impl Into<String>) -> Value {
    json!({ "ok": false, "error": error.into() })
}

/// Does what a line says. An `id` in it is in the answer, too.
fn obey(line: &[u8], monitor: &Monitor, events: &mut Option<Receiver<polypath_proto::Event>>) -> Value {
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return refusal(format!("this is not JSON: {error}")),
    };
    let id = value.get("id").cloned();
    let mut answer = match serde_json::from_value(value) {
        Ok(Command::Events) => {
            *events = Some(monitor.host().events());
            json!({ "ok": true })
        }
        Ok(Command::Snapshot) => json!({ "ok": true, "snapshot": monitor.snapshot() }),
        Ok(command) => change(command, monitor).map_or_else(refusal, |()| json!({ "ok": true })),
        Err(error) => refusal(error.to_string()),
    };
    if let (Some(id), Some(fields)) = (id, answer.as_object_mut()) {
        Map::insert(fields, "id".into(), id);
    }
    answer
}

fn change(command: Command, monitor: &Monitor) -> Result<(), String> {
    let find = |number| {
        let found = monitor.host().connection(number);
        found.ok_or_else(|| format!("there is no connection {number}"))
    };
    let said = |error: io::Error| error.to_string();
    match command {
        Command::Events | Command::Snapshot => Ok(()),
        Command::Open { connection, local, remote, backup } => {
            find(connection)?.open_subflow(local, remote, backup).map_err(said)
        }
        Command::Close { connection, subflow } => find(connection)?.close_subflow(SubflowId(subflow)).map_err(said),
        Command::Priority { connection, subflow, backup } => {
            find(connection)?.set_subflow_backup(SubflowId(subflow), backup).map_err(said)
        }
        Command::Scheduler { connection, name } => find(connection)?.set_scheduler(&name.parse()?).map_err(said),
        Command::CongestionControl { connection, name } => {
            find(connection)?.set_congestion(name.parse()?).map_err(said)
        }
    }
}
