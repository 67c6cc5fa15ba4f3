//! A scenario: all that decides about a run, as a plain value that can be drawn, shrunk, written down and read again.
//!
//! As text it is JSON that leaves out what is as by default, so that a small scenario is a short line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which end of the network.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The host that connects.
    Client,
    /// The host that listens.
    Server,
}

impl Side {
    /// Both of them.
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];

    /// The peer's.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// Two hosts with a switch between them, connections, and what happens meanwhile.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Where the randomness of links, stacks and applications comes from.
    pub seed: u64,
    /// The host that connects.
    pub client: HostPlan,
    /// The host that listens.
    pub server: HostPlan,
    /// The connections between them.
    pub connections: Vec<ConnectionPlan>,
    /// What happens meanwhile.
    pub events: Vec<Happening>,
    /// Stacks compute and verify TCP checksums.
    pub checksums: bool,
}

/// A host and its way into the network.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostPlan {
    /// Its links, each with an address of its own.
    pub links: Vec<Access>,
    /// Its stack.
    pub settings: Settings,
    /// Timers expire at multiples of so many microseconds; 0: on time.
    pub tick_us: u32,
}

/// A link between a host and the switch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Its addresses are of IPv6.
    pub ipv6: bool,
    /// The host's address on it is for backup only.
    pub backup: bool,
    /// Longest IP packet in bytes.
    pub mtu: u32,
    /// The stack hands over super-segments.
    pub offload: bool,
    /// The host gathers and merges what arrives in so many microseconds; 0: not.
    pub coalesce_us: u32,
    /// From the host.
    pub up: Way,
    /// To the host.
    pub down: Way,
    /// At the host's end, in order.
    pub boxes: Vec<BoxPlan>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            ipv6: false,
            backup: false,
            mtu: 1_500,
            offload: true,
            coalesce_us: 0,
            up: Way::default(),
            down: Way::default(),
            boxes: Vec::new(),
        }
    }
}

/// One direction of a link.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Way {
    /// Its rate in kbit/s.
    pub kbit: u64,
    /// Its delay in microseconds.
    pub delay_us: u64,
    /// Bytes that may wait in front of it.
    pub queue: u64,
    /// Of a thousand frames so many are lost.
    pub loss: u32,
    /// Of a thousand so many arrive twice.
    pub duplicate: u32,
    /// Of a thousand so many are held up on the way.
    pub reorder: u32,
    /// For up to so many microseconds.
    pub reorder_us: u64,
    /// Each is late by up to so many microseconds, without being overtaken.
    pub jitter_us: u64,
    /// Of a thousand so many arrive with one bit changed.
    pub corrupt: u32,
    /// Of a thousand so many that allow it are marked (ECN).
    pub mark: u32,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            kbit: 10_000,
            delay_us: 10_000,
            queue: 64_000,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            reorder_us: 0,
            jitter_us: 0,
            corrupt: 0,
            mark: 0,
        }
    }
}

/// A box on a link.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxPlan {
    /// SYNs lose their SACK permitted.
    NoSack,
    /// SYNs lose their timestamps.
    NoTimestamps,
    /// SYNs lose their window scale.
    NoWindowScale,
    /// SYNs lose their MSS.
    NoMss,
    /// SYNs lose the flags that ask for ECN.
    NoEcn,
    /// SYN and SYN/ACK lose their Multipath TCP options.
    NoMultipath,
    /// The SYN/ACK loses its Multipath TCP options.
    NoMultipathInAnswers,
    /// All but SYN and SYN/ACK lose their Multipath TCP options.
    NoMultipathInData,
    /// Packets with MP_JOIN are dropped.
    NoJoins,
}

impl BoxPlan {
    /// Whether it gets into the way of Multipath TCP.
    pub fn bars_multipath(self) -> bool {
        use BoxPlan::{NoJoins, NoMultipath, NoMultipathInAnswers, NoMultipathInData};
        matches!(self, NoJoins | NoMultipath | NoMultipathInAnswers | NoMultipathInData)
    }
}

/// A stack's settings, as far as they are varied: [`polypath_proto::Config`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "they are those of Config")]
pub struct Settings {
    pub multipath: bool,
    pub dss_checksum: bool,
    pub allow_join_initial: bool,
    pub send_buffer: usize,
    pub recv_buffer: usize,
    pub congestion: String,
    pub ecn: Ecn,
    pub scheduler: String,
    /// All of the mechanisms, or none.
    pub mechanisms: bool,
    pub syn_cookies: Cookies,
    pub max_subflows: usize,
    pub announce: bool,
    pub announce_port: Option<u16>,
    pub nodelay: bool,
    /// Idle time before the first question in seconds.
    pub keepalive_s: Option<u64>,
    /// How many connections may wait to be accepted.
    pub backlog: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            multipath: true,
            dss_checksum: false,
            allow_join_initial: true,
            send_buffer: 16 << 20,
            recv_buffer: 16 << 20,
            congestion: "cubic".to_owned(),
            ecn: Ecn::Accept,
            scheduler: "default".to_owned(),
            mechanisms: true,
            syn_cookies: Cookies::UnderPressure,
            max_subflows: 8,
            announce: true,
            announce_port: None,
            nodelay: false,
            keepalive_s: None,
            backlog: 16,
        }
    }
}

/// [`polypath_proto::EcnMode`].
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are those of EcnMode")]
pub enum Ecn {
    Off,
    Accept,
    Request,
}

/// [`polypath_proto::SynCookies`].
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are those of SynCookies")]
pub enum Cookies {
    Off,
    UnderPressure,
    Always,
}

/// One connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionPlan {
    /// When the client connects, in milliseconds.
    pub start_ms: u64,
    /// From which of the client's links.
    pub from: usize,
    /// To which of the server's.
    pub to: usize,
    /// Plain TCP by the client's wish.
    pub plain: bool,
    /// What the client sends and the server reads.
    pub up: Flow,
    /// What the server sends and the client reads.
    pub down: Flow,
    /// How it ends, if nobody quits.
    pub ending: Ending,
    /// Who quits, and when.
    pub quit: Option<Quit>,
}

impl Default for ConnectionPlan {
    fn default() -> Self {
        Self {
            start_ms: 0,
            from: 0,
            to: 0,
            plain: false,
            up: Flow::default(),
            down: Flow::default(),
            ending: Ending::BothAtOnce,
            quit: None,
        }
    }
}

/// One direction of a connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {
    /// How many bytes.
    pub bytes: u64,
    /// Least and most bytes of a write.
    pub write: (usize, usize),
    /// Of a thousand writes so many hand over their buffer instead of having it copied.
    pub zero_copy: u32,
    /// The writer rests after so many bytes; 0: never.
    pub write_pause_after: u64,
    /// For so many milliseconds.
    pub write_pause_ms: u64,
    /// Least and most bytes of a read.
    pub read: (usize, usize),
    /// The reader rests after so many bytes; 0: never.
    pub read_pause_after: u64,
    /// For so many milliseconds.
    pub read_pause_ms: u64,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            bytes: 0,
            write: (16_384, 16_384),
            zero_copy: 0,
            write_pause_after: 0,
            write_pause_ms: 0,
            read: (65_536, 65_536),
            read_pause_after: 0,
            read_pause_ms: 0,
        }
    }
}

/// How a connection ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Each end shuts down its side after its last byte.
    BothAtOnce,
    /// The client shuts down only after the server has.
    ClientLast,
    /// The server shuts down only after the client has.
    ServerLast,
    /// The client, which reads nothing, closes right after its last byte.
    ClientLeaves,
    /// The server, which reads nothing, does.
    ServerLeaves,
}

/// One end lets go of a connection before its time.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quit {
    /// Which end.
    pub side: Side,
    /// As soon as it has written and read so many bytes in all.
    pub after: u64,
    /// With a reset; otherwise it closes, which is one only if something was left unread.
    pub reset: bool,
}

/// Something that happens in the network or at a host.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Happening {
    /// When.
    pub at: At,
    /// At whose link.
    pub side: Side,
    /// Which of its links.
    pub link: usize,
    /// What.
    pub what: Trouble,
}

/// When something happens.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// So many milliseconds after the start.
    Ms(u64),
    /// As soon as applications have received so many bytes in all.
    Bytes(u64),
}

/// What happens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trouble {
    /// The link goes down, and comes back after so many milliseconds; 0: never.
    Cut(u64),
    /// It goes down and comes back again and again.
    Flap {
        /// Milliseconds down.
        down: u64,
        /// Milliseconds up.
        up: u64,
        /// How often.
        times: u32,
    },
    /// Of a thousand frames so many are lost for some time.
    Lossy {
        /// Those from the host.
        up: bool,
        /// Those to the host.
        down: bool,
        /// How many.
        loss: u32,
        /// For so many milliseconds.
        ms: u64,
    },
    /// Both directions get this rate in kbit/s.
    Rate(u64),
    /// Both directions get this delay in microseconds.
    Delay(u64),
    /// The host loses its address, and gets it back after so many milliseconds; 0: never. The link stays as it is.
    Leave(u64),
    /// The host's address becomes a backup, or is none any more.
    Backup(bool),
}

impl Scenario {
    /// One end.
    pub fn host(&self, side: Side) -> &HostPlan {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// One end, to change it.
    pub fn host_mut(&mut self, side: Side) -> &mut HostPlan {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// As one line that [`str::parse`] reads.
    pub fn to_line(&self) -> String {
        let mut value = as_value(self);
        leave_out(&mut value, &as_value(&Scenario::default()));
        let elements = [
            ("/connections", as_value(&ConnectionPlan::default())),
            ("/client/links", as_value(&Access::default())),
            ("/server/links", as_value(&Access::default())),
        ];
        for (place, default) in &elements {
            for element in value.pointer_mut(place).and_then(Value::as_array_mut).into_iter().flatten() {
                leave_out(element, default);
            }
        }
        value.to_string()
    }

    /// What is wrong with it, if it was not drawn but written.
    fn check(&self) -> Result<(), String> {
        for side in Side::BOTH {
            let host = self.host(side);
            if host.links.is_empty() {
                return Err(format!("{side:?} has no link"));
            }
            for link in &host.links {
                let least = if link.ipv6 { 1_280 } else { 576 };
                if !(least..=65_535).contains(&link.mtu) {
                    return Err(format!(
                        "a link of {side:?} has an MTU of {}, which is not {least} to 65535",
                        link.mtu
                    ));
                }
            }
            let Settings { congestion, scheduler, .. } = &host.settings;
            congestion.parse::<polypath_proto::congestion::CongestionKind>()?;
            scheduler.parse::<polypath_proto::scheduler::SchedulerKind>()?;
        }
        for (number, plan) in self.connections.iter().enumerate() {
            let (from, to) = (self.client.links.get(plan.from), self.server.links.get(plan.to));
            if from.zip(to).is_none_or(|(from, to)| from.ipv6 != to.ipv6) {
                return Err(format!(
                    "connection {number}: there are no links {} and {} of one kind",
                    plan.from, plan.to
                ));
            }
            for (least, most) in [plan.up.write, plan.up.read, plan.down.write, plan.down.read] {
                if least == 0 || least > most {
                    return Err(format!("connection {number}: pieces of {least} to {most} bytes"));
                }
            }
            let reads = match plan.ending {
                Ending::ClientLeaves => plan.down.bytes,
                Ending::ServerLeaves => plan.up.bytes,
                _ => 0,
            };
            if reads > 0 {
                return Err(format!(
                    "connection {number}: who leaves must have nothing to read, but has {reads} bytes"
                ));
            }
        }
        match self.events.iter().find(|event| event.link >= self.host(event.side).links.len()) {
            Some(event) => Err(format!("{:?} has no link {}", event.side, event.link)),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scenario: Scenario = serde_json::from_str(text).map_err(|error| format!("not a scenario: {error}"))?;
        scenario.check().map_err(|error| format!("not a scenario: {error}"))?;
        Ok(scenario)
    }
}

fn as_value<T: Serialize>(what: &T) -> Value {
    serde_json::to_value(what).expect("numbers, texts and lists are JSON")
}

/// Takes out what is as by default.
fn leave_out(value: &mut Value, default: &Value) {
    let (Value::Object(fields), Value::Object(defaults)) = (value, default) else { return };
    fields.retain(|name, field| defaults.get(name).is_none_or(|default| default != field));
    for (name, field) in fields {
        if let Some(default) = defaults.get(name) {
            leave_out(field, default);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_one_line_that_is_read_again() {
        for seed in 0..200 {
            let scenario = super::super::draw::scenario(seed);
            let line = scenario.to_line();
            assert_eq!(line.parse::<Scenario>().as_ref(), Ok(&scenario), "{line}");
            assert!(!line.contains('\n') && !line.contains('\''), "it goes between quotes on a command line: {line}");
        }
    }

    #[test]
    fn what_is_as_by_default_is_left_out() {
        let links = vec![Access::default()];
        let host = HostPlan { links, ..HostPlan::default() };
        let scenario = Scenario {
            seed: 7,
            client: host.clone(),
            server: host,
            connections: vec![ConnectionPlan { start_ms: 3, ..ConnectionPlan::default() }],
            ..Scenario::default()
        };
        let line = scenario.to_line();
        assert_eq!(
            line,
            r#"{"client":{"links":[{}]},"connections":[{"start_ms":3}],"seed":7,"server":{"links":[{}]}}"#
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = |text: &str| text.parse::<Scenario>().unwrap_err();
        assert!(wrong("{}").contains("Client has no link"));
        let both = r#""client":{"links":[{}]},"server":{"links":[{"ipv6":true}]}"#;
        assert!(wrong(&format!("{{{both},\"connections\":[{{}}]}}")).contains("of one kind"));
        assert!(wrong("{\"tempo\":1}").contains("unknown field"));
    }
}
