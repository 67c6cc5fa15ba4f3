//! What shows that a program was carried by polypath, over both paths, in Multipath TCP.

use crate::stage::Stage;
use anyhow::{Context as _, bail, ensure};
use polypath_lab::kernel::MptcpCounters;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What an uplink must have carried: more than all handshakes, probes and acknowledgements of an idle path.
const SHARE: u64 = 200_000;

/// What was seen of one act.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Evidence {
    /// Subflows of polypath's connections, as its events tell.
    pub subflows: usize,
    /// Bytes that polypath's subflows carried on each uplink, both directions.
    pub bytes: BTreeMap<String, u64>,
    /// Bytes that the kernel counted on each of the host's uplinks, both directions.
    pub uplinks: BTreeMap<String, u64>,
    /// Joins that the peer's kernel has accepted, from either side.
    pub joins: i64,
    /// Connections that the peer's kernel took for Multipath TCP.
    pub multipath: i64,
    /// What the peer's kernel objected to, by its names.
    pub trouble: BTreeMap<String, i64>,
}

impl Evidence {
    /// Reads what `run` has told into `folder`, and what was counted on the stage, which is as old as the act.
    pub(crate) fn gather(stage: &Stage, folder: &Path) -> anyhow::Result<Self> {
        let mut evidence = Self::default();
        for entry in fs::read_dir(folder).context("looking for events")?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("events-") {
                evidence.add_events(&fs::read_to_string(entry.path())?);
            }
        }
        for name in Stage::uplinks() {
            let counters = stage.host().interface(name)?;
            evidence.uplinks.insert(name.into(), counters.rx_bytes + counters.tx_bytes);
        }
        let counters = MptcpCounters::read(stage.peer())?;
        evidence.joins = counters.get("MPJoinAckRx") + counters.get("MPJoinSynAckRx");
        evidence.multipath = counters.get("MPCapableACKRX") + counters.get("MPCapableSYNACKRX");
        let objects = |name: &str| name.contains("HMac") || name.starts_with("DSSNoMatch") || name == "DSSNotMatching";
        let breaks = |name: &str| name.contains("Corruption") || name == "DataCsumErr" || name == "InfiniteMapTx";
        let trouble = counters.iter().filter(|&(name, count)| count != 0 && (objects(name) || breaks(name)));
        evidence.trouble = trouble.map(|(name, count)| (name.to_owned(), count)).collect();
        Ok(evidence)
    }

    /// One instance's events end with a summary of all its subflows; without one it has been killed.
    fn add_events(&mut self, events: &str) {
        let lines = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for summary in lines.filter(|line| line["event"] == "summary") {
            for subflow in summary["subflows"].as_array().into_iter().flatten() {
                let carried = |direction: &str| subflow[direction].as_u64().unwrap_or(0);
                let name = subflow["name"].as_str().unwrap_or_default().to_owned();
                *self.bytes.entry(name).or_default() += carried("bytes_sent") + carried("bytes_received");
                self.subflows += 1;
            }
        }
    }

    /// # Errors
    /// What speaks against it.
    pub(crate) fn judge(&self) -> anyhow::Result<()> {
        if self.subflows == 0 {
            bail!("not carried by polypath: its events know of no subflow, the kernel did the work");
        }
        for name in Stage::uplinks() {
            let (ours, counted) = (self.bytes.get(name).copied().unwrap_or(0), self.uplinks.get(name).copied());
            ensure!(
                ours > SHARE && counted > Some(SHARE),
                "{name} carried only {ours} bytes of polypath's (all subflows: {:?})",
                self.bytes
            );
        }
        ensure!(self.multipath > 0, "the peer's kernel has seen no connection in Multipath TCP");
        ensure!(self.joins > 0, "the peer's kernel has seen no join");
        ensure!(self.trouble.is_empty(), "the peer's kernel objects: {:?}", self.trouble);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = concat!(
        r#"{"t_ms":1.0,"event":"subflow_established","name":"fast"}"#,
        "\n",
        r#"{"t_ms":2.0,"event":"summary","multipath":"active","subflows":["#,
        r#"{"name":"fast","bytes_sent":100,"bytes_received":500000},"#,
        r#"{"name":"slow","bytes_sent":300000,"bytes_received":7}]}"#,
    );

    fn evidence() -> Evidence {
        let uplinks = Stage::uplinks().map(|name| (name.to_owned(), 600_000));
        let mut evidence = Evidence { uplinks: uplinks.into(), joins: 1, multipath: 1, ..Evidence::default() };
        evidence.add_events(EVENTS);
        evidence
    }

    #[test]
    fn subflows_are_taken_from_the_summary() {
        let evidence = evidence();
        assert_eq!(evidence.subflows, 2);
        assert_eq!(evidence.bytes, BTreeMap::from([("fast".into(), 500_100), ("slow".into(), 300_007)]));
        evidence.judge().unwrap();
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        let objection = |spoil: fn(&mut Evidence)| {
            let mut evidence = evidence();
            spoil(&mut evidence);
            evidence.judge().unwrap_err().to_string()
        };
        assert!(objection(|e| e.subflows = 0).contains("not carried by polypath"));
        assert!(objection(|e| *e.bytes.get_mut("slow").unwrap() = 100).contains("slow carried only 100 bytes"));
        assert!(objection(|e| *e.uplinks.get_mut("fast").unwrap() = 100).contains("fast carried only"));
        assert!(objection(|e| e.multipath = 0).contains("no connection in Multipath TCP"));
        assert!(objection(|e| e.joins = 0).contains("no join"));
        assert!(objection(|e| e.trouble.extend([("DSSNotMatching".into(), 2)])).contains("DSSNotMatching"));
    }
}
