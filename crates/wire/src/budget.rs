//! Who gets into the 40 bytes of options.
//!
//! The one place that decides it. Worth knowing, with timestamps (12 bytes):
//!
//! | options | bytes | SACK blocks beside them |
//! |---|---|---|
//! | DSS with 32-bit DATA_ACK | 20 | 2 |
//! | DSS with 64-bit DATA_ACK | 24 | 1 |
//! | DSS with 32-bit DATA_ACK and mapping | 32 | 0 |
//! | DSS with 64-bit DATA_ACK, mapping and checksum | 40 | 0 |
//! | ADD_ADDR of IPv6 with port | 44 | does not fit: goes without timestamps |

use crate::mptcp::MptcpOption;
use crate::options::{FastOpenCookie, MAX_OPTIONS_LEN, SackBlock, TcpOptions, Timestamps};

/// What only a SYN or SYN/ACK carries.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SynOptions {
    /// Maximum segment size in bytes.
    pub mss: Option<u16>,
    /// Window scale, the shift count, 0 to 14.
    pub window_scale: Option<u8>,
    /// SACK may be used towards the sender.
    pub sack_permitted: bool,
    /// A Fast Open cookie, or the request for one. Beside MP_CAPABLE and timestamps there is room for 14 bytes of
    /// cookie in a SYN and for 6 in a SYN/ACK.
    pub fast_open: Option<FastOpenCookie>,
}

/// What a segment would like to carry.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Options of the handshake, in a SYN or SYN/ACK.
    pub handshake: Option<SynOptions>,
    /// Timestamps, if negotiated.
    pub timestamps: Option<Timestamps>,
    /// What the segment is about: DSS, MP_CAPABLE, MP_JOIN, MP_FASTCLOSE or MP_TCPRST. It always goes.
    pub mptcp: Option<MptcpOption>,
    /// ADD_ADDR, REMOVE_ADDR, MP_PRIO and MP_FAIL that wait to be sent, or the MP_TCPRST beside an
    /// MP_FASTCLOSE: as many as fit, in this order.
    pub signals: &'a [MptcpOption],
    /// Blocks to acknowledge selectively, most important first: as many as are left room for.
    pub sack: &'a [SackBlock],
    /// The segment will be segmented later, which copies its options into every piece: `mptcp` and
    /// timestamps only.
    pub super_segment: bool,
}

/// What the segment does carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fitted {
    /// The options; never more than 40 bytes.
    pub options: TcpOptions,
    /// How many of the wanted signals are among them, counted from the first.
    pub signals_sent: usize,
}

/// Decides which of the wanted options go into a segment.
///
/// In order of precedence: [`mptcp`](Wanted::mptcp); the handshake's options; timestamps; the Fast Open cookie; signals;
/// SACK.
/// An ADD_ADDR (or its echo) wants a pure ACK of its own without DSS, as Linux sends it: it waits unless it
/// is the first signal and `mptcp` is `None`, then no other signal goes with it, and timestamps give way if
/// they must. To get one out, therefore, ask for a pure ACK without `mptcp`.
#[must_use]
pub fn fit(wanted: &Wanted<'_>) -> Fitted {
    let Wanted { handshake, timestamps, mptcp, signals, sack, super_segment } = wanted;
    let mut options = TcpOptions::default();
    if let Some(mptcp) = mptcp {
        options.mptcp.push(mptcp.clone());
    }
    if let Some(handshake) = handshake {
        add_handshake(&mut options, handshake);
    }
    options.timestamps = *timestamps;
    if options.aligned_len() > MAX_OPTIONS_LEN {
        options.timestamps = None;
    }
    // [8684-B-3]
    options.fast_open = handshake.and_then(|handshake| handshake.fast_open);
    if options.aligned_len() > MAX_OPTIONS_LEN {
        options.fast_open = None;
    }
    if *super_segment {
        return Fitted { options, signals_sent: 0 };
    }
    let signals_sent = add_signals(&mut options, signals);
    let left = MAX_OPTIONS_LEN.saturating_sub(options.aligned_len());
    // Two NOPs, kind and length, then eight bytes for each block. [2018-4-3]
    let blocks = left.saturating_sub(4) / 8;
    options.sack = sack.iter().copied().take(blocks.min(4)).collect();
    Fitted { options, signals_sent }
}

/// Adds what fits; every real combination of `mptcp` and handshake does.
fn add_handshake(options: &mut TcpOptions, handshake: &SynOptions) {
    let SynOptions { mss, window_scale, sack_permitted, fast_open: _ } = *handshake;
    options.mss = mss;
    if options.aligned_len() > MAX_OPTIONS_LEN {
        options.mss = None;
    }
    options.window_scale = window_scale;
    if options.aligned_len() > MAX_OPTIONS_LEN {
        options.window_scale = None;
    }
    // [2018-2-1]
    options.sack_permitted = sack_permitted;
    if options.aligned_len() > MAX_OPTIONS_LEN {
        options.sack_permitted = false;
    }
}

/// Adds signals until one does not fit; returns how many went in.
fn add_signals(options: &mut TcpOptions, signals: &[MptcpOption]) -> usize {
    if let [first @ MptcpOption::AddAddr(_), ..] = signals {
        return usize::from(options.mptcp.is_empty() && add_alone(options, first));
    }
    let mut sent = 0;
    for signal in signals {
        let fits = options.aligned_len() + signal.wire_len().next_multiple_of(4) <= MAX_OPTIONS_LEN;
        if matches!(signal, MptcpOption::AddAddr(_)) || !fits || options.mptcp.is_full() {
            break;
        }
        options.mptcp.push(signal.clone());
        sent += 1;
    }
    sent
}

/// Adds an ADD_ADDR, in place of the timestamps if there is no room for both.
fn add_alone(options: &mut TcpOptions, add_addr: &MptcpOption) -> bool {
    let timestamps = options.timestamps;
    options.mptcp.push(add_addr.clone());
    if options.aligned_len() > MAX_OPTIONS_LEN {
        // [7323-3.2-2]
        options.timestamps = None;
    }
    let fits = options.aligned_len() <= MAX_OPTIONS_LEN;
    if !fits {
        options.mptcp.pop();
        options.timestamps = timestamps;
    }
    fits
}
