//! A place of its own: namespaces of processes, files and networks for all that the zoo starts. Servers that fork,
//! change their user or leave their session are gone with it, whatever ends it, and so are their files.

use anyhow::{Context as _, bail, ensure};
use polypath_lab::Namespace;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Tells the process inside which folder it has.
const FOLDER: &str = "POLYPATH_ZOO_FOLDER";

/// Where this process is.
#[derive(Debug)]
pub enum Enclosure {
    /// Inside, with this folder for all files.
    Inside(PathBuf),
    /// Outside; all has been done by a process inside, which ended like this.
    Done(ExitCode),
}

/// Outside, runs this same command line inside and waits for it; inside, makes ready.
///
/// # Errors
/// Without the privileges for namespaces, or when unshare(1) or mount(8) fail.
pub fn enclose() -> anyhow::Result<Enclosure> {
    match std::env::var_os(FOLDER) {
        // The first process of a namespace: with it, all others end.
        Some(folder) if std::process::id() == 1 => inside(folder.into()).map(Enclosure::Inside),
        _ => outside().map(Enclosure::Done),
    }
}

fn outside() -> anyhow::Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("polypath-zoo-{}", std::process::id()));
    let spaces = folder.to_string_lossy().contains(char::is_whitespace);
    ensure!(!spaces, "{} has a space in it, which the zoo's command lines cannot have: set TMPDIR", folder.display());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let executable = std::env::current_exe().context("finding this executable")?;
    // A network without any interface: nothing is fetched or asked from elsewhere.
    let network = Namespace::new()?;
    let status = network
        .command("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(executable)
        .args(std::env::args_os().skip(1))
        .env(FOLDER, &folder)
        .status();
    let _ = fs::remove_dir(&folder);
    let status = status.context("starting unshare (Debian: util-linux)")?;
    let code = status.code().context("the zoo was killed")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn inside(folder: PathBuf) -> anyhow::Result<PathBuf> {
    // sshd insists on a folder there; instances of polypath are told apart from those outside.
    for target in [folder.as_os_str(), OsStr::new("/run")] {
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", "mode=0755", "polypath-zoo"]).arg(target).output();
        let output = output.context("starting mount (Debian: mount)")?;
        if !output.status.success() {
            bail!("mounting a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(folder)
}
