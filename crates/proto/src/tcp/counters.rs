//! What one subflow counts.

/// What happened on a subflow so far.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload bytes sent for the first time.
    pub bytes_sent: u64,
    /// Payload bytes received, without duplicates.
    pub bytes_received: u64,
    /// Payload bytes sent again on it.
    pub bytes_retransmitted: u64,
    /// Payload bytes sent on it because another subflow had them and may not deliver them.
    pub bytes_reinjected: u64,
    /// Segments (or super-segments) sent again, whatever for.
    pub retransmits: u64,
    /// Those sent again in fast recovery.
    pub fast_retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Timeouts that turned out to be needless.
    pub spurious_timeouts: u64,
    /// Tail loss probes sent.
    pub loss_probes: u64,
    /// Losses that only a tail loss probe has shown.
    pub loss_probe_recoveries: u64,
    /// Recoveries begun because of SACKs.
    pub sack_recoveries: u64,
    /// Recoveries begun because of duplicate acknowledgements, from a peer without SACK.
    pub reno_recoveries: u64,
    /// Segments that the peer reported to have had already (D-SACK).
    pub duplicates_sent: u64,
    /// Segments received that brought nothing new.
    pub duplicates_received: u64,
    /// Segments received that waited for others before them.
    pub out_of_order: u64,
    /// Segments received with a timestamp from the past (PAWS).
    pub old_timestamps: u64,
    /// Answers to segments that cannot be accepted.
    pub challenge_acks: u64,
    /// Such answers not given, because there had been many.
    pub challenges_skipped: u64,
    /// Zero-window probes, and questions to a silent peer.
    pub window_probes: u64,
    /// Keep-alives sent.
    pub keepalives: u64,
    /// Segments (or super-segments) received.
    pub segments_received: u64,
    /// Segments (or super-segments) sent.
    pub segments_sent: u64,
}

/// Counters while they count: most never move, and take no room until one does.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) segments_sent: u64,
    pub(crate) segments_received: u64,
    /// All others.
    rare: Option<Box<Counters>>,
}

impl Tally {
    /// Those that [`Tally`] itself does not have.
    pub(crate) fn rare(&mut self) -> &mut Counters {
        self.rare.get_or_insert_default()
    }

    /// All of them.
    pub(crate) fn counters(&self) -> Counters {
        let Tally { bytes_sent, bytes_received, segments_sent, segments_received, ref rare } = *self;
        let rare = rare.as_deref().copied().unwrap_or_default();
        Counters { bytes_sent, bytes_received, segments_sent, segments_received, ..rare }
    }
}

impl core::ops::AddAssign for Counters {
    /// Every field: a new one has to be thought of here.
    fn add_assign(&mut self, more: Counters) {
        let Counters {
            bytes_sent,
            bytes_received,
            bytes_retransmitted,
            bytes_reinjected,
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
            segments_received,
            segments_sent,
        } = more;
        self.bytes_sent += bytes_sent;
        self.bytes_received += bytes_received;
        self.bytes_retransmitted += bytes_retransmitted;
        self.bytes_reinjected += bytes_reinjected;
        self.retransmits += retransmits;
        self.fast_retransmits += fast_retransmits;
        self.timeouts += timeouts;
        self.spurious_timeouts += spurious_timeouts;
        self.loss_probes += loss_probes;
        self.loss_probe_recoveries += loss_probe_recoveries;
        self.sack_recoveries += sack_recoveries;
        self.reno_recoveries += reno_recoveries;
        self.duplicates_sent += duplicates_sent;
        self.duplicates_received += duplicates_received;
        self.out_of_order += out_of_order;
        self.old_timestamps += old_timestamps;
        self.challenge_acks += challenge_acks;
        self.challenges_skipped += challenges_skipped;
        self.window_probes += window_probes;
        self.keepalives += keepalives;
        self.segments_received += segments_received;
        self.segments_sent += segments_sent;
    }
}
