//! The asking side: connects to a socket of the daemon, asks, reads answers and streams.

use super::wire;
use super::{Answer, Followed, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A line is written in one piece: one that does not end within this never will.
const LINE_PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the daemon. Answers come in the order of the requests.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why an answer did not come.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens on the socket, or the daemon went away.
    Unreachable(io::Error),
    /// The socket refuses us.
    NotPermitted(io::Error),
    /// No answer within the time given.
    TimedOut,
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskError::Unreachable(error) => write!(f, "{error}"),
            AskError::NotPermitted(error) => write!(f, "{error}"),
            AskError::TimedOut => f.write_str("no answer in time"),
        }
    }
}
impl std::error::Error for AskError {}

impl Client {
    /// Connects to `RUN/control.sock` or `RUN/listener.sock`.
    pub fn connect(path: &Path) -> Result<Client, AskError> {
        Client::connected(path, UnixStream::connect(path))
    }

    /// The same, for whoever does not know whether the daemon still takes connections: `TimedOut` when it does not.
    pub fn connect_within(path: &Path, patience: Duration) -> Result<Client, AskError> {
        Client::connected(path, crate::os::sockets::connect(path, patience))
    }

    fn connected(path: &Path, stream: io::Result<UnixStream>) -> Result<Client, AskError> {
        let stream = stream.map_err(|error| {
            let said = crate::os::files::because("connect to", path, &error);
            match error.kind() {
                ErrorKind::PermissionDenied => AskError::NotPermitted(said),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::TimedOut,
                _ => AskError::Unreachable(said),
            }
        })?;
        Ok(Client { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Who began to listen on the socket; `None`: a process of another namespace.
    pub fn peer(&self) -> Option<u32> {
        let who = getsockopt(self.stream.get_ref(), PeerCredentials).ok()?;
        u32::try_from(who.pid()).ok().filter(|pid| *pid > 0)
    }

    /// Asks and waits for the answer; `None`: as long as it takes.
    pub fn ask(&mut self, request: &Request, patience: Option<Duration>) -> Result<Answer, AskError> {
        self.exchange(request, patience).map_err(|error| self.explain(error))
    }

    /// Asks several at once and adds what is answered to `answers`, in order: as many as came before something went
    /// wrong. `patience` is for all of them together.
    pub fn ask_all(
        &mut self,
        requests: &[Request],
        patience: Duration,
        answers: &mut Vec<Answer>,
    ) -> Result<(), AskError> {
        let until = Instant::now() + patience;
        let exchanged = self.say(requests, Some(patience)).and_then(|()| {
            let mut heard = Until { stream: &mut self.stream, until };
            for _ in requests {
                answers.push(wire::receive(&mut heard)?.ok_or(ErrorKind::UnexpectedEof)?);
            }
            Ok(())
        });
        exchanged.map_err(|error| self.explain(error))
    }

    fn exchange(&mut self, request: &Request, patience: Option<Duration>) -> io::Result<Answer> {
        self.say(std::slice::from_ref(request), patience)?;
        self.hear()
    }

    fn say(&mut self, requests: &[Request], patience: Option<Duration>) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(patience)?;
        wire::send_all(self.stream.get_mut(), requests)
    }

    fn hear(&mut self) -> io::Result<Answer> {
        wire::receive(&mut self.stream)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    fn explain(&self, error: io::Error) -> AskError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::TimedOut,
            _ => AskError::Unreachable(crate::os::files::because("talk to the daemon on", &self.path, &error)),
        }
    }

    /// After [`Answer::Stream`] to a `Follow`: hands every line to `each` until `End` (returned), until `each` breaks
    /// (`Ok(None)`), or until the daemon goes away (`Err`).
    pub fn followed(
        &mut self,
        each: &mut dyn FnMut(&Followed) -> ControlFlow<()>,
    ) -> Result<Option<Followed>, AskError> {
        let gone = |error: io::Error| AskError::Unreachable(error);
        self.stream.get_ref().set_read_timeout(None).map_err(gone)?;
        loop {
            let line: Followed =
                wire::receive(&mut self.stream).map_err(gone)?.ok_or_else(|| gone(ErrorKind::UnexpectedEof.into()))?;
            let stop = each(&line).is_break();
            if matches!(line, Followed::End { .. }) {
                return Ok(Some(line));
            }
            if stop {
                return Ok(None);
            }
        }
    }

    /// After [`Answer::Stream`] to a `Follow`: the next line; `None` when none began within `patience`.
    pub fn next_followed(&mut self, patience: Duration) -> Result<Option<Followed>, AskError> {
        let gone = |error: io::Error| AskError::Unreachable(error);
        if self.stream.buffer().is_empty() && !self.is_spoken_to(patience).map_err(gone)? {
            return Ok(None);
        }
        self.stream.get_ref().set_read_timeout(Some(LINE_PATIENCE)).map_err(gone)?;
        wire::receive(&mut self.stream).map_err(gone)?.ok_or_else(|| gone(ErrorKind::UnexpectedEof.into())).map(Some)
    }

    fn is_spoken_to(&self, patience: Duration) -> io::Result<bool> {
        let mut watched = [PollFd::new(self.stream.get_ref().as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut watched, patience) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when the daemon closes the connection, or at `deadline`.
    pub fn wait_for_end(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let timed = self.stream.get_ref().set_read_timeout(Some(left));
        while timed.is_ok() && matches!(wire::line(&mut self.stream), Ok(Some(_))) {}
    }

    /// After [`Answer::Stream`] to `Logs`: raw lines, without their newline, until the stream ends or `each` breaks.
    pub fn lines(&mut self, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), AskError> {
        self.stream.get_ref().set_read_timeout(None).map_err(AskError::Unreachable)?;
        while let Some(line) = wire::line(&mut self.stream).map_err(AskError::Unreachable)? {
            if each(&line).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// What comes until a moment: a socket's own timeout begins anew with every read.
struct Until<'a> {
    stream: &'a mut BufReader<UnixStream>,
    until: Instant,
}

impl BufRead for Until<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.stream.buffer().is_empty() {
            // A timeout of nothing would be an error, and what has come by now is taken.
            let left = self.until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.get_ref().set_read_timeout(Some(left))?;
        }
        self.stream.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.stream.consume(amount);
    }
}

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const QUESTIONS: [Request; 3] = [Request::Ping, Request::Ping, Request::Ping];

    fn pair() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client { path: "it.sock".into(), stream: BufReader::new(ours) }, theirs)
    }

    #[test]
    fn patience_ends_although_something_comes_all_the_time() {
        let (mut client, mut daemon) = pair();
        let slow = std::thread::spawn(move || {
            wire::send(&mut daemon, &Answer::Pong).unwrap();
            daemon.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            // Blanks before an answer that never comes, until nobody listens any more.
            while daemon.write_all(b" ").is_ok() && !matches!(daemon.read(&mut [0; 4096]), Ok(0)) {}
        });
        let (mut answers, begun) = (vec![], Instant::now());
        let outcome = client.ask_all(&QUESTIONS, Duration::from_millis(200), &mut answers);
        assert!(matches!(outcome, Err(AskError::TimedOut)), "{outcome:?}");
        assert!(begun.elapsed() >= Duration::from_millis(200));
        assert_eq!(answers, [Answer::Pong]);
        drop(client);
        slow.join().unwrap();
    }

    #[test]
    fn what_was_answered_before_the_end_is_kept() {
        let (mut client, mut daemon) = pair();
        wire::send_all(&mut daemon, &[Answer::Pong, Answer::Pong]).unwrap();
        daemon.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = vec![];
        let outcome = client.ask_all(&QUESTIONS, Duration::from_secs(20), &mut answers);
        assert!(matches!(outcome, Err(AskError::Unreachable(_))), "{outcome:?}");
        assert_eq!(answers, [Answer::Pong, Answer::Pong]);
    }
}
