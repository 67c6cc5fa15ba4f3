//! `polypath lab zoo`: unmodified programs over two paths.

use crate::text::{Align, Table};
use crate::{failure, grid};
use anyhow::Context as _;
use polypath_zoo::report::Report;
use polypath_zoo::{Enclosure, Options, Role, packages};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these entries, such as curl,nginx.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Only programs in this role.
    #[arg(long, value_enum)]
    role: Option<RoleArg>,
    /// Try nothing: show the entries, and what has to be installed for them.
    #[arg(long)]
    list: bool,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Write the table of docs/zoo.md to this file, too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Copy, Clone, Debug, clap::ValueEnum)]
enum RoleArg {
    Client,
    Server,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let role = args.role.map(|role| match role {
        RoleArg::Client => Role::Client,
        RoleArg::Server => Role::Server,
    });
    if args.list {
        return list(&args.only, role);
    }
    let report = || {
        Options::entries(&args.only, role)?;
        let folder = match polypath_zoo::enclose()? {
            Enclosure::Inside(folder) => folder,
            Enclosure::Done(code) => return Ok(Err(code)),
        };
        let polypath = std::env::current_exe().context("finding this executable")?;
        polypath_zoo::run(&Options { polypath, folder, only: args.only.clone(), role }).map(Ok)
    };
    let report = report().inspect_err(|error| failure::tell(error, args.json))?;
    match report {
        Ok(report) => tell(&report, args),
        Err(code) => Ok(code),
    }
}

fn tell(report: &Report, args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.markdown {
        write(path, &report.to_markdown())?;
    }
    if args.json {
        let machine = grid::machine();
        let machine = json!({ "cores": machine.cores, "kernel": machine.kernel });
        println!("{}", report.to_json(&json!({ "only": args.only, "command": grid::command() }), &machine));
    } else {
        println!("{report}");
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Success only if nothing is missing.
fn list(only: &[String], role: Option<Role>) -> anyhow::Result<ExitCode> {
    let entries = Options::entries(only, role)?;
    let mut table =
        Table::new([("ENTRY", Align::Left), ("AS", Align::Left), ("PROGRAM", Align::Left), ("MISSING", Align::Left)]);
    for entry in &entries {
        let missing: Vec<&str> = entry.needs.iter().filter(|need| !need.is_met()).map(|need| need.program).collect();
        table.row([entry.name.into(), entry.role.name().into(), entry.program.into(), missing.join(", ")]);
    }
    print!("{}", table.render(0));
    let remedies = packages::remedies(entries.iter().flat_map(|entry| entry.needs));
    for remedy in &remedies {
        println!("> {remedy}");
    }
    Ok(if remedies.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
