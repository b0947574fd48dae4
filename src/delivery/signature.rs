//! Who sent this: HMAC-SHA256 over the body exactly as it came, compared in constant time.
//!
//! Line: bytes in, yes or no out. Which header holds the signature is each forge's own affair.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// A shared secret. Never shown: `Debug` prints dots; its JSON (an array of bytes) is for the listener's pipe only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Whether `signature` (`sha256=` and 64 hex digits) is that of `body` under any of `keys`. An empty key fits nothing:
/// a forge without a secret signs with one, and so could anybody.
pub fn fits(signature: &str, body: &[u8], keys: &[Key]) -> bool {
    let Some(digest) = signature.strip_prefix("sha256=").and_then(digest_of_hex) else { return false };
    // Every key is tried, so that the time taken does not tell which one fits.
    keys.iter().filter(|key| !key.0.is_empty()).fold(false, |fits, key| fits | is_mac(&digest, body, &key.0))
}

fn is_mac(digest: &[u8; 32], body: &[u8], key: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    mac.update(body);
    mac.verify_slice(digest).is_ok()
}

fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    let hex = hex.as_bytes();
    if hex.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUBS_OWN: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const BODY: &[u8] = b"Hello, World!";

    fn key(text: &str) -> Key {
        Key(text.as_bytes().to_vec())
    }

    #[test]
    fn githubs_own_example_fits_and_any_of_several_secrets_will_do() {
        let right = key("It's a Secret to Everybody");
        assert!(fits(GITHUBS_OWN, BODY, std::slice::from_ref(&right)));
        assert!(fits(GITHUBS_OWN, BODY, &[key("old"), right.clone()]));
        assert!(fits(GITHUBS_OWN, BODY, &[right.clone(), key("new")]));
        assert!(!fits(GITHUBS_OWN, b"Hello, World?", std::slice::from_ref(&right)));
        assert!(!fits(GITHUBS_OWN, BODY, &[key("other")]));
        assert!(!fits(GITHUBS_OWN, BODY, &[]));
    }

    #[test]
    fn what_is_no_whole_signature_is_refused() {
        let right = [key("It's a Secret to Everybody")];
        let hex = GITHUBS_OWN.trim_start_matches("sha256=");
        let cut = &GITHUBS_OWN[..GITHUBS_OWN.len() - 2];
        let longer = format!("{GITHUBS_OWN}00");
        let plus = format!("sha256=+{}", &hex[1..]);
        for bad in ["", "sha256=", hex, cut, &longer, &plus, "sha1=00", &format!("sha256={}", "ä".repeat(32))] {
            assert!(!fits(bad, BODY, &right), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_secret_fits_nothing_even_when_it_signed() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
        mac.update(BODY);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!fits(&format!("sha256={hex}"), BODY, &[key("")]));
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", key("hush")), "Key(…)");
    }
}
