//! The `polypath` command: one thin file for each subcommand.

mod bench;
mod config;
mod demo;
mod doctor;
mod ecmp;
mod events;
mod failure;
mod fairness;
mod faults;
mod grid;
mod host;
mod instruments;
mod lab;
mod run;
mod serve;
mod sim;
mod ss;
mod summary;
mod text;
mod zoo;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Multipath TCP in user space.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an unmodified program over Multipath TCP.
    Run(run::Args),
    /// Say what this system has and lacks, and the command that gives it.
    Doctor(doctor::Args),
    /// An unmodified curl downloads over emulated Wi-Fi and LTE while Wi-Fi dies and comes back.
    Demo(demo::Args),
    /// Experiments in real time: what kernel TCP, kernel MPTCP and polypath make of paths that differ.
    Lab(lab::Args),
    /// Against the kernel on this machine: bulk, requests, connections, memory.
    Bench(bench::Args),
    /// An end of a benchmark.
    #[command(hide = true)]
    BenchEnd(bench::EndArgs),
    /// Serve test data over HTTP on a Multipath TCP listener (the demo's server where the kernel has no MPTCP).
    Serve(serve::Args),
    /// Show the connections and subflows of all running instances.
    Ss(ss::Args),
    /// Experiments in virtual time.
    Sim(sim::Args),
}

fn main() -> ExitCode {
    let command_line = config::command_line(&std::env::args_os().collect::<Vec<_>>());
    let result = command_line.and_then(|cli| match cli.command {
        Command::Run(args) => run::main(args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Demo(args) => demo::main(args),
        Command::Lab(args) => lab::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::BenchEnd(args) => bench::end(&args),
        Command::Serve(args) => serve::main(&args),
        Command::Ss(args) => ss::main(&args),
        Command::Sim(args) => sim::main(&args),
    });
    result.unwrap_or_else(|error| {
        eprintln!("polypath: {error:#}");
        ExitCode::FAILURE
    })
}
