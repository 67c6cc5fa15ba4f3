//! The table of the matrix: a line for each cell, in the order of the cells; at the end those that ran twice.

use std::collections::BTreeMap;

use polypath_lab::kernel::MptcpCounters;

use crate::cell::Cell;
use crate::course::Outcome;
use crate::gaps;

/// What an outcome means.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Passed,
    /// It fails as it is known to.
    Gap,
    Failed,
}

impl Verdict {
    pub(crate) fn of(cell: &Cell, outcome: &Outcome) -> Self {
        match (gaps::of(cell).next().is_none(), outcome.wrong.is_empty()) {
            (true, true) => Self::Passed,
            (false, false) => Self::Gap,
            // Or a gap is closed: its entry has to go.
            (true, false) | (false, true) => Self::Failed,
        }
    }
}

/// Prints lines as soon as all before them have come.
pub(crate) struct Table {
    /// From the first that has not come yet.
    lines: BTreeMap<usize, String>,
    printed: usize,
    verdicts: Vec<Verdict>,
    again: usize,
}

impl Table {
    pub(crate) fn new() -> Self {
        println!("{:>5}  {:<70} {:<7} {:>5}  what the kernel counted", "cell", "", "result", "s");
        Self { lines: BTreeMap::new(), printed: 0, verdicts: Vec::new(), again: 0 }
    }

    /// The last outcome of a cell is what counts; it has another only if it failed before.
    pub(crate) fn add(&mut self, number: usize, cell: &Cell, outcomes: &[Outcome]) {
        let Some((last, before)) = outcomes.split_last() else { return };
        let verdict = Verdict::of(cell, last);
        let known: Vec<_> = gaps::of(cell).collect();
        let (result, mut details) = match verdict {
            Verdict::Passed => ("passed", Vec::new()),
            Verdict::Gap => ("gap", known.iter().map(|(_, reason)| format!("{reason}: {}", last.wrong[0])).collect()),
            Verdict::Failed if last.wrong.is_empty() => {
                ("FAILED", known.iter().map(|(words, _)| format!("the gap {words:?} is closed: take it out")).collect())
            }
            Verdict::Failed => ("FAILED", last.wrong.clone()),
        };
        for wrong in before.iter().flat_map(|outcome| &outcome.wrong) {
            details.push(format!("with other cells beside it: {wrong}"));
        }
        let (seconds, counters) = (last.took.as_secs_f64(), counters(&last.moved));
        let mut line = format!("{number:>5}  {:<70} {result:<7} {seconds:>5.1}  {counters}\n", cell.name());
        line.extend(details.into_iter().map(|detail| format!("{:7}{detail}\n", "")));
        self.print(number, line);
        self.verdicts.push(verdict);
        self.again += usize::from(verdict == Verdict::Passed && !before.is_empty());
    }

    /// The lines after this cell's need not wait for it.
    pub(crate) fn postpone(&mut self, number: usize) {
        self.print(number, String::new());
    }

    fn print(&mut self, number: usize, line: String) {
        if number < self.printed {
            print!("{line}");
            return;
        }
        self.lines.insert(number, line);
        while let Some(line) = self.lines.remove(&self.printed) {
            print!("{line}");
            self.printed += 1;
        }
    }

    /// Prints the summary. Returns how many cells failed.
    pub(crate) fn sum_up(&self) -> usize {
        let count = |wanted| self.verdicts.iter().filter(|verdict| **verdict == wanted).count();
        let (passed, gaps, failed) = (count(Verdict::Passed), count(Verdict::Gap), count(Verdict::Failed));
        let all = self.verdicts.len();
        println!("{all} cells, {passed} passed ({} only alone), {gaps} known gaps, {failed} failed", self.again);
        failed
    }
}

/// Counters that moved, with how far where that is not 1.
fn counters(moved: &MptcpCounters) -> String {
    let all = moved.iter().map(|(name, count)| if count == 1 { name.into() } else { format!("{name}={count}") });
    all.collect::<Vec<_>>().join(" ")
}
