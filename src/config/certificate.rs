//! The listener's certificate: a chain and its private key in PEM that fit each other, with what people ask of them.
//!
//! Read here whoever brings it, so that `check-config`, the daemon and a certificate of our own are held to the same.
//! Line: nothing is made, renewed or watched here.

use super::Secret;
use super::secret::{content, private_content};
use super::units::Misread;
use crate::base::WallTime;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;
use std::time::Duration;
use yasna::{ASN1Result, BERReader, Tag, tags};

/// A certificate that ends sooner is worth saying.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// A chain with its key. `Debug` shows no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain in PEM and nothing else of its file, our own certificate first.
    pub chain: String,
    /// Its private key in PEM.
    pub key: Secret,
    /// SHA-256 of our own certificate, as `openssl x509 -fingerprint -sha256` and browsers write it: `AB:CD:…`.
    pub fingerprint: String,
    /// It does not count before this.
    pub from: WallTime,
    /// It does not count after this.
    pub until: WallTime,
}

/// Which of the two files something is wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The chain.
    Cert,
    /// The private key.
    Key,
}

/// Why a chain and a key are of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Where to look.
    pub part: Half,
    /// What is wrong. Never holds any of the key.
    pub wrong: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.part {
            Half::Cert => "cert",
            Half::Key => "key",
        };
        write!(f, "listen.tls.{key} {}: {}", self.wrong, self.advice)
    }
}

impl Certificate {
    /// Reads the two files. A key that others may read is refused as a secret is.
    pub fn read(cert: &Path, key: &Path) -> Result<Certificate, Unfit> {
        let unfit = |part| move |misread: Misread| Unfit { part, wrong: misread.wrong, advice: misread.advice };
        let chain = content(cert).map_err(unfit(Half::Cert))?;
        let private = private_content(key).map_err(unfit(Half::Key))?;
        Certificate::of_pem(chain, Secret(private)).map_err(|unfit| {
            let file = if unfit.part == Half::Cert { cert } else { key };
            Unfit { wrong: format!("{} {}", file.display(), unfit.wrong), ..unfit }
        })
    }

    /// What people should know of its time; `None`: it counts now and for a good while.
    pub fn worry(&self, now: WallTime) -> Option<String> {
        match (now < self.from, self.until.since(now)) {
            (true, _) => Some(format!("is not valid before {} (it is {now})", self.from)),
            (_, Duration::ZERO) => Some(format!("expired on {}: clients refuse it; renew it", self.until)),
            (_, left) if left < ENDS_SOON => Some(format!("expires on {}: renew it", self.until)),
            _ => None,
        }
    }

    /// Of what two files hold: whether they are what they should be, and belong to each other.
    pub fn of_pem(chain: Vec<u8>, key: Secret) -> Result<Certificate, Unfit> {
        let no_chain = || Unfit {
            part: Half::Cert,
            wrong: "is not a certificate in PEM".into(),
            advice: "name the file with -----BEGIN CERTIFICATE----- in it: certbot calls it fullchain.pem".into(),
        };
        let chain = String::from_utf8(chain).map_err(|_| no_chain())?;
        let parsed: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let parsed = parsed.map_err(|_| no_chain())?;
        let own = parsed.first().cloned().ok_or_else(no_chain)?;
        let (from, until) = validity(&own).map_err(|_| no_chain())?;
        let private = private_key(&key)?;
        CertifiedKey::from_der(parsed, private, &default_provider()).map_err(|error| do_not_fit(&error))?;
        Ok(Certificate { chain: certificates_of(&chain), key, fingerprint: fingerprint(&own), from, until })
    }
}

/// The certificates of a file that may hold more, its key among it.
fn certificates_of(pem: &str) -> String {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let sections = pem.split(begin).skip(1).filter_map(|section| Some(section.split_once(end)?.0));
    sections.map(|section| format!("{begin}{section}{end}\n")).collect()
}

fn private_key(key: &Secret) -> Result<PrivateKeyDer<'static>, Unfit> {
    PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| {
        let locked = key.expose().windows(9).any(|window| window == b"ENCRYPTED");
        let (wrong, advice) = match locked {
            true => (
                "is locked with a password",
                "nobody is there to type it: unlock it with `openssl pkey -in KEY -out NEW` and chmod 600 NEW",
            ),
            false => (
                "is not a private key in PEM",
                "name the file with -----BEGIN PRIVATE KEY----- in it: certbot calls it privkey.pem",
            ),
        };
        Unfit { part: Half::Key, wrong: wrong.into(), advice: advice.into() }
    })
}

fn do_not_fit(error: &rustls::Error) -> Unfit {
    let (part, wrong, advice) = match error {
        rustls::Error::InconsistentKeys(_) => (
            Half::Key,
            "does not belong to the certificate",
            "name the key that the certificate was made for, and in cert the file whose first certificate is your own",
        ),
        rustls::Error::InvalidCertificate(_) => {
            (Half::Cert, "holds a certificate that cannot be read", "make it anew; it must be X.509 version 3")
        }
        _ => (
            Half::Key,
            "is no kind of key that is known here",
            "use ECDSA (P-256, P-384), Ed25519 or RSA of 2048 to 8192 bits",
        ),
    };
    Unfit { part, wrong: wrong.into(), advice: advice.into() }
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` and browsers write it: `AB:CD:…`.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// When a certificate ends; `None`: it is none.
pub fn ends(certificate: &CertificateDer<'_>) -> Option<WallTime> {
    validity(certificate).ok().map(|(_, until)| until)
}

/// From when until when a certificate counts (RFC 5280, 4.1).
fn validity(certificate: &CertificateDer<'_>) -> ASN1Result<(WallTime, WallTime)> {
    yasna::parse_der(certificate, |whole| {
        whole.read_sequence(|whole| {
            let validity = whole.next().read_sequence(|body| {
                body.read_optional(|version| version.read_tagged(Tag::context(0), |version| version.read_i64()))?;
                let (_serial, _algorithm, _issuer) =
                    (body.next().read_der()?, body.next().read_der()?, body.next().read_der()?);
                let validity = body.next().read_sequence(|two| Ok((time(two.next())?, time(two.next())?)))?;
                while body.read_optional(|rest| rest.read_der())?.is_some() {}
                Ok(validity)
            })?;
            let (_algorithm, _signature) = (whole.next().read_der()?, whole.next().read_der()?);
            Ok(validity)
        })
    })
}

fn time(reader: BERReader<'_, '_>) -> ASN1Result<WallTime> {
    let seconds = match reader.lookahead_tag()? == tags::TAG_UTCTIME {
        true => reader.read_utctime()?.datetime().unix_timestamp(),
        false => reader.read_generalized_time()?.datetime().unix_timestamp(),
    };
    Ok(WallTime(seconds.saturating_mul(1000)))
}

#[cfg(test)]
#[path = "certificate/tests.rs"]
mod tests;
