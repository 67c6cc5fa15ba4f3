//! The stack against the real kernel: a matrix of what the two can do with each other, and bulk data both ways.
//!
//! `POLYPATH_INTEROP=full` runs every cell that exists instead of all pairs; any other value is the name of a cell, or
//! words that cells have, such as `POLYPATH_INTEROP="client v6 !alone"`.

mod bulk;
mod cell;
mod course;
mod expect;
mod fast_open;
mod gaps;
mod kernel_end;
mod network;
mod pairwise;
mod polypath_end;
mod script;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, RwLock};

use cell::Cell;
use table::{Table, Verdict};

/// Cells at once. More do not end sooner on two processors.
const AT_ONCE: usize = 3;
/// So many cells are few enough for every change.
const MAX_PAIRWISE: usize = 60;

/// Held by bulk transfers, and alone by the matrix: its cells shall not wait for a processor.
static MACHINE: RwLock<()> = RwLock::new(());

#[test]
fn matrix() {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    let cells = chosen();
    assert!(!cells.is_empty(), "no cell has these words");
    let folder = std::env::temp_dir().join(format!("polypath-interop-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder for captures");
    let capture = |number: usize| folder.join(format!("{number}.pcapng"));
    let play = |number: usize, cell: &Cell| {
        let outcome = course::run(cell, &capture(number));
        let verdict = Verdict::of(cell, &outcome);
        if verdict != Verdict::Failed {
            // There is none where the cell did not begin.
            let _ = std::fs::remove_file(capture(number));
        }
        (outcome, verdict)
    };
    let table = Mutex::new(Table::new());
    let suspects = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let work = || loop {
        let number = next.fetch_add(1, Relaxed);
        let Some(cell) = cells.get(number) else { break };
        let (outcome, verdict) = play(number, cell);
        let mut table = table.lock().expect("the table");
        if verdict == Verdict::Failed {
            table.postpone(number);
            suspects.lock().expect("the list").push((number, outcome));
        } else {
            table.add(number, cell, &[outcome]);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let mut table = table.into_inner().expect("the table");
    // On a busy machine a path may fall silent for long enough to be given up. Alone it does not.
    for (number, first) in suspects.into_inner().expect("the list") {
        let (second, _) = play(number, &cells[number]);
        table.add(number, &cells[number], &[first, second]);
    }
    let failed = table.sum_up();
    assert!(failed == 0, "{failed} cells failed; their captures are in {}", folder.display());
    std::fs::remove_dir(&folder).expect("an empty folder");
}

/// What `POLYPATH_INTEROP` asks for.
fn chosen() -> Vec<Cell> {
    match std::env::var("POLYPATH_INTEROP").ok().as_deref() {
        None | Some("") => pairwise::pairwise(),
        Some("full") => pairwise::product(),
        Some(words) => {
            let all = pairwise::product();
            let named: Vec<Cell> = all.iter().filter(|cell| cell.name() == words).copied().collect();
            if named.is_empty() { all.into_iter().filter(|cell| cell.has(words)).collect() } else { named }
        }
    }
}

#[test]
fn pairs_are_few_and_every_gap_has_its_cell() {
    let cells = pairwise::pairwise();
    assert!(cells.len() <= MAX_PAIRWISE, "{} cells", cells.len());
    for (words, _) in gaps::KNOWN_GAPS {
        assert!(cells.iter().any(|cell| cell.has(words)), "no cell has {words:?}");
    }
}
