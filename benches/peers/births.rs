//! The app that all supervisors run, and its word of each new process: when it executed its first instruction.

use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the app.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// Its first instruction, on CLOCK_MONOTONIC.
    pub at: Duration,
    pub pid: i32,
}

/// Where the app reports to.
pub struct Births {
    socket: UnixDatagram,
    /// Where all of this benchmark is.
    pub dir: PathBuf,
    /// The app's program.
    pub app: PathBuf,
    /// The same, leaving its parent.
    pub detached: PathBuf,
}

impl Births {
    /// Compiles the app to report to a socket in `dir`.
    pub fn in_dir(dir: &Path) -> io::Result<Births> {
        let socket = UnixDatagram::bind(dir.join("births"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (app, detached) = (compile(dir, "app", &[])?, compile(dir, "detached", &["-DDETACHED"])?);
        Ok(Births { socket, dir: dir.to_owned(), app, detached })
    }

    /// The next process of the app, whoever started it.
    pub fn next(&self) -> io::Result<Birth> {
        let mut report = [0; 16];
        self.socket.recv(&mut report)?;
        let [nanos, pid] = [&report[..8], &report[8..]].map(|bytes| i64::from_ne_bytes(bytes.try_into().unwrap()));
        Ok(Birth { at: Duration::from_nanos(nanos as u64), pid: pid as i32 })
    }
}

fn compile(dir: &Path, name: &str, more: &[&str]) -> io::Result<PathBuf> {
    let (source, app) = (dir.join("app.c"), dir.join(name));
    std::fs::write(&source, include_str!("app.c"))?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Werror", "-static", "-nostartfiles", "-fno-stack-protector"]).args(more);
    cc.arg(format!("-DWHERE={:?}", dir.join("births"))).arg("-o").arg(&app).arg(&source);
    let status = cc.status().map_err(|error| io::Error::new(error.kind(), format!("cc (package gcc): {error}")))?;
    match status.success() {
        true => Ok(app),
        false => Err(io::Error::other(format!("compile {}: cc: {status}", source.display()))),
    }
}

/// The clock that births are told by.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}
