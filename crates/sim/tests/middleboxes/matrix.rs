//! All cells, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use polypath_sim::Direction;
use polypath_sim::middlebox::{Kind, Spec};

use crate::cell::{Cell, Seen};
use crate::expect;

type Played = [(Cell, Result<Seen, String>)];

/// The boxes on their own: each direction, each path and both, without and with checksums.
fn alone() -> Vec<Cell> {
    let mut cells = Vec::new();
    for spec in specs() {
        for paths in [&[0][..], &[1], &[0, 1]] {
            let boxes: Vec<_> = paths.iter().map(|path| (*path, spec)).collect();
            cells.extend([false, true].map(|checksums| Cell { boxes: boxes.clone(), checksums }));
        }
    }
    cells
}

fn specs() -> Vec<Spec> {
    let directed = [None, Some(Direction::Forward), Some(Direction::Backward)];
    let of = |kind: Kind| match kind.is_directed() {
        true => directed.iter().map(|direction| Spec { kind, direction: *direction }).collect::<Vec<_>>(),
        false => vec![Spec { kind, direction: None }],
    };
    Kind::ALL.iter().flat_map(|kind| of(*kind)).collect()
}

/// Two kinds: one behind the other on the first path, or each on a path of its own.
fn pairs() -> Vec<Cell> {
    let spec = |kind: &Kind| Spec { kind: *kind, direction: None };
    let mut cells = Vec::new();
    for (number, a) in Kind::ALL.iter().enumerate() {
        for (other, b) in Kind::ALL.iter().enumerate() {
            if other > number {
                cells.push(Cell { boxes: vec![(0, spec(a)), (0, spec(b))], checksums: false });
            }
            if other != number {
                cells.push(Cell { boxes: vec![(0, spec(a)), (1, spec(b))], checksums: false });
            }
        }
    }
    cells
}

pub(crate) fn cells() -> Vec<Cell> {
    let none = [false, true].map(|checksums| Cell { boxes: Vec::new(), checksums });
    none.into_iter().chain(alone()).chain(pairs()).collect()
}

/// Cells that went wrong, or otherwise than written.
pub(crate) fn unexplained(played: &Played) -> Vec<String> {
    let mut wrong = Vec::new();
    for (cell, result) in played {
        match result {
            Err(what) => wrong.push(format!("{cell}: {what}")),
            Ok(seen) => {
                let expected = expect::of(cell);
                if seen.letter() != expected.letter {
                    wrong.push(format!("{cell}: {seen}; expected: {}, {}", expected.letter, expected.why));
                } else if seen.silence > expected.silence {
                    wrong.push(format!("{cell}: {seen}; expected: for {:?} at most", expected.silence));
                }
            }
        }
    }
    wrong
}

fn letter(played: &BTreeMap<&Cell, &Result<Seen, String>>, cell: &Cell) -> char {
    match played.get(cell) {
        Some(Ok(seen)) => seen.letter(),
        _ => '?',
    }
}

/// The matrix as text, without times.
pub(crate) fn text(played: &Played) -> String {
    let by_cell: BTreeMap<&Cell, &Result<Seen, String>> = played.iter().map(|(cell, seen)| (cell, seen)).collect();
    let mut text = String::new();
    text.push_str("                        plain         checksums\n");
    text.push_str("box on the path        1st 2nd both   1st 2nd both\n");
    for spec in specs() {
        let at = |paths: &[usize], checksums| {
            letter(&by_cell, &Cell { boxes: paths.iter().map(|path| (*path, spec)).collect(), checksums })
        };
        let three =
            |checksums| format!(" {}   {}   {}  ", at(&[0], checksums), at(&[1], checksums), at(&[0, 1], checksums));
        let _ = writeln!(text, "{:<22} {}   {}  {}", spec.to_string(), three(false), three(true), expect::why(spec));
    }
    let numbers: String = (0..Kind::ALL.len()).map(|number| format!("{:>3}", number + 1)).collect();
    let spec = |kind: Kind| Spec { kind, direction: None };
    for (title, paths) in [
        ("One behind the other on the first path", (0, 0)),
        ("The row on the first path, the column on the second", (0, 1)),
    ] {
        let _ = writeln!(text, "\n{title}\n{:<22}{numbers}", "");
        for (row, a) in Kind::ALL.iter().enumerate() {
            let _ = write!(text, "{:>3} {:<18}", row + 1, a.name());
            for (column, b) in Kind::ALL.iter().enumerate() {
                let (a, b) = if paths.1 == 0 && column < row { (b, a) } else { (a, b) };
                let cell = Cell { boxes: vec![(paths.0, spec(*a)), (paths.1, spec(*b))], checksums: false };
                let sign = if row == column { '-' } else { letter(&by_cell, &cell) };
                let _ = write!(text, "  {sign}");
            }
            text.push('\n');
        }
    }
    text
}

/// The document holds this matrix.
pub(crate) fn check_document(text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/middleboxes.md");
    let document = std::fs::read_to_string(&path).expect("docs/middleboxes.md");
    let (before, rest) = document.split_once("```text\n").expect("a block of text in docs/middleboxes.md");
    let (block, after) = rest.split_once("```").expect("the end of that block");
    let tidy: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("POLYPATH_BLESS").is_some() {
        return std::fs::write(&path, format!("{before}```text\n{tidy}```{after}")).expect("docs/middleboxes.md");
    }
    assert_eq!(block, tidy, "docs/middleboxes.md is not up to date: POLYPATH_BLESS=1 writes it");
}
