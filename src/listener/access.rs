//! Who may see more than states: the rule for `/api` (and for all that `dashboard` switches), decided from a request's
//! head.
//!
//! With a configured token whoever shows it. Without one whoever is local: on a Unix-socket address, or a loopback peer
//! that no proxy speaks for. Line: pure; what is shown is for `pages` and `live`.
//!
//! The token is taken from `Authorization: Bearer` and from nowhere else. In an address it would end up in the logs of
//! every proxy and in the history of a browser; a cookie would be sent along by any page that the browser shows.

use super::ask::{Ask, Reply};
use crate::delivery::signature::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::net::IpAddr;

/// The rule of one listener.
#[derive(Debug)]
pub(super) struct Access {
    /// `[listen] dashboard`.
    pub(super) dashboard: bool,
    /// `[listen] token`.
    pub(super) token: Option<Key>,
}

/// How much a caller may see of what everybody may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// States only.
    Public,
    /// Messages and services too.
    Detailed,
}

impl Access {
    /// Whether `ask` may have what is not for everybody; else what it is told.
    pub(super) fn admit(&self, ask: &Ask) -> Result<(), Reply> {
        match (&self.token, self.shown(ask)) {
            (Some(_), Shown::Right) => Ok(()),
            (None, Shown::Nothing) if is_local(ask) => Ok(()),
            (_, Shown::Nothing) => Err(unauthorized("this needs the token of [listen]", "")),
            _ => Err(unauthorized("this is not the token", ", error=\"invalid_token\"")),
        }
    }

    /// How much of a public page `ask` may see. A token that is wrong is refused here too: a caller that guesses is not
    /// to find a place where it is told nothing of it and may go on.
    pub(super) fn sight(&self, ask: &Ask) -> Result<Sight, Reply> {
        match self.shown(ask) {
            Shown::Right => Ok(Sight::Detailed),
            Shown::Nothing if is_local(ask) => Ok(Sight::Detailed),
            Shown::Nothing => Ok(Sight::Public),
            Shown::Wrong => Err(unauthorized("this is not the token", ", error=\"invalid_token\"")),
        }
    }

    fn shown(&self, ask: &Ask) -> Shown {
        let mut shown = ask.headers_named("Authorization");
        match (shown.next(), shown.next(), &self.token) {
            (None, ..) => Shown::Nothing,
            (Some(value), None, Some(token)) if bearer(value).is_some_and(|given| is_same(given, token)) => {
                Shown::Right
            }
            // A proxy's own password, passed on to a listener that has no token, proves nothing and harms nothing.
            (Some(_), _, None) => Shown::Nothing,
            _ => Shown::Wrong,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Right,
    Wrong,
}

fn unauthorized(message: &str, error: &str) -> Reply {
    Reply::error(401, message).with("WWW-Authenticate", &format!("Bearer realm=\"pintle\"{error}"))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compared by their authentication codes, in a time that depends on neither; an empty token fits nothing.
fn is_same(given: &str, token: &Key) -> bool {
    let code = |of: &[u8]| {
        let mac = Hmac::<Sha256>::new_from_slice(b"compared, not kept").ok();
        mac.map(|mac| mac.chain_update(of))
    };
    match (code(given.as_bytes()), code(&token.0)) {
        (Some(given), Some(code)) => code.verify(&given.finalize().into_bytes()).is_ok() && !token.0.is_empty(),
        _ => false,
    }
}

/// Whether nobody but this host can have sent it.
fn is_local(ask: &Ask) -> bool {
    ask.is_local() && is_near_name(ask.header("Host"))
}

/// Whether this is an address or a name without a dot. Under a name of the internet a page in a browser on this host
/// could reach us whose author has that name point here.
fn is_near_name(host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || !name.contains('.') || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(peer: Option<&str>, headers: &[(&str, &str)]) -> Ask {
        Ask {
            method: "GET".into(),
            path: "/api/status".into(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: vec![],
            is_forwarded: headers.iter().any(|(name, _)| {
                matches!(name.to_lowercase().as_str(), "x-forwarded-for" | "x-real-ip" | "forwarded" | "via")
            }),
            peer: peer.map(|peer| peer.parse().unwrap()),
        }
    }

    type Headers = &'static [(&'static str, &'static str)];

    const NEAR: Option<&str> = Some("127.0.0.1:40000");
    const FAR: Option<&str> = Some("192.0.2.7:40000");

    #[test]
    fn without_a_token_only_what_is_local_is_let_in() {
        let access = Access { dashboard: true, token: None };
        let cases: [(Option<&str>, Headers, bool); 16] = [
            (None, &[], true),
            (NEAR, &[], true),
            (Some("[::1]:4"), &[("Host", "[::1]:9000")], true),
            (Some("[::ffff:127.0.0.1]:4"), &[], true),
            (FAR, &[], false),
            (Some("[2001:db8::1]:4"), &[], false),
            (NEAR, &[("X-Forwarded-For", "192.0.2.7")], false),
            (NEAR, &[("x-real-ip", "127.0.0.1")], false),
            (NEAR, &[("Forwarded", "for=127.0.0.1")], false),
            (NEAR, &[("Via", "1.1 proxy")], false),
            (None, &[("X-Forwarded-For", "127.0.0.1")], false),
            (NEAR, &[("Host", "localhost:9000")], true),
            (NEAR, &[("Host", "raspberrypi")], true),
            (NEAR, &[("Host", "127.0.0.1:9000")], true),
            (NEAR, &[("Host", "evil.example.com:9000")], false),
            (NEAR, &[("Authorization", "Basic YTpi")], true),
        ];
        for (peer, headers, expected) in cases {
            let judged = access.admit(&ask(peer, headers));
            assert_eq!(judged.is_ok(), expected, "{peer:?} {headers:?}");
            if let Err(reply) = judged {
                assert_eq!(reply.status, 401);
                assert!(reply.headers.contains(&("WWW-Authenticate", "Bearer realm=\"pintle\"".into())), "{reply:?}");
            }
        }
    }

    #[test]
    fn with_a_token_everybody_must_show_it() {
        let access = Access { dashboard: true, token: Some(Key(b"let-me-in".to_vec())) };
        let cases: [(Headers, bool); 11] = [
            (&[("Authorization", "Bearer let-me-in")], true),
            (&[("authorization", "bearer  let-me-in ")], true),
            (&[("Authorization", "Bearer let-me-in"), ("X-Forwarded-For", "192.0.2.7")], true),
            (&[], false),
            (&[("Authorization", "Bearer")], false),
            (&[("Authorization", "Bearer ")], false),
            (&[("Authorization", "let-me-in")], false),
            (&[("Authorization", "Basic let-me-in")], false),
            (&[("Authorization", "Bearer let-me-in2")], false),
            (&[("Authorization", "Bearer let-me-i")], false),
            (&[("Authorization", "Bearer let-me-in"), ("Authorization", "Bearer let-me-in")], false),
        ];
        for (headers, expected) in cases {
            for peer in [None, NEAR, FAR] {
                assert_eq!(access.admit(&ask(peer, headers)).is_ok(), expected, "{peer:?} {headers:?}");
            }
        }
    }

    #[test]
    fn an_empty_token_lets_nobody_in() {
        let access = Access { dashboard: true, token: Some(Key(vec![])) };
        for headers in [&[][..], &[("Authorization", "Bearer ")], &[("Authorization", "Bearer")]] {
            assert!(access.admit(&ask(NEAR, headers)).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn of_a_public_page_more_is_seen_locally_or_with_the_token() {
        let closed = Access { dashboard: true, token: Some(Key(b"let-me-in".to_vec())) };
        let right: &[(&str, &str)] = &[("Authorization", "Bearer let-me-in")];
        let wrong: &[(&str, &str)] = &[("Authorization", "Bearer x")];
        assert_eq!(closed.sight(&ask(FAR, right)).ok(), Some(Sight::Detailed));
        assert_eq!(closed.sight(&ask(FAR, &[])).ok(), Some(Sight::Public));
        assert_eq!(closed.sight(&ask(NEAR, &[])).ok(), Some(Sight::Detailed));
        assert_eq!(closed.sight(&ask(NEAR, &[("X-Real-IP", "192.0.2.7")])).ok(), Some(Sight::Public));
        assert_eq!(closed.sight(&ask(FAR, wrong)).unwrap_err().status, 401);
    }
}
