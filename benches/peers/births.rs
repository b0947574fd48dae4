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
    /// The app's program: static, so that no loader's time is measured.
    pub app: PathBuf,
}

impl Births {
    /// Compiles the app to report to a socket in `dir`.
    pub fn in_dir(dir: &Path) -> io::Result<Births> {
        let (source, app, path) = (dir.join("app.c"), dir.join("app"), dir.join("births"));
        std::fs::write(&source, include_str!("app.c"))?;
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-static", "-Wall", "-Werror"]).arg(format!("-DWHERE={path:?}"));
        let status = cc.arg("-o").arg(&app).arg(&source).status()?;
        match status.success() {
            true => Ok(Births { socket, app }),
            false => Err(io::Error::other(format!("compile {}: cc: {status}", source.display()))),
        }
    }

    /// The next process of the app, whoever started it.
    pub fn next(&self) -> io::Result<Birth> {
        let mut report = [0; 16];
        self.socket.recv(&mut report)?;
        let [nanos, pid] = [&report[..8], &report[8..]].map(|bytes| i64::from_ne_bytes(bytes.try_into().unwrap()));
        Ok(Birth { at: Duration::from_nanos(nanos as u64), pid: pid as i32 })
    }
}

/// The clock that births are told by.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}
