//! What a stack counts, by the names that Linux's `nstat` gives the same things.
//!
//! TCP's own counters are those of RFC 4022; the `TcpExt` and `MPTcpExt` groups are Linux's. A super-segment (the
//! product or the raw material of segmentation offload) counts as one segment.

use crate::tcp::Counters;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One of the things that are counted.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            /// Every counter, in the order of `nstat`.
            pub const ALL: &'static [Counter] = &[$(Counter::$name,)*];

            /// As `nstat` has it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$name => stringify!($name),)*
                }
            }
        }
    };
}

counters! {
    /// Connections and subflows opened from here.
    TcpActiveOpens,
    /// SYNs answered with a SYN/ACK.
    TcpPassiveOpens,
    /// Handshakes that came to nothing.
    TcpAttemptFails,
    /// Established subflows that a reset ended, whichever end sent it.
    TcpEstabResets,
    /// Segments received, those for nobody included.
    TcpInSegs,
    /// Segments sent, without retransmissions.
    TcpOutSegs,
    /// Segments sent again.
    TcpRetransSegs,
    /// Packets that cannot be read as TCP.
    TcpInErrs,
    /// Resets sent.
    TcpOutRsts,
    /// Packets with a wrong checksum.
    TcpInCsumErrors,
    /// SYNs not answered because a backlog was full.
    TcpExtListenOverflows,
    /// SYNs answered with a cookie.
    TcpExtSyncookiesSent,
    /// Cookies that came back.
    TcpExtSyncookiesRecv,
    /// Connections whose data went with the SYN and was taken (RFC 7413).
    TcpExtTCPFastOpenActive,
    /// Those whose data was not taken, or whose SYN had to be sent again without.
    TcpExtTCPFastOpenActiveFail,
    /// Connections that came with data in the SYN.
    TcpExtTCPFastOpenPassive,
    /// SYNs with data and a cookie that is not good.
    TcpExtTCPFastOpenPassiveFail,
    /// SYNs whose data was not taken because too many such handshakes were under way.
    TcpExtTCPFastOpenListenOverflow,
    /// SYNs that ask for a Fast Open cookie, sent or received.
    TcpExtTCPFastOpenCookieReqd,
    /// Paths on which Fast Open is left out because such SYNs went unanswered.
    TcpExtTCPFastOpenBlackhole,
    /// Segments with a timestamp from the past (RFC 7323, section 5).
    TcpExtPAWSEstab,
    /// Recoveries begun because of SACKs (RFC 8985).
    TcpExtTCPSackRecovery,
    /// Recoveries begun because of duplicate acknowledgements (RFC 6582).
    TcpExtTCPRenoRecovery,
    /// Segments sent again in fast recovery.
    TcpExtTCPFastRetrans,
    /// Segments sent again after a timeout.
    TcpExtTCPSlowStartRetrans,
    /// Retransmission timeouts.
    TcpExtTCPTimeouts,
    /// Timeouts that turned out to be needless (RFC 4015).
    TcpExtTCPSpuriousRTOs,
    /// Tail loss probes sent.
    TcpExtTCPLossProbes,
    /// Losses that only a tail loss probe has shown (RFC 8985, section 7.4).
    TcpExtTCPLossProbeRecovery,
    /// Duplicates reported to the peer (RFC 2883).
    TcpExtTCPDSACKOldSent,
    /// Duplicates that the peer reported.
    TcpExtTCPDSACKRecv,
    /// Segments that waited for others before them on their subflow.
    TcpExtTCPOFOQueue,
    /// Answers to segments that cannot be accepted (RFC 5961).
    TcpExtTCPChallengeACK,
    /// Zero-window probes and questions to a silent peer.
    TcpExtTCPWinProbe,
    /// Keep-alives sent.
    TcpExtTCPKeepAlive,
    /// Connections given up because nobody answered.
    TcpExtTCPAbortOnTimeout,
    /// Challenges not sent, because there had been many (RFC 5961, section 7).
    TcpExtTCPACKSkippedChallenge,
    /// Probes of the path MTU that were lost (RFC 4821).
    TcpExtTCPMTUPFail,
    /// Those that passed.
    TcpExtTCPMTUPSuccess,
    /// Packets received whose sender does not use ECN.
    IpExtInNoECTPkts,
    /// Those marked ECT(1).
    IpExtInECT1Pkts,
    /// Those marked ECT(0).
    IpExtInECT0Pkts,
    /// Those that a router has marked: congestion experienced.
    IpExtInCEPkts,
    /// SYNs with MP_CAPABLE received.
    MPTcpExtMPCapableSYNRX,
    /// SYNs with MP_CAPABLE sent, each connection once.
    MPTcpExtMPCapableSYNTX,
    /// SYN/ACKs with a usable MP_CAPABLE received.
    MPTcpExtMPCapableSYNACKRX,
    /// Third ACKs with the right MP_CAPABLE received.
    MPTcpExtMPCapableACKRX,
    /// Third ACKs without: plain TCP from there on.
    MPTcpExtMPCapableFallbackACK,
    /// SYN/ACKs without a usable MP_CAPABLE: plain TCP from there on.
    MPTcpExtMPCapableFallbackSYNACK,
    /// Connections whose SYNs with MP_CAPABLE went unanswered: tried as plain TCP.
    MPTcpExtMPCapableSYNTXDrop,
    /// Connections opened as plain TCP because the path is known to drop SYNs with MP_CAPABLE.
    MPTcpExtMPCapableSYNTXDisabled,
    /// Paths found to drop SYNs with MP_CAPABLE.
    MPTcpExtBlackhole,
    /// Pieces of data sent once more on another subflow.
    MPTcpExtMPTCPRetrans,
    /// Joins with a token of no connection.
    MPTcpExtMPJoinNoTokenFound,
    /// SYNs with MP_JOIN received.
    MPTcpExtMPJoinSynRx,
    /// Those that asked for a backup.
    MPTcpExtMPJoinSynBackupRx,
    /// SYN/ACKs with MP_JOIN received.
    MPTcpExtMPJoinSynAckRx,
    /// Those that asked for a backup.
    MPTcpExtMPJoinSynAckBackupRx,
    /// SYN/ACKs whose HMAC was wrong.
    MPTcpExtMPJoinSynAckHMacFailure,
    /// Third ACKs with MP_JOIN received.
    MPTcpExtMPJoinAckRx,
    /// Third ACKs whose HMAC was wrong.
    MPTcpExtMPJoinAckHMacFailure,
    /// Joins refused: too many subflows, or the connection takes none now.
    MPTcpExtMPJoinRejected,
    /// SYNs with MP_JOIN sent, each subflow once.
    MPTcpExtMPJoinSynTx,
    /// Infinite mappings sent: plain TCP from there on.
    MPTcpExtInfiniteMapTx,
    /// Infinite mappings received.
    MPTcpExtInfiniteMapRx,
    /// Mappings whose data did not match the checksum.
    MPTcpExtDataCsumErr,
    /// Mappings that contradict earlier ones.
    MPTcpExtDSSNotMatching,
    /// Data in order on its subflow, and without a mapping.
    MPTcpExtDSSNoMatchTCP,
    /// Pieces of data that waited for others before them.
    MPTcpExtOFOQueue,
    /// Pieces of data that had come already.
    MPTcpExtDuplicateData,
    /// ADD_ADDRs received.
    MPTcpExtAddAddr,
    /// ADD_ADDRs sent.
    MPTcpExtAddAddrTx,
    /// Echoes of ADD_ADDR received.
    MPTcpExtEchoAdd,
    /// Echoes of ADD_ADDR sent.
    MPTcpExtEchoAddTx,
    /// ADD_ADDRs with a port received.
    MPTcpExtPortAdd,
    /// ADD_ADDRs of no use: a wrong HMAC, or too many.
    MPTcpExtAddAddrDrop,
    /// REMOVE_ADDRs received.
    MPTcpExtRmAddr,
    /// REMOVE_ADDRs sent.
    MPTcpExtRmAddrTx,
    /// Subflows that ended because an address was taken away.
    MPTcpExtRmSubflow,
    /// MP_PRIOs sent.
    MPTcpExtMPPrioTx,
    /// MP_PRIOs received.
    MPTcpExtMPPrioRx,
    /// MP_FAILs sent.
    MPTcpExtMPFailTx,
    /// MP_FAILs received.
    MPTcpExtMPFailRx,
    /// MP_FASTCLOSEs sent.
    MPTcpExtMPFastcloseTx,
    /// MP_FASTCLOSEs received.
    MPTcpExtMPFastcloseRx,
    /// Resets with MP_TCPRST sent.
    MPTcpExtMPRstTx,
    /// Resets with MP_TCPRST received.
    MPTcpExtMPRstRx,
    /// Subflows that fell silent.
    MPTcpExtSubflowStale,
    /// Those that were heard of again.
    MPTcpExtSubflowRecover,
    /// Connections that fell back because DSS options are removed on the way.
    MPTcpExtDssFallback,
    /// Connections that fell back because both ends opened them at once.
    MPTcpExtSimultConnectFallback,
}

/// The values of all counters.
#[derive(Clone, PartialEq, Eq)]
pub struct Mib {
    values: [u64; Counter::ALL.len()],
}

impl Default for Mib {
    fn default() -> Self {
        Mib { values: [0; Counter::ALL.len()] }
    }
}

impl Mib {
    /// How often it happened.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// Every counter and its value, in the order of `nstat`.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.iter().map(|counter| (*counter, self.get(*counter)))
    }

    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    fn add(&mut self, counter: Counter, more: u64) {
        self.values[counter as usize] += more;
    }

    /// Adds what one subflow has counted. Every field: a new one has to be thought of here.
    pub(crate) fn add_subflow(&mut self, counters: &Counters) {
        let Counters {
            bytes_sent: _,
            bytes_received: _,
            bytes_retransmitted: _,
            bytes_reinjected: _,
            retransmits,
            fast_retransmits,
            timeouts,
            spurious_timeouts,
            loss_probes,
            loss_probe_recoveries,
            sack_recoveries,
            reno_recoveries,
            duplicates_sent,
            duplicates_received,
            out_of_order,
            old_timestamps,
            challenge_acks,
            challenges_skipped,
            window_probes,
            keepalives,
            segments_received: _,
            segments_sent,
        } = *counters;
        use Counter as C;
        self.add(C::TcpOutSegs, segments_sent.saturating_sub(retransmits));
        self.add(C::TcpRetransSegs, retransmits);
        self.add(C::TcpExtPAWSEstab, old_timestamps);
        self.add(C::TcpExtTCPSackRecovery, sack_recoveries);
        self.add(C::TcpExtTCPRenoRecovery, reno_recoveries);
        self.add(C::TcpExtTCPFastRetrans, fast_retransmits);
        self.add(C::TcpExtTCPSlowStartRetrans, retransmits.saturating_sub(fast_retransmits + loss_probes));
        self.add(C::TcpExtTCPTimeouts, timeouts);
        self.add(C::TcpExtTCPSpuriousRTOs, spurious_timeouts);
        self.add(C::TcpExtTCPLossProbes, loss_probes);
        self.add(C::TcpExtTCPLossProbeRecovery, loss_probe_recoveries);
        self.add(C::TcpExtTCPDSACKOldSent, duplicates_received);
        self.add(C::TcpExtTCPDSACKRecv, duplicates_sent);
        self.add(C::TcpExtTCPOFOQueue, out_of_order);
        self.add(C::TcpExtTCPChallengeACK, challenge_acks);
        self.add(C::TcpExtTCPWinProbe, window_probes);
        self.add(C::TcpExtTCPKeepAlive, keepalives);
        self.add(C::TcpExtTCPACKSkippedChallenge, challenges_skipped);
    }
}

impl core::fmt::Debug for Mib {
    /// As `nstat` without `-z`: what happened at all.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, value)| *value > 0).map(|(c, value)| (c.name(), value))).finish()
    }
}
