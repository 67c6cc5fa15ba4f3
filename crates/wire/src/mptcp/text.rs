//! Options in words, for people. Keys and HMACs are secrets, and are left out.

use core::fmt;

use super::{AddAddr, CapableFlags, CapableKeys, Dss, MpCapable, MpJoin, MptcpOption};

impl fmt::Display for MptcpOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MpCapable(capable) => write_capable(f, capable),
            Self::MpJoin(join) => write_join(f, join),
            Self::Dss(dss) => write_dss(f, dss),
            Self::AddAddr(add) => write_add_addr(f, add),
            Self::RemoveAddr(remove) => {
                f.write_str("REMOVE_ADDR")?;
                remove.ids.iter().try_for_each(|id| write!(f, " id {id}"))
            }
            Self::MpPrio(prio) => f.write_str(if prio.backup { "MP_PRIO backup" } else { "MP_PRIO regular" }),
            Self::MpFail(fail) => write!(f, "MP_FAIL dsn {}", fail.dsn),
            Self::MpFastclose(_) => f.write_str("MP_FASTCLOSE"),
            Self::MpTcprst(reset) => {
                write!(f, "MP_TCPRST {:?}{}", reset.reason, if reset.transient { " transient" } else { "" })
            }
        }
    }
}

fn write_capable(f: &mut fmt::Formatter<'_>, capable: &MpCapable) -> fmt::Result {
    write!(f, "MP_CAPABLE v{}", capable.version)?;
    if capable.flags.contains(CapableFlags::CHECKSUM_REQUIRED) {
        f.write_str(" checksum")?;
    }
    if capable.flags.contains(CapableFlags::NO_JOIN_INITIAL) {
        f.write_str(" no joins to this address")?;
    }
    match &capable.keys {
        CapableKeys::Syn => Ok(()),
        CapableKeys::SynAck { .. } => f.write_str(" sender's key"),
        CapableKeys::Ack { .. } => f.write_str(" both keys"),
        CapableKeys::Data { data_len, .. } => write!(f, " both keys, data {data_len}"),
    }
}

fn write_join(f: &mut fmt::Formatter<'_>, join: &MpJoin) -> fmt::Result {
    let (backup, id) = match join {
        MpJoin::Syn { backup, address_id, .. } | MpJoin::SynAck { backup, address_id, .. } => (*backup, *address_id),
        MpJoin::Ack { .. } => return f.write_str("MP_JOIN"),
    };
    write!(f, "MP_JOIN id {id}{}", if backup { " backup" } else { "" })
}

fn write_dss(f: &mut fmt::Formatter<'_>, dss: &Dss) -> fmt::Result {
    f.write_str("DSS")?;
    if dss.data_ack.is_some() {
        f.write_str(" ack")?;
    }
    if let Some(mapping) = &dss.mapping {
        write!(f, " ssn {} len {}", mapping.ssn, mapping.len)?;
    }
    if dss.data_fin { f.write_str(" DATA_FIN") } else { Ok(()) }
}

fn write_add_addr(f: &mut fmt::Formatter<'_>, add: &AddAddr) -> fmt::Result {
    write!(f, "ADD_ADDR id {} {}", add.address_id, add.addr)?;
    if let Some(port) = add.port {
        write!(f, " port {port}")?;
    }
    if add.echo { f.write_str(" echo") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use crate::{Key, MpPrio};

    use super::*;

    #[test]
    fn secrets_are_left_out() {
        let secret = 0x0123_4567_89ab_cdef;
        let keys = CapableKeys::Ack { sender: Key(secret), receiver: Key(secret) };
        let flags = CapableFlags::HMAC_SHA256 | CapableFlags::CHECKSUM_REQUIRED;
        let capable = MptcpOption::MpCapable(MpCapable { version: 1, flags, keys });
        assert_eq!(capable.to_string(), "MP_CAPABLE v1 checksum both keys");
        let addr = core::net::Ipv4Addr::new(192, 0, 2, 1).into();
        let add = AddAddr { echo: false, address_id: 3, addr, port: Some(81), hmac: Some(secret) };
        assert_eq!(MptcpOption::AddAddr(add).to_string(), "ADD_ADDR id 3 192.0.2.1 port 81");
        assert_eq!(MptcpOption::MpPrio(MpPrio { backup: true }).to_string(), "MP_PRIO backup");
    }
}
