//! What tshark, which knows nothing of us, finds wrong in a capture.

use std::io;
use std::path::Path;
use std::process::Command;

/// What makes a packet a bad one, as display filters.
///
/// tshark 4.0 misses a mapping for acknowledgements too, and takes flag C for an unknown algorithm: both are left out.
/// It warns of four NOPs in a row, which Linux sends all the time.
const BAD: [&str; 18] = [
    "_ws.malformed",
    "_ws.short",
    "_ws.type_length.mismatch",
    "ip.opt.len.invalid",
    "ip.checksum_bad.expert",
    "ipv6.invalid_header",
    "tcp.bogus_header_length",
    "tcp.checksum_bad.expert",
    "tcp.non_zero_bytes_after_eol",
    "tcp.option.len.invalid",
    "tcp.options.mss.absent",
    "tcp.options.mss.present",
    "tcp.options.wscale.shift.invalid",
    "tcp.short_segment",
    "tcp.suboption_malformed",
    "mptcp.connection.echoed_key_mismatch || mptcp.connection.missing_algorithm",
    "(mptcp.connection.unsupported_algorithm && tcp.options.mptcp.nomoresubflows.flag == 0)",
    "mptcp.dss.infinite_mapping || (mptcp.dss.missing_mapping && tcp.len > 0)",
];

/// The packets of a capture in which something is malformed, unsupported, or data without a mapping: a line for each.
/// Checksums are verified.
///
/// # Errors
/// When tshark cannot be started (Debian: apt-get install tshark), or with what it said.
pub fn findings(capture: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("tshark")
        .args(["-o", "mptcp.analyze_mappings:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        // The payload is noise: nobody shall see a protocol in it.
        .args(["-o", "tcp.try_heuristic_first:FALSE", "-d", "tcp.port==1-65535,data"])
        .args(["-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info", "-e", "_ws.expert.message"])
        .args(["-Y", &BAD.join(" || "), "-r"])
        .arg(capture)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start tshark: {error}")))?;
    if !output.status.success() {
        return Err(io::Error::other(format!("tshark: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.replace('\t', ": ")).collect())
}
