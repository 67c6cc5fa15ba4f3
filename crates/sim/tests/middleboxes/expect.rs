//! What is to be expected of each cell, and why.
//!
//! M: Multipath TCP to the end, and no subflow was lost. s: Multipath TCP to the end, on the other path or by another
//! subflow. F: plain TCP. R: an application gets an error. Small letters for bytes that somebody on the way replaced: a in
//! Multipath TCP, f in plain TCP, as any TCP connection would have them. x: the same, and out of place, with nobody aware.

use std::time::Duration;

use polypath_sim::Direction;
use polypath_sim::middlebox::{Kind, Spec};

use crate::cell::Cell;

pub(crate) struct Expected {
    pub(crate) letter: char,
    /// Longest time in which nothing gets on.
    pub(crate) silence: Duration,
    pub(crate) why: &'static str,
}

/// A kind alone: for both directions, what the client sends and what it receives; on the first path, the second, both;
/// without checksums, and with them where that is not the same.
struct Row {
    kind: Kind,
    plain: [&'static str; 3],
    checked: Option<[&'static str; 3]>,
    why: &'static str,
}

const fn row(kind: Kind, plain: [&'static str; 3], why: &'static str) -> Row {
    Row { kind, plain, checked: None, why }
}

const fn checked(kind: Kind, plain: [&'static str; 3], checked: [&'static str; 3], why: &'static str) -> Row {
    Row { kind, plain, checked: Some(checked), why }
}

const NOTHING: [&str; 3] = ["MMM"; 3];
const PLAIN: [&str; 3] = ["FsF"; 3];

const ROWS: &[Row] = &[
    row(Kind::Nat, NOTHING, "ports are nobody's business but the subflow's"),
    row(Kind::NatRebind, ["sss"; 3], "the server resets what it does not know; the client joins again"),
    row(Kind::StripSyn, PLAIN, "no MP_CAPABLE, no Multipath TCP; a join without MP_JOIN is reset"),
    row(Kind::StripData, PLAIN, "the first data has no mapping, or no DATA_ACK"),
    row(Kind::StripAll, PLAIN, "no MP_CAPABLE"),
    row(Kind::StripAfter, PLAIN, "bare data is not taken, MP_FAIL asks for plain TCP; bare ACKs end it too"),
    row(Kind::StripPayload, PLAIN, "the same; the answer to MP_FAIL comes on an ACK"),
    row(Kind::DropSyn, PLAIN, "the third SYN has no MP_CAPABLE, and so has the answer to it"),
    row(Kind::DropJoin, ["Mss"; 3], "the first subflow goes on alone"),
    row(Kind::Sequence, NOTHING, "mappings are relative to the subflow's first number"),
    row(Kind::SequenceNoSack, NOTHING, "blocks beyond what was sent are not believed"),
    row(Kind::Split, NOTHING, "each piece says again where all of it belongs"),
    row(Kind::SplitOnce, NOTHING, "the first piece says where all belong"),
    row(
        Kind::CoalesceFirst,
        ["FMF", "FMF", "MMM"],
        "half of it has no mapping: not taken, plain TCP asked for; a super-segment has one mapping anyway",
    ),
    row(Kind::CoalesceLast, ["FMF", "FMF", "MMM"], "the same"),
    checked(Kind::AlgSame, ["aaa"; 3], ["fsf"; 3], "only checksums show it: then MP_FAIL, and plain TCP or a reset"),
    checked(
        Kind::AlgLonger,
        ["fRf", "fMf", "fRf"],
        ["fMf", "fMf", "fMf"],
        "segments do not fit their mappings: plain TCP, or with a second subflow an error; with checksums it gets none",
    ),
    checked(
        Kind::AlgShorter,
        ["fRf", "fRf", "fRf"],
        ["fsf", "fsf", "fMf"],
        "the same; with checksums the subflow is reset",
    ),
    row(Kind::Proxy, ["FsF", "FsF", "MMM"], "the first data of the client is acknowledged without a DATA_ACK"),
    row(Kind::ProxyLoses, ["RsR", "RsR", "sMR"], "plain TCP after that, and what is lost is lost, as in any TCP"),
    row(Kind::Window, NOTHING, "each subflow keeps to its own window, too"),
    row(Kind::WindowUnscaled, NOTHING, "a path with a small window, found out by losses"),
    row(Kind::InOrder, NOTHING, "losses cost more"),
    row(Kind::Duplicate, NOTHING, "bytes count once"),
    row(Kind::Corrupt, NOTHING, "the TCP checksum shows it: a loss"),
    checked(Kind::CorruptMended, ["aaa"; 3], ["fsf"; 3], "only DSS checksums show it: then as alg-same"),
    row(
        Kind::DropAcks,
        ["MsM", "MMM", "MMM"],
        "ACKs are cumulative; a join may wait for its ACKs for longer than this",
    ),
    row(Kind::IdleDrop, ["MMs"; 3], "the path goes silent; if it is the only one, another subflow is tried over it"),
    row(Kind::IdleRst, ["sss"; 3], "the subflow is reset, and joined again"),
    row(Kind::RstSyn, ["RsR"; 3], "connection refused: nobody can tell it from a server that is not there"),
    row(Kind::RstAfter, ["sMs"; 3], "the subflow is reset, and joined again"),
];

/// Why a box alone does what it does.
pub(crate) fn why(spec: Spec) -> &'static str {
    find(spec.kind).why
}

fn find(kind: Kind) -> &'static Row {
    ROWS.iter().find(|row| row.kind == kind).expect("a row for each kind")
}

fn alone(spec: Spec, place: usize, checksums: bool) -> char {
    let row = find(spec.kind);
    let letters = row.checked.filter(|_| checksums).unwrap_or(row.plain);
    let which = match spec.direction {
        None => 0,
        Some(Direction::Forward) => 1,
        Some(Direction::Backward) => 2,
    };
    letters[which].chars().nth(place).expect("a letter for each place")
}

/// Nothing gets on for so long at most.
fn silence(cell: &Cell) -> Duration {
    let longest = |kind| match kind {
        // In plain TCP only the retransmission timeout is left: 15 minutes, and a minute for another subflow.
        Kind::Proxy | Kind::ProxyLoses | Kind::IdleDrop | Kind::NatRebind | Kind::IdleRst | Kind::RstAfter => 1_000,
        Kind::WindowUnscaled => 200,
        Kind::Corrupt | Kind::DropAcks | Kind::StripPayload | Kind::StripAfter | Kind::SequenceNoSack => 70,
        _ => 10,
    };
    Duration::from_secs(cell.boxes.iter().map(|(_, spec)| longest(spec.kind)).max().unwrap_or(1))
}

pub(crate) fn of(cell: &Cell) -> Expected {
    let (letter, why) = match cell.boxes[..] {
        [] => ('M', "there is no box"),
        [(path, spec)] => (alone(spec, path, cell.checksums), why(spec)),
        [(_, a), (_, b)] if a == b => (alone(a, 2, cell.checksums), why(a)),
        [(0, a), (0, b)] => together(a, b),
        [(_, a), (_, b)] => apart(a, b),
        _ => unreachable!("cells have two boxes at most"),
    };
    Expected { letter, silence: silence(cell), why }
}

/// From good to bad; what replaces bytes last of those that are as good.
fn worse(a: char, b: char) -> char {
    let rank = |letter| "MasFfR".find(letter);
    let replaced = [a, b].iter().any(|letter| "af".contains(*letter));
    match if rank(a) < rank(b) { b } else { a } {
        's' | 'M' if replaced => 'a',
        'F' if replaced => 'f',
        worst => worst,
    }
}

/// These end a subflow in mid-connection.
fn ends_subflow(spec: Spec) -> bool {
    matches!(spec.kind, Kind::NatRebind | Kind::IdleDrop | Kind::IdleRst | Kind::RstAfter)
}

/// One behind the other on the first path.
fn together(a: Spec, b: Spec) -> (char, &'static str) {
    if let Some((.., letter, why)) = TOGETHER.iter().find(|(x, y, ..)| (a.kind, b.kind) == (*x, *y)) {
        return (*letter, why);
    }
    let (of_a, of_b) = (alone(a, 0, false), alone(b, 0, false));
    let plain = |letter: char| "Ff".contains(letter);
    if (plain(of_a) && ends_subflow(b)) || (plain(of_b) && ends_subflow(a)) {
        return ('R', "plain TCP does not outlive its only subflow");
    }
    (worse(of_a, of_b), "the worse of both")
}

/// The one on the first path, the other on the second.
fn apart(a: Spec, b: Spec) -> (char, &'static str) {
    if let Some((.., letter, why)) = APART.iter().find(|(x, y, ..)| (a.kind, b.kind) == (*x, *y)) {
        return (*letter, why);
    }
    let (of_a, of_b) = (alone(a, 0, false), alone(b, 1, false));
    match of_a {
        'F' | 'f' => (of_a, "plain TCP has no second path"),
        _ => (worse(of_a, of_b), "the worse of both"),
    }
}

type Exception = (Kind, Kind, char, &'static str);

const TOGETHER: &[Exception] = &[
    (Kind::NatRebind, Kind::StripAfter, 's', REBOUND_FIRST),
    (Kind::NatRebind, Kind::StripPayload, 's', REBOUND_FIRST),
    (
        Kind::NatRebind,
        Kind::AlgShorter,
        'x',
        "the subflow breaks before anything follows what was made shorter: another fills it up; only checksums show it",
    ),
    (Kind::NatRebind, Kind::IdleDrop, 'M', FORGOTTEN_ALREADY),
    (Kind::StripSyn, Kind::RstSyn, 'F', "there is nothing left to object to"),
    (Kind::StripAll, Kind::RstSyn, 'F', "there is nothing left to object to"),
    (Kind::DropSyn, Kind::RstSyn, 'F', "the SYN that passes has no options"),
    (Kind::StripAfter, Kind::WindowUnscaled, 'R', NOBODY_CAN_ASK),
    (Kind::StripAfter, Kind::Corrupt, 'R', NOBODY_CAN_ASK),
    (Kind::StripPayload, Kind::Corrupt, 's', "a loss, and by then the second path is there"),
    (Kind::CoalesceFirst, Kind::WindowUnscaled, 'F', ONE_AT_A_TIME),
    (Kind::CoalesceLast, Kind::WindowUnscaled, 'F', ONE_AT_A_TIME),
    (Kind::CoalesceLast, Kind::DropAcks, 'R', NEVER_ALONE),
    (Kind::AlgLonger, Kind::Proxy, 'R', "the proxy has acknowledged what was not taken"),
    (Kind::AlgLonger, Kind::IdleDrop, 'f', KEPT_AWAKE),
    (Kind::AlgLonger, Kind::IdleRst, 'f', KEPT_AWAKE),
    (
        Kind::Proxy,
        Kind::Corrupt,
        'R',
        "what it has acknowledged the proxy sends again too slowly: the client has closed, and waits for a minute",
    ),
    (Kind::Corrupt, Kind::CorruptMended, 'M', "both turn over the same bit of the same segments"),
];

const APART: &[Exception] = &[
    (Kind::NatRebind, Kind::RstSyn, 'R', NOTHING_LEFT),
    (Kind::IdleRst, Kind::RstSyn, 'R', NOTHING_LEFT),
    (Kind::WindowUnscaled, Kind::CoalesceFirst, 'M', JOINED_IN_TIME),
    (Kind::WindowUnscaled, Kind::CoalesceLast, 'M', JOINED_IN_TIME),
    (Kind::WindowUnscaled, Kind::DropAcks, 'M', JOINED_IN_TIME),
    (Kind::WindowUnscaled, Kind::IdleDrop, 's', MORE_ON_SECOND),
    (Kind::WindowUnscaled, Kind::RstAfter, 's', MORE_ON_SECOND),
    (Kind::Corrupt, Kind::DropAcks, 'M', JOINED_IN_TIME),
    (Kind::Corrupt, Kind::IdleDrop, 's', MORE_ON_SECOND),
    (Kind::Corrupt, Kind::RstAfter, 's', MORE_ON_SECOND),
    (Kind::DropAcks, Kind::AlgLonger, 'M', "no address goes over the second path"),
    (Kind::IdleDrop, Kind::CoalesceFirst, 's', MORE_ON_SECOND),
    (Kind::IdleDrop, Kind::CoalesceLast, 's', MORE_ON_SECOND),
    (Kind::IdleDrop, Kind::Corrupt, 's', MORE_ON_SECOND),
    (Kind::IdleDrop, Kind::DropAcks, 'M', JOINED_IN_TIME),
    (Kind::IdleDrop, Kind::RstAfter, 's', MORE_ON_SECOND),
    (Kind::RstAfter, Kind::CoalesceFirst, 'R', NEVER_ALONE),
    (Kind::RstAfter, Kind::CoalesceLast, 'R', NEVER_ALONE),
];

const REBOUND_FIRST: &str = "the first subflow is gone before its options are";
const FORGOTTEN_ALREADY: &str = "what is rebound is what the firewall has forgotten: silence, not a reset";
const NOBODY_CAN_ASK: &str =
    "bare data, and the request for plain TCP is bare too: after four copies the only subflow is reset";
const ONE_AT_A_TIME: &str =
    "what is put together is larger than the window that the firewall sees; after timeouts segments go alone";
const NEVER_ALONE: &str = "segments that never come alone, or whose subflow breaks: as if lengths had changed";
const KEPT_AWAKE: &str = "what is sent again keeps the firewall from forgetting";
const NOTHING_LEFT: &str = "the only subflow breaks, and the second path refuses all";
const MORE_ON_SECOND: &str = "the first path is slow, or silent: the second is used enough to meet its box";
const JOINED_IN_TIME: &str = "the connection lasts long enough for the join's ACKs";
