//! ADD_ADDR (RFC 8684 section 3.4.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{head, subtype};
use crate::cursor::{Reader, Writer};

const ECHO: u8 = 0x1;

/// Announces an address of the sender, or echoes such an announcement to confirm it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct AddAddr {
    /// This is an echo: the fields repeat what the receiver had announced.
    pub echo: bool,
    /// ID of the address, unique within the connection and its host.
    pub address_id: u8,
    /// The address.
    pub addr: IpAddr,
    /// Its port; absent means the port of the subflow that carries the option.
    pub port: Option<u16>,
    /// Proves that the sender has the keys: [`add_addr_hmac`](crate::add_addr_hmac). An announcement
    /// always has it and an echo never; an option that breaks this is malformed, and an echo is emitted
    /// without whatever stands here.
    pub hmac: Option<u64>,
}

impl AddAddr {
    pub(super) fn parse(data: &[u8]) -> Option<AddAddr> {
        let mut fields = Reader::new(data);
        let [first, address_id] = fields.array()?;
        // [8684-3.4.1-9]
        let echo = first & ECHO != 0;
        let hmac_len = if echo { 0 } else { 8 };
        let (is_v4, has_port) = match (data.len() + 2).checked_sub(hmac_len)? {
            8 => (true, false),
            10 => (true, true),
            20 => (false, false),
            22 => (false, true),
            _ => return None,
        };
        let addr: IpAddr =
            if is_v4 { Ipv4Addr::from(fields.u32()?).into() } else { Ipv6Addr::from(fields.array::<16>()?).into() };
        let port = if has_port { Some(fields.u16()?) } else { None };
        let hmac = if echo { None } else { Some(fields.u64()?) };
        Some(AddAddr { echo, address_id, addr, port, hmac })
    }

    const fn emitted_hmac(&self) -> Option<u64> {
        if self.echo { None } else { self.hmac }
    }

    pub(super) const fn wire_len(&self) -> usize {
        let addr = match self.addr {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 16,
        };
        let port = if self.port.is_some() { 2 } else { 0 };
        let hmac = if self.emitted_hmac().is_some() { 8 } else { 0 };
        4 + addr + port + hmac
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        // [8684-3.4.1-8]
        out.bytes(&[head(subtype::ADD_ADDR, self.echo.into()), self.address_id]);
        match self.addr {
            IpAddr::V4(v4) => out.bytes(&v4.octets()),
            IpAddr::V6(v6) => out.bytes(&v6.octets()),
        }
        if let Some(port) = self.port {
            out.u16(port);
        }
        if let Some(hmac) = self.emitted_hmac() {
            out.u64(hmac);
        }
    }
}
