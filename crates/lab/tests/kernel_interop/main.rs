//! The stack against the real kernel: a matrix of what the two can do with each other, and bulk data both ways.
//!
//! `POLYPATH_INTEROP=full` runs every cell that exists instead of all pairs; any other value is the name of a cell, or
//! words that cells have, such as `POLYPATH_INTEROP="client v6 !alone"`.

mod bulk;
mod cell;
mod course;
mod expect;
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
    let table = Mutex::new(Table::new(cells.len()));
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((number, cell)) = { Some(next.fetch_add(1, Relaxed)).and_then(|n| Some((n, cells.get(n)?))) } {
            let capture = folder.join(format!("{number}.pcapng"));
            let outcome = course::run(cell, &capture);
            let verdict = table.lock().expect("the table").add(number, cell, &outcome);
            if !matches!(verdict, Verdict::Failed(_)) {
                // There is none where the cell did not begin.
                let _ = std::fs::remove_file(&capture);
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = table.lock().expect("the table").sum_up();
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
