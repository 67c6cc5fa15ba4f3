//! What is counted, by the names that Linux's `nstat` gives it. Only what means the same as there.

use std::collections::BTreeMap;

use polypath_proto::{Counters, StackCounters};

use crate::ledger::Ledger;
use crate::snapshot::ConnectionSnapshot;

/// The counters; `all` is the sum over all subflows so far.
pub(crate) fn counters(
    stack: &StackCounters,
    ledger: &Ledger,
    all: &Counters,
    connections: &[ConnectionSnapshot],
) -> BTreeMap<String, u64> {
    // RFC 4022, tcpCurrEstab: ESTABLISHED or CLOSE-WAIT.
    let established = |c: &&ConnectionSnapshot| c.state == "ESTAB" || c.state == "CLOSE-WAIT";
    let open: Vec<_> = connections.iter().filter(established).collect();
    let multipath = open.iter().filter(|c| c.multipath == "active").count();
    let named = [
        ("TcpCurrEstab", open.len() as u64),
        ("TcpInCsumErrors", stack.in_csum_errors),
        ("TcpRetransSegs", all.retransmits),
        ("TcpExtListenOverflows", stack.listen_overflows),
        ("TcpExtTCPLossProbes", all.loss_probes),
        ("TcpExtTCPTimeouts", all.timeouts),
        ("MPTcpExtMPCurrEstab", multipath as u64),
        ("MPTcpExtMPJoinNoTokenFound", stack.mp_join_no_token_found),
        ("MPTcpExtRmSubflow", ledger.removed),
        ("MPTcpExtSubflowRecover", ledger.recovered),
        ("MPTcpExtSubflowStale", ledger.stale),
    ];
    named.map(|(name, value)| (name.to_owned(), value)).into()
}
