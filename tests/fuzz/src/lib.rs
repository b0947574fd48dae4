//! What the fuzz targets share: `deliveries` for those that read a forge's events, `scratch` for a directory of files.

pub mod deliveries;
pub mod scratch;

use hmac::{Hmac, KeyInit, Mac};

/// What every webhook of these targets is signed with. A fuzzer does not find it by chance.
pub const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// HMAC-SHA256 in hex, without the code under test.
pub fn hex_of_mac(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
