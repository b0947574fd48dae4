use super::*;
use crate::config::scratch::{Scratch, brief};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A certificate and its key, valid until the first day of `until`.
fn made(until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["pi.local".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn of(chain: &str, key: &str) -> Result<Certificate, Unfit> {
    Certificate::of_pem(chain.into(), Secret(key.into()))
}

fn at(text: &str) -> WallTime {
    text.parse().unwrap()
}

#[test]
fn what_openssl_says_of_it_is_what_we_say() {
    let (chain, key) = made(2049);
    let read = of(&chain, &key).unwrap();
    assert_eq!((read.from, read.until), (at("2020-01-01T00:00:00Z"), at("2049-01-01T00:00:00Z")));
    assert_eq!(of(&made(2060).0, &key).map(|_| ()).unwrap_err().part, Half::Key);
    let (far, far_key) = made(2060);
    assert_eq!(of(&far, &far_key).unwrap().until, at("2060-01-01T00:00:00Z"), "as GeneralizedTime");
    let two = format!("{chain}{far}");
    assert_eq!(of(&two, &key).unwrap().fingerprint, read.fingerprint, "the first one is our own");
    assert_eq!(of(&two, &far_key).unwrap_err().wrong, "does not belong to the certificate");
    let digits = read.fingerprint.split(':').all(|pair| pair.len() == 2 && pair == pair.to_uppercase());
    assert!(digits && read.fingerprint.len() == 95, "{}", read.fingerprint);
}

#[test]
fn what_is_no_pair_is_refused_with_advice() {
    let (chain, key) = made(2049);
    let body = |pem: &str| pem.replace("-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    let cases = [
        ("", key.as_str(), Half::Cert, "is not a certificate"),
        ("hello", &key, Half::Cert, "is not a certificate"),
        (&key, &key, Half::Cert, "is not a certificate"),
        (&chain[..chain.len() / 2], &key, Half::Cert, "is not a certificate"),
        (&body(&chain), &key, Half::Cert, "is not a certificate"),
        (&chain, "", Half::Key, "is not a private key"),
        (&chain, &chain, Half::Key, "is not a private key"),
        (&chain, locked, Half::Key, "is locked"),
        (&chain, nonsense, Half::Key, "is no kind of key"),
        (&chain, &made(2049).1, Half::Key, "does not belong"),
    ];
    for (chain, key, part, wrong) in cases {
        let unfit = of(chain, key).unwrap_err();
        assert!(unfit.part == part && unfit.wrong.starts_with(wrong), "{wrong}: {unfit:?}");
        assert!(!unfit.advice.is_empty());
    }
}

#[test]
fn its_time_is_a_worry_when_it_is_over_or_soon_will_be() {
    let (chain, key) = made(2030);
    let certificate = of(&chain, &key).unwrap();
    let cases = [
        ("2019-12-31T23:59:59Z", Some("is not valid before 2020-01-01")),
        ("2020-01-01T00:00:00Z", None),
        ("2029-12-17T23:59:59Z", None),
        ("2029-12-18T00:00:01Z", Some("expires on 2030-01-01")),
        ("2030-01-01T00:00:00Z", Some("expired on 2030-01-01")),
        ("2040-01-01T00:00:00Z", Some("expired on 2030-01-01")),
    ];
    for (now, expected) in cases {
        let worry = certificate.worry(at(now));
        assert_eq!(worry.is_some(), expected.is_some(), "{now}: {worry:?}");
        assert!(worry.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{now}");
    }
}

#[test]
fn the_check_finds_what_is_wrong_with_the_files() {
    let scratch = Scratch::new("certificate");
    scratch.write("etc/pintle.toml", "[listen]\ntls = { cert = \"tls/cert.pem\", key = \"tls/key.pem\" }\n");
    let found = |scratch: &Scratch| match scratch.load() {
        Ok(loaded) => {
            let ours = loaded.notices.iter().filter(|notice| notice.key.starts_with("listen"));
            ours.map(|notice| format!("{}: {}", notice.key, notice.text)).collect()
        }
        Err(problems) => brief(&problems),
    };
    let says = |expected: &[&str]| {
        let found: Vec<String> = found(&scratch);
        let as_expected = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.contains(expected));
        assert!(as_expected, "{expected:?}: {found:#?}");
    };
    says(&["listen.tls.cert: cannot read"]);
    let ((chain, key), (over, over_key)) = (made(2049), made(2021));
    scratch.write("etc/tls/cert.pem", &chain);
    says(&["listen.tls.key: cannot read"]);
    scratch.write("etc/tls/key.pem", &over_key);
    says(&["listen.tls.key: "]);
    assert!(found(&scratch)[0].contains("key.pem does not belong to the certificate"));
    scratch.write("etc/tls/key.pem", &key);
    says(&[]);
    fs::set_permissions(scratch.path("etc/tls/key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    says(&["can be read by others (mode 0644)"]);
    scratch.write("etc/tls/cert.pem", over);
    scratch.write("etc/tls/key.pem", over_key);
    says(&["listen.tls.cert: "]);
    assert!(found(&scratch)[0].contains("expired on 2021-01-01"));

    let loaded = scratch.load().unwrap();
    let meant = scratch.path("etc/tls/cert.pem");
    assert!(
        matches!(&loaded.config.host.listen.as_ref().unwrap().tls, Some(super::super::Tls::Files { cert, .. }) if *cert == meant),
        "relative to the configuration's directory"
    );
    let state = scratch.path("state");
    fs::create_dir(&state).unwrap();
    super::super::accept(&loaded.files, &state).unwrap();
    scratch.remove("etc/tls/cert.pem");
    assert!(scratch.load().is_err());
    let accepted = scratch.load_from(&state.join(super::super::ACCEPTED)).unwrap();
    assert_eq!(accepted.config.host, loaded.config.host, "the apps run on while the certificate is away");
}
