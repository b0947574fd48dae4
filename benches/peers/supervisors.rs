//! The peers, each with as many services as asked, in a directory of its own: Debian's packages, their defaults, the
//! quickest reaction they can be set to.

use crate::births::Births;
use crate::world::ports;
use nix::sys::signal::Signal;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Somebody who does a part of what Pintle does.
#[derive(Clone, Copy)]
pub struct Peer {
    pub name: &'static str,
    pub package: &'static str,
    program: &'static str,
    /// Tells its root process to end, and to end its apps if it ever does.
    pub end: Signal,
    /// At most so many rounds: it looks in cycles.
    pub rounds: usize,
    lay_out: fn(&mut Command, &Path, &Births, usize) -> io::Result<()>,
}

/// Who restarts apps.
pub const SUPERVISORS: [Peer; 4] = [
    Peer {
        name: "runit",
        package: "runit",
        program: "runsvdir",
        end: Signal::SIGHUP,
        rounds: usize::MAX,
        lay_out: runit,
    },
    Peer { name: "s6", package: "s6", program: "s6-svscan", end: Signal::SIGTERM, rounds: usize::MAX, lay_out: s6 },
    Peer {
        name: "supervisord",
        package: "supervisor",
        program: "supervisord",
        end: Signal::SIGTERM,
        rounds: usize::MAX,
        lay_out: supervisord,
    },
    Peer { name: "monit", package: "monit", program: "monit", end: Signal::SIGTERM, rounds: 5, lay_out: monit },
];

/// Who only listens.
pub const WEBHOOK: Peer =
    Peer { name: "webhook", package: "webhook", program: "webhook", end: Signal::SIGTERM, rounds: 0, lay_out: webhook };

impl Peer {
    /// Whether its package is installed.
    pub fn is_here(&self) -> bool {
        self.path().is_some()
    }

    fn path(&self) -> Option<PathBuf> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        path.split(':').map(|dir| Path::new(dir).join(self.program)).find(|file| file.is_file())
    }

    /// The command that starts its root process with `count` services that are the app; what it needs is laid out in `dir`.
    pub fn command(&self, dir: &Path, births: &Births, count: usize) -> io::Result<Command> {
        let program = self.path().ok_or_else(|| io::Error::other(format!("{} is not installed", self.package)))?;
        fs::create_dir_all(dir)?;
        let mut command = Command::new(program);
        command.current_dir(dir);
        (self.lay_out)(&mut command, dir, births, count)?;
        Ok(command)
    }
}

fn runit(runsvdir: &mut Command, dir: &Path, births: &Births, count: usize) -> io::Result<()> {
    service_directories(dir, &births.app, count)?;
    runsvdir.arg(dir.join("services"));
    Ok(())
}

fn s6(svscan: &mut Command, dir: &Path, births: &Births, count: usize) -> io::Result<()> {
    service_directories(dir, &births.app, count)?;
    svscan.arg(dir.join("services"));
    Ok(())
}

/// `services/NNN/run` is the app itself: no shell.
fn service_directories(dir: &Path, app: &Path, count: usize) -> io::Result<()> {
    (0..count).try_for_each(|number| {
        let service = dir.join(format!("services/{number:03}"));
        fs::create_dir_all(&service)?;
        symlink(app, service.join("run"))
    })
}

fn supervisord(supervisord: &mut Command, dir: &Path, births: &Births, count: usize) -> io::Result<()> {
    let text = format!(
        "[supervisord]\nlogfile = {dir}/log\npidfile = {dir}/pid\nchildlogdir = {dir}\n\n\
         [program:app]\ncommand = {app}\ndirectory = {dir}\nautorestart = true\n\
         numprocs = {count}\nprocess_name = %(program_name)s-%(process_num)03d\n",
        dir = dir.display(),
        app = births.app.display(),
    );
    fs::write(dir.join("conf"), text)?;
    supervisord.args(["--nodaemon", "--silent", "--configuration"]).arg(dir.join("conf"));
    Ok(())
}

/// A cycle of one second is the shortest it has. The app leaves no pid file, so that its processes are looked for by name.
fn monit(monit: &mut Command, dir: &Path, births: &Births, count: usize) -> io::Result<()> {
    let (at, app) = (dir.display(), births.detached.display());
    let mut text = format!(
        "set daemon 1\nset logfile {at}/log\nset pidfile {at}/pid\nset statefile {at}/state\nset idfile {at}/id\n"
    );
    for number in 0..count {
        text +=
            &format!("check process app{number} matching \"{app} {number}$\"\n  start program \"{app} {number}\"\n");
    }
    let conf = dir.join("conf");
    fs::write(&conf, text)?;
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600))?;
    monit.arg("-I").arg("-c").arg(conf);
    Ok(())
}

fn webhook(webhook: &mut Command, dir: &Path, births: &Births, _count: usize) -> io::Result<()> {
    let rule = r#"{"match": {"type": "payload-hmac-sha256", "secret": "a-secret",
        "parameter": {"source": "header", "name": "X-Hub-Signature-256"}}}"#;
    let hook = format!(r#"[{{"id": "deploy", "execute-command": {:?}, "trigger-rule": {rule}}}]"#, births.app);
    fs::write(dir.join("hooks.json"), hook)?;
    webhook
        .arg("-hooks")
        .arg(dir.join("hooks.json"))
        .args(["-ip", "127.0.0.1", "-port"])
        .arg(ports::take().to_string());
    Ok(())
}
