//! Calls to the outside: one HTTP request and the beginning of its answer, within a deadline.
//!
//! No redirect is followed - a token must not be carried elsewhere - no connection is kept, and an agent lives as long as
//! its request: a daemon that tells nobody anything holds nothing for it. Errors name neither address nor header, which
//! hold secrets. Line: what an answer means is judged elsewhere.

use crate::base::Span;
use crate::os::files::because;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// To connect, TLS not included.
const CONNECT: Duration = Duration::from_secs(10);
/// For everything.
const WHOLE: Duration = Duration::from_secs(30);
/// What is read of an answer's body.
const BODY_MAX: u64 = 16 << 10;

/// What is asked.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Call<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub headers: &'a [(&'static str, String)],
    pub body: &'a [u8],
    /// Certificates that the peer's must lead to, instead of those the system trusts.
    pub ca: Option<&'a Path>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status, whatever it is.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `X-RateLimit-Remaining`.
    pub quota_left: Option<String>,
    /// `X-RateLimit-Reset`.
    pub quota_reset: Option<String>,
    /// The first 16 KiB.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct NoAnswer {
    /// In a sentence.
    pub why: String,
    /// No such request can ever be made: whoever tries again tries in vain.
    pub unusable: bool,
}

impl From<String> for NoAnswer {
    fn from(why: String) -> NoAnswer {
        NoAnswer { why, unusable: false }
    }
}

/// Asks once.
pub fn call(call: Call<'_>) -> Result<Answer, NoAnswer> {
    let roots = match call.ca {
        Some(path) => RootCerts::new_with_certs(&certificates(path).map_err(|error| error.to_string())?),
        None => RootCerts::PlatformVerifier,
    };
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .max_idle_connections(0)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")));
    let agent = ureq::Agent::new_with_config(config.build());
    let mut request = ureq::http::Request::builder().method(call.method).uri(call.url);
    for (name, value) in call.headers {
        request = request.header(*name, value);
    }
    let answered = match call.method {
        "GET" => agent.run(request.body(()).map_err(|_| unusable())?),
        _ => agent.run(request.body(call.body).map_err(|_| unusable())?),
    };
    let answer = answered.map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => unusable(),
        error => NoAnswer::from(in_words(&error)),
    })?;
    let status = answer.status().as_u16();
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, quota_left) = (header("retry-after"), header("x-ratelimit-remaining"));
    let quota_reset = header("x-ratelimit-reset");
    let mut body = vec![];
    // The status is what counts: a body that breaks off changes nothing.
    let _ = answer.into_body().into_reader().take(BODY_MAX).read_to_end(&mut body);
    Ok(Answer { status, retry_after, quota_left, quota_reset, body })
}

fn unusable() -> NoAnswer {
    let why = "its address or a header cannot be used: it holds characters that may not stand there".into();
    NoAnswer { why, unusable: true }
}

fn certificates(path: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let text = fs::read(path).map_err(|error| because("read", path, &error))?;
    let items = ureq::tls::parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<Certificate<'static>> = items.collect();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no certificate", path.display()))),
        false => Ok(found),
    }
}

fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => match tls_trouble(error) {
            Some(why) => why,
            None => seen(error),
        },
        ureq::Error::Timeout(_) => format!("no answer in {}", Span(WHOLE)),
        ureq::Error::HostNotFound => "the host's name is not known".into(),
        ureq::Error::Rustls(error) => tls_in_words(error),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Protocol(_) => "it does not speak HTTP".into(),
        // Others may quote the address.
        _ => "the request could not be made".into(),
    }
}

fn tls_trouble(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(tls_in_words)
}

fn tls_in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => format!(
            "its certificate is not trusted ({why}); for a server of your own name its CA's file: ca = \"PATH\""
        ),
        other => format!("TLS: {other}"),
    }
}

fn seen(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("no answer in {}", Span(WHOLE)),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the connection was closed without an answer".into()
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "the network is not reachable".into(),
        kind => match error.raw_os_error() {
            Some(_) => error.to_string(),
            // The resolver's word: Rust gives it no kind.
            None if error.to_string().starts_with("failed to lookup") => {
                "the host's name is not known, or no name server answers".into()
            }
            None => format!("no answer ({kind})"),
        },
    }
}

#[cfg(test)]
#[path = "outbound/tests.rs"]
mod tests;
