//! Packets as one line of text, with sequence numbers relative to their start: those of a subflow to its SYN, those of
//! the connection to the keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use polypath_wire::{
    CapableKeys, Dss, Key, MpCapable, MpJoin, MptcpOption, Segment, SeqNum, TcpFlags, TcpOptions, WireDsn,
};

use crate::packet::Packet;

/// The connections seen so far: what their numbers are relative to.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    /// By source and destination: one entry for each direction of a subflow.
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    connections: Vec<Connection>,
}

#[derive(Copy, Clone, Debug, Default)]
struct Flow {
    isn: Option<SeqNum>,
    connection: Option<(usize, Side)>,
}

/// Which end of a connection sends.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

#[derive(Copy, Clone, Debug, Default)]
struct Connection {
    client: Option<Key>,
    server: Option<Key>,
}

impl Connection {
    fn key(&self, side: Side) -> Option<Key> {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a packet's numbers are relative to.
#[derive(Copy, Clone, Debug, Default)]
struct Bases {
    seq: Option<SeqNum>,
    ack: Option<SeqNum>,
    dsn: Option<u64>,
    data_ack: Option<u64>,
}

impl Conversations {
    /// The packet in one line; learns from handshakes.
    pub(crate) fn describe(&mut self, packet: &Packet) -> String {
        let segment = match packet.segment() {
            Ok(segment) => segment,
            Err(error) => return format!("not TCP: {error}"),
        };
        self.learn(&segment);
        text(&segment, packet.payload.len(), self.bases(&segment))
    }

    fn bases(&self, segment: &Segment) -> Bases {
        let (from, to) = ends(segment);
        let here = self.flows.get(&(from, to)).copied().unwrap_or_default();
        let back = self.flows.get(&(to, from)).copied().unwrap_or_default();
        let idsn = |mirrored: bool| {
            let (index, side) = here.connection?;
            let side = if mirrored { side.other() } else { side };
            self.connections[index].key(side).map(Key::idsn)
        };
        Bases { seq: here.isn, ack: back.isn, dsn: idsn(false), data_ack: idsn(true) }
    }

    fn learn(&mut self, segment: &Segment) {
        let (from, to) = ends(segment);
        if segment.tcp.flags.contains(TcpFlags::SYN) {
            let flow = self.flows.entry((from, to)).or_default();
            if flow.isn != Some(segment.tcp.seq) {
                *flow = Flow { isn: Some(segment.tcp.seq), connection: flow.connection };
            }
        }
        for option in &segment.options.mptcp {
            match option {
                MptcpOption::MpCapable(capable) => self.learn_capable(from, to, capable),
                MptcpOption::MpJoin(MpJoin::Syn { token, .. }) => {
                    let owner = |key: Option<Key>| key.is_some_and(|key| key.token() == *token);
                    let found = self.connections.iter().enumerate().rev().find_map(|(index, connection)| {
                        let side = if owner(connection.server) { Side::Client } else { Side::Server };
                        (owner(connection.server) || owner(connection.client)).then_some((index, side))
                    });
                    self.join(from, to, found);
                }
                _ => {}
            }
        }
    }

    fn learn_capable(&mut self, from: SocketAddr, to: SocketAddr, capable: &MpCapable) {
        let known = self.flows.get(&(from, to)).and_then(|flow| flow.connection);
        match capable.keys {
            CapableKeys::Syn => {
                if known.is_none() {
                    self.connections.push(Connection::default());
                    self.join(from, to, Some((self.connections.len() - 1, Side::Client)));
                }
            }
            CapableKeys::SynAck { sender } => {
                if let Some((index, _)) = known {
                    self.connections[index].server = Some(sender);
                }
            }
            CapableKeys::Ack { sender, receiver } | CapableKeys::Data { sender, receiver, .. } => {
                if let Some((index, _)) = known {
                    self.connections[index] = Connection { client: Some(sender), server: Some(receiver) };
                }
            }
        }
    }

    fn join(&mut self, from: SocketAddr, to: SocketAddr, connection: Option<(usize, Side)>) {
        let back = connection.map(|(index, side)| (index, side.other()));
        self.flows.entry((from, to)).or_default().connection = connection;
        self.flows.entry((to, from)).or_default().connection = back;
    }
}

fn ends(segment: &Segment) -> (SocketAddr, SocketAddr) {
    let from = SocketAddr::new(segment.ip.src, segment.tcp.src_port);
    (from, SocketAddr::new(segment.ip.dst, segment.tcp.dst_port))
}

fn text(segment: &Segment, len: usize, bases: Bases) -> String {
    let (from, to) = ends(segment);
    let mut out = format!("{from} > {to} [{}]", flags(segment.tcp.flags));
    let seq = relative(segment.tcp.seq, bases.seq);
    // Writing into a string cannot fail.
    let _ = write!(out, " seq {seq}");
    if len > 0 {
        let _ = write!(out, "+{len}");
    }
    if segment.tcp.flags.contains(TcpFlags::ACK) {
        let _ = write!(out, " ack {}", relative(segment.tcp.ack, bases.ack));
    }
    let _ = write!(out, " win {}", segment.tcp.window);
    options(&mut out, &segment.options, bases);
    for option in &segment.options.mptcp {
        out.push_str("  ");
        mptcp(&mut out, option, bases);
    }
    out
}

fn flags(flags: TcpFlags) -> String {
    let names = [
        (TcpFlags::SYN, 'S'),
        (TcpFlags::FIN, 'F'),
        (TcpFlags::RST, 'R'),
        (TcpFlags::PSH, 'P'),
        (TcpFlags::URG, 'U'),
        (TcpFlags::ECE, 'E'),
        (TcpFlags::CWR, 'W'),
        (TcpFlags::ACK, '.'),
    ];
    names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect()
}

fn relative(seq: SeqNum, base: Option<SeqNum>) -> u32 {
    base.map_or(seq.0, |base| seq.0.wrapping_sub(base.0))
}

fn options(out: &mut String, options: &TcpOptions, bases: Bases) {
    let mut parts = Vec::new();
    if let Some(mss) = options.mss {
        parts.push(format!("mss {mss}"));
    }
    if options.sack_permitted {
        parts.push("sackOK".to_owned());
    }
    if let Some(scale) = options.window_scale {
        parts.push(format!("ws {scale}"));
    }
    if let Some(timestamps) = options.timestamps {
        parts.push(format!("ts {}/{}", timestamps.val, timestamps.ecr));
    }
    if let Some(cookie) = options.fast_open {
        parts.push(format!("fast open {}", if cookie.is_request() { "request" } else { "cookie" }));
    }
    for block in &options.sack {
        parts.push(format!("sack {}-{}", relative(block.left, bases.ack), relative(block.right, bases.ack)));
    }
    if !options.unknown.is_empty() {
        parts.push(format!("{} unknown", options.unknown.len()));
    }
    if !parts.is_empty() {
        let _ = write!(out, " <{}>", parts.join(","));
    }
}

fn mptcp(out: &mut String, option: &MptcpOption, bases: Bases) {
    let _ = match option {
        MptcpOption::Dss(option) => return dss(out, option, bases),
        MptcpOption::MpCapable(option) => match &option.keys {
            CapableKeys::Syn => write!(out, "MP_CAPABLE v{} {:?}", option.version, option.flags),
            CapableKeys::SynAck { sender } => {
                write!(out, "MP_CAPABLE {:?} key {:016x}", option.flags, sender.0)
            }
            CapableKeys::Ack { sender, receiver } => {
                write!(out, "MP_CAPABLE keys {:016x} {:016x}", sender.0, receiver.0)
            }
            CapableKeys::Data { data_len, checksum, .. } => {
                write!(out, "MP_CAPABLE keys +data {data_len} checksum {checksum:x?}")
            }
        },
        MptcpOption::MpJoin(option) => match option {
            MpJoin::Syn { backup, address_id, token, nonce } => {
                write!(out, "MP_JOIN id {address_id}{} token {:08x} nonce {nonce:08x}", mark(*backup), token.0)
            }
            MpJoin::SynAck { backup, address_id, hmac, nonce } => {
                write!(out, "MP_JOIN id {address_id}{} hmac {hmac:016x} nonce {nonce:08x}", mark(*backup))
            }
            MpJoin::Ack { hmac } => write!(out, "MP_JOIN hmac {:02x}{:02x}..", hmac[0], hmac[1]),
        },
        MptcpOption::AddAddr(option) => {
            let echo = if option.echo { " echo" } else { "" };
            write!(out, "ADD_ADDR{echo} id {} {} port {:?}", option.address_id, option.addr, option.port)
        }
        MptcpOption::RemoveAddr(option) => write!(out, "REMOVE_ADDR {:?}", &option.ids[..]),
        MptcpOption::MpPrio(option) => write!(out, "MP_PRIO{}", mark(option.backup)),
        MptcpOption::MpFail(option) => write!(out, "MP_FAIL dsn {:x}", option.dsn),
        MptcpOption::MpFastclose(_) => write!(out, "MP_FASTCLOSE"),
        MptcpOption::MpTcprst(option) => write!(out, "MP_TCPRST {:?} transient {}", option.reason, option.transient),
    };
}

fn mark(backup: bool) -> &'static str {
    if backup { " backup" } else { "" }
}

fn dss(out: &mut String, dss: &Dss, bases: Bases) {
    out.push_str("DSS");
    if let Some(ack) = dss.data_ack {
        let _ = write!(out, " ack {}", data_number(ack, bases.data_ack));
    }
    if let Some(map) = &dss.mapping {
        let _ = write!(out, " dsn {}+{} at ssn {}", data_number(map.dsn, bases.dsn), map.len, map.ssn);
        if map.len == 0 {
            out.push_str(" INFINITE");
        }
        if let Some(checksum) = map.checksum {
            let _ = write!(out, " checksum {checksum:04x}");
        }
    }
    if dss.data_fin {
        out.push_str(" DATA_FIN");
    }
}

/// Relative to the initial data sequence number, which is 0 then; in hexadecimal if that is not known.
fn data_number(number: WireDsn, idsn: Option<u64>) -> String {
    match (number, idsn) {
        (WireDsn::Short(short), Some(idsn)) => short.wrapping_sub(idsn as u32).to_string(),
        (WireDsn::Long(long), Some(idsn)) => format!("{}L", long.wrapping_sub(idsn)),
        (WireDsn::Short(short), None) => format!("0x{short:08x}"),
        (WireDsn::Long(long), None) => format!("0x{long:016x}L"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use polypath_wire::{CapableFlags, ChecksumMode, DssMapping, Ecn, IpHeader, SackBlock, TcpHeader};

    use super::*;

    const CLIENT: ([u8; 4], u16) = ([10, 1, 0, 2], 40_000);
    const JOINED: ([u8; 4], u16) = ([10, 2, 0, 2], 40_001);
    const SERVER: ([u8; 4], u16) = ([10, 255, 0, 1], 443);
    const CLIENT_KEY: Key = Key(0x1111);
    const SERVER_KEY: Key = Key(0x2222);

    type EndPoint = ([u8; 4], u16);

    fn packet(
        (from, to): (EndPoint, EndPoint),
        flags: TcpFlags,
        (seq, ack): (u32, u32),
        option: Option<MptcpOption>,
        len: usize,
    ) -> Packet {
        let ip = IpHeader { src: from.0.into(), dst: to.0.into(), hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 };
        let (seq, ack) = (SeqNum(seq), SeqNum(ack));
        let tcp = TcpHeader { src_port: from.1, dst_port: to.1, seq, ack, flags, window: 500, urgent: 0 };
        let mut options = TcpOptions::default();
        options.mptcp.extend(option);
        Packet::new(&Segment { ip, tcp, options }, Bytes::from(vec![0; len]), ChecksumMode::Zero)
    }

    fn capable(keys: CapableKeys) -> Option<MptcpOption> {
        Some(MptcpOption::MpCapable(MpCapable { version: 1, flags: CapableFlags::HMAC_SHA256, keys }))
    }

    fn map(dsn: WireDsn, ack: WireDsn) -> Option<MptcpOption> {
        let mapping = Some(DssMapping { dsn, ssn: 1, len: 100, checksum: None });
        Some(MptcpOption::Dss(Dss { data_ack: Some(ack), mapping, data_fin: false }))
    }

    /// A log that has seen the first subflow's handshake: initial sequence numbers 1,000 and 5,000.
    fn after_handshake() -> Conversations {
        let mut log = Conversations::default();
        let (up, down) = ((CLIENT, SERVER), (SERVER, CLIENT));
        log.describe(&packet(up, TcpFlags::SYN, (1_000, 0), capable(CapableKeys::Syn), 0));
        let answer = capable(CapableKeys::SynAck { sender: SERVER_KEY });
        log.describe(&packet(down, TcpFlags::SYN | TcpFlags::ACK, (5_000, 1_001), answer, 0));
        let keys = capable(CapableKeys::Ack { sender: CLIENT_KEY, receiver: SERVER_KEY });
        log.describe(&packet(up, TcpFlags::ACK, (1_001, 5_001), keys, 0));
        log
    }

    #[test]
    fn numbers_count_from_the_handshake() {
        let mut log = after_handshake();
        let dsn = WireDsn::Short(CLIENT_KEY.idsn().wrapping_add(301) as u32);
        let ack = WireDsn::Long(SERVER_KEY.idsn().wrapping_add(1));
        let data = packet((CLIENT, SERVER), TcpFlags::ACK | TcpFlags::PSH, (1_301, 5_001), map(dsn, ack), 100);
        assert_eq!(
            log.describe(&data),
            "10.1.0.2:40000 > 10.255.0.1:443 [P.] seq 301+100 ack 1 win 500  DSS ack 1L dsn 301+100 at ssn 1"
        );
    }

    #[test]
    fn a_joined_subflow_counts_data_from_the_keys_of_its_connection() {
        let mut log = after_handshake();
        let join = MpJoin::Syn { backup: false, address_id: 2, token: SERVER_KEY.token(), nonce: 7 };
        log.describe(&packet((JOINED, SERVER), TcpFlags::SYN, (9_000, 0), Some(MptcpOption::MpJoin(join)), 0));
        let dsn = WireDsn::Short(SERVER_KEY.idsn().wrapping_add(1) as u32);
        let ack = WireDsn::Short(CLIENT_KEY.idsn().wrapping_add(401) as u32);
        let text = log.describe(&packet((SERVER, JOINED), TcpFlags::ACK, (77, 9_001), map(dsn, ack), 0));
        assert!(text.ends_with("seq 77 ack 1 win 500  DSS ack 401 dsn 1+100 at ssn 1"), "{text}");
    }

    #[test]
    fn without_a_handshake_numbers_stay_as_they_are() {
        let mut log = Conversations::default();
        let mut segment = packet((CLIENT, SERVER), TcpFlags::ACK, (10, 20), None, 0).segment().unwrap();
        segment.options.sack.push(SackBlock { left: SeqNum(30), right: SeqNum(40) });
        segment.options.mptcp.push(MptcpOption::Dss(Dss {
            data_ack: Some(WireDsn::Short(0xabc)),
            mapping: None,
            data_fin: false,
        }));
        let text = log.describe(&Packet::new(&segment, Bytes::new(), ChecksumMode::Zero));
        assert!(text.ends_with("[.] seq 10 ack 20 win 500 <sack 30-40>  DSS ack 0x00000abc"), "{text}");
    }
}
