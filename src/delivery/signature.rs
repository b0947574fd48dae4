//! Who sent this: an HMAC over what was signed, compared in constant time.
//!
//! Line: bytes in, yes or no out. Which header holds the signature, how it is written and what was signed is each
//! forge's own affair. An empty key fits nothing: a forge without a secret signs with one, and so could anybody.

use super::WallTime;
use crate::base::Span;
use crate::config::Hash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha512};
use std::fmt;
use std::time::Duration;

/// How far the time that was signed may be from ours, both ways.
const WINDOW: Duration = Duration::from_secs(300);

/// The first second of 2025. A clock that shows an earlier time is not set: this program is younger.
const YOUNGEST: WallTime = WallTime(1_735_689_600_000);

/// A shared secret. Never shown: `Debug` prints dots; its JSON (an array of bytes) is for the listener's pipe only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// The bytes that a Standard-Webhooks key stands for, where it is written as one: `whsec_` and base64.
    pub(super) fn standard(&self) -> Option<Vec<u8>> {
        let encoded = self.0.strip_prefix(b"whsec_")?;
        Some(BASE64.decode(encoded.trim_ascii()).unwrap_or_default())
    }
}

/// The signature of `body` under `key` as [`fits`] wants it; `None` for an empty key, which signs nothing.
pub fn sign(body: &[u8], key: &[u8]) -> Option<String> {
    if key.is_empty() {
        return None;
    }
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()?.chain_update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={hex}"))
}

/// Whether `signature` (`sha256=` and 64 hex digits) is that of `body` under any of `keys`.
pub fn fits(signature: &str, body: &[u8], keys: &[Key]) -> bool {
    signature.strip_prefix("sha256=").is_some_and(|hex| hex_fits(hex, body, keys))
}

/// Whether `hex` (64 digits and nothing else) is the signature of `body` under any of `keys`.
pub(super) fn hex_fits(hex: &str, body: &[u8], keys: &[Key]) -> bool {
    digest_of_hex(hex).is_some_and(|digest| is_signed(Hash::Sha256, &digest, &[body], keys.iter().map(|key| &key.0)))
}

/// Whether `digest` is the MAC of `signed`, piece after piece, under any of `keys`.
pub(super) fn is_signed<K: AsRef<[u8]>>(
    hash: Hash,
    digest: &[u8],
    signed: &[&[u8]],
    keys: impl IntoIterator<Item = K>,
) -> bool {
    // Every key is tried, so that the time taken does not tell which one fits.
    keys.into_iter().filter(|key| !key.as_ref().is_empty()).fold(false, |fits, key| {
        let this = match hash {
            Hash::Sha256 => is_mac::<Hmac<Sha256>>(digest, signed, key.as_ref()),
            Hash::Sha512 => is_mac::<Hmac<Sha512>>(digest, signed, key.as_ref()),
        };
        fits | this
    })
}

fn is_mac<M: Mac + KeyInit>(digest: &[u8], signed: &[&[u8]], key: &[u8]) -> bool {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
    signed.iter().for_each(|piece| mac.update(piece));
    mac.verify_slice(digest).is_ok()
}

/// Whether `token` is one of `keys` itself, for a forge that sends the secret in clear. MACs of both are compared, which
/// takes as long whatever they have in common.
pub(super) fn is_token(token: &str, keys: &[Key]) -> bool {
    keys.iter().filter(|key| !key.0.is_empty()).fold(false, |fits, key| {
        let Ok(mut of_key) = <Hmac<Sha256> as KeyInit>::new_from_slice(&key.0) else { return fits };
        of_key.update(&key.0);
        fits | is_mac::<Hmac<Sha256>>(&of_key.finalize().into_bytes(), &[token.as_bytes()], &key.0)
    })
}

/// Whether a delivery that was signed at `seconds` (since 1970) may still be acted on; if not, a sentence why.
pub(super) fn is_timely(seconds: &str, now: WallTime) -> Result<(), String> {
    let Some(signed) = seconds.parse::<i64>().ok().map(|seconds| WallTime(seconds.saturating_mul(1000))) else {
        return Err("the time it was signed at is not a number of seconds".into());
    };
    if now < YOUNGEST {
        return Err(format!(
            "this machine's clock is not set (it reads {now}), so the time it was signed at cannot be checked: \
             wait until the clock is synchronised, then send it again"
        ));
    }
    let (apart, direction) = match signed < now {
        true => (now.since(signed), "before"),
        false => (signed.since(now), "after"),
    };
    match apart <= WINDOW {
        true => Ok(()),
        false => Err(format!(
            "it was signed {} {direction} the time on this machine's clock ({now}), which is more than {} apart: \
             synchronise the clocks, or send it anew if it is old",
            Span(Duration::from_secs(apart.as_secs())),
            Span(WINDOW)
        )),
    }
}

/// The bytes that an even number of hex digits stands for.
pub(super) fn digest_of_hex(hex: &str) -> Option<Vec<u8>> {
    // Longer than any digest known here: nothing to be gained by reading it.
    const LONGEST: usize = 128;
    if hex.is_empty() || hex.len() > LONGEST || !hex.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

/// The bytes that padded base64 stands for.
pub(super) fn digest_of_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok().filter(|digest| !digest.is_empty())
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
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"").unwrap();
        mac.update(BODY);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!fits(&format!("sha256={hex}"), BODY, &[key("")]));
        assert!(!is_token("", &[key("")]));
    }

    #[test]
    fn a_token_is_the_whole_secret_and_nothing_else() {
        let keys = [key("old"), key("token")];
        for (token, fits) in [("token", true), ("old", true), ("", false), ("toke", false), ("tokens", false)] {
            assert_eq!(is_token(token, &keys), fits, "{token:?}");
        }
    }

    #[test]
    fn the_window_is_five_minutes_both_ways_and_needs_a_clock() {
        let now = WallTime(1_800_000_000_000);
        for (seconds, part) in [
            ("1800000000", ""),
            ("1799999700", ""),
            ("1800000300", ""),
            ("1799999699", "before the time on this machine's clock (2027-01-15T08:00:00Z)"),
            ("1800000301", "after the time"),
            ("0", "before"),
            ("9223372036854775807", "after"),
            ("-1", "before"),
            ("1800000000.5", "not a number"),
            ("", "not a number"),
        ] {
            match is_timely(seconds, now) {
                Ok(()) => assert!(part.is_empty(), "{seconds}"),
                Err(why) => assert!(!part.is_empty() && why.contains(part), "{seconds}: {why}"),
            }
        }
        let why = is_timely("0", WallTime(0)).unwrap_err();
        assert!(why.contains("clock is not set (it reads 1970-01-01T00:00:00Z)"), "{why}");
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", key("hush")), "Key(…)");
    }
}
