//! What `lab grid` and `sim grid` have in common: the page, and what is printed at the end.

use crate::failure;
use anyhow::Context as _;
use polypath_sim::grid::report::{GridReport, Machine};
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::ExitCode;

/// What cannot be written is said before the work.
pub(crate) fn check_page(html: &Path) -> anyhow::Result<()> {
    OpenOptions::new().create(true).append(true).open(html).with_context(|| writing(html))?;
    Ok(())
}

/// Writes the page, and prints a table or one line of JSON. Success only if every bar is met.
pub(crate) fn tell(report: anyhow::Result<GridReport>, json: bool, html: &Path) -> anyhow::Result<ExitCode> {
    let written = report.and_then(|report| {
        fs::write(html, report.html()).with_context(|| writing(html))?;
        Ok(report)
    });
    let report = written.inspect_err(|error| failure::tell(error, json))?;
    if json {
        println!("{}", report.to_json());
    } else {
        println!("{report}\nPage: {}", html.display());
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn writing(html: &Path) -> String {
    format!("writing {}", html.display())
}

/// The words that repeat this run.
pub(crate) fn command() -> String {
    let words: Vec<_> = std::env::args().skip(1).collect();
    format!("polypath {}", words.join(" "))
}

/// This one.
pub(crate) fn machine() -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    }
}
