//! What the kernel counts in a cell (MPTcpExt).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use polypath_lab::kernel::MptcpCounters;

use crate::cell::{Cell, Ending, Event, Fallback, Joins};

/// How often each counter may move. Those not named here must not.
type Expected = BTreeMap<&'static str, RangeInclusive<i64>>;

/// They depend on who was faster, and mean no harm: data of several subflows is put in order, the window of the
/// connection is shared between them, and a reader may fall behind and close it.
const OF_TIMING: [&str; 6] = ["OFOQueueTail", "OFOQueue", "OFOMerge", "RcvWndShared", "SndWndShared", "WinProbe"];
/// With several subflows, one that pauses for a few milliseconds, as on a busy machine, is helped by another.
const OF_PAUSES: [&str; 4] = ["MPTCPRetrans", "DuplicateData", "SubflowStale", "SubflowRecover"];

/// Joins that polypath tries in vain before a cell is over.
const REFUSED: i64 = 4;

/// Every counter that moved otherwise than it should have.
pub(crate) fn differences(cell: &Cell, moved: &MptcpCounters) -> Vec<String> {
    let expected = expected(cell);
    let missed = expected.iter().filter(|(name, range)| !range.contains(&moved.get(name)));
    let missed = missed.map(|(name, range)| {
        let wanted = if range.start() == range.end() { format!("{}", range.start()) } else { format!("{range:?}") };
        format!("{name} is {}, expected {wanted}", moved.get(name))
    });
    let unknown = moved.iter().filter(|(name, _)| !expected.contains_key(name));
    missed.chain(unknown.map(|(name, count)| format!("{name} is {count}, expected 0"))).collect()
}

fn expected(cell: &Cell) -> Expected {
    let mut expected = Expected::new();
    match (cell.polypath_serves(), cell.fallback) {
        // The SYN has no MP_CAPABLE when it arrives, or meets a plain socket: nothing to count.
        (_, Fallback::KernelPlain) | (false, Fallback::PolypathPlain | Fallback::Stripped) => return expected,
        (true, Fallback::PolypathPlain | Fallback::Stripped) => {
            exactly(&mut expected, &[("MPCapableSYNTX", 1), ("MPCapableFallbackSYNACK", 1)]);
            return expected;
        }
        (true, Fallback::None) => of_a_client(cell, &mut expected),
        (false, Fallback::None) => of_a_server(cell, &mut expected),
    }
    of_the_event(cell, &mut expected);
    of_refused_joins(cell, &mut expected);
    of_the_ending(cell, &mut expected);
    of_the_removed(cell, &mut expected);
    expected.extend(OF_TIMING.map(|name| (name, 0..=i64::MAX)));
    if cell.subflows().len() > 1 {
        expected.extend(OF_PAUSES.map(|name| (name, 0..=i64::MAX)));
    }
    expected
}

/// The kernel connects and joins.
fn of_a_client(cell: &Cell, expected: &mut Expected) {
    let joins = cell.subflows().split_off(1);
    let announced = i64::from(cell.announces());
    exactly(
        expected,
        &[
            ("MPCapableSYNTX", 1),
            ("MPCapableSYNACKRX", 1),
            ("MPJoinSynTx", count(&joins, |_| true)),
            ("MPJoinSynAckRx", count(&joins, |_| true)),
            // A server says it of its own address.
            ("MPJoinSynAckBackupRx", count(&joins, |join| !cell.client_owns_backup() && cell.is_backup(join))),
            ("AddAddr", announced),
            ("EchoAddTx", announced),
            ("PortAdd", i64::from(cell.joins == Joins::AnnouncedPort)),
            ("MPJoinPortSynAckRx", i64::from(cell.joins == Joins::AnnouncedPort)),
        ],
    );
}

/// The kernel is connected to and joined.
fn of_a_server(cell: &Cell, expected: &mut Expected) {
    let mut joins = cell.subflows().split_off(1);
    joins.extend(cell.rejoin());
    let announced = i64::from(cell.announces());
    let with_port = i64::from(cell.joins == Joins::AnnouncedPort);
    exactly(
        expected,
        &[
            ("MPCapableSYNRX", 1),
            ("MPCapableACKRX", 1),
            ("MPJoinSynRx", count(&joins, |_| true)),
            ("MPJoinAckRx", count(&joins, |_| true)),
            ("MPJoinSynBackupRx", count(&joins, |join| cell.client_owns_backup() && cell.is_backup(join))),
            ("AddAddrTx", announced),
            ("EchoAdd", announced),
            // The echo has the port too.
            ("PortAdd", with_port),
            ("MPJoinPortSynRx", with_port),
            ("MPJoinPortAckRx", with_port),
        ],
    );
}

fn of_the_event(cell: &Cell, expected: &mut Expected) {
    let hit = count(&cell.subflows(), |subflow| cell.is_hit(subflow));
    match cell.event {
        Event::None => {}
        // It closes the subflows and counts them, unless polypath's answer to REMOVE_ADDR has been quicker.
        Event::KernelRemoves => expected.extend([("RmAddrTx", 1..=1), ("RmSubflow", 0..=hit)]),
        // Polypath says it twice, since there is no echo. Linux drops the second if it is still busy with the first.
        Event::PolypathRemoves => expected.extend([("RmAddr", 1..=2), ("RmAddrDrop", 0..=1)]),
        // For one subflow of the address: it has no word for the others (RFC 8684 section 3.3.8).
        Event::KernelPrio => exactly(expected, &[("MPPrioTx", 1)]),
        Event::PolypathPrio => exactly(expected, &[("MPPrioRx", hit)]),
    }
}

/// Polypath tries a few times in vain where Linux takes no joins any more.
fn of_refused_joins(cell: &Cell, expected: &mut Expected) {
    if cell.tries_to_rejoin().is_some() && cell.half_closes() {
        let joined = cell.subflows().len() as i64 - 1;
        expected.extend([("MPJoinRejected", 1..=REFUSED), ("MPJoinSynRx", joined + 1..=joined + REFUSED)]);
    }
}

fn of_the_ending(cell: &Cell, expected: &mut Expected) {
    let left = cell.subflows_in_the_end().len() as i64;
    match cell.ending {
        Ending::Orderly | Ending::KernelFirst | Ending::PolypathFirst => {}
        Ending::KernelAborts => exactly(expected, &[("MPFastcloseTx", left), ("MPRstTx", left)]),
        // The first MP_FASTCLOSE makes Linux reset the other subflows; their own resets may come before that. Now and
        // then it still has one that it removed itself.
        Ending::PolypathAborts => {
            let ever = (cell.subflows().len() + cell.rejoin().iter().len()) as i64;
            expected.extend([("MPFastcloseRx", 1..=left), ("MPRstTx", 0..=ever - 1)]);
        }
    }
}

/// Whoever takes an address away closes its subflows: by a reset, if the other end still says something on them.
fn of_the_removed(cell: &Cell, expected: &mut Expected) {
    if cell.removes() {
        let hit = count(&cell.subflows(), |subflow| cell.is_hit(subflow));
        let resets = expected.entry("MPRstTx").or_insert(0..=0);
        *resets = *resets.start()..=resets.end() + hit;
    }
}

fn exactly(expected: &mut Expected, counts: &[(&'static str, i64)]) {
    expected.extend(counts.iter().map(|(name, count)| (*name, *count..=*count)));
}

fn count(subflows: &[(usize, usize)], wanted: impl Fn((usize, usize)) -> bool) -> i64 {
    subflows.iter().filter(|subflow| wanted(**subflow)).count() as i64
}
