//! Keys, tokens and the HMACs made from them (RFC 8684 sections 3.1, 3.2 and 3.4.1).

use core::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A host's 64-bit key of one connection, sent in the clear in MP_CAPABLE. Hashed as eight bytes in
/// network order.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key(pub u64);

/// What names a connection in MP_JOIN: derived from the key of the host that receives it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token(pub u32);

impl Key {
    /// The most significant 32 bits of the key's SHA-256 (RFC 8684 section 3.2).
    #[must_use]
    pub fn token(self) -> Token {
        // [8684-3.2-1]
        let [a, b, c, d, ..] = self.sha256();
        Token(u32::from_be_bytes([a, b, c, d]))
    }

    /// The initial data sequence number: the least significant 64 bits of the key's SHA-256 (RFC 8684
    /// section 3.1). The first octet of data has the number after it.
    #[must_use]
    pub fn idsn(self) -> u64 {
        // [8684-3.1-22]
        let [.., a, b, c, d, e, f, g, h] = self.sha256();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn sha256(self) -> [u8; 32] {
        Sha256::digest(self.0.to_be_bytes()).into()
    }
}

/// The truncated HMAC of the SYN/ACK of a join: the leftmost 64 bits of
/// HMAC-SHA256(`sender` key || `receiver` key, `sender` nonce || `receiver` nonce), where the sender is
/// the host that sends the SYN/ACK (RFC 8684 section 3.2, HMAC-B).
#[must_use]
pub fn join_synack_hmac(sender: Key, receiver: Key, sender_nonce: u32, receiver_nonce: u32) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = join_hmac(sender, receiver, sender_nonce, receiver_nonce);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The truncated HMAC of the third ACK of a join: the leftmost 160 bits, where the sender is the host
/// that opened the subflow (RFC 8684 section 3.2, HMAC-A).
#[must_use]
pub fn join_ack_hmac(sender: Key, receiver: Key, sender_nonce: u32, receiver_nonce: u32) -> [u8; 20] {
    // [8684-3.2-9]
    let full = join_hmac(sender, receiver, sender_nonce, receiver_nonce);
    let mut left = [0; 20];
    left.copy_from_slice(&full[..20]);
    left
}

/// The truncated HMAC of ADD_ADDR: the rightmost 64 bits of
/// HMAC-SHA256(`sender` key || `receiver` key, address ID || address || port), with port 0 where the
/// option has none (RFC 8684 section 3.4.1).
#[must_use]
pub fn add_addr_hmac(sender: Key, receiver: Key, address_id: u8, addr: IpAddr, port: Option<u16>) -> u64 {
    let mut mac = keyed(sender, receiver);
    mac.update(&[address_id]);
    match addr {
        IpAddr::V4(v4) => mac.update(&v4.octets()),
        IpAddr::V6(v6) => mac.update(&v6.octets()),
    }
    // [8684-3.4.1-6]
    mac.update(&port.unwrap_or(0).to_be_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let [.., a, b, c, d, e, f, g, h] = full;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn join_hmac(sender: Key, receiver: Key, sender_nonce: u32, receiver_nonce: u32) -> [u8; 32] {
    // [8684-3.2-9]
    let mut mac = keyed(sender, receiver);
    mac.update(&sender_nonce.to_be_bytes());
    mac.update(&receiver_nonce.to_be_bytes());
    mac.finalize().into_bytes().into()
}

fn keyed(sender: Key, receiver: Key) -> Hmac<Sha256> {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&sender.0.to_be_bytes());
    key[8..].copy_from_slice(&receiver.0.to_be_bytes());
    Hmac::new_from_slice(&key).expect("HMAC takes a key of any length")
}
