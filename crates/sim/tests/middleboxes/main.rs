//! Multipath TCP through middleboxes: every kind alone, for each direction and path, and all pairs, on one path and on
//! two. Every byte arrives once and in order, or the application gets an error; what is to be expected of each cell stands
//! in `expect`, and so does why. `--nocapture` prints the matrix, which is also in `docs/middleboxes.md`.
//!
//! `POLYPATH_CELL="strip-data> | nat"` plays one cell, with its packets in the file that `POLYPATH_TRACE` names;
//! `POLYPATH_BLESS=1` writes the matrix into the document.

mod cell;
mod end;
mod expect;
mod matrix;
mod run;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cell::{Cell, Seen};
use polypath_sim::Trace;

/// Plays cells on all processors; what came of each, in their order.
fn play_all(cells: &[Cell]) -> Vec<Result<Seen, String>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![Err("not played".to_owned()); cells.len()]);
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(cell) = cells.get(number) else { break };
        let seen = run::play(cell, Trace::off());
        results.lock().expect("nobody has panicked")[number] = seen;
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(work))));
    results.into_inner().expect("nobody has panicked")
}

#[test]
fn every_cell_is_as_expected() {
    let cells = matrix::cells();
    if let Ok(name) = std::env::var("POLYPATH_CELL") {
        let cell = cells.iter().find(|cell| cell.to_string() == name).expect("the name of a cell");
        let trace = Trace::from_env().expect("POLYPATH_TRACE names a file that can be written");
        return match run::play(cell, trace) {
            Ok(seen) => println!("{cell}: {seen} ({} frames)", seen.frames),
            Err(what) => panic!("{cell}: {what}"),
        };
    }
    let results = play_all(&cells);
    let played: Vec<_> = cells.into_iter().zip(results).collect();
    let text = matrix::text(&played);
    println!("{text}");
    let wrong = matrix::unexplained(&played);
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), played.len(), wrong.join("\n"));
    matrix::check_document(&text);
}
