//! Whether nginx, where it is installed, passes `/webhook` and `/webhook-health` on to the listener.
//!
//! `directives` takes its configuration apart; here is asked which location a request would meet, and where that leads.
//! Locations by regular expression are not evaluated: one that takes the path away from another is not seen.

mod directives;

use super::super::findings::Finding;
use super::installation::Installation;
use super::programs;
use crate::config::Address;
use directives::{Directive, parse};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

const ABOUT: &str = "nginx";

/// What a forge and a watcher ask for.
const PATHS: [&str; 2] = ["/webhook", "/webhook-health"];

/// What is to be said of it.
pub fn look(here: &Installation) -> Vec<Finding> {
    let Some(listen) = here.listen() else { return vec![] };
    let Some(text) = configuration(here) else {
        let (what, reached) = ("it is not installed", is_public(&listen.address));
        let how = if reached { "the listener is reached without it" } else { "only this host reaches the listener" };
        return vec![Finding::ok(ABOUT, format!("{what}; {how} ({})", listen.address))];
    };
    let servers = servers(&parse(&text));
    let judge = |path| judged(path, &servers, &listen.address);
    PATHS.into_iter().map(judge).collect()
}

/// Whether others than this host can come in.
fn is_public(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if !address.ip().is_loopback())
}

/// All of nginx's configuration; `None`: there is no nginx.
fn configuration(here: &Installation) -> Option<String> {
    let dir = here.path("/etc/nginx");
    if !dir.join("nginx.conf").is_file() {
        return None;
    }
    let dumped = (here.root == Path::new("/")).then(|| programs::said(&["nginx", "-T"])).flatten();
    dumped.or_else(|| {
        let folders = ["conf.d", "sites-enabled"].map(|folder| dir.join(folder));
        let mut files: Vec<PathBuf> = folders
            .iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files.push(dir.join("nginx.conf"));
        Some(files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n"))
    })
}

/// What a server block leads to.
struct Server {
    locations: Vec<Location>,
}

struct Location {
    /// `=` before it.
    exact: bool,
    /// The path it begins with.
    path: String,
    /// What `proxy_pass` says, upstreams replaced by their servers; empty: it is not passed on.
    targets: Vec<String>,
}

fn servers(all: &[Directive]) -> Vec<Server> {
    let mut upstreams = Vec::new();
    Directive::each(all, &mut |directive| {
        if let ("upstream", Some(name)) = (directive.name(), directive.words.get(1)) {
            let servers = directive.block.iter().filter(|inner| inner.name() == "server");
            upstreams.push((name.clone(), servers.filter_map(|inner| inner.words.get(1).cloned()).collect::<Vec<_>>()));
        }
    });
    let mut found = Vec::new();
    Directive::each(all, &mut |directive| {
        if directive.name() == "server" && !directive.block.is_empty() {
            found.push(Server { locations: locations(&directive.block, &upstreams) });
        }
    });
    // Of an included file it is not known which server includes it: it may be any.
    for server in &mut found {
        server.locations.extend(locations(all, &upstreams));
    }
    found
}

fn locations(block: &[Directive], upstreams: &[(String, Vec<String>)]) -> Vec<Location> {
    let of = |directive: &Directive| {
        let (exact, path) = match directive.words.get(1..)? {
            [path] => (false, path),
            [modifier, path] if modifier == "=" => (true, path),
            [modifier, path] if modifier == "^~" => (false, path),
            _ => return None,
        };
        let pass = directive.block.iter().find(|inner| inner.name() == "proxy_pass");
        let target = pass.and_then(|pass| pass.words.get(1));
        let targets = target.map(|target| resolved(target, upstreams)).unwrap_or_default();
        Some(Location { exact, path: path.clone(), targets })
    };
    block.iter().filter(|directive| directive.name() == "location").filter_map(of).collect()
}

/// `http://NAME` as the addresses of that upstream, with the path that was written behind it.
fn resolved(target: &str, upstreams: &[(String, Vec<String>)]) -> Vec<String> {
    let Some((scheme, rest)) = target.split_once("://") else { return vec![target.to_owned()] };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match upstreams.iter().find(|(name, _)| name == host) {
        Some((_, servers)) => servers.iter().map(|server| format!("{scheme}://{server}{path}")).collect(),
        None => vec![target.to_owned()],
    }
}

fn judged(path: &str, servers: &[Server], ours: &Address) -> Finding {
    let about = format!("{ABOUT}{path}");
    let met = servers.iter().filter_map(|server| server.meets(path));
    let targets: Vec<(&str, &str)> = met
        .flat_map(|location| location.targets.iter().map(|target| (location.path.as_str(), target.as_str())))
        .collect();
    if targets.iter().any(|(location, target)| leads_to(target, location, ours)) {
        return Finding::ok(about, format!("it passes {path} on to {ours}"));
    }
    let advice = format!("add to the server block: location {path} {{ proxy_pass {}; }}", written(ours));
    let what = match targets.iter().find(|(location, _)| path.starts_with(location) && *location != "/") {
        Some((location, target)) => {
            format!("its location {location} passes {path} on to {target}, the listener is on {ours}")
        }
        None => format!("no server of it passes {path} on to {ours}"),
    };
    match is_public(ours) {
        true => Finding::ok(about, format!("{what}; it is reached without nginx")),
        false => Finding::warning(about, what, advice),
    }
}

impl Server {
    /// The location that a request for `path` meets: the exact one, else the longest that it begins with.
    fn meets(&self, path: &str) -> Option<&Location> {
        let exact = self.locations.iter().find(|location| location.exact && location.path == path);
        let begins = self.locations.iter().filter(|location| !location.exact && path.starts_with(&location.path));
        exact.or_else(|| begins.max_by_key(|location| location.path.len()))
    }
}

/// Whether what a `proxy_pass` in `location` names is `ours`, and leaves the path as it is.
fn leads_to(target: &str, location: &str, ours: &Address) -> bool {
    let Some((_, rest)) = target.split_once("://") else { return false };
    match ours {
        Address::Unix(path) => {
            let (socket, uri) =
                rest.strip_prefix("unix:").map_or(("", ""), |rest| rest.split_once(':').unwrap_or((rest, "")));
            Path::new(socket) == path && (uri.is_empty() || uri == location)
        }
        Address::Tcp(ours) => {
            let (host, uri) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            is_at(host, *ours) && (uri.is_empty() || uri == location)
        }
    }
}

fn is_at(host: &str, ours: SocketAddr) -> bool {
    let Some((name, port)) = host.rsplit_once(':') else { return false };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let near = ours.ip().is_loopback() || ours.ip().is_unspecified();
    let same = match name.parse::<IpAddr>() {
        Ok(ip) => ip == ours.ip() || (near && ip.is_loopback()),
        Err(_) => name == "localhost" && near,
    };
    same && port.parse() == Ok(ours.port())
}

fn written(ours: &Address) -> String {
    match ours {
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(path) => format!("http://unix:{}:", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    fn levels(text: &str, ours: &str) -> Vec<Level> {
        let servers = servers(&parse(text));
        PATHS.iter().map(|path| judged(path, &servers, &ours.parse().unwrap()).level).collect()
    }

    #[test]
    fn both_locations_must_lead_to_the_listener() {
        use Level::{Ok as Well, Warning as Missing};
        let both = "server { listen 443 ssl; location / { proxy_pass http://127.0.0.1:5000; }
                    location /webhook { proxy_pass http://127.0.0.1:9000; client_max_body_size 25m; }
                    location = /webhook-health { proxy_pass http://localhost:9000; } }";
        let table = [
            (both, [Well, Well]),
            // A prefix takes the other one with it.
            ("http { server { location /webhook { proxy_pass http://127.0.0.1:9000; } } }", [Well, Well]),
            ("server { location = /webhook { proxy_pass http://127.0.0.1:9000; } }", [Well, Missing]),
            ("server { location / { proxy_pass http://127.0.0.1:9000; } }", [Well, Well]),
            ("server { location / { proxy_pass http://127.0.0.1:5000; } }", [Missing, Missing]),
            ("server { location /webhook { proxy_pass http://127.0.0.1:9001; } }", [Missing, Missing]),
            // The path would be another one.
            ("server { location /webhook { proxy_pass http://127.0.0.1:9000/; } }", [Missing, Missing]),
            ("server { location /webhook { proxy_pass http://127.0.0.1:9000/webhook; } }", [Well, Well]),
            (
                "upstream hook { server 127.0.0.1:9000; } server { location ^~ /webhook { proxy_pass http://hook; } }",
                [Well, Well],
            ),
            (
                "server { include /etc/nginx/snippets/*; } location /webhook { proxy_pass http://127.0.0.1:9000; }",
                [Well, Well],
            ),
            ("# location /webhook { proxy_pass http://127.0.0.1:9000; }\nserver { }", [Missing, Missing]),
            ("", [Missing, Missing]),
        ];
        for (text, expected) in table {
            assert_eq!(levels(text, "127.0.0.1:9000"), expected, "{text}");
        }
        let unix = "server { location /webhook { proxy_pass http://unix:/run/pintle/hook.sock:; } }";
        assert_eq!(levels(unix, "unix:/run/pintle/hook.sock"), [Well, Well]);
        assert_eq!(levels(unix, "unix:/run/other.sock"), [Missing, Missing]);
        assert_eq!(levels("server { }", "0.0.0.0:9000"), [Well, Well], "it needs no nginx");
        assert_eq!(levels(both, "[::1]:9000"), [Well, Well]);
    }

    #[test]
    fn what_is_missing_is_told_with_the_line_to_add() {
        let servers = servers(&parse("server { location /webhook { proxy_pass http://127.0.0.1:8999; } }"));
        let finding = judged("/webhook", &servers, &"127.0.0.1:9000".parse().unwrap());
        assert!(finding.what.contains("http://127.0.0.1:8999, the listener is on 127.0.0.1:9000"), "{finding:?}");
        assert!(finding.advice.unwrap().contains("location /webhook { proxy_pass http://127.0.0.1:9000; }"));
    }
}
