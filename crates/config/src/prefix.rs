//! An address, or all that begin alike: `192.0.2.0/24`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network prefix.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// Whether `addr` begins so. An IPv4 address in IPv6's clothes (`::ffff:192.0.2.1`) is that of IPv4.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.len)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.len)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| format!("'{text}' is neither an address nor a prefix"))?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let len = match len.map(str::parse) {
            None => most,
            Some(Ok(len)) if len <= most => len,
            Some(_) => return Err(format!("the prefix length of '{text}' is not within 0 to {most}")),
        };
        Ok(Prefix { addr, len })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_what_begins_alike() {
        let holds = |prefix: &str, addr: &str| prefix.parse::<Prefix>().unwrap().contains(addr.parse().unwrap());
        assert!(holds("10.9.0.1", "10.9.0.1") && !holds("10.9.0.1", "10.9.0.0"));
        assert!(holds("10.9.0.0/23", "10.9.1.7") && !holds("10.9.0.0/23", "10.9.2.7"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1") && holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("2001:db8::/32", "2001:db8:1::") && !holds("2001:db8::/32", "2001:db9::"));
        for (text, culprit) in [("10.9", "neither"), ("10.0.0.0/33", "0 to 32"), ("::/x", "0 to 128")] {
            assert!(text.parse::<Prefix>().unwrap_err().contains(culprit), "{text}");
        }
    }
}
