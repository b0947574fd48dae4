//! `pintle demo-app`: the sample application of the demo and of the tests.
//!
//! A web server as small as one can be that still behaves like a good guest: it serves the sockets it is handed
//! (`LISTEN_FDS`) or binds its `PORT`, finishes what it has begun when SIGTERM comes, and says what it does on stdout.
//! How it misbehaves is read from `app.conf` in its working directory, so each release can be sick in its own way.
//! Line: it knows nothing of Pintle but the environment every service is given. What it tells its supervisor is in
//! `voice`.

mod voice;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, SockaddrStorage, accept4, getsockname, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// How long a connection may take to say what it wants, or to take its answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// How long requests in hand may take after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[allow(missing_docs)]
pub struct DemoAppArgs {}

/// `pintle demo-app`: runs until SIGTERM, or until its configuration lets it die.
pub fn run(_args: &DemoAppArgs) -> u8 {
    match serve() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("demo-app: {error}");
            1
        }
    }
}

fn serve() -> io::Result<()> {
    let app = Arc::new(App::read(Path::new("app.conf"))?);
    let mut end = end_signal()?;
    app.say("starting");
    app.write_journal("start")?;
    app.begin_misbehaviour()?;
    let mut sockets = sockets()?;
    app.describe(&sockets)?;
    if let Some(count) = app.get("sockets").and_then(|count| count.parse().ok()) {
        sockets.truncate(count);
    }
    if app.becomes_ready(&mut end)? {
        app.say(&format!("serving {} sockets", sockets.len()));
        app.keep_talking();
        serve_until_asked_to_end(&app, &sockets, &mut end)?;
    }
    drop(sockets);
    app.finish_requests();
    app.write_journal("end")?;
    app.say("stopped");
    Ok(())
}

fn serve_until_asked_to_end(app: &Arc<App>, sockets: &[OwnedFd], end: &mut UnixStream) -> io::Result<()> {
    loop {
        if asked_to_end(sockets, end)? {
            if !app.yes("ignore_term") {
                return Ok(());
            }
            app.say("SIGTERM ignored");
        }
        for socket in sockets {
            accept(socket, app)?;
        }
    }
}

/// One release of the sample application.
struct App {
    conf: BTreeMap<String, String>,
    /// The name Pintle knows us by; a setting may be meant for one service only.
    service: String,
    rehearsal: bool,
    in_hand: AtomicUsize,
    counting: Mutex<()>,
    /// The sockets it was handed: a line for each, with its number, its name and its address.
    sockets: OnceLock<String>,
}

impl App {
    fn read(path: &Path) -> io::Result<App> {
        let text = fs::read_to_string(path).map_err(|error| crate::os::files::because("read", path, &error))?;
        let rehearsal = std::env::var("PINTLE_REHEARSAL").is_ok_and(|value| value == "1");
        let service = std::env::var("PINTLE_SERVICE").unwrap_or_else(|_| "app".to_owned());
        Ok(App::new(&text, service, rehearsal))
    }

    fn new(conf: &str, service: String, rehearsal: bool) -> App {
        let (in_hand, counting, sockets) = (AtomicUsize::new(0), Mutex::new(()), OnceLock::new());
        App { conf: parse(conf), service, rehearsal, in_hand, counting, sockets }
    }

    /// A setting; `SERVICE.NAME` is asked first, and before it, while rehearsed, `rehearsal_NAME`.
    fn get(&self, name: &str) -> Option<&str> {
        let rehearsed = self.rehearsal.then(|| self.conf.get(&format!("rehearsal_{name}"))).flatten();
        let own = || self.conf.get(&format!("{}.{name}", self.service));
        rehearsed.or_else(own).or_else(|| self.conf.get(name)).map(String::as_str)
    }

    fn yes(&self, name: &str) -> bool {
        self.get(name) == Some("yes")
    }

    fn span(&self, name: &str) -> io::Result<Option<Duration>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let millis = text.strip_suffix("ms").and_then(|digits| digits.parse().ok());
        let seconds = || text.strip_suffix('s').and_then(|digits| digits.parse().ok());
        match millis.map(Duration::from_millis).or_else(|| seconds().map(Duration::from_secs)) {
            Some(span) => Ok(Some(span)),
            None => Err(io::Error::other(format!("app.conf: {name} = {text:?} is not a time such as 500ms or 2s"))),
        }
    }

    fn version(&self) -> &str {
        self.get("version").unwrap_or("unversioned")
    }

    fn say(&self, what: &str) {
        let rehearsal = if self.rehearsal { " (rehearsal)" } else { "" };
        // Nobody reading is no reason to die.
        let pid = std::process::id();
        let _ = writeln!(io::stdout(), "{} {} pid {pid}{rehearsal}: {what}", self.version(), self.service);
    }

    /// Every start and orderly end leaves a line in `data/journal`, where there is a `data`.
    fn write_journal(&self, deed: &str) -> io::Result<()> {
        if !Path::new("data").is_dir() {
            return Ok(());
        }
        let mut journal = OpenOptions::new().create(true).append(true).open("data/journal")?;
        let rehearsal = if self.rehearsal { " rehearsal" } else { "" };
        let line = format!("{deed} {} {} {}{rehearsal}\n", self.version(), self.service, std::process::id());
        journal.write_all(line.as_bytes())
    }

    fn begin_misbehaviour(&self) -> io::Result<()> {
        if self.get("die_if").is_some_and(|path| Path::new(path).exists()) {
            return Err(io::Error::other("what makes me die is there"));
        }
        for number in 0..self.get("chatty").and_then(|lines| lines.parse().ok()).unwrap_or(0_u32) {
            self.say(&format!("line {number} {}", "x".repeat(80)));
        }
        if self.yes("child") {
            // Left to whoever ends our process group.
            let mut child = std::process::Command::new("sleep").arg("600").spawn()?;
            self.say(&format!("child {}", child.id()));
            thread::spawn(move || child.wait());
        }
        if let Some(delay) = self.span("start_delay")? {
            thread::sleep(delay);
        }
        // A crash of its own belongs to production, where nothing else was said.
        let die_after = if self.rehearsal && !self.conf.contains_key("rehearsal_die_after") {
            None
        } else {
            self.span("die_after")?
        };
        if let Some(span) = die_after {
            let code = self.get("die_code").and_then(|code| code.parse().ok()).unwrap_or(1);
            let version = self.version().to_owned();
            thread::spawn(move || {
                thread::sleep(span);
                let _ = writeln!(io::stdout(), "{version}: dying with exit code {code}");
                std::process::exit(code);
            });
        }
        Ok(())
    }

    fn is_healthy(&self) -> bool {
        let sick_file = self.get("sick_if").is_some_and(|path| Path::new(path).exists());
        self.get("health") != Some("fail") && !sick_file
    }

    /// The answer to `GET path`: status and body.
    fn answer(&self, path: &str) -> (u16, String) {
        let parts: Vec<&str> = path.trim_start_matches('/').splitn(2, '/').collect();
        match parts[..] {
            [""] => (200, self.version().to_owned()),
            ["health"] if self.is_healthy() => (200, "healthy".to_owned()),
            ["health"] => (500, "sick".to_owned()),
            ["pid"] => (200, std::process::id().to_string()),
            ["sockets"] => (200, self.sockets.get().cloned().unwrap_or_default()),
            ["count"] => self.count().map_or_else(|error| (500, error.to_string()), |n| (200, n.to_string())),
            ["env", name] => std::env::var(name).map_or((404, String::new()), |value| (200, value)),
            ["slow", millis] => {
                thread::sleep(Duration::from_millis(millis.parse().unwrap_or(0)));
                (200, self.version().to_owned())
            }
            _ => (404, "not found".to_owned()),
        }
    }

    fn describe(&self, sockets: &[OwnedFd]) -> io::Result<()> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut text = String::new();
        for (socket, name) in sockets.iter().zip(names.split(':')) {
            let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
            text.push_str(&format!("{} {name} {address}\n", socket.as_raw_fd()));
        }
        // Nobody else sets it.
        let _ = self.sockets.set(text);
        Ok(())
    }

    /// One more visitor, counted in `data/counter` so that the number outlives releases.
    fn count(&self) -> io::Result<u64> {
        let _one_at_a_time = self.counting.lock();
        let seen = match fs::read_to_string("data/counter") {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        fs::write("data/counter", format!("{}\n", seen + 1))?;
        Ok(seen + 1)
    }

    fn finish_requests(&self) {
        let until = Instant::now() + FAREWELL;
        while self.in_hand.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// `key = value` lines; `#` begins a comment.
fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// A stream that becomes readable when SIGTERM or SIGINT comes.
fn end_signal() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, write.try_clone()?)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, write)?;
    Ok(read)
}

/// The sockets handed over, else one on `127.0.0.1:PORT`, else none: a worker.
fn sockets() -> io::Result<Vec<OwnedFd>> {
    let asked = |name: &str| std::env::var(name).ok();
    if let Some(count) = asked("LISTEN_FDS") {
        let pid = asked("LISTEN_PID").unwrap_or_default();
        if pid != std::process::id().to_string() {
            return Err(io::Error::other(format!("LISTEN_PID is {pid:?}, but I am {}", std::process::id())));
        }
        let count: RawFd = count.parse().map_err(|_| io::Error::other(format!("LISTEN_FDS is {count:?}")))?;
        // SAFETY: by the LISTEN_FDS convention the descriptors from 3 on were made for this process alone, and this
        // is the only place that takes them.
        return Ok((3..3 + count).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect());
    }
    match asked("PORT") {
        Some(port) => Ok(vec![TcpListener::bind(format!("127.0.0.1:{port}"))?.into()]),
        None => Ok(Vec::new()),
    }
}

/// Waits for a connection or a signal; true when it was the signal.
fn asked_to_end(sockets: &[OwnedFd], end: &mut UnixStream) -> io::Result<bool> {
    let mut watched: Vec<PollFd> = sockets.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
    watched.push(PollFd::new(end.as_fd(), PollFlags::POLLIN));
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    drop(watched);
    let mut bytes = [0; 16];
    Ok(end.read(&mut bytes).is_ok_and(|count| count > 0))
}

fn accept(socket: &OwnedFd, app: &Arc<App>) -> io::Result<()> {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::ZERO).unwrap_or(0) == 0 {
        return Ok(());
    }
    // Another instance may take the connection between poll and accept; then we wait for the next one with it.
    let connection = match accept4(socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        // SAFETY: accept4 has just made this descriptor for us.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    app.in_hand.fetch_add(1, Ordering::SeqCst);
    let app = Arc::clone(app);
    thread::spawn(move || {
        if let Err(error) = converse(connection, &app) {
            app.say(&format!("a client went away: {error}"));
        }
        app.in_hand.fetch_sub(1, Ordering::SeqCst);
    });
    Ok(())
}

fn converse(connection: OwnedFd, app: &App) -> io::Result<()> {
    let patience = TimeVal::milliseconds(i64::try_from(CLIENT_PATIENCE.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&connection, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(&connection, sockopt::SendTimeout, &patience)?;
    let mut stream = File::from(connection);
    let mut head = Vec::new();
    let mut part = [0; 2048];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&part[..count]),
        }
        if head.len() > 16 << 10 {
            return Err(io::Error::other("a head above 16 KiB"));
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split_whitespace().nth(1).unwrap_or("/");
    let (status, body) = app.answer(path);
    let reason = if status == 200 { "OK" } else { "Failed" };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nX-Version: {}\r\nX-Pid: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
        app.version(),
        std::process::id(),
    );
    stream.write_all(answer.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(text: &str, rehearsal: bool) -> App {
        App::new(text, "web".to_owned(), rehearsal)
    }

    #[test]
    fn a_release_can_be_sick_in_production_only_or_in_rehearsal_only() {
        let only_live = "version = v5 # the fifth\nhealth = fail\nrehearsal_health = ok\n";
        assert!(app(only_live, true).is_healthy());
        assert!(!app(only_live, false).is_healthy());
        assert_eq!(app(only_live, false).version(), "v5");
        assert!(!app("rehearsal_health=fail", true).is_healthy());
        assert!(app("rehearsal_health=fail", false).is_healthy());
        assert!(!app("health=ok\nweb.health=fail", false).is_healthy());
        assert!(app("health=ok\nworker.health=fail", false).is_healthy());
    }

    #[test]
    fn times_are_milliseconds_or_seconds() {
        let app = app("a=250ms\nb=2s\nc=soon", false);
        assert_eq!(app.span("a").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(app.span("b").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(app.span("none").unwrap(), None);
        assert!(app.span("c").unwrap_err().to_string().contains("soon"));
    }

    #[test]
    fn paths_are_answered() {
        let app = app("version=v1", false);
        assert_eq!(app.answer("/"), (200, "v1".into()));
        assert_eq!(app.answer("/health"), (200, "healthy".into()));
        assert_eq!(app.answer("/slow/1"), (200, "v1".into()));
        assert_eq!(app.answer("/pid").1, std::process::id().to_string());
        assert_eq!(app.answer("/nothing").0, 404);
        assert_eq!(app.answer("/env/NO_SUCH_NAME").0, 404);
    }
}
