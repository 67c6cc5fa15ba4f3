//! What is counted, by the names that Linux's `nstat` gives it.

use std::collections::BTreeMap;

use polypath_proto::mib::Mib;

use crate::snapshot::ConnectionSnapshot;

/// The stack's counters, and how many connections there are.
pub(crate) fn counters(mib: &Mib, connections: &[ConnectionSnapshot]) -> BTreeMap<String, u64> {
    // RFC 4022, tcpCurrEstab: ESTABLISHED or CLOSE-WAIT.
    let established = |c: &&ConnectionSnapshot| c.state == "ESTAB" || c.state == "CLOSE-WAIT";
    let open: Vec<_> = connections.iter().filter(established).collect();
    let multipath = open.iter().filter(|c| c.multipath == "active").count();
    let gauges = [("TcpCurrEstab", open.len() as u64), ("MPTcpExtMPCurrEstab", multipath as u64)];
    let counted = mib.iter().map(|(counter, value)| (counter.name(), value));
    counted.chain(gauges).map(|(name, value)| (name.to_owned(), value)).collect()
}
