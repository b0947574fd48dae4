//! Where a command runs: whom it prints to, how, and where the daemon and its files are.
//!
//! Verbs print through here only, so that `--json` gives documents and nothing else on stdout, notes and errors go to
//! stderr, and a reader that went away ends the command instead of crashing it.

use super::failure::{Failure, USAGE};
use super::style::Style;
use crate::base::AppName;
use crate::config::Paths;
use crate::control::client::Client;
use crate::control::{Answer, Request};
use serde::Serialize;
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

/// How long the daemon may take for an answer that costs it nothing.
pub const SOON: Option<Duration> = Some(Duration::from_secs(15));
/// For what stops, starts or copies: as long as it takes.
pub const LONG: Option<Duration> = None;

/// What surrounds the program: streams, and whether a person sits there.
pub struct World<'a> {
    /// Answers to questions come from here.
    pub input: &'a mut dyn BufRead,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Errors, notes and questions.
    pub err: &'a mut dyn Write,
    /// Both stdin and stdout are a terminal: we may ask, and may show a secret.
    pub terminal: bool,
    /// How people's output looks.
    pub style: Style,
    /// `$PINTLE_CONFIG`.
    pub config: Option<PathBuf>,
    /// How long a follower waits for a daemon that went away.
    pub patience: Duration,
    /// Ctrl-C is ours to handle (we are the whole process).
    pub interrupts: bool,
}

/// A command under way.
pub struct Context<'a> {
    /// The world around it.
    pub world: World<'a>,
    /// The configuration directory.
    pub config_dir: PathBuf,
    /// Documents on stdout.
    pub json: bool,
    /// Say more.
    pub verbose: u8,
    /// Say less.
    pub quiet: bool,
}

impl Context<'_> {
    /// Where the files and sockets are, and which apps there are.
    pub fn paths(&self) -> Paths {
        Paths::locate(&self.config_dir)
    }

    /// Opens a connection to the daemon.
    pub fn daemon(&self) -> Result<Daemon, Failure> {
        Daemon::connect(self.paths().runtime_dir.join("control.sock"))
    }

    /// Prints people's text, as it is.
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.say_bytes(text.as_bytes())
    }

    /// Prints bytes, as they are.
    pub fn say_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let out = &mut self.world.out;
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::nobody_listens(),
            _ => Failure::io(&io::Error::new(error.kind(), format!("print the result: {error}"))),
        })
    }

    /// Prints one JSON document and a newline.
    pub fn document(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(document)
            .map_err(|error| Failure::new(super::failure::SOFTWARE, format!("write the answer as JSON: {error}")))?;
        line.push(b'\n');
        self.say_bytes(&line)
    }

    /// Prints the answer: the document with `--json`, else the text for people.
    pub fn answer(&mut self, document: &impl Serialize, text: impl FnOnce(&Style) -> String) -> Result<(), Failure> {
        if self.json {
            return self.document(document);
        }
        let text = text(&self.world.style);
        self.say(&text)
    }

    /// Says something beside the result, on stderr; silent with `-q`.
    pub fn note(&mut self, text: &str) {
        if !self.quiet {
            self.complain(&format!("{text}\n"));
        }
    }

    /// Says something on stderr. Nobody can be told when that fails.
    pub fn complain(&mut self, text: &str) {
        let _ = self.world.err.write_all(text.as_bytes()).and_then(|()| self.world.err.flush());
    }

    /// Asks a person and reads one line; `None` at the end of input.
    pub fn question(&mut self, text: &str) -> Result<Option<String>, Failure> {
        self.complain(text);
        let mut line = String::new();
        let read = self.world.input.read_line(&mut line).map_err(|error| Failure::io(&error))?;
        Ok((read > 0).then(|| line.trim().to_owned()))
    }

    /// Asks the daemon one thing; what it refuses is a failure with its exit code.
    pub fn ask(&mut self, request: &Request, patience: Option<Duration>) -> Result<Answer, Failure> {
        self.daemon()?.ask(request, patience)
    }

    /// Asks the daemon; when it is down, reads the state directory instead and says so.
    pub fn ask_or_read<T>(
        &mut self,
        request: &Request,
        meant: impl FnOnce(Answer) -> Option<T>,
        read: impl FnOnce(&Paths) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.ask(request, SOON) {
            Ok(answer) => meant(answer).ok_or_else(unexpected),
            Err(down) if down.is_unreachable() => self.read(&down, read),
            Err(failure) => Err(failure),
        }
    }

    /// Reads the state directory because the daemon is down, and says so.
    pub fn read<T>(&mut self, down: &Failure, read: impl FnOnce(&Paths) -> Result<T, Failure>) -> Result<T, Failure> {
        let paths = self.paths();
        match read(&paths) {
            Ok(found) => {
                self.note(&format!("the daemon is not reachable: read from {}", paths.state_dir.display()));
                Ok(found)
            }
            // What was asked for does not exist, whoever is asked.
            Err(failure) if failure.exit == USAGE => Err(failure),
            Err(failure) => Err(Failure {
                message: format!("{}; nor does the state directory help: {}", down.message, failure.message),
                ..down.clone()
            }),
        }
    }

    /// Does what is answered by a sentence: start, stop, cancel and the like.
    pub fn order(&mut self, request: &Request, patience: Option<Duration>) -> Result<u8, Failure> {
        match self.ask(request, patience)? {
            Answer::Done { message } => {
                self.answer(&serde_json::json!({"message": message}), |_| format!("{message}\n"))?;
                Ok(0)
            }
            _ => Err(unexpected()),
        }
    }
}

/// A connection to the daemon that speaks in failures.
#[derive(Debug)]
pub struct Daemon {
    /// The socket it listens on.
    pub socket: PathBuf,
    /// The connection.
    pub client: Client,
}

impl Daemon {
    /// Connects.
    pub fn connect(socket: PathBuf) -> Result<Daemon, Failure> {
        let client = Client::connect(&socket).map_err(|error| Failure::asking(&error, &socket))?;
        Ok(Daemon { socket, client })
    }
    /// Asks; what it refuses is a failure with its exit code.
    pub fn ask(&mut self, request: &Request, patience: Option<Duration>) -> Result<Answer, Failure> {
        match self.client.ask(request, patience).map_err(|error| Failure::asking(&error, &self.socket))? {
            Answer::Error { exit, message } => Err(Failure::new(exit, message)),
            answer => Ok(answer),
        }
    }
}

/// The daemon said something that does not answer the question.
pub fn unexpected() -> Failure {
    Failure::new(super::failure::SOFTWARE, "the daemon gave an answer that does not fit the question")
        .advise("daemon and command line may be of different versions: compare `pintle --version` with `pintle status`")
}

/// How a list of apps reads.
pub fn listed<'n>(apps: impl IntoIterator<Item = &'n AppName>) -> String {
    apps.into_iter().map(AppName::as_str).collect::<Vec<_>>().join(", ")
}
