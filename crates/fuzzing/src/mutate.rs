//! Alters a segment as somebody on the path could, who knows the keys.

use crate::choices::Choices;
use crate::world::{Packet, client_address, server_address};
use bytes::Bytes;
use polypath_wire::{
    AddAddr, CapableFlags, CapableKeys, Dss, DssMapping, Ecn, Key, MAX_OPTIONS_LEN, MpCapable, MpFail, MpFastclose,
    MpJoin, MpPrio, MpTcprst, MptcpOption, RemoveAddr, ResetReason, SackBlock, TcpFlags, Timestamps, Token, WireDsn,
    add_addr_hmac, join_ack_hmac, join_synack_hmac,
};

/// Longest payload: what an IP packet can hold next to all headers.
const MAX_PAYLOAD: usize = 65_000;

/// Changes one thing. `keys` are those of the client and the server.
pub(crate) fn mutate(packet: &mut Packet, keys: [Key; 2], choices: &mut Choices<'_>) {
    let Packet { seg, payload, .. } = packet;
    let tcp = &mut seg.tcp;
    match choices.below(20) {
        0 => tcp.seq = tcp.seq.wrapping_add(choices.offset()),
        1 => tcp.ack = tcp.ack.wrapping_add(choices.offset()),
        2 => tcp.flags ^= TcpFlags::from_bits_retain(1 << (choices.byte() & 7)),
        3 => tcp.flags = TcpFlags::from_bits_retain(choices.byte()),
        4 => tcp.window = if choices.flag() { 0 } else { choices.u16() },
        5 => payload.truncate(usize::from(choices.u16()) % (payload.len() + 1)),
        6 => *payload = longer(payload, choices),
        7 => *payload = altered(payload, choices),
        8 => payload.clear(),
        9 => seg.options.mptcp.clear(),
        10 => seg.options.timestamps = timestamps(seg.options.timestamps, choices),
        11 => {
            let left = seg.tcp.ack.wrapping_add(choices.offset());
            let _ = seg.options.sack.try_push(SackBlock { left, right: left.wrapping_add(choices.offset()) });
        }
        12 => match choices.below(6) {
            0 => seg.options.mss = Some(choices.u16()),
            1 => seg.options.mss = Some(choices.byte().into()),
            2 => seg.options.window_scale = Some(choices.byte() & 15),
            3 => seg.options.window_scale = None,
            4 => seg.options.sack_permitted ^= true,
            _ => seg.options.sack.clear(),
        },
        13 => seg.ip.ecn = Ecn::from_bits(choices.byte()),
        14 => readdress(packet, choices),
        15 | 16 => alter_dss(packet, choices),
        17 => {
            let option = invent(packet, keys, choices);
            let _ = packet.seg.options.mptcp.try_push(option);
        }
        18 => {
            let option = invent(packet, keys, choices);
            packet.seg.options.mptcp.clear();
            packet.seg.options.mptcp.push(option);
        }
        _ => duplicate_option(packet),
    }
    let options = &mut packet.seg.options;
    while options.emitted_len() > MAX_OPTIONS_LEN {
        if options.sack.pop().is_none() && options.timestamps.take().is_none() {
            options.mptcp.remove(0);
        }
    }
}

fn longer(payload: &Bytes, choices: &mut Choices<'_>) -> Bytes {
    let more = usize::from(choices.u16()) % 3_000;
    let mut bytes = payload.to_vec();
    bytes.resize((bytes.len() + more).min(MAX_PAYLOAD), 0x55);
    bytes.into()
}

fn altered(payload: &Bytes, choices: &mut Choices<'_>) -> Bytes {
    let mut bytes = payload.to_vec();
    if let Some(len) = core::num::NonZero::new(bytes.len()) {
        bytes[usize::from(choices.u16()) % len] ^= choices.byte().max(1);
    }
    bytes.into()
}

fn timestamps(old: Option<Timestamps>, choices: &mut Choices<'_>) -> Option<Timestamps> {
    let Timestamps { val, ecr } = old.unwrap_or_default();
    match choices.below(4) {
        0 => None,
        1 => Some(Timestamps { val: val.wrapping_add(choices.offset()), ecr }),
        2 => Some(Timestamps { val, ecr: ecr.wrapping_add(choices.offset()) }),
        _ => Some(Timestamps { val: choices.u32(), ecr: choices.u32() }),
    }
}

/// Another path, or another port.
fn readdress(packet: &mut Packet, choices: &mut Choices<'_>) {
    let ip = &mut packet.seg.ip;
    match choices.below(6) {
        0 => ip.src = client_address(choices.below(3)),
        1 => ip.dst = client_address(choices.below(3)),
        2 => ip.src = server_address(choices.below(2)),
        3 => ip.dst = server_address(choices.below(2)),
        4 => packet.seg.tcp.src_port = packet.seg.tcp.src_port.wrapping_add(choices.offset() as u16),
        _ => packet.seg.tcp.dst_port = packet.seg.tcp.dst_port.wrapping_add(choices.offset() as u16),
    }
}

fn duplicate_option(packet: &mut Packet) {
    let options = &mut packet.seg.options.mptcp;
    if let Some(option) = options.first().cloned() {
        let _ = options.try_push(option);
    }
}

/// Changes a field of the first option that has any.
fn alter_dss(packet: &mut Packet, choices: &mut Choices<'_>) {
    match packet.seg.options.mptcp.first_mut() {
        Some(MptcpOption::Dss(dss)) => alter(dss, choices),
        Some(MptcpOption::MpCapable(capable)) => match choices.below(3) {
            0 => capable.version = choices.byte() & 15,
            1 => capable.flags = CapableFlags::from_bits_retain(choices.byte()),
            _ => {
                if let CapableKeys::Data { data_len, .. } = &mut capable.keys {
                    *data_len = data_len.wrapping_add(choices.offset() as u16);
                }
            }
        },
        Some(MptcpOption::MpJoin(join)) => match join {
            MpJoin::Syn { token, .. } => *token = Token(token.0.wrapping_add(choices.offset())),
            MpJoin::SynAck { hmac, .. } => *hmac ^= 1 << (choices.byte() & 63),
            MpJoin::Ack { hmac } => hmac[choices.below(20)] ^= 1,
        },
        Some(MptcpOption::AddAddr(add)) => {
            add.address_id = add.address_id.wrapping_add(choices.byte());
            add.echo ^= choices.flag();
        }
        _ => {
            let mapping = DssMapping {
                dsn: WireDsn::Short(choices.u32()),
                ssn: choices.offset(),
                len: choices.u16(),
                checksum: None,
            };
            let dss = Dss { data_ack: Some(WireDsn::Short(choices.u32())), mapping: Some(mapping), data_fin: false };
            let _ = packet.seg.options.mptcp.try_push(dss.into());
        }
    }
}

fn alter(dss: &mut Dss, choices: &mut Choices<'_>) {
    let what = choices.below(9);
    match (what, &mut dss.mapping) {
        (0, _) => dss.data_ack = dss.data_ack.map(|ack| moved(ack, choices)),
        (1, _) => dss.data_ack = None,
        (2, _) => dss.data_fin ^= true,
        (_, None) => dss.data_ack = Some(WireDsn::Long(choices.u64())),
        (3, Some(map)) => map.dsn = moved(map.dsn, choices),
        (4, Some(map)) => map.ssn = map.ssn.wrapping_add(choices.offset()),
        (5, Some(map)) => map.len = map.len.wrapping_add(choices.offset() as u16),
        (6, Some(map)) => map.len = 0,
        (7, Some(map)) => map.checksum = (!choices.flag()).then(|| choices.u16()),
        (_, map) => *map = None,
    }
}

fn moved(dsn: WireDsn, choices: &mut Choices<'_>) -> WireDsn {
    let by = choices.offset();
    match dsn {
        WireDsn::Short(low) => WireDsn::Short(low.wrapping_add(by)),
        WireDsn::Long(all) if choices.flag() => WireDsn::Long(all.wrapping_add_signed(i64::from(by as i32))),
        WireDsn::Long(all) => WireDsn::Long(all ^ u64::from(by) << 32),
    }
}

/// A well-formed option, mostly one that would be believed.
fn invent(packet: &Packet, keys: [Key; 2], choices: &mut Choices<'_>) -> MptcpOption {
    // Of who is said to have sent it, and of who gets it.
    let (sender, receiver) = (keys[packet.to ^ 1], keys[packet.to]);
    match choices.below(14) {
        0 => {
            let address_id = choices.byte() & 7;
            let addr = match choices.below(3) {
                0 => server_address(choices.below(4)),
                1 => client_address(choices.below(4)),
                _ => core::net::Ipv4Addr::from(choices.u32()).into(),
            };
            let port = choices.flag().then(|| choices.u16());
            let hmac = add_addr_hmac(sender, receiver, address_id, addr, port) ^ u64::from(choices.byte() & 8);
            AddAddr { echo: false, address_id, addr, port, hmac: Some(hmac) }.into()
        }
        1 => {
            let addr = server_address(choices.below(2));
            AddAddr { echo: true, address_id: choices.byte() & 7, addr, port: None, hmac: None }.into()
        }
        2 => {
            let ids = (0..=choices.below(16)).map(|_| choices.byte() & 7).collect();
            RemoveAddr { ids }.into()
        }
        3 => MpPrio { backup: choices.flag() }.into(),
        4 => {
            let near = receiver.idsn().wrapping_add(u64::from(choices.offset()));
            MpFail { dsn: near }.into()
        }
        5 => MpFastclose { receiver_key: Key(receiver.0 ^ u64::from(choices.byte() & 1)) }.into(),
        6 => MpTcprst { transient: choices.flag(), reason: ResetReason::from(choices.byte()) }.into(),
        7 => {
            let (backup, nonce) = (choices.flag(), choices.u32());
            MpJoin::Syn { backup, address_id: choices.byte() & 7, token: receiver.token(), nonce }.into()
        }
        8 => {
            let (nonce, theirs) = (choices.u32(), choices.u32());
            let hmac = join_synack_hmac(sender, receiver, nonce, theirs);
            MpJoin::SynAck { backup: choices.flag(), address_id: choices.byte() & 7, hmac, nonce }.into()
        }
        9 => MpJoin::Ack { hmac: join_ack_hmac(sender, receiver, choices.u32(), choices.u32()) }.into(),
        10 => {
            let flags = CapableFlags::from_bits_retain(choices.byte());
            let keys = match choices.below(4) {
                0 => CapableKeys::Syn,
                1 => CapableKeys::SynAck { sender },
                2 => CapableKeys::Ack { sender, receiver },
                _ => CapableKeys::Data { sender, receiver, data_len: choices.u16(), checksum: None },
            };
            MpCapable { version: 1, flags, keys }.into()
        }
        _ => {
            let dsn = WireDsn::Long(sender.idsn().wrapping_add(u64::from(choices.offset())));
            let ack = WireDsn::Long(receiver.idsn().wrapping_add(u64::from(choices.offset())));
            let checksum = choices.flag().then(|| choices.u16());
            let mapping = DssMapping { dsn, ssn: choices.offset(), len: choices.u16(), checksum };
            Dss { data_ack: Some(ack), mapping: Some(mapping), data_fin: choices.flag() }.into()
        }
    }
}
