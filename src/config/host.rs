//! Reads `pintle.toml`: where things are kept, who may talk to us, what the host is watched for.

use super::host_health;
use super::read::Section;
use super::secret::secret;
use super::sheet::{Context, Sheet};
use super::units::{self, Misread};
use super::{Address, Certificate, Half, Host, Listen, Rate, Secret, Tls, Unfit, notify};
use crate::base::{Bytes, Moment, WallTime};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Value;

/// Reads the whole file. What was wrong is on the sheet, and a default stands in its place.
pub(super) fn read(sheet: &Sheet<'_>, table: &toml::Table) -> Host {
    let root = Section::new(sheet, "", table);
    let host = Host {
        state_dir: directory(&root, "state_dir", "STATE_DIRECTORY", STATE_DIR),
        runtime_dir: directory(&root, "runtime_dir", "RUNTIME_DIRECTORY", RUNTIME_DIR),
        listen: root.table("listen").map(|listen| read_listen(&listen)),
        control_group: root.table("control").and_then(|control| control.line("group")),
        notify: notify::read(&root),
        duckdns: notify::read_dns(&root),
        variables: secret_variables(sheet.context),
        health: root.table("health").map(|health| host_health::read(&health)).unwrap_or_default(),
    };
    if host.state_dir == host.runtime_dir {
        root.problem(
            "runtime_dir",
            "is the state directory",
            "give sockets a directory of their own, as in \"/run/pintle\"",
        );
    }
    host
}

/// Of `pintle.env`, what its name or its form shows to be secret. (What configuration points at as a secret is known
/// anyway, and hiding every value would hide names and words.)
fn secret_variables(context: &Context<'_>) -> Vec<Secret> {
    const NAMES: [&str; 6] = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTH"];
    let is_secret = |name: &str, value: &str| {
        let upper = name.to_ascii_uppercase();
        let has_user = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
        has_user || NAMES.iter().any(|part| upper.contains(part))
    };
    let secret = context.variables.iter().filter(|(name, value)| is_secret(name, value));
    secret.map(|(_, value)| Secret(value.clone().into_bytes())).collect()
}

/// Where state is kept when nothing else is said.
pub(super) const STATE_DIR: &str = "/var/lib/pintle";
/// Where sockets are when nothing else is said.
pub(super) const RUNTIME_DIR: &str = "/run/pintle";

/// The directories alone, from a file that may be broken, missing or unreadable: what a client needs to find the daemon.
pub(super) fn directories(context: &Context<'_>, file: &Path, text: &str) -> (PathBuf, PathBuf) {
    let sheet = Sheet::new(context, file.to_owned(), text);
    let table = sheet.parse(text).unwrap_or_default();
    let only: toml::Table = table.into_iter().filter(|(key, _)| key == "state_dir" || key == "runtime_dir").collect();
    let root = Section::new(&sheet, "", &only);
    (
        directory(&root, "state_dir", "STATE_DIRECTORY", STATE_DIR),
        directory(&root, "runtime_dir", "RUNTIME_DIRECTORY", RUNTIME_DIR),
    )
}

/// systemd's own variable wins; it may name several directories, of which the first is ours.
fn directory(root: &Section<'_>, key: &'static str, variable: &str, default: &str) -> PathBuf {
    let written = root.parsed(key, absolute_path);
    let given = (root.sheet.context.environment.variable)(variable);
    let given = given.as_deref().and_then(|list| list.split(':').next()).filter(|first| first.starts_with('/'));
    given.map(PathBuf::from).or(written).unwrap_or_else(|| default.into())
}

fn absolute_path(text: &str) -> Result<PathBuf, Misread> {
    let path = Path::new(text);
    let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_absolute() && plain {
        return Ok(path.components().collect());
    }
    Err(Misread::new("is not an absolute path", r#"begin with '/' and leave out '..', as in "/var/lib/pintle""#))
}

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

fn read_listen(listen: &Section<'_>) -> Listen {
    let read = Listen {
        address: listen.parsed("address", units::address).unwrap_or(Address::Tcp(LISTEN)),
        user: user(listen, "user"),
        max_body: listen.size("max_body").unwrap_or(Bytes(25 << 20)),
        memory_budget: listen.size("memory_budget").unwrap_or(Bytes(48 << 20)),
        connections: listen.count("connections", 1, 65_536).unwrap_or(256),
        header_timeout: listen.positive_duration("header_timeout").unwrap_or(Duration::from_secs(5)),
        body_timeout: listen.positive_duration("body_timeout").unwrap_or(Duration::from_secs(20)),
        rate_limit: listen
            .parsed("rate_limit", units::rate)
            .unwrap_or(Rate { count: 30, per: Duration::from_secs(60) }),
        trust_forwarded: listen.list("trust_forwarded", ip_address).unwrap_or(vec![LISTEN.ip()]),
        tls: read_tls(listen),
        dashboard: listen.boolean("dashboard").unwrap_or(true),
        token: secret(listen, "token"),
    };
    if read.max_body > read.memory_budget {
        let wrong = format!("is more than all bodies together may hold ({})", read.memory_budget);
        listen.problem("max_body", wrong, "raise memory_budget, or lower max_body");
    }
    read
}

fn read_tls(listen: &Section<'_>) -> Option<Tls> {
    match listen.value("tls")? {
        Value::String(word) if word == "self-signed" => Some(Tls::SelfSigned),
        Value::Table(_) => {
            let tls = listen.table("tls")?;
            let path = |key| {
                tls.missing(key, "write the path of a PEM file");
                tls.line(key).map(|path| listen.sheet.context.dir.join(path))
            };
            let (cert, key) = (path("cert"), path("key"));
            let (cert, key) = (cert?, key?);
            // The accepted files are read when others are broken: the applications run then, whatever became of TLS.
            if !listen.sheet.context.accepted {
                check_certificate(&tls, &cert, &key, Moment::now().wall);
            }
            Some(Tls::Files { cert, key })
        }
        _ => {
            let advice = r#"write "self-signed" or { cert = "path", key = "path" }; leave it out for plain HTTP"#;
            listen.problem("tls", "is no way to do TLS", advice);
            None
        }
    }
}

fn check_certificate(tls: &Section<'_>, cert: &Path, key: &Path, now: WallTime) {
    match Certificate::read(cert, key) {
        Err(Unfit { part: Half::Cert, wrong, advice }) => tls.problem("cert", wrong, advice),
        Err(Unfit { part: Half::Key, wrong, advice }) => tls.problem("key", wrong, advice),
        Ok(certificate) => {
            if let Some(worry) = certificate.worry(now) {
                tls.notice("cert", format!("{} {worry}", cert.display()));
            }
        }
    }
}

fn ip_address(text: &str) -> Result<IpAddr, Misread> {
    text.parse().map_err(|_| Misread::new("is not an IP address", r#"write the proxy's address: "127.0.0.1""#))
}

/// A user that must exist on this host.
pub(super) fn user(section: &Section<'_>, key: &'static str) -> Option<String> {
    let name = section.line(key)?;
    if (section.sheet.context.environment.user_exists)(&name) {
        return Some(name);
    }
    let advice = format!("create it (adduser --system {name}), or name a user that exists");
    section.problem(key, format!("{name:?} is not a user of this host"), advice);
    None
}
