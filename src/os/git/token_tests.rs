//! A token against a real HTTP server: it opens the repository, and nobody else ever sees it.

use super::Mirror;
use super::fixture::{AMPLE, Origin, Scratch, complaint, git, source, within};
use crate::base::CommitId;
use crate::config::{Access, Secret, Source};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

const TOKEN: &str = "s3cr3t-t0ken";

/// Serves a directory's files over HTTP to whoever has the token; git's "dumb" protocol needs no more.
struct Forge {
    server: std::sync::Arc<tiny_http::Server>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Forge {
    /// `redirect`: everything is to be had there instead. Every `Authorization` seen comes back from `close`.
    /// `held` is asked to pause before the first authorized answer.
    fn start(root: PathBuf, redirect: Option<String>, held: Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>) -> Forge {
        let server = std::sync::Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let serving = server.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut held) = (Vec::new(), held);
            for request in serving.incoming_requests() {
                let path = request.url().split('?').next().unwrap().to_owned();
                let given = request.headers().iter().find(|header| header.field.equiv("Authorization"));
                let given = given.map(|header| header.value.to_string());
                seen.extend(given.clone());
                let answer = |code: u32| tiny_http::Response::from_data(Vec::new()).with_status_code(code);
                let header = |text: &str| text.parse::<tiny_http::Header>().unwrap();
                let response = match (&redirect, given) {
                    (Some(to), _) => {
                        answer(302).with_header(header(&format!("Location: {to}{path}?service=git-upload-pack")))
                    }
                    (None, Some(given)) if given == basic("x-access-token", TOKEN) => {
                        if let Some((reached, go_on)) = held.take() {
                            reached.send(()).unwrap();
                            let _ = go_on.recv();
                        }
                        match fs::read(root.join(path.trim_start_matches('/'))) {
                            Ok(content) => tiny_http::Response::from_data(content),
                            Err(_) => answer(404),
                        }
                    }
                    (None, _) => answer(401).with_header(header("WWW-Authenticate: Basic realm=\"git\"")),
                };
                let _ = request.respond(response);
            }
            seen
        });
        Forge { server, thread: Some(thread) }
    }
    fn url(&self) -> String {
        format!("http://{}", self.server.server_addr())
    }
    fn close(mut self) -> Vec<String> {
        self.server.unblock();
        self.thread.take().unwrap().join().unwrap()
    }
}

/// What HTTP's basic authentication sends.
fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let plain = format!("{user}:{password}");
    let encoded: String = plain
        .as_bytes()
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..4).map(move |i| match i <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]),
                false => '=',
            })
        })
        .collect();
    format!("Basic {encoded}")
}

fn with_token(url: &str) -> Source {
    let access = Access { token: Some(Secret(format!("{TOKEN}\n").into_bytes())), ..Access::default() };
    Source { access, ..source(url) }
}

fn bare_for_http(scratch: &Scratch) -> (CommitId, PathBuf) {
    let origin = Origin::new(scratch.path("origin"));
    let tip = origin.commit(&[("a", "1")]);
    let root = scratch.path("www");
    fs::create_dir(&root).unwrap();
    git(&root, &["clone", "-q", "--bare", origin.url(), "app.git"]);
    git(&root.join("app.git"), &["update-server-info"]);
    (tip, root)
}

#[test]
fn a_token_opens_the_repository_and_is_seen_nowhere() {
    let scratch = Scratch::new();
    let (tip, root) = bare_for_http(&scratch);
    let (reached, is_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let forge = Forge::start(root, None, Some((reached, may_go_on)));
    let mirror = Mirror::open(&scratch.path("app"), &with_token(&format!("{}/app.git", forge.url()))).unwrap();

    let watcher = std::thread::spawn(move || {
        is_reached.recv_timeout(AMPLE).unwrap();
        let (mut gits, mut leaks) = (0, Vec::new());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            for file in ["cmdline", "environ"] {
                let content = fs::read(entry.path().join(file)).unwrap_or_default();
                let content = String::from_utf8_lossy(&content);
                gits += u32::from(file == "cmdline" && content.contains("git") && content.contains("fetch"));
                if content.contains(TOKEN) {
                    leaks.push(content.into_owned());
                }
            }
        }
        go_on.send(()).unwrap();
        (gits, leaks)
    });
    let (fetched, said) = within(AMPLE, |limits| mirror.fetch(limits));
    assert_eq!(fetched.unwrap_or_else(|error| panic!("{error}\n{said}")), tip);
    let (gits, leaks) = watcher.join().unwrap();
    assert!(gits > 0, "the fetch was seen while it ran");
    assert_eq!(leaks, Vec::<String>::new());
    assert!(!said.contains(TOKEN) && !format!("{mirror:?}").contains(TOKEN));
    let stored = Command::new("grep").args(["-r", TOKEN]).arg(scratch.path("app")).output().unwrap();
    assert_eq!(stored.status.code(), Some(1), "{}", String::from_utf8_lossy(&stored.stdout));
    assert!(forge.close().contains(&basic("x-access-token", TOKEN)));
}

#[test]
fn a_wrong_or_missing_token_is_told_and_none_goes_to_another_host() {
    let scratch = Scratch::new();
    let (_, root) = bare_for_http(&scratch);
    let forge = Forge::start(root.clone(), None, None);
    let url = format!("{}/app.git", forge.url());
    let wrong = Access { token: Some(Secret(b"wrong".to_vec())), ..Access::default() };
    for asking in [source(&url), Source { access: wrong, ..source(&url) }] {
        let told = complaint(&Mirror::open(&scratch.path("app"), &asking).unwrap());
        assert!(told.contains("does not let us in") && !told.contains("wrong"), "{told}");
    }
    let astray = Forge::start(root, Some(forge.url()), None);
    let told =
        complaint(&Mirror::open(&scratch.path("app"), &with_token(&format!("{}/app.git", astray.url()))).unwrap());
    assert!(told.contains("does not let us in"), "{told}");
    assert_eq!(astray.close(), Vec::<String>::new());
    assert!(!forge.close().contains(&basic("x-access-token", TOKEN)), "a redirect does not carry the token away");

    let plain = Mirror::open(&scratch.path("app"), &with_token("http://forge.example.org/app.git")).unwrap_err();
    assert!(plain.to_string().contains("plain http") && !plain.to_string().contains(TOKEN), "{plain}");
}
