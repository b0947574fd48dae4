//! Blue-green through a real nginx, configured as the documentation says: no request fails while its upstream is
//! switched, and a configuration it does not accept changes nothing.

use crate::world::{ports, processes, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::base::{AppName, ServiceName};
use pintle::config::{Command as Configured, Nginx};
use pintle::os::cancel::Cancel;
use pintle::runtime::nginx::{self, Routed};
use pintle::runtime::place::Place;
use pintle::runtime::ports::{Ports, Slot};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// An nginx of our own on a loopback port, in front of whatever its upstream names.
struct Front {
    dir: PathBuf,
    port: u16,
    place: Place,
    app: AppName,
    nginx: Nginx,
    cancel: Cancel,
    ports: Ports,
    process: Option<Child>,
}

impl Front {
    fn new() -> Front {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("pt-nginx-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("backends")).unwrap();
        let conf = dir.join("nginx.conf");
        let command = |more: &[&str]| {
            let place = ["nginx", "-p", dir.to_str().unwrap(), "-c", conf.to_str().unwrap()];
            Configured::Argv(place.iter().chain(more).map(|word| word.to_string()).collect())
        };
        let front = Front {
            port: ports::take(),
            place: Place { state_dir: dir.join("state"), runtime_dir: dir.join("run") },
            app: AppName::new("shop").unwrap(),
            nginx: Nginx {
                file: "shop.conf".into(),
                upstream: "shop".into(),
                test: command(&["-t"]),
                reload: command(&["-s", "reload"]),
            },
            cancel: Cancel::new().unwrap(),
            ports: Ports::default(),
            process: None,
            dir,
        };
        front.configure("");
        front
    }

    fn conf(&self) -> PathBuf {
        self.dir.join("nginx.conf")
    }

    /// `nginx.conf`: what a test bench needs around the documentation's own text, then `more`.
    fn configure(&self, more: &str) {
        let temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temps: String = temps.iter().map(|kind| format!("    {kind}_temp_path {kind};\n")).collect();
        let site = documented()
            .replace("/var/lib/pintle/apps/shop/nginx", self.place.nginx(&self.app).to_str().unwrap())
            .replace("listen 80;", &format!("listen 127.0.0.1:{};", self.port));
        let text = format!(
            "daemon off;\nworker_processes 2;\npid nginx.pid;\nerror_log error.log notice;\n\
             events {{ worker_connections 512; }}\nhttp {{\n    access_log off;\n{temps}{site}\n}}\n{more}\n"
        );
        fs::write(self.conf(), text).unwrap();
    }

    fn switch(&self, ports: &[u16]) -> io::Result<Routed> {
        nginx::write_and_reload(&self.place, &self.app, &self.nginx, ports, PATIENCE, &self.cancel)
    }

    /// Starts nginx and waits until it accepts.
    fn open(&mut self) {
        let argv = self.nginx.test.argv();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nginx");
        command.args(&argv[1..argv.len() - 1]).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.stderr(Stdio::null()).spawn().expect("nginx is installed"));
        wait_until("nginx", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Starts a release on a port of its own and waits until it answers.
    fn release(&self, round: u64) -> Release {
        let slot = Slot { app: self.app.clone(), service: ServiceName::new("web").unwrap(), round, index: 0 };
        let port = self.ports.choose(&slot).unwrap();
        let dir = self.dir.join(format!("backends/{round}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("app.conf"), format!("version = v{round}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pintle"));
        command.arg("demo-app").current_dir(&dir).env("PORT", port.to_string()).env_remove("LISTEN_FDS");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let release = Release { port, process };
        wait_until("a release", || {
            ask(&mut connect(port).ok()?, "GET", "/health").ok().filter(|said| said.status == 200)
        });
        release
    }

    /// The version that answers a request nobody may repeat.
    #[track_caller]
    fn serves(&self) -> String {
        let said = ask(&mut connect(self.port).unwrap(), "POST", "/").unwrap();
        assert_eq!(said.status, 200, "{}", self.error_log());
        said.version
    }

    fn error_log(&self) -> String {
        fs::read_to_string(self.dir.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            end(&mut process);
        }
        if std::thread::panicking() {
            eprintln!("kept for a look: {}\nnginx said:\n{}", self.dir.display(), self.error_log());
            return;
        }
        let left = processes::describe(std::slice::from_ref(&self.dir));
        assert!(left.is_empty(), "left: {left}");
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// A running release, stopped as the daemon stops one.
struct Release {
    port: u16,
    process: Child,
}

impl Drop for Release {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// SIGTERM, and the process is waited for.
fn end(process: &mut Child) {
    kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM).unwrap();
    process.wait().unwrap();
}

/// The site as `docs/deploying.md` has it: what people copy is what is tested.
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploying.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```nginx\n# /etc/nginx/conf.d/shop.conf").expect("the section on nginx");
    rest.split_once("```").unwrap().0.to_owned()
}

fn connect(port: u16) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// An answer: its status, the version that gave it, and whether more may be asked on the connection.
struct Said {
    status: u16,
    version: String,
    keeps: bool,
}

/// One request. `UnexpectedEof` or a reset: the connection ended before a byte of the answer came.
fn ask(stream: &mut BufReader<TcpStream>, method: &str, path: &str) -> io::Result<Said> {
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    write!(stream.get_mut(), "{method} {path} HTTP/1.1\r\nHost: shop.example.org\r\n{length}\r\n")?;
    let mut line = String::new();
    let bad = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not an answer: {line:?}"));
    match stream.read_line(&mut line) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) if !line.is_empty() => return Err(bad(&line)),
        read => read?,
    };
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| bad(&line))?;
    let (mut length, mut version, mut keeps) = (0, String::new(), true);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(bad("a head that ends early"));
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().map_err(|_| bad(&line))?;
            }
            Some((name, value)) if name.eq_ignore_ascii_case("x-version") => version = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("connection") => keeps = value != "close",
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(|error| bad(&error.to_string()))?;
    Ok(Said { status, version, keeps })
}

/// What a crowd of clients met with.
#[derive(Default)]
struct Met {
    answered: AtomicUsize,
    /// A kept connection was closed by the server before it took the request: HTTP has the client ask again.
    asked_again: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Met {
    fn one(&self, what: &str, outcome: io::Result<Said>) {
        match outcome {
            Ok(Said { status: 200, .. }) => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
            Ok(said) => self.failures.lock().unwrap().push(format!("{what}: {}", said.status)),
            Err(error) => self.failures.lock().unwrap().push(format!("{what}: {error}")),
        }
    }

    /// Each request on a connection of its own.
    fn ask_anew(&self, port: u16, method: &str, path: &str, is_over: &AtomicBool) {
        while !is_over.load(Ordering::SeqCst) {
            let outcome = connect(port).and_then(|mut stream| ask(&mut stream, method, path));
            self.one(&format!("{method} {path}"), outcome);
        }
    }

    /// All requests on one connection, as long as it lasts.
    fn keep_asking(&self, port: u16, is_over: &AtomicBool) {
        while !is_over.load(Ordering::SeqCst) {
            let mut stream = match connect(port) {
                Ok(stream) => stream,
                Err(error) => return self.one("connect", Err(error)),
            };
            for nth in 0.. {
                let outcome = ask(&mut stream, "GET", "/");
                let keeps = outcome.as_ref().is_ok_and(|said| said.keeps);
                match outcome {
                    Err(error) if nth > 0 && is_an_end(&error) => drop(self.asked_again.fetch_add(1, Ordering::SeqCst)),
                    outcome => self.one("GET on a kept connection", outcome),
                }
                if !keeps || is_over.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
    }
}

/// The server closed the connection and took nothing of the request.
fn is_an_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

#[test]
#[ignore = "needs nginx; .ci/run runs it"]
fn ten_switches_lose_no_request() {
    let mut front = Front::new();
    let mut live = front.release(0);
    assert_eq!(nginx_less(&front, live.port), Routed::Switched);
    front.open();
    let (met, is_over, port) = (Met::default(), AtomicBool::new(false), front.port);
    std::thread::scope(|scope| {
        let (met, is_over) = (&met, &is_over);
        let over_at_the_end = Over(is_over);
        for _ in 0..2 {
            scope.spawn(|| met.keep_asking(port, is_over));
            scope.spawn(|| met.ask_anew(port, "GET", "/", is_over));
            scope.spawn(|| met.ask_anew(port, "POST", "/", is_over));
            scope.spawn(|| met.ask_anew(port, "GET", "/slow/400", is_over));
        }
        for round in 1..=10 {
            let next = front.release(round);
            assert_eq!(front.switch(&[next.port]).unwrap(), Routed::Switched);
            assert_eq!(front.switch(&[next.port]).unwrap(), Routed::Already);
            assert_eq!(nginx::routed_ports(&front.place, &front.app, &front.nginx), [next.port]);
            let is_quiet = nginx::drain(&[live.port], Duration::from_secs(1), PATIENCE, &front.cancel);
            assert!(is_quiet, "round {round}: somebody still asks the old release");
            assert_eq!(front.serves(), format!("v{round}"));
            live = next;
        }
        drop(over_at_the_end);
    });
    let (answered, again) = (met.answered.load(Ordering::SeqCst), met.asked_again.load(Ordering::SeqCst));
    println!("10 switches: {answered} requests answered, {again} asked again on a new connection");
    let failures = met.failures.lock().unwrap();
    assert!(failures.is_empty(), "{} of {answered} failed: {:#?}", failures.len(), &failures[..failures.len().min(9)]);
    assert!(answered > 1000, "only {answered} requests: no load at all");
}

/// Ends the clients however the block ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The first switch of all: nginx is there, but does not run yet.
fn nginx_less(front: &Front, port: u16) -> Routed {
    let without = Nginx { reload: Configured::Argv(vec!["true".into()]), ..front.nginx.clone() };
    nginx::write_and_reload(&front.place, &front.app, &without, &[port], PATIENCE, &front.cancel).unwrap()
}

#[test]
#[ignore = "needs nginx; .ci/run runs it"]
fn a_configuration_nginx_refuses_changes_nothing() {
    let mut front = Front::new();
    let (old, new) = (front.release(1), front.release(2));
    nginx_less(&front, old.port);
    front.open();
    assert_eq!(front.serves(), "v1");

    front.configure("this_is_no_directive on;");
    let error = front.switch(&[new.port]).unwrap_err().to_string();
    assert!(error.contains("unknown directive \"this_is_no_directive\""), "{error}");
    assert!(error.ends_with("shop.conf is as it was, requests go where they went"), "{error}");
    assert_eq!(nginx::routed_ports(&front.place, &front.app, &front.nginx), [old.port]);
    assert_eq!(front.serves(), "v1");

    front.configure("");
    assert_eq!(front.switch(&[new.port]).unwrap(), Routed::Switched);
    wait_until("v2", || (front.serves() == "v2").then_some(()));
}

#[test]
#[ignore = "needs nginx; .ci/run runs it"]
fn several_instances_share_the_load_and_one_that_is_gone_costs_nobody_a_request() {
    let mut front = Front::new();
    let (one, two) = (front.release(1), front.release(2));
    nginx_less(&front, one.port);
    front.open();
    assert_eq!(front.switch(&[one.port, two.port]).unwrap(), Routed::Switched);
    wait_until("the first", || (front.serves() == "v1").then_some(()));
    wait_until("the second", || (front.serves() == "v2").then_some(()));
    drop(one);
    for _ in 0..200 {
        assert_eq!(front.serves(), "v2");
    }
}
