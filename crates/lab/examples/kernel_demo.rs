//! The demonstration with the kernel's own Multipath TCP on the client's side, to compare with: same links, same
//! server, same cut. curl does not open MPTCP sockets by itself, so this program stands in for it.
//!
//! `cargo run --release -p polypath-lab --example kernel_demo [-- --json]`

use std::ffi::OsString;
use std::io::Write as _;

use anyhow::Context as _;
use polypath_lab::demo::{self, DemoOptions, Output, Runner};
use polypath_lab::kernel::{KernelClient, Transport};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, url] = &arguments[..]
        && mode == "fetch"
    {
        return fetch(url);
    }
    let json = arguments.iter().any(|argument| argument == "--json");
    let mut options = DemoOptions::new(Runner::Kernel { prefix: Vec::new() });
    options.program = vec![std::env::current_exe()?.into(), OsString::from("fetch")];
    options.output = if json { Output::Json } else { Output::Terminal };
    let report = demo::run(&options)?;
    if json {
        println!("{}", report.to_json()?);
    } else {
        println!("{report}");
    }
    std::process::exit(i32::from(!report.ok));
}

/// Downloads to standard output over an MPTCP socket.
fn fetch(url: &str) -> anyhow::Result<()> {
    let (host, path) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).context("not an http URL")?;
    let client = KernelClient::connect_here(Transport::Mptcp, None, host.parse()?)?;
    let mut stdout = std::io::stdout().lock();
    let mut result = Ok(());
    client.get(&format!("/{path}"), |bytes| {
        if result.is_ok() {
            result = stdout.write_all(bytes);
        }
    })?;
    Ok(result?)
}
