//! What a probe has to do with certificates: whom it trusts, and how long the other side's counts.

use super::{agent_with, no_answer, resolve, seen};
use crate::base::Moment;
use crate::config::certificate_ends;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::tls::{PemItem, RootCerts, parse_pem};

const A_DAY: Duration = Duration::from_secs(86_400);

/// An agent for which only the certificates of a PEM file vouch. Read anew each time: the file may be replaced.
pub(super) fn agent_that_trusts(ca: &Path) -> Result<ureq::Agent, String> {
    let pem = fs::read(ca).map_err(|error| format!("read the certificates in {}: {error}", ca.display()))?;
    let items = parse_pem(&pem).flatten();
    let trusted: Vec<_> = items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    match trusted.is_empty() {
        true => Err(format!("{} holds no certificate: write the authority's as PEM", ca.display())),
        false => Ok(agent_with(RootCerts::new_with_certs(&trusted))),
    }
}

/// Whether the certificate that `url`'s server shows counts for `days` more. Whether it is to be trusted was seen by
/// whoever has just asked there, of whose `timeout` what is left up to the `deadline` is left for this too.
pub(super) fn lasts(url: &str, days: u32, deadline: Instant, timeout: Duration) -> Result<(), String> {
    let ends = end_of_certificate(url, deadline, timeout)?;
    let left = ends.since(Moment::now().wall);
    if left >= A_DAY * days {
        return Ok(());
    }
    let left = left.as_secs() / A_DAY.as_secs();
    Err(format!("its certificate ends in {left} days ({ends}), and should count for {days} more: renew it"))
}

fn end_of_certificate(url: &str, deadline: Instant, timeout: Duration) -> Result<crate::base::WallTime, String> {
    let rest = url.strip_prefix("https://").ok_or("it speaks no TLS")?;
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let authority = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let place = if has_port { authority.to_owned() } else { format!("{authority}:443") };
    let host = place.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let mut tls = ClientConnection::new(Arc::new(config()?), name).map_err(|error| error.to_string())?;
    let left = deadline.saturating_duration_since(Instant::now());
    let mut last = format!("{place} has no address");
    for address in resolve(&place, left).map_err(|why| if left.is_zero() { no_answer(timeout) } else { why })? {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return shown(&mut tls, stream, deadline, timeout),
            Err(error) => last = seen(&error, timeout),
        }
    }
    Err(last)
}

/// Shakes hands, and reads what is shown.
fn shown(
    tls: &mut ClientConnection,
    mut stream: TcpStream,
    deadline: Instant,
    timeout: Duration,
) -> Result<crate::base::WallTime, String> {
    while tls.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(no_answer(timeout));
        }
        let limits = stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)));
        limits.and_then(|()| tls.complete_io(&mut stream)).map_err(|error| seen(&error, timeout))?;
    }
    let first = tls.peer_certificates().and_then(|chain| chain.first());
    first.and_then(certificate_ends).ok_or_else(|| "its certificate cannot be read".into())
}

fn config() -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(ReadsOnly(provider))).with_no_client_auth())
}

/// Lets every certificate pass: nothing is said to the other side but a handshake, and nothing believed but the date,
/// which the request before has had vouched for.
#[derive(Debug)]
struct ReadsOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for ReadsOnly {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::http;
    use super::*;
    use crate::config::Page;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::PathBuf;

    const LONG: Duration = Duration::from_secs(20);

    /// A server on loopback with a certificate that ends in `days`, made by an authority of its own: its address, and
    /// the file that holds the authority's certificate.
    fn server(name: &str, days: i64) -> (String, PathBuf) {
        let midnight = |days: i64| {
            let then = Moment::now().wall.0 + days * 86_400_000;
            let date = crate::base::WallTime(then).compact();
            date_time_ymd(date[..4].parse().unwrap(), date[4..6].parse().unwrap(), date[6..8].parse().unwrap())
        };
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(vec![]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["localhost".into()]).unwrap();
        leaf.not_before = midnight(-30);
        leaf.not_after = midnight(days);
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let dir = std::env::temp_dir().join(format!("pintle-probe-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let ca = dir.join("ca.pem");
        fs::write(&ca, authority_pem).unwrap();

        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![leaf.der().clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/health", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                answer(ServerConnection::new(config.clone()).unwrap(), connection.unwrap());
            }
        });
        (url, ca)
    }

    /// Whoever has seen enough, or does not trust us, hangs up.
    fn answer(mut tls: ServerConnection, mut stream: TcpStream) {
        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
        let mut head = [0; 1024];
        if stream.read(&mut head).is_ok_and(|read| read > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }

    fn said(url: &str, page: &Page) -> String {
        http(url, page, LONG).unwrap_err().said
    }

    #[test]
    fn only_who_is_vouched_for_is_believed_and_a_certificate_that_ends_is_seen_in_time() {
        let (url, ca) = server("good", 20);
        let trusting = Page { ca: Some(ca.clone()), ..Page::default() };
        assert_eq!(http(&url, &trusting, LONG), Ok(()));
        assert_eq!(http(&url, &Page { tls_days: Some(14), ..trusting.clone() }, LONG), Ok(()));
        let told = said(&url, &Page { tls_days: Some(21), ..trusting.clone() });
        assert!(told.contains("ends in 19 days") || told.contains("ends in 20 days"), "{told}");
        // The system knows nothing of that authority, nor does another one.
        let told = said(&url, &Page::default());
        assert!(told.to_lowercase().contains("certificate"), "{told}");
        let (expired_url, other) = server("expired", -1);
        assert!(
            said(&url, &Page { ca: Some(other.clone()), ..Page::default() }).to_lowercase().contains("certificate")
        );
        let told = said(&expired_url, &Page { ca: Some(other.clone()), ..Page::default() });
        assert!(told.to_lowercase().contains("expired"), "{told}");
        // Another name than the certificate's.
        let elsewhere = url.replace("localhost", "127.0.0.1");
        assert!(!said(&elsewhere, &trusting).is_empty());
        fs::write(&ca, "no certificate").unwrap();
        assert!(said(&url, &trusting).contains("holds no certificate"));
        for file in [ca, other] {
            fs::remove_dir_all(file.parent().unwrap()).unwrap();
        }
    }
}
