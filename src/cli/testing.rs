//! What the room's tests share: a scratch directory, a world that is written down, and a daemon that says what it is told.

use super::{Style, World, run};
use crate::control::{Answer, Followed, Request, wire};
use std::ffi::OsString;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A directory that is gone with the value.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pintle-cli-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch { path }
    }

    /// A scratch directory with a configuration in it: state and sockets beside it, an empty file per app.
    pub fn configured(name: &str, apps: &[&str]) -> Scratch {
        let scratch = Scratch::new(name);
        let at = scratch.path.display();
        std::fs::create_dir_all(scratch.path.join("apps")).unwrap();
        for dir in ["run", "state"] {
            std::fs::create_dir_all(scratch.path.join(dir)).unwrap();
        }
        let host = format!("state_dir = \"{at}/state\"\nruntime_dir = \"{at}/run\"\n");
        std::fs::write(scratch.path.join("pintle.toml"), host).unwrap();
        for app in apps {
            std::fs::write(scratch.path.join(format!("apps/{app}.toml")), "").unwrap();
        }
        scratch
    }

    /// The same with the app `shop`, its webhook's secret, and `TOKEN=sesame` in `pintle.env`.
    pub fn with_app(text: &str) -> Scratch {
        let scratch = Scratch::configured("shop", &["shop"]);
        let secret = scratch.path.join("secrets/shop");
        std::fs::create_dir_all(scratch.path.join("secrets")).unwrap();
        std::fs::write(&secret, "s".repeat(64)).unwrap();
        std::fs::write(scratch.path.join("pintle.env"), "TOKEN=sesame\n").unwrap();
        for file in [secret, scratch.path.join("pintle.env")] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(scratch.path.join("apps/shop.toml"), text).unwrap();
        scratch
    }

    /// Runs `pintle --config SCRATCH ...` where nobody sits at a terminal.
    pub fn pintle(&self, args: &[&str]) -> Ran {
        self.at_terminal(args, None)
    }

    /// The same with a person who types `said`.
    pub fn pintle_asking(&self, args: &[&str], said: &str) -> Ran {
        self.at_terminal(args, Some(said))
    }

    fn at_terminal(&self, args: &[&str], said: Option<&str>) -> Ran {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let world = World {
            input: &mut said.unwrap_or_default().as_bytes(),
            out: &mut out,
            err: &mut err,
            terminal: said.is_some(),
            style: Style::plain(),
            config: Some(self.path.clone()),
            patience: Duration::from_millis(300),
            interrupts: false,
        };
        let argv = std::iter::once("pintle").chain(args.iter().copied()).map(OsString::from);
        let exit = run(argv, world);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { exit, out: text(out), err: text(err) }
    }

    /// Starts a daemon on this configuration's socket.
    pub fn daemon(&self, script: Vec<Vec<Said>>) -> FakeDaemon {
        FakeDaemon::start(self.path.join("run/control.sock"), script)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// How a command line ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub exit: u8,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The one JSON document on stdout.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// What the daemon says to one request: an answer, then lines of a stream.
pub struct Said {
    answer: Answer,
    followed: Vec<Followed>,
    lines: Vec<&'static str>,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Said {
        Said { answer, followed: Vec::new(), lines: Vec::new() }
    }
}

/// A stream of a deployment's story.
pub fn story(followed: Vec<Followed>) -> Said {
    Said { followed, ..Answer::Stream.into() }
}

/// A stream of log lines.
pub fn log(lines: Vec<&'static str>) -> Said {
    Said { lines, ..Answer::Stream.into() }
}

/// Serves one connection after the other, each by its part of the script, then goes away with its socket.
pub struct FakeDaemon {
    asked: Arc<Mutex<Vec<Request>>>,
}

impl FakeDaemon {
    fn start(socket: PathBuf, script: Vec<Vec<Said>>) -> FakeDaemon {
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        std::thread::spawn(move || {
            let last = script.len();
            for (index, connection) in script.into_iter().enumerate() {
                let Ok((stream, _)) = listener.accept() else { return };
                if index + 1 == last {
                    let _ = std::fs::remove_file(&socket);
                }
                let mut stream = BufReader::new(stream);
                for said in connection {
                    let Ok(Some(request)) = wire::receive(&mut stream) else { break };
                    record.lock().unwrap().push(request);
                    let to = stream.get_mut();
                    let _ = wire::send(to, &said.answer);
                    said.followed.iter().for_each(|line| wire::send(to, line).unwrap());
                    said.lines
                        .iter()
                        .for_each(|line| std::io::Write::write_all(to, format!("{line}\n").as_bytes()).unwrap());
                }
            }
        });
        FakeDaemon { asked }
    }

    /// Everything it was asked so far.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}
