//! Whether a packet is the one that was expected, and what it is if not.

use super::*;

impl Script {
    /// A packet with relative numbers, for people.
    pub(crate) fn describe(&self, packet: &Packet) -> String {
        let isn = self.flow_of(packet).and_then(|f| self.flows[f].stack_isn).unwrap_or(SeqNum(0));
        let tcp = &packet.seg.tcp;
        let mut text = format!(
            "{:?} {}:{} > {}:{} {:?} seq {} len {} win {}",
            packet.at,
            packet.seg.ip.src,
            tcp.src_port,
            packet.seg.ip.dst,
            tcp.dst_port,
            tcp.flags,
            tcp.seq.wrapping_sub(isn.0).0,
            packet.payload.len(),
            tcp.window,
        );
        if tcp.flags.contains(TcpFlags::ACK) {
            let _ = write!(text, " ack {}", tcp.ack.wrapping_sub(PEER_ISN).0);
        }
        for option in &packet.seg.options.mptcp {
            let _ = write!(text, " {}", self.describe_option(option));
        }
        if !packet.seg.options.sack.is_empty() {
            let _ = write!(text, " sack {:?}", self.sack_of(packet));
        }
        text
    }

    pub(super) fn describe_option(&self, option: &MptcpOption) -> String {
        let MptcpOption::Dss(dss) = option else { return format!("{option:?}") };
        let relative = |n: WireDsn, idsn: u64| match n {
            WireDsn::Short(n) => n.wrapping_sub(idsn as u32) as u64,
            WireDsn::Long(n) => n.wrapping_sub(idsn),
        };
        let ack = dss.data_ack.map(|n| relative(n, PEER_KEY.idsn()));
        let map = dss.mapping.map(|m| (relative(m.dsn, self.stack_key().idsn()), m.ssn, m.len));
        format!("DSS(ack {ack:?} map {map:?} fin {})", dss.data_fin)
    }

    /// SACK blocks of a packet of the stack, relative.
    pub(crate) fn sack_of(&self, packet: &Packet) -> Vec<(u32, u32)> {
        let relative = |n: SeqNum| n.wrapping_sub(PEER_ISN).0;
        packet.seg.options.sack.iter().map(|b| (relative(b.left), relative(b.right))).collect()
    }

    pub(super) fn matches(&self, packet: &Packet, pattern: &Seg) -> Verdict {
        let tcp = &packet.seg.tcp;
        let isn = self.flows[self.current].stack_isn.unwrap_or(SeqNum(0));
        if tcp.flags - TcpFlags::PSH != pattern.flags - TcpFlags::PSH {
            return Err(format!("flags are {:?}, not {:?}", tcp.flags, pattern.flags));
        }
        let check = |what: &str, got: u32, wanted: Option<u32>| match wanted {
            Some(wanted) if wanted != got => Err(format!("{what} is {got}, not {wanted}")),
            _ => Ok(()),
        };
        check("seq", tcp.seq.wrapping_sub(isn.0).0, pattern.seq)?;
        if tcp.flags.contains(TcpFlags::ACK) {
            check("ack", tcp.ack.wrapping_sub(PEER_ISN).0, pattern.ack)?;
        }
        check("length", packet.payload.len() as u32, pattern.len.map(|l| l as u32))?;
        check("window", u32::from(tcp.window), pattern.window.map(u32::from))?;
        if let Some(cookie) = pattern.fast_open.filter(|cookie| packet.seg.options.fast_open != Some(*cookie)) {
            return Err(format!("its Fast Open option is {:?}, not {cookie:?}", packet.seg.options.fast_open));
        }
        if let Some(ecn) = pattern.ecn.filter(|ecn| *ecn != packet.seg.ip.ecn) {
            return Err(format!("it is marked {:?}, not {ecn:?}", packet.seg.ip.ecn));
        }
        if let Some(bytes) = pattern.payload.as_ref().filter(|bytes| ***bytes != *packet.payload) {
            return Err(format!("the payload is {:?}, not {bytes:?}", packet.payload));
        }
        if let Some(sack) = pattern.sack.as_ref().filter(|sack| **sack != self.sack_of(packet)) {
            return Err(format!("SACK is {:?}, not {sack:?}", self.sack_of(packet)));
        }
        if let Mptcp::Exactly(opts) = &pattern.mptcp {
            let wanted: Vec<MptcpOption> = opts.iter().map(|o| self.wire_option(o, false)).collect();
            if wanted[..] != packet.seg.options.mptcp[..] {
                return Err(format!("MPTCP options are {:?}, not {opts:?}", packet.seg.options.mptcp));
            }
        }
        Ok(())
    }
}
