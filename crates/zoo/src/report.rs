//! What came of it: for people, for machines, and for the docs.

use crate::entries::{Entry, Role};
use crate::evidence::Evidence;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};
use std::time::Duration;

/// How one attempt ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    seconds: f64,
    /// Why not, if it did not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

impl Outcome {
    pub(crate) fn new(result: anyhow::Result<Evidence>, took: Duration) -> Self {
        let (why, evidence) = match result {
            Ok(evidence) => (None, Some(evidence)),
            Err(error) => (Some(format!("{error:#}")), None),
        };
        Self { seconds: took.as_secs_f64(), why, evidence }
    }

    pub(crate) const fn worked(&self) -> bool {
        self.why.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            None => write!(f, "works ({:.1} s)", self.seconds),
            Some(why) => write!(f, "does not work ({:.1} s): {why}", self.seconds),
        }
    }
}

/// One entry.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    name: &'static str,
    program: &'static str,
    role: Role,
    version: Option<String>,
    tried: &'static str,
    undisturbed: Outcome,
    /// Not tried where it does not even work undisturbed.
    cut: Option<Outcome>,
}

impl Row {
    pub(crate) fn new(entry: &Entry, undisturbed: Outcome, cut: Option<Outcome>) -> Self {
        let Entry { name, program, role, tried, .. } = *entry;
        Self { name, program, role, version: entry.version(), tried, undisturbed, cut }
    }

    fn worked(&self) -> bool {
        self.why().is_none()
    }

    /// Why it does not work: the first thing that went wrong.
    fn why(&self) -> Option<String> {
        match (&self.undisturbed.why, &self.cut) {
            (Some(why), _) => Some(why.clone()),
            (None, Some(cut)) => cut.why.as_ref().map(|why| format!("with a cut: {why}")),
            (None, None) => Some("the cut was not tried".into()),
        }
    }

    fn figures(&self) -> Vec<Value> {
        let figure = |what: &str, outcome: &Outcome| {
            json!({
                "name": format!("{}.{what}", self.name), "value": outcome.seconds, "unit": "s",
                "bar": null, "met": outcome.worked(),
            })
        };
        let cut = self.cut.as_ref().map(|cut| figure("cut", cut));
        [figure("undisturbed", &self.undisturbed)].into_iter().chain(cut).collect()
    }
}

/// All that were tried.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Whether all worked.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.rows.iter().all(Row::worked)
    }

    /// One line for machines.
    #[must_use]
    pub fn to_json(&self, settings: &Value, machine: &Value) -> Value {
        let figures: Vec<Value> = self.rows.iter().flat_map(Row::figures).collect();
        json!({
            "ok": self.ok(), "figures": figures, "seed": null, "settings": settings, "machine": machine,
            "entries": self.rows,
        })
    }

    /// A table for the docs.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        for (role, title) in [(Role::Client, "Clients"), (Role::Server, "Servers")] {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.role == role).collect();
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(out, "### {title}\n");
            let _ = writeln!(out, "| entry | program | version | what was tried | result |\n|---|---|---|---|---|");
            for row in rows {
                let version = row.version.as_deref().unwrap_or("?");
                let result =
                    row.why().map_or_else(|| "works".to_owned(), |why| format!("does not work: {}", cell(&why)));
                let _ = writeln!(out, "| `{}` | {} | {version} | {} | {result} |", row.name, row.program, row.tried);
            }
            out.push('\n');
        }
        out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let seconds = |outcome: &Outcome| format!("{:.1} s", outcome.seconds);
        writeln!(f, "{:width$}  AS      VERSION      UNDISTURBED       CUT  RESULT", "ENTRY")?;
        for row in &self.rows {
            let (name, role, version) = (row.name, row.role.name(), row.version.as_deref().unwrap_or("?"));
            let (undisturbed, cut) = (seconds(&row.undisturbed), row.cut.as_ref().map_or("-".into(), seconds));
            let result = row.why().map_or_else(|| "works".to_owned(), |why| format!("does not work: {why}"));
            writeln!(f, "{name:width$}  {role}  {version:<11}  {undisturbed:>11}  {cut:>8}  {result}")?;
        }
        let worked = self.rows.iter().filter(|row| row.worked()).count();
        write!(f, "{worked} of {} work", self.rows.len())
    }
}

/// On one line, and nothing that would end a cell.
fn cell(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, undisturbed: Option<&str>, cut: Option<Option<&str>>) -> Row {
        let outcome = |why: Option<&str>| Outcome { seconds: 1.25, why: why.map(String::from), evidence: None };
        Row {
            name,
            program: "a program",
            role: Role::Client,
            version: Some("1.0".into()),
            tried: "all",
            undisturbed: outcome(undisturbed),
            cut: cut.map(outcome),
        }
    }

    #[test]
    fn all_is_well_only_if_each_works_twice() {
        assert!(Report { rows: vec![row("a", None, Some(None))] }.ok());
        for bad in [row("b", Some("why"), None), row("b", None, Some(Some("why"))), row("b", None, None)] {
            let report = Report { rows: vec![row("a", None, Some(None)), bad] };
            assert!(!report.ok());
            assert!(report.to_string().ends_with("1 of 2 work"), "{report}");
        }
    }

    #[test]
    fn a_row_says_why() {
        let report = Report { rows: vec![row("a", None, Some(None)), row("b", None, Some(Some("x|y\nz")))] };
        let text = report.to_markdown();
        assert!(text.contains("| `a` | a program | 1.0 | all | works |"), "{text}");
        assert!(text.contains("| does not work: with a cut: x\\|y z |"), "{text}");
        let json = report.to_json(&Value::Null, &Value::Null);
        assert_eq!((&json["ok"], &json["figures"][3]["met"]), (&false.into(), &false.into()));
        assert_eq!(json["entries"][1]["cut"]["why"], "x|y\nz");
    }
}
