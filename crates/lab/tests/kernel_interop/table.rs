//! The table of the matrix: a line for each cell, in the order of the cells.

use polypath_lab::kernel::MptcpCounters;

use crate::cell::Cell;
use crate::course::Outcome;
use crate::gaps;

/// What an outcome means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Passed,
    /// It fails as it is known to.
    Gap,
    /// What is wrong.
    Failed(Vec<String>),
}

impl Verdict {
    fn of(cell: &Cell, outcome: &Outcome) -> Self {
        let known: Vec<_> = gaps::of(cell).collect();
        match (known.is_empty(), outcome.wrong.is_empty()) {
            (true, true) => Self::Passed,
            (true, false) => Self::Failed(outcome.wrong.clone()),
            (false, false) => Self::Gap,
            (false, true) => {
                let entries = known.iter().map(|(words, _)| format!("the gap {words:?} is closed: take it out"));
                Self::Failed(entries.collect())
            }
        }
    }
}

/// Prints lines as soon as all before them have come.
pub(crate) struct Table {
    lines: Vec<Option<String>>,
    printed: usize,
    verdicts: Vec<Verdict>,
}

impl Table {
    pub(crate) fn new(cells: usize) -> Self {
        println!("{:>5}  {:<64} {:<7} {:>5}  what the kernel counted", "cell", "", "result", "s");
        Self { lines: vec![None; cells], printed: 0, verdicts: Vec::new() }
    }

    pub(crate) fn add(&mut self, number: usize, cell: &Cell, outcome: &Outcome) -> Verdict {
        let verdict = Verdict::of(cell, outcome);
        let (result, details) = match &verdict {
            Verdict::Passed => ("passed", Vec::new()),
            Verdict::Gap => ("gap", vec![format!("{}: {}", known(cell), outcome.wrong[0])]),
            Verdict::Failed(wrong) => ("FAILED", wrong.clone()),
        };
        let (seconds, counters) = (outcome.took.as_secs_f64(), counters(&outcome.moved));
        let mut line = format!("{number:>5}  {:<64} {result:<7} {seconds:>5.1}  {counters}\n", cell.name());
        line.extend(details.into_iter().map(|detail| format!("{:7}{detail}\n", "")));
        self.lines[number] = Some(line);
        while let Some(Some(line)) = self.lines.get(self.printed) {
            print!("{line}");
            self.printed += 1;
        }
        self.verdicts.push(verdict.clone());
        verdict
    }

    /// Prints the summary. Returns how many cells failed.
    pub(crate) fn sum_up(&self) -> usize {
        let count = |wanted: fn(&Verdict) -> bool| self.verdicts.iter().filter(|verdict| wanted(verdict)).count();
        let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
        let (passed, gaps) = (count(|verdict| *verdict == Verdict::Passed), count(|verdict| *verdict == Verdict::Gap));
        println!("{} cells, {passed} passed, {gaps} known gaps, {failed} failed", self.verdicts.len());
        failed
    }
}

fn known(cell: &Cell) -> String {
    let reasons: Vec<&str> = gaps::of(cell).map(|(_, reason)| *reason).collect();
    reasons.join("; ")
}

/// Counters that moved, with how far where that is not 1.
fn counters(moved: &MptcpCounters) -> String {
    let all = moved.iter().map(|(name, count)| if count == 1 { name.into() } else { format!("{name}={count}") });
    all.collect::<Vec<_>>().join(" ")
}
