//! `polypath doctor`: stub.
use std::process::ExitCode;
/// Checks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn main(_args: &Args) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
