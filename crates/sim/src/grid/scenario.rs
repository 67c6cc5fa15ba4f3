//! The experiments: two to three paths that differ, a load, and perhaps an outage.

use std::time::Duration;

/// How long a bulk transfer runs.
pub const BULK: Duration = Duration::from_secs(10);
/// How long one with an outage runs.
pub const OUTAGE_BULK: Duration = Duration::from_secs(16);
/// When the first path fails...
pub const CUT_AT: Duration = Duration::from_secs(5);
/// ...and when it is back.
pub const BACK_AT: Duration = Duration::from_secs(13);

/// A path, the same in both directions.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Path {
    /// What it is called: letters and digits.
    pub name: &'static str,
    /// Megabits (1,000,000 bits) in a second.
    pub mbit: u64,
    /// Round trip without any queue, in milliseconds.
    pub rtt_ms: u64,
    /// How long a full queue takes to drain, in milliseconds.
    pub queue_ms: u64,
    /// Probability that a packet is lost, in each direction. 0 to 1.
    pub loss: f64,
    /// The client's address on it is for backup only.
    pub backup: bool,
}

/// What the connection is used for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// The client sends as much as it can for so long.
    Upload(Duration),
    /// The server sends as much as it can for so long.
    Download(Duration),
    /// The client sends a request, waits for the whole answer, and sends the next one.
    Requests {
        /// How many.
        count: u32,
        /// Bytes of a request.
        request: u32,
        /// Bytes of an answer.
        answer: u32,
    },
}

/// What happens to the first path from [`CUT_AT`] to [`BACK_AT`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nothing passes, and nobody is told.
    Silent,
    /// The client loses its address there, and gets it back.
    AddressRemoved,
}

/// One experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The row's letter.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// The connection begins on the first.
    pub paths: Vec<Path>,
    /// What it is used for.
    pub load: Load,
    /// What fails.
    pub outage: Option<Outage>,
    /// The receiver's window is at most what this many bytes of kernel buffer give, and the sender buffers no more.
    pub kernel_buffer: Option<u64>,
    /// Congestion controls it is run with; none: the default one.
    pub congestion: &'static [Option<&'static str>],
}

impl Scenario {
    /// Whether its single paths are measured too: where the load is bulk and nothing fails.
    pub fn compares_single_paths(&self) -> bool {
        self.outage.is_none() && !matches!(self.load, Load::Requests { .. })
    }
}

/// Those of these names, in the table's order; all for none.
///
/// # Errors
/// The name that no scenario has, and those there are.
pub fn select(names: &[String]) -> Result<Vec<Scenario>, String> {
    let all = all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|scenario| scenario.name != name.as_str())) {
        let known: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
        return Err(format!("unknown row '{unknown}'; known: {}", known.join(", ")));
    }
    let wanted = |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(all.into_iter().filter(wanted).collect())
}

const fn path(name: &'static str, mbit: u64, rtt_ms: u64, queue_ms: u64, loss: f64) -> Path {
    Path { name, mbit, rtt_ms, queue_ms, loss, backup: false }
}

const WIFI: Path = path("wifi", 50, 20, 20, 0.01);
const LTE: Path = path("lte", 20, 60, 300, 0.0);
const CUBIC: &[Option<&str>] = &[Some("cubic")];
const CUBIC_AND_BBR: &[Option<&str>] = &[Some("cubic"), Some("bbr")];
const DEFAULT: &[Option<&str>] = &[None];
const CUBIC_AND_DEFAULT: &[Option<&str>] = &[Some("cubic"), None];

/// All of them, in order.
pub fn all() -> Vec<Scenario> {
    let bulk = |name, title, paths: &[Path], congestion| Scenario {
        name,
        title,
        paths: paths.to_vec(),
        load: Load::Upload(BULK),
        outage: None,
        kernel_buffer: None,
        congestion,
    };
    let outage = |name, title, outage, congestion| Scenario {
        load: Load::Upload(OUTAGE_BULK),
        outage: Some(outage),
        ..bulk(name, title, &[WIFI, LTE], congestion)
    };
    vec![
        bulk("a", "twice the same path", &[path("left", 50, 20, 20, 0.0), path("right", 50, 20, 20, 0.0)], CUBIC),
        bulk("b", "Wi-Fi and 3G", &[path("wifi", 8, 20, 80, 0.0), path("umts", 2, 150, 2000, 0.0)], CUBIC),
        bulk("c", "lossy Wi-Fi and LTE", &[WIFI, LTE], CUBIC_AND_BBR),
        bulk("d", "fast and slow", &[path("fast", 100, 10, 10, 0.0), path("slow", 10, 200, 200, 0.0)], CUBIC),
        bulk(
            "e",
            "three distances",
            &[path("near", 20, 10, 10, 0.0), path("middle", 20, 50, 50, 0.0), path("far", 20, 100, 100, 0.0)],
            CUBIC,
        ),
        Scenario { kernel_buffer: Some(256 * 1024), ..bulk("f", "c with small buffers", &[WIFI, LTE], CUBIC_AND_BBR) },
        Scenario {
            load: Load::Requests { count: 2_000, request: 1_024, answer: 16 * 1024 },
            ..bulk("g", "requests and answers", &[WIFI, LTE], DEFAULT)
        },
        outage("h1", "Wi-Fi is cut, silently", Outage::Silent, CUBIC_AND_DEFAULT),
        outage("h2", "Wi-Fi's address is removed", Outage::AddressRemoved, CUBIC_AND_DEFAULT),
        Scenario {
            paths: vec![WIFI, Path { backup: true, ..LTE }],
            ..outage("h3", "LTE is the backup", Outage::Silent, DEFAULT)
        },
        Scenario {
            load: Load::Download(OUTAGE_BULK),
            ..outage("h4", "a download, Wi-Fi is cut", Outage::Silent, DEFAULT)
        },
    ]
}
