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

/// What it does not look for: with Multipath TCP, data on a subflow that has no option at all. Linux repeats the
/// mapping in every segment, and so do we.
const BARE_DATA: &str = "(tcp.len > 0 && !tcp.options.mptcp.subtype)";

/// A byte of garbage below the window, to make the peer answer, belongs nowhere.
const QUESTION: &str = "(tcp.len == 1 && (tcp.analysis.keep_alive || tcp.analysis.spurious_retransmission || tcp.analysis.retransmission))";

/// The packets of a capture in which something is malformed, unsupported, or data without a mapping: a line for each.
/// Checksums are verified. `multipath`: whether all its connections are Multipath TCP.
///
/// # Errors
/// When tshark cannot be started (Debian: apt-get install tshark), or with what it said.
pub fn findings(capture: &Path, multipath: bool) -> io::Result<Vec<String>> {
    let mut bad = BAD.to_vec();
    bad.extend(multipath.then_some(BARE_DATA));
    let output = Command::new("tshark")
        .args(["-o", "mptcp.analyze_mappings:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        // The payload is noise: nobody shall see a protocol in it.
        .args(["-o", "tcp.try_heuristic_first:FALSE", "-d", "tcp.port==1-65535,data"])
        .args(["-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info", "-e", "_ws.expert.message"])
        .args(["-Y", &format!("({}) && !{QUESTION}", bad.join(" || ")), "-r"])
        .arg(capture)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start tshark: {error}")))?;
    if !output.status.success() {
        return Err(io::Error::other(format!("tshark: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.replace('\t', ": ")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of one TCP segment from 10.0.0.1 to 10.0.0.2 with these options (12 bytes), and a byte of data.
    fn capture(name: &str, options: [u8; 12]) -> std::path::PathBuf {
        let mut packet = vec![0x45, 0, 0, 53, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0]);
        packet.extend(options);
        packet.push(b'!');
        // The header of a pcap file, version 2.4, of raw IP (101); then that of a packet.
        let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101, 0, 0, packet.len() as u32, packet.len() as u32];
        let mut file: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        file.extend(packet);
        let path = std::env::temp_dir().join(format!("polypath-tshark-{}-{name}.pcap", std::process::id()));
        std::fs::write(&path, file).unwrap();
        path
    }

    fn found(name: &str, options: [u8; 12], multipath: bool) -> String {
        let path = capture(name, options);
        let found = findings(&path, multipath).unwrap();
        std::fs::remove_file(path).unwrap();
        found.join("\n")
    }

    #[test]
    fn bad_checksums_and_bad_options_are_found() {
        let nops = [1; 12];
        assert!(found("sum", nops, false).contains("Bad checksum"));
        let too_long = [1, 1, 8, 33, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(found("option", too_long, false).contains("option"), "{}", found("option", too_long, false));
    }
}
