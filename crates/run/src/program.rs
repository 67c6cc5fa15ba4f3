//! Which program a thread runs, for [rules](polypath_config::Rules).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use polypath_config::Program;

/// The program of thread `tid`: its executable file, the word that it was started with, and the name of its process, which
/// is that of a script and not of what interprets it. What cannot be read is left out.
pub(crate) fn of(tid: u32) -> Program {
    let proc = format!("/proc/{tid}");
    // The thread may have a name of its own.
    let process = crate::identity::process_of(tid).unwrap_or(tid);
    let comm = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let line = fs::read(format!("{proc}/cmdline")).unwrap_or_default();
    let word = line.split(|byte| *byte == 0).next().map(OsStr::from_bytes).map(Path::new);
    let word = word.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    Program::new(fs::read_link(format!("{proc}/exe")).ok(), [comm.trim_end().to_owned()].into_iter().chain(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_script_is_known_by_its_name_and_by_its_interpreters() {
        let folder = std::env::temp_dir().join(format!("polypath-program-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let script = folder.join("a-script-with-a-name");
        // Written by another process: no descriptor of ours that can be written to is left in a child of another test.
        let mut writer = Command::new("tee").arg(&script).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writer.stdin.take().unwrap().write_all(b"#!/bin/sh\necho here\nread line\n").unwrap();
        writer.wait().unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let mut child = Command::new(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let program = of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        let shell = fs::canonicalize("/bin/sh").unwrap();
        for name in ["a-script-with-a-name", "sh", shell.to_str().unwrap()] {
            assert!(program.is(name), "{name}: {program:?}");
        }
        assert!(!program.is("another"));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(of(u32::MAX), Program::default());
    }
}
