//! Where nginx sends a service's requests: an upstream in a file of its own, switched as a whole.
//!
//! The file is written, `nginx -t` must accept it, nginx reads it; whatever fails on the way puts the old file back.
//! Until nginx has read a file, the one before it is kept beside it (`.NAME.was`): after a crash that tells a switch
//! which was only begun from one that is done. Line: hands; which ports are right, and what a failure means, is decided
//! elsewhere.

use super::place::Place;
use crate::base::AppName;
use crate::config::{Command, Nginx};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::connections::{self, State};
use crate::os::files::{self, because};
use crate::os::{poll, program, users};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What it took to lead requests to the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// Nothing: nginx reads exactly this already.
    Already,
    /// The file was written and nginx told to read it. It does so in its own time: for a moment the processes it had
    /// before still accept requests for the old ports, and they finish those they have (see [`drain`]).
    Switched,
}

/// Leads the upstream to `ports` on loopback, and to nothing else. Each command of `nginx` may take `timeout`. Switches
/// of several applications wait for each other.
///
/// An error says what was tried and what nginx said to it; requests then go where they went before, and the old file is
/// back. Except after a failed reload when nothing listens on the old ports any more (a boot, and nginx comes later):
/// the new file stays for it to find, and the next call reloads again.
pub fn write_and_reload(
    place: &Place,
    app: &AppName,
    nginx: &Nginx,
    ports: &[u16],
    timeout: Duration,
    cancel: &Cancel,
) -> io::Result<Routed> {
    // A test reads the files of all applications: one that is on trial would fail the test of another.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let switch = Switch { file: UpstreamFile::of(place, app, nginx), nginx, timeout };
    let content = render(app, nginx, ports)?;
    let interrupted = switch.file.is_on_trial();
    if !interrupted && switch.file.read()?.as_deref() == Some(content.as_str()) {
        return Ok(Routed::Already);
    }
    switch.file.try_out(&content)?;
    if let Err(why) = switch.run("test", &nginx.test, cancel) {
        return Err(switch.take_back(why, interrupted));
    }
    if let Err(why) = switch.run("reload", &nginx.reload, cancel) {
        return Err(switch.take_back_unless_nobody_is_there(why));
    }
    switch.file.settle()?;
    Ok(Routed::Switched)
}

/// The ports requests may go to now, as the file says; of a switch that was interrupted both the old ones and the new.
pub fn routed_ports(place: &Place, app: &AppName, nginx: &Nginx) -> Vec<u16> {
    let file = UpstreamFile::of(place, app, nginx);
    let mut ports = Vec::new();
    for path in [&file.path, &file.was] {
        let text = fs::read_to_string(path).unwrap_or_default();
        ports.extend(text.lines().filter_map(server_port));
    }
    let mut seen = std::collections::BTreeSet::new();
    ports.retain(|port| seen.insert(*port));
    ports
}

/// How long no connection must have been there before a port counts as quiet.
const QUIET: Duration = Duration::from_millis(500);
/// How often that is looked at: a look costs about a microsecond for each connection of the host.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until nobody has had a connection to `ports` for half a second; not less than `at_least` (a reload of nginx
/// takes effect a moment after it was asked for), not longer than `at_most`, and not after a cancel. Says whether they
/// were quiet in the end.
pub fn drain(ports: &[u16], at_least: Duration, at_most: Duration, cancel: &Cancel) -> bool {
    let began = Instant::now();
    let mut quiet_since = None;
    loop {
        let now = Instant::now();
        quiet_since = match connections::any_on(ports, State::Established) {
            Ok(false) => quiet_since.or(Some(now)),
            Ok(true) | Err(_) => None,
        };
        let is_quiet = quiet_since.is_some_and(|since| now - since >= QUIET);
        let waited = now - began;
        if (is_quiet && waited >= at_least) || waited >= at_most || cancel.is_cancelled() {
            return is_quiet;
        }
        let next = LOOK.min(at_most - waited);
        // An error only means that the next look comes sooner.
        let _ = poll::until(&mut [poll::readable(cancel.as_fd())], Some(now + next));
    }
}

/// A change of the upstream under way.
struct Switch<'a> {
    file: UpstreamFile,
    nginx: &'a Nginx,
    timeout: Duration,
}

impl Switch<'_> {
    /// Runs one of nginx's commands; `key` names it in the error, because its text may hold what a secret stands for.
    fn run(&self, key: &str, command: &Command, cancel: &Cancel) -> io::Result<()> {
        let spec = Spec { argv: command.argv(), cwd: "/".into(), env: environment()?, ..Spec::default() };
        let mut said = Vec::new();
        let ending = command::run(&spec, self.timeout, cancel, &mut |bytes| {
            said.extend_from_slice(bytes);
            said.drain(..said.len().saturating_sub(LONGEST_ANSWER));
        });
        let ending = ending.map_err(|error| io::Error::new(error.kind(), format!("nginx.{key}: {error}")))?;
        if ending == Ending::Exited(0) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let why = command::explain(ending, self.timeout);
        Err(io::Error::other(match lines.is_empty() {
            true => format!("nginx.{key}: {why}"),
            false => format!("nginx.{key}: {why}: {}", lines.join("; ")),
        }))
    }

    /// Puts the old file back, and has nginx read it where it `may_have_read` another.
    fn take_back(&self, why: io::Error, may_have_read: bool) -> io::Error {
        let with = |more: String| io::Error::new(why.kind(), format!("{why}; {more}"));
        if let Err(error) = self.file.put_back() {
            return with(format!("and the old file could not be put back: {error}"));
        }
        if may_have_read {
            // A cancel ended what led here; putting things right is not cancelled.
            let reloaded = Cancel::new().and_then(|never| self.run("reload", &self.nginx.reload, &never));
            if let Err(error) = reloaded {
                let path = self.file.path.display();
                return with(format!("{path} is as it was, but nginx could not be made to read it: {error}"));
            }
        }
        match self.file.settle() {
            Ok(()) => with(format!("{} is as it was, requests go where they went", self.file.path.display())),
            Err(error) => with(error.to_string()),
        }
    }

    fn take_back_unless_nobody_is_there(&self, why: io::Error) -> io::Error {
        let before = self.file.before().ok().flatten().unwrap_or_default();
        let before: Vec<u16> = before.lines().filter_map(server_port).collect();
        let nobody = !before.is_empty() && connections::any_on(&before, State::Listening).is_ok_and(|found| !found);
        if !nobody {
            return self.take_back(why, true);
        }
        let (path, kind) = (self.file.path.display(), why.kind());
        io::Error::new(kind, format!("{why}; {path} stays: nobody listens on the ports it named before"))
    }
}

/// The file nginx includes and, while that is on trial, what it was before.
struct UpstreamFile {
    path: PathBuf,
    was: PathBuf,
}

/// Stands for "there was no file".
const NONE: &str = "# There was no file.\n";

impl UpstreamFile {
    fn of(place: &Place, app: &AppName, nginx: &Nginx) -> UpstreamFile {
        let path = place.nginx(app).join(&nginx.file);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Neither matches nginx's `include *.conf`, nor does the file that `files::replace` writes first.
        let was = path.with_file_name(format!(".{name}.was"));
        UpstreamFile { path, was }
    }

    fn read(&self) -> io::Result<Option<String>> {
        read(&self.path)
    }
    /// Whether nginx may not have read what is in the file.
    fn is_on_trial(&self) -> bool {
        self.was.symlink_metadata().is_ok()
    }
    /// What was there before the trial; `None`: no file.
    fn before(&self) -> io::Result<Option<String>> {
        Ok(read(&self.was)?.filter(|text| text != NONE))
    }

    /// Writes new content and keeps the old. Of a trial that was interrupted, what was before that one is kept.
    fn try_out(&self, content: &str) -> io::Result<()> {
        if let Some(dir) = self.path.parent().filter(|dir| !dir.is_dir()) {
            files::make_dir(dir, 0o755)?;
            files::sync_parent(dir).map_err(|error| because("sync", dir, &error))?;
        }
        if !self.is_on_trial() {
            let old = self.read()?;
            files::replace(&self.was, old.as_deref().unwrap_or(NONE).as_bytes(), 0o644)?;
        }
        files::replace(&self.path, content.as_bytes(), 0o644)
    }
    /// Puts back what was there. The trial is not over until it is settled.
    fn put_back(&self) -> io::Result<()> {
        match self.before()? {
            Some(old) => files::replace(&self.path, old.as_bytes(), 0o644),
            None => remove(&self.path),
        }
    }
    /// What is in the file is what nginx reads.
    fn settle(&self) -> io::Result<()> {
        remove(&self.was)
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(because("read", path, &error)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because("remove", path, &error)),
        _ => files::sync_parent(path).map_err(|error| because("sync", path, &error)),
    }
}

/// The file's text; the comments in it are for the person who opens it.
fn render(app: &AppName, nginx: &Nginx, ports: &[u16]) -> io::Result<String> {
    if ports.is_empty() {
        let why = format!("upstream {} of {app} would lead nowhere: there is no port to switch to", nginx.upstream);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut text = format!("# Where {app} answers. Written by Pintle, and written anew by every deploy.\n{WHY_SO}");
    text.push_str(&format!("upstream {} {{\n", nginx.upstream));
    if ports.len() > 1 {
        text.push_str("    least_conn;\n");
    }
    for port in ports {
        text.push_str(&format!("    {SERVER}{port} max_fails=0;\n"));
    }
    text.push_str("}\n");
    Ok(text)
}

const SERVER: &str = "server 127.0.0.1:";

const WHY_SO: &str = "\
# max_fails=0: an instance that refuses a connection is back within moments, and nginx tries the next one at once. Left
#   out for ten seconds instead (the default), all could be out together, which is a 502 for everybody.
# no keepalive: an idle connection can end just as a request is sent on it, and nginx may not send a POST twice.
# least_conn (several instances): one that is slow is sent less.
";

/// The port of a line that names a server.
fn server_port(line: &str) -> Option<u16> {
    let rest = line.trim_start().strip_prefix(SERVER)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Of what a command says, so many bytes at the end are kept.
const LONGEST_ANSWER: usize = 2048;

/// What nginx's commands see. They are in directories that a user's PATH often lacks.
fn environment() -> io::Result<Vec<(String, String)>> {
    let path = std::env::var("PATH").unwrap_or_else(|_| program::DEFAULT_PATH.into());
    let mut environment = users::current()?.environment();
    environment.retain(|(name, _)| name != "PATH");
    environment.push(("PATH".into(), format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")));
    Ok(environment)
}

#[cfg(test)]
mod tests;
