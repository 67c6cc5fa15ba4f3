//! What happens to connections and subflows, as JSON objects: the lines of `polypath run --events`, and of the control
//! socket.

use polypath_proto::{Event, SubflowEvent};
use serde_json::{Value, json};

/// The object of an event; none for those that only wake the application.
///
/// `event` says what happened: `connected`, `closed` (with a `reason` if it was an error), `subflow_established`,
/// `subflow_stalled`, `subflow_recovered`, `subflow_closed` (with a `reason`). `connection` and `subflow` are the numbers
/// by which commands name them.
#[must_use]
pub fn event_json(event: &Event) -> Option<Value> {
    let mut record = match event {
        Event::Connected(id) => json!({ "event": "connected", "connection": id.number() }),
        Event::Closed { id, error } => {
            json!({ "event": "closed", "connection": id.number(), "reason": error.map(|e| e.to_string()) })
        }
        Event::Subflow { connection, subflow, local, remote, name, counters, what } => {
            let (event, reason) = match what {
                SubflowEvent::Established => ("subflow_established", None),
                SubflowEvent::Stalled => ("subflow_stalled", None),
                SubflowEvent::Recovered => ("subflow_recovered", None),
                SubflowEvent::Closed(reason) => ("subflow_closed", Some(format!("{reason:?}"))),
            };
            json!({
                "event": event, "connection": connection.number(), "subflow": subflow.0, "name": name.as_deref(),
                "local": local.to_string(), "remote": remote.to_string(), "bytes_sent": counters.bytes_sent,
                "bytes_received": counters.bytes_received, "reason": reason,
            })
        }
        _ => return None,
    };
    if let Some(fields) = record.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Some(record)
}
