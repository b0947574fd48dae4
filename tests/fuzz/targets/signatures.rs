//! A signature fits exactly when it is the one that was computed beside it.
//!
//! An input: one byte that says what to do to the right signature, the key's length, the key, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::signature::{Key, fits};
use pintle_fuzz::hex_of_mac;

fuzz_target!(|input: &[u8]| {
    let [change, length, rest @ ..] = input else { return };
    let (key, body) = rest.split_at(usize::from(*length).min(rest.len()));
    let right = format!("sha256={}", hex_of_mac(key, body));
    let keys = [Key(b"an older one".to_vec()), Key(key.to_vec())];
    let offered = match change % 8 {
        0 => right.clone(),
        1 => right.to_uppercase().replacen("SHA256", "sha256", 1),
        2 => right[..right.len() - 1].to_owned(),
        3 => format!("{right} "),
        4 => right["sha256=".len()..].to_owned(),
        5 => String::from_utf8_lossy(body).into_owned(),
        6 => format!("sha256={}", String::from_utf8_lossy(body)),
        _ => {
            // One digit is another one.
            let at = 7 + usize::from(*length) % 64;
            let other = if right.as_bytes()[at] == b'0' { "1" } else { "0" };
            format!("{}{other}{}", &right[..at], &right[at + 1..])
        }
    };
    let hex_may_be_capital =
        |text: &str| Some(format!("sha256={}", text.strip_prefix("sha256=")?.to_ascii_lowercase()));
    let by_the_older = format!("sha256={}", hex_of_mac(b"an older one", body));
    let meant = hex_may_be_capital(&offered);
    let expected = (!key.is_empty() && meant.as_ref() == Some(&right)) || meant == Some(by_the_older);
    assert_eq!(fits(&offered, body, &keys), expected, "{offered:?}");
    assert!(!fits(&offered, body, &[]) && !fits(&offered, body, &[Key(Vec::new())]));
});
