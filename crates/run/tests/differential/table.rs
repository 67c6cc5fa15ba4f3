//! The differences from the kernel that docs/unmodified-programs.md owns up to.

use crate::Results;

/// Behind this heading of the document stands a table; in it, which states, which operations, what the kernel says, what
/// `run` says, and why. Several are separated by `; `, and `*` stands for anything.
const HEADINGS: [(&str, &str); 2] = [("calls", "### Calls that differ"), ("options", "### Options that differ")];

pub(crate) struct Differences(Vec<Row>);

#[derive(Debug)]
struct Row {
    states: Vec<String>,
    operations: Vec<String>,
    kernel: Vec<String>,
    run: Vec<String>,
}

impl Differences {
    pub(crate) fn of(part: &str) -> Differences {
        let text = include_str!("../../../../docs/unmodified-programs.md");
        let heading = HEADINGS.iter().find(|(name, _)| *name == part).unwrap().1;
        let (_, table) = text.split_once(heading).unwrap_or_else(|| panic!("no heading `{heading}`"));
        let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        // The first two are the head.
        Differences(rows.skip(2).map(Row::parse).collect())
    }

    /// What of the results is neither the same nor in the table, and what of the table is not so.
    pub(crate) fn check(&self, kernel: &Results, run: &Results) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut used = vec![false; self.0.len()];
        for (key @ (state, operation), theirs) in kernel {
            let Some(ours) = run.get(key) else {
                wrong.push(format!("{state}: {operation}: {theirs} -> nothing was printed"));
                continue;
            };
            if theirs == ours {
                continue;
            }
            let mut expected = false;
            for (_, used) in self.0.iter().zip(&mut used).filter(|(row, _)| row.holds(state, operation, theirs, ours)) {
                (expected, *used) = (true, true);
            }
            if !expected {
                wrong.push(format!("{state}: {operation}: {theirs} -> {ours}"));
            }
        }
        let more = run.keys().filter(|key| !kernel.contains_key(*key));
        wrong.extend(more.map(|(state, operation)| format!("{state}: {operation}: only under `run`")));
        let unused = self.0.iter().zip(used).filter(|(_, used)| !used);
        wrong.extend(unused.map(|(row, _)| format!("differs no longer: {row:?}")));
        wrong
    }
}

impl Row {
    fn parse(line: &str) -> Row {
        // A `|` of a result's own is escaped.
        let line = line.replace("\\|", "\0").replace('`', "");
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|c| c.trim().replace('\0', "|")).collect();
        let [states, operations, kernel, run, reason] = cells.as_slice() else { panic!("five columns: {line}") };
        assert!(!reason.is_empty(), "why? {line}");
        let list = |cell: &str| cell.split("; ").map(str::to_owned).collect();
        Row { states: list(states), operations: list(operations), kernel: list(kernel), run: list(run) }
    }

    fn holds(&self, state: &str, operation: &str, kernel: &str, run: &str) -> bool {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        any(&self.states, state) && any(&self.operations, operation) && any(&self.kernel, kernel) && any(&self.run, run)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
}
