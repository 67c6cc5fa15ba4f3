//! What a machine must offer: each thing that is missing becomes one sentence that says what it is and how to get it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::bail;

use crate::setup;
use crate::sys;

/// Numbers of capabilities, from `linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Programs the lab may start, and where they are to be had.
const PACKAGES: [(&str, &str); 4] = [
    ("ip", "apt-get install iproute2 (Debian, Ubuntu) or dnf install iproute (Fedora)"),
    ("tc", "apt-get install iproute2 (Debian, Ubuntu) or dnf install iproute-tc (Fedora)"),
    ("curl", "apt-get install curl (Debian, Ubuntu) or dnf install curl (Fedora)"),
    ("tshark", "apt-get install tshark (Debian, Ubuntu) or dnf install wireshark-cli (Fedora)"),
];

/// What was found on this machine.
#[derive(Debug)]
pub struct Machine {
    /// Effective capabilities, a bit for each.
    capabilities: u64,
    /// Whether `/dev/net/tun` can be opened, and why not.
    tun: Result<(), io::Error>,
    /// Programs looked for that are not in `PATH`.
    absent: Vec<String>,
    mptcp: bool,
    kernel: String,
}

impl Machine {
    /// Looks at this machine; `programs` shall be in `PATH`.
    #[must_use]
    pub fn probe(programs: &[&str]) -> Self {
        let tun = File::options().read(true).write(true).open("/dev/net/tun");
        let absent = programs.iter().filter(|program| !in_path(program)).map(ToString::to_string);
        Self {
            capabilities: effective_capabilities().unwrap_or(0),
            tun: tun.map(drop),
            absent: absent.collect(),
            mptcp: setup::kernel_has_mptcp(),
            kernel: sys::kernel_release(),
        }
    }

    /// Whether the kernel speaks MPTCP.
    #[must_use]
    pub const fn has_mptcp(&self) -> bool {
        self.mptcp
    }

    /// The kernel's release, for example `6.18.0`.
    #[must_use]
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// One sentence for each thing that is missing, MPTCP aside.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let capabilities = [("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_SYS_ADMIN", CAP_SYS_ADMIN)];
        let lacking = capabilities.into_iter().filter(|(_, bit)| self.capabilities & (1 << bit) == 0);
        let lacking: Vec<&str> = lacking.map(|(name, _)| name).collect();
        if !lacking.is_empty() {
            let are = if lacking.len() == 1 { "is" } else { "are" };
            let names = lacking.join(" and ");
            missing.push(format!("{names} {are} missing, which network namespaces need: run this with sudo."));
        }
        if let Err(error) = &self.tun {
            let how = match error.kind() {
                io::ErrorKind::PermissionDenied => "run this with sudo, or allow the device in the container",
                _ => "run `sudo modprobe tun`, or give a container --device /dev/net/tun",
            };
            missing.push(format!("/dev/net/tun cannot be opened ({error}): {how}."));
        }
        for program in &self.absent {
            let package = PACKAGES.iter().find(|(name, _)| name == program);
            let how = package.map_or("install it, or add its folder to PATH", |(_, how)| how);
            missing.push(format!("The program {program} is missing: {how}."));
        }
        missing
    }

    /// The sentence for a kernel without MPTCP.
    #[must_use]
    pub fn without_mptcp(&self) -> String {
        format!("This kernel ({}) has no MPTCP: use Linux 5.6 or newer built with CONFIG_MPTCP.", self.kernel)
    }

    /// Fails with everything that is missing, MPTCP aside.
    ///
    /// # Errors
    /// The sentences of [`Machine::missing`].
    pub fn require(&self) -> anyhow::Result<()> {
        let missing = self.missing();
        if !missing.is_empty() {
            bail!("{}", missing.join("\n"));
        }
        Ok(())
    }
}

fn in_path(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    // As execvp does where PATH is not set.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn effective_capabilities() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no CapEff in /proc/thread-self/status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_one_sentence_each() {
        let mut machine = Machine {
            capabilities: 1 << CAP_SYS_ADMIN,
            tun: Err(io::ErrorKind::NotFound.into()),
            absent: vec!["ip".into(), "frob".into()],
            mptcp: false,
            kernel: "5.4.0".into(),
        };
        let missing = machine.missing();
        assert_eq!(missing.len(), 4);
        assert!(missing[0].starts_with("CAP_NET_ADMIN is missing") && missing[0].contains("sudo"), "{}", missing[0]);
        assert!(missing[1].contains("modprobe tun"), "{}", missing[1]);
        assert!(missing[2].contains("apt-get install iproute2"), "{}", missing[2]);
        assert!(missing[3].contains("frob"), "{}", missing[3]);
        machine.capabilities = 0;
        machine.tun = Err(io::ErrorKind::PermissionDenied.into());
        let missing = machine.missing();
        assert!(missing[0].starts_with("CAP_NET_ADMIN and CAP_SYS_ADMIN are missing"), "{}", missing[0]);
        assert!(missing[1].contains("sudo"), "{}", missing[1]);
        assert!(machine.without_mptcp().contains("5.4.0"));
        let error = machine.require().unwrap_err().to_string();
        assert_eq!(error.lines().count(), 4);
    }

    #[test]
    fn a_program_that_nobody_has_is_absent() {
        let machine = Machine::probe(&["sh", "no-such-program-anywhere"]);
        assert_eq!(machine.absent, ["no-such-program-anywhere"]);
    }
}
