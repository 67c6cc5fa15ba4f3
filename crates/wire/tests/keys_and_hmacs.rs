//! Keys, tokens and HMACs against values computed with Python's `hashlib` and `hmac`.

use std::net::IpAddr;

use polypath_wire::{Key, Token, add_addr_hmac, join_ack_hmac, join_synack_hmac};

const A: Key = Key(0x0123_4567_89ab_cdef);
const B: Key = Key(0xfedc_ba98_7654_3210);

// [8684-3.1-22, 8684-3.2-1]
#[test]
fn token_and_idsn_are_the_ends_of_the_hash() {
    // hashlib.sha256(struct.pack('>Q', key)).digest(): its first 4 and last 8 bytes.
    let vectors = [
        (0, 0xaf55_70f5, 0xe5b2_328d_e0e8_3dfc),
        (1, 0xcd26_6215, 0x19ec_5090_83d0_0a50),
        (0x0123_4567_89ab_cdef, 0x55c5_3f5d, 0x5707_62cd_38be_9818),
        (u64::MAX, 0x12a3_ae44, 0x57fb_595b_bbac_f0ca),
    ];
    for (key, token, idsn) in vectors {
        assert_eq!(Key(key).token(), Token(token), "{key:#x}");
        assert_eq!(Key(key).idsn(), idsn, "{key:#x}");
    }
}

// [8684-3.2-9]
#[test]
fn join_hmacs() {
    // hmac.new(struct.pack('>QQ', B, A), struct.pack('>II', nonce_b, nonce_a), hashlib.sha256)
    assert_eq!(join_synack_hmac(B, A, 0xaabb_ccdd, 0x1122_3344), 0x3bae_5abc_810a_33c2);
    // The same with A and B exchanged throughout; the first 20 bytes.
    assert_eq!(
        join_ack_hmac(A, B, 0x1122_3344, 0xaabb_ccdd),
        [
            0xf6, 0x17, 0x53, 0xd6, 0xb8, 0xac, 0x22, 0x77, 0x64, 0xb9, 0xd1, 0xb1, 0x7a, 0x6f, 0x5c, 0xee, 0xec, 0x9d,
            0x1a, 0x8a
        ]
    );
}

// [8684-3.4.1-6]
#[test]
fn add_addr_hmacs() {
    // hmac.new(struct.pack('>QQ', A, B), bytes([9]) + address + struct.pack('>H', port or 0),
    // hashlib.sha256): the last 8 bytes.
    let vectors = [
        ("192.0.2.7", None, 0xd912_8190_4a29_7ae2),
        ("192.0.2.7", Some(443), 0x7589_98d5_cf85_49cf),
        ("2001:db8::7", None, 0x882f_69d4_864c_0c51),
        ("2001:db8::7", Some(443), 0xf109_908e_8679_8ebd),
    ];
    for (addr, port, hmac) in vectors {
        let addr: IpAddr = addr.parse().expect("an address");
        assert_eq!(add_addr_hmac(A, B, 9, addr, port), hmac, "{addr} {port:?}");
        assert_ne!(add_addr_hmac(B, A, 9, addr, port), hmac, "keys are not symmetric");
        assert_ne!(add_addr_hmac(A, B, 8, addr, port), hmac, "the ID is covered");
    }
    let addr: IpAddr = "192.0.2.7".parse().expect("an address");
    assert_eq!(add_addr_hmac(A, B, 9, addr, None), add_addr_hmac(A, B, 9, addr, Some(0)));
}
