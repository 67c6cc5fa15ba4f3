//! DSS, the data sequence signal (RFC 8684 section 3.3).

use super::{head, subtype};
use crate::cursor::{Reader, Writer};

const DATA_FIN: u8 = 0x10;
const DSN_64: u8 = 0x08;
const MAPPING: u8 = 0x04;
const ACK_64: u8 = 0x02;
const ACK: u8 = 0x01;

/// A data sequence number or DATA_ACK as it stands on the wire. Which width travels is the sender's
/// choice, packet by packet (RFC 8684 section 3.3.1).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum WireDsn {
    /// The lower 32 bits only.
    Short(u32),
    /// All 64 bits.
    Long(u64),
}

/// Maps a range of the subflow to a range of the connection.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct DssMapping {
    /// Data sequence number of the first octet.
    pub dsn: WireDsn,
    /// Subflow sequence number of the first octet, relative to the subflow's initial one. Zero in a
    /// mapping that carries nothing but a DATA_FIN.
    pub ssn: u32,
    /// Length in octets, an accompanying DATA_FIN counted. Zero is the infinite mapping of a fallback
    /// (RFC 8684 section 3.7).
    pub len: u16,
    /// Checksum of the mapping, if negotiated: [`dss_checksum`](crate::dss_checksum).
    pub checksum: Option<u16>,
}

impl DssMapping {
    /// Whether this is the infinite mapping, which ends the use of Multipath TCP in this direction.
    #[must_use]
    pub const fn is_infinite(&self) -> bool {
        // [8684-3.3.1-17]
        self.len == 0
    }
}

/// Maps and acknowledges data of the connection.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Dss {
    /// Acknowledges all data of the connection before this number.
    pub data_ack: Option<WireDsn>,
    /// Maps subflow data, of this segment or others, to the connection.
    pub mapping: Option<DssMapping>,
    /// The mapping ends with the sender's DATA_FIN.
    pub data_fin: bool,
}

impl Dss {
    pub(super) fn parse(data: &[u8]) -> Option<Dss> {
        let mut fields = Reader::new(data);
        let [_, flags] = fields.array()?;
        let mut dsn = |long: u8| match flags & long {
            0 => fields.u32().map(WireDsn::Short),
            _ => fields.u64().map(WireDsn::Long),
        };
        // RFC 8684 section 3.3: `a` and `m` mean nothing without `A` and `M`. [8684-3.3-1, 8684-3.3-2]
        let data_ack = match flags & ACK {
            0 => None,
            _ => Some(dsn(ACK_64)?),
        };
        let mapping = match flags & MAPPING {
            0 => None,
            _ => {
                let dsn = dsn(DSN_64)?;
                let (ssn, len) = (fields.u32()?, fields.u16()?);
                Some(DssMapping { dsn, ssn, len, checksum: fields.u16() })
            }
        };
        let data_fin = flags & DATA_FIN != 0;
        fields.is_empty().then_some(Dss { data_ack, mapping, data_fin })
    }

    pub(super) const fn wire_len(&self) -> usize {
        let ack = match self.data_ack {
            None => 0,
            Some(WireDsn::Short(_)) => 4,
            Some(WireDsn::Long(_)) => 8,
        };
        let mapping = match self.mapping {
            None => 0,
            Some(DssMapping { dsn, checksum, .. }) => {
                let dsn = match dsn {
                    WireDsn::Short(_) => 4,
                    WireDsn::Long(_) => 8,
                };
                dsn + 6 + if checksum.is_some() { 2 } else { 0 }
            }
        };
        4 + ack + mapping
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        out.bytes(&[head(subtype::DSS, 0), self.flags()]);
        if let Some(ack) = self.data_ack {
            ack.emit(out);
        }
        if let Some(DssMapping { dsn, ssn, len, checksum }) = self.mapping {
            dsn.emit(out);
            out.u32(ssn);
            out.u16(len);
            if let Some(checksum) = checksum {
                out.u16(checksum);
            }
        }
    }

    const fn flags(&self) -> u8 {
        let ack = match self.data_ack {
            None => 0,
            Some(WireDsn::Short(_)) => ACK,
            Some(WireDsn::Long(_)) => ACK | ACK_64,
        };
        let mapping = match self.mapping {
            None => 0,
            Some(DssMapping { dsn: WireDsn::Short(_), .. }) => MAPPING,
            Some(DssMapping { dsn: WireDsn::Long(_), .. }) => MAPPING | DSN_64,
        };
        // [8684-3.3-3]
        ack | mapping | if self.data_fin { DATA_FIN } else { 0 }
    }
}

impl WireDsn {
    fn emit(self, out: &mut Writer<'_>) {
        match self {
            WireDsn::Short(low) => out.u32(low),
            WireDsn::Long(all) => out.u64(all),
        }
    }
}
