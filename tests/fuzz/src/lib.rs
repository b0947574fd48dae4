//! What the fuzz targets share: `deliveries` for those that read a forge's events, `scratch` for a directory of files.

pub mod deliveries;
pub mod scratch;

use hmac::{Hmac, KeyInit, Mac};

/// What every webhook of these targets is signed with.
pub const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// HMAC-SHA256, without the code under test.
pub fn mac(key: &[u8], signed: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(signed);
    mac.finalize().into_bytes().to_vec()
}

/// The same in hex.
pub fn hex_of_mac(key: &[u8], signed: &[u8]) -> String {
    mac(key, signed).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Padded base64.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit = |at: usize| match at <= three.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at)) as usize % 64]),
            false => '=',
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}
