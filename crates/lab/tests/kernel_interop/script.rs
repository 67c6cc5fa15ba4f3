//! What the applications at both ends do, and how they wait for each other.

use std::ops::Range;
use std::time::Duration;

use polypath_lab::payload::{Hasher, Payload};
use tokio::sync::watch;

use crate::cell::{Cell, Ending, Joins, Writes};

/// What an application waits for comes within this, or the cell has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The same for the director, whom applications wait for.
pub(crate) const PATIENCE_OF_DIRECTOR: Duration = Duration::from_secs(3);
pub(crate) const POLYPATH_SEED: u64 = 11;
pub(crate) const KERNEL_SEED: u64 = 22;

/// How far a cell is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    Opening,
    /// Polypath knows all addresses of the kernel, where that matters.
    Announced,
    /// All subflows are there.
    Joined,
    /// What shall happen in mid-transfer has happened.
    Over,
}

/// How far an application has read.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Progress {
    pub(crate) read: u64,
    pub(crate) ended: bool,
}

/// What everybody can wait for.
pub(crate) struct Signals {
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) kernel: watch::Sender<Progress>,
    pub(crate) polypath: watch::Sender<Progress>,
}

impl Signals {
    pub(crate) fn new() -> Self {
        let progress = || watch::Sender::new(Progress::default());
        Self { stage: watch::Sender::new(Stage::Opening), kernel: progress(), polypath: progress() }
    }

    pub(crate) async fn reached(&self, stage: Stage) -> Result<(), String> {
        wait(&self.stage, |now| *now >= stage, &format!("{stage:?}")).await
    }

    /// Until both applications have read `bytes`.
    pub(crate) async fn both_read(&self, bytes: u64) -> Result<(), String> {
        wait(&self.kernel, |progress| progress.read >= bytes, "the kernel's application to read all").await?;
        wait(&self.polypath, |progress| progress.read >= bytes, "polypath's application to read all").await
    }
}

pub(crate) async fn wait<T>(on: &watch::Sender<T>, until: impl FnMut(&T) -> bool, what: &str) -> Result<(), String> {
    let mut receiver = on.subscribe();
    match tokio::time::timeout(PATIENCE, receiver.wait_for(until)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("waited in vain for {what}")),
    }
}

/// One thing that an application does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Writes this part of its payload.
    Write(Range<usize>),
    Wait(Stage),
    /// Waits until the other end has closed its side.
    WaitForEnd,
    /// Closes its side.
    Shutdown,
}

/// What an end of a cell sends, and when.
pub(crate) struct Script {
    pub(crate) payload: Vec<u8>,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// For polypath's application, or the kernel's.
    pub(crate) fn new(cell: &Cell, polypath: bool) -> Self {
        let len = bytes(cell) as usize;
        let mut payload = Vec::with_capacity(len);
        let seed = if polypath { POLYPATH_SEED } else { KERNEL_SEED };
        Payload::new(seed).write_to(&mut payload, len as u64).expect("a vector takes all");
        let (early, late) = (len / 8, len / 8 * 7);
        let mut steps = Vec::new();
        if waits_for_announcement(cell) {
            steps.push(Step::Wait(Stage::Announced));
        }
        steps.push(Step::Write(0..early));
        let middle = [Step::Wait(Stage::Joined), Step::Write(early..late)];
        let last = [Step::Wait(Stage::Over), Step::Write(late..len)];
        match closes_first(cell) {
            None => steps.extend(middle.into_iter().chain(last)),
            Some(first) if first == polypath => steps.extend([Step::Wait(Stage::Joined), Step::Write(early..len)]),
            Some(_) => steps.extend([Step::WaitForEnd].into_iter().chain(middle).chain(last)),
        }
        if !aborts(cell) {
            steps.push(Step::Shutdown);
        }
        Self { payload, steps }
    }
}

/// Data allows polypath to join (RFC 8684 section 3.1). What it joins then depends, with two addresses at each end, on
/// whether it has been told of the second before.
pub(crate) fn waits_for_announcement(cell: &Cell) -> bool {
    !cell.polypath_serves() && cell.joins == Joins::FullMesh
}

/// Bytes that each end sends.
pub(crate) fn bytes(cell: &Cell) -> u64 {
    match cell.writes {
        Writes::Huge => 3 << 20,
        Writes::Tiny => 32 << 10,
    }
}

/// The pieces of a part of the payload, each for one write.
pub(crate) fn pieces(cell: &Cell, part: &[u8]) -> Vec<Vec<u8>> {
    match cell.writes {
        Writes::Huge => vec![part.to_vec()],
        Writes::Tiny => part.chunks(13).map(<[u8]>::to_vec).collect(),
    }
}

/// Whether polypath, or the kernel, closes its side before the other sends most of its data.
pub(crate) fn closes_first(cell: &Cell) -> Option<bool> {
    match cell.ending {
        Ending::PolypathFirst => Some(true),
        Ending::KernelFirst => Some(false),
        _ => None,
    }
}

pub(crate) fn aborts(cell: &Cell) -> bool {
    matches!(cell.ending, Ending::KernelAborts | Ending::PolypathAborts)
}

/// Whether what was read is what the other end sent.
pub(crate) fn check_content(cell: &Cell, hasher: Hasher, seed: u64, who: &str) -> Result<(), String> {
    let (len, expected) = (hasher.len(), bytes(cell));
    if len != expected {
        return Err(format!("{who} read {len} of {expected} bytes"));
    }
    if hasher.finish() != Payload::sha256(seed, expected) {
        return Err(format!("{who} read wrong bytes"));
    }
    Ok(())
}
