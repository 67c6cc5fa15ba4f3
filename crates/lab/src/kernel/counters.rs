//! The kernel's own account of Multipath TCP: `MPTcpExt` in `/proc/net/netstat`.

use std::collections::BTreeMap;
use std::io;

use crate::namespace::Namespace;

/// The MPTcpExt counters of a namespace, by their names in the kernel (`MPJoinSynRx`, …). Empty where the kernel has
/// no MPTCP.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MptcpCounters(BTreeMap<String, i64>);

impl MptcpCounters {
    /// Reads them.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn read(namespace: &Namespace) -> io::Result<Self> {
        Ok(Self::parse(&namespace.read_file("/proc/thread-self/net/netstat")?))
    }

    /// Two lines of each group: `MPTcpExt: Name …`, then `MPTcpExt: 0 …`.
    fn parse(netstat: &str) -> Self {
        let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("MPTcpExt:"));
        let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let values = values.split_whitespace().map(|value| value.parse().unwrap_or(0));
        Self(names.split_whitespace().map(String::from).zip(values).collect())
    }

    /// What moved since `earlier`, without those that did not. A gauge such as `MPCurrEstab` can have fallen.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let moved = |(name, value): (&String, &i64)| (name.clone(), value - earlier.get(name));
        Self(self.0.iter().map(moved).filter(|&(_, change)| change != 0).collect())
    }

    /// A counter by its name; 0 where the kernel has none of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The sum of all whose name `wanted` accepts.
    #[must_use]
    pub fn sum(&self, mut wanted: impl FnMut(&str) -> bool) -> i64 {
        self.0.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| value).sum()
    }

    /// Connections and joins that fell back to plain TCP.
    #[must_use]
    pub fn fallbacks(&self) -> i64 {
        // Infinite mappings are how a fallback within a connection looks on the wire (RFC 8684 section 3.7).
        self.sum(|name| name.contains("Fallback") || name.starts_with("InfiniteMap"))
    }

    /// Joins refused because their HMAC was wrong (RFC 8684 section 3.2).
    #[must_use]
    pub fn hmac_failures(&self) -> i64 {
        self.sum(|name| name.ends_with("HMacFailure"))
    }

    /// Data whose mapping contradicted an earlier one, was missing, or failed its checksum (RFC 8684 section 3.3).
    #[must_use]
    pub fn mapping_mismatches(&self) -> i64 {
        let names = ["DSSNotMatching", "DSSNoMatchTCP", "DSSCorruptionFallback", "DSSCorruptionReset", "DataCsumErr"];
        self.sum(|name| names.contains(&name))
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moved_is_shown() {
        let names = "TcpExt: A B\nTcpExt: 1 2\nMPTcpExt: MPJoinSynRx DSSNotMatching MPCurrEstab\n";
        let before = MptcpCounters::parse(&format!("{names}MPTcpExt: 3 0 1\n"));
        let after = MptcpCounters::parse(&format!("{names}MPTcpExt: 5 0 0\n"));
        let moved = after.since(&before);
        assert_eq!(moved.iter().collect::<Vec<_>>(), [("MPCurrEstab", -1), ("MPJoinSynRx", 2)]);
        assert_eq!(moved.mapping_mismatches(), 0);
    }

    #[test]
    fn a_kernel_without_mptcp_has_none() {
        assert!(MptcpCounters::parse("TcpExt: A B\nTcpExt: 1 2\n").is_empty());
    }
}
