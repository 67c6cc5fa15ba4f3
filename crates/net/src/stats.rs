//! What passed through the device.

/// Counters of a host's TUN device since its start.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DeviceStats {
    /// Packets read from the device.
    pub packets_read: u64,
    /// Bytes of IP packets read.
    pub bytes_read: u64,
    /// Packets read that were longer than one wire segment, merged by the kernel.
    pub super_packets_read: u64,
    /// Packets read that were no TCP packets, or broken ones.
    pub ignored: u64,
    /// Packets written to the device.
    pub packets_written: u64,
    /// Bytes of IP packets written.
    pub bytes_written: u64,
    /// Packets written for the kernel to cut into wire segments.
    pub super_packets_written: u64,
    /// How often the device was full and the stack had to wait.
    pub device_full: u64,
    /// Packets that the kernel refused; to the stack they are lost ones.
    pub write_errors: u64,
}

impl DeviceStats {
    pub(crate) fn count_read(&mut self, len: usize, super_packet: bool) {
        self.packets_read += 1;
        self.bytes_read += len as u64;
        self.super_packets_read += u64::from(super_packet);
    }

    pub(crate) fn count_written(&mut self, len: usize, super_packet: bool) {
        self.packets_written += 1;
        self.bytes_written += len as u64;
        self.super_packets_written += u64::from(super_packet);
    }
}
