//! What the kernel tells of a connection, in its layouts: `TCP_INFO` and the options of `SOL_MPTCP`.

pub(crate) mod mptcp;
pub(crate) mod tcp;

use std::time::Duration;

use polypath_proto::Instant;

/// A structure of the kernel's, being filled in at offsets. What lies beyond its end is left out: an older kernel has
/// shorter ones.
#[derive(Clone, Debug)]
pub(crate) struct Layout(Vec<u8>);

impl Layout {
    /// All zeros.
    fn new(len: usize) -> Layout {
        Layout(vec![0; len])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn put_u8(&mut self, at: usize, value: u8) {
        self.put(at, &[value]);
    }

    /// The largest number that has room where it is too large.
    fn put_u16(&mut self, at: usize, value: u64) {
        self.put(at, &u16::try_from(value).unwrap_or(u16::MAX).to_ne_bytes());
    }

    /// See [`put_u16`](Self::put_u16).
    fn put_u32(&mut self, at: usize, value: u64) {
        self.put(at, &u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes());
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_ne_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since `then`.
fn millis_since(now: Instant, then: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(then).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod sample {
    //! A connection as the stack would tell it.

    use super::*;
    use crate::network::Look;
    use polypath_proto::congestion::LossState;
    use polypath_proto::{
        ConnectionInfo, Counters, MultipathState, Role, SessionInfo, State, SubflowId, SubflowInfo, TcpInfo,
    };

    fn subflow(id: u16, local: &str) -> SubflowInfo {
        let millis = Duration::from_millis;
        let counters = Counters {
            bytes_sent: 10_000,
            bytes_received: 500,
            bytes_retransmitted: 1_400,
            retransmits: 1,
            timeouts: 1,
            segments_sent: 20,
            segments_received: 18,
            out_of_order: 3,
            ..Counters::default()
        };
        SubflowInfo {
            id: SubflowId(id),
            local: local.parse().unwrap(),
            remote: "192.0.2.9:80".parse().unwrap(),
            name: None,
            state: State::Established,
            address_ids: (id as u8, 0),
            backup: false,
            stalled: false,
            srtt: Some(millis(30)),
            ecn: true,
            path_mtu: 1500,
            cwnd: 14_480,
            ssthresh: None,
            in_flight: 2_896,
            delivery_rate: Some(1_000_000),
            bytes_sent: 10_000,
            bytes_received: 500,
            retransmits: 1,
            counters,
            tcp: TcpInfo {
                loss_state: LossState::Recovery,
                backoff: 2,
                timestamps: true,
                sack: true,
                window_scales: Some((7, 9)),
                syn_data: false,
                rto: millis(230),
                rttvar: millis(5),
                min_rtt: Some(millis(20)),
                rcv_rtt: None,
                mss: 1_448,
                advertised_mss: 1_460,
                outstanding: 2_896,
                sacked: 1_448,
                lost: 1_448,
                delivered: 7_104,
                app_limited: true,
                send_window: 65_536,
                pacing_rate: None,
                last_data_sent: Instant::from_millis(9_000),
                last_data_received: Some(Instant::from_millis(8_000)),
                last_received: Instant::from_millis(9_500),
            },
        }
    }

    pub(crate) fn look() -> Look {
        let counters = Counters {
            retransmits: 7,
            bytes_sent: 30_000,
            bytes_retransmitted: 9_000,
            segments_sent: 50,
            segments_received: 40,
            ..Counters::default()
        };
        let busy = SubflowInfo { bytes_sent: 20_000, ..subflow(1, "10.2.0.1:50001") };
        let info = ConnectionInfo {
            role: Role::Client,
            orphaned: false,
            local: "10.1.0.1:50000".parse().unwrap(),
            remote: "192.0.2.9:80".parse().unwrap(),
            multipath: MultipathState::Active,
            subflows: vec![subflow(0, "10.1.0.1:50000"), busy],
            bytes_acked: 25_000,
            bytes_sent: 28_000,
            bytes_received: 1_000,
            bytes_reinjected: 0,
            counters,
            send_queue: 5_000,
            recv_queue: 0,
            recv_buffer: 1 << 17,
            congestion: "cubic",
            scheduler: "default",
            max_subflows: 8,
            session: Some(SessionInfo {
                local_token: 0x0102_0304,
                remote_token: 0x0506_0708,
                confirmed: true,
                checksum: true,
                snd_nxt: 0x1111_2222_3333_4444,
                snd_una: 0x1111_2222_3333_0000,
                rcv_nxt: 0x5555_6666_7777_8888,
                announced: (1, 2),
            }),
            soft_error: None,
        };
        Look { now: Instant::from_millis(10_000), info }
    }
}
