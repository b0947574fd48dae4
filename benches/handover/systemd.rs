//! The same application kept by systemd alone, in a machine of its own: gunicorn binds its own port, or systemd holds
//! the socket for it; a deploy is new files and `systemctl restart`.

use crate::machine::Machine;
use crate::world::gunicorn::{self, Worker};
use crate::world::upheaval;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

const PORT: u16 = 8000;

/// Who binds the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// gunicorn, each time it starts.
    Its,
    /// systemd, for ever: a `.socket` unit.
    Held,
}

/// A machine with gunicorn as a unit of systemd.
pub struct Systemd {
    pub machine: Machine,
    pub address: SocketAddr,
}

impl Systemd {
    /// Boots the machine and waits for the application.
    pub fn up(worker: Worker, socket: Socket) -> Systemd {
        let machine = Machine::boot();
        let systemd = Systemd { machine, address: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)) };
        fs::create_dir(systemd.site()).unwrap();
        systemd.write_site("v1");
        install_gunicorn(systemd.machine.srv().join("lib"));
        systemd.write_units(worker, socket);
        let unit = if socket == Socket::Held { "web.socket web.service" } else { "web.service" };
        systemd.machine.systemctl("daemon-reload");
        systemd.machine.systemctl(&format!("start {unit}"));
        systemd.machine.inside(|| upheaval::answers(systemd.address));
        systemd
    }

    /// `systemctl restart`.
    pub fn restart(&self) {
        self.machine.systemctl("restart web.service");
    }

    fn site(&self) -> PathBuf {
        self.machine.srv().join("site")
    }

    /// Puts other files in place.
    pub fn write_site(&self, version: &str) {
        for (name, text) in gunicorn::FILES.into_iter().chain([("version", version)]) {
            fs::write(self.site().join(name), text).unwrap();
        }
    }

    /// As gunicorn's own documentation has them, but for the limit of five starts in ten seconds.
    fn write_units(&self, worker: Worker, socket: Socket) {
        let units = self.machine.path("/etc/systemd/system");
        let port = if socket == Socket::Its { format!("Environment=PORT={PORT}\n") } else { String::new() };
        let service = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nWorkingDirectory=/srv/site\nEnvironment=PYTHONPATH=/srv/lib\n{port}\
             ExecStart=/usr/bin/python3 -m gunicorn {}\nKillMode=mixed\nTimeoutStopSec=10\nRestart=always\n",
            worker.argv()[1..].join(" ")
        );
        fs::write(units.join("web.service"), service).unwrap();
        if socket == Socket::Held {
            fs::write(units.join("web.socket"), format!("[Socket]\nListenStream=127.0.0.1:{PORT}\n")).unwrap();
        }
    }
}

/// The machine has no way to a registry: it gets the package of the environment, which is Python only.
fn install_gunicorn(place: PathBuf) {
    let lib = fs::read_dir(gunicorn::environment().join("lib")).unwrap().flatten().next().unwrap().path();
    fs::create_dir(&place).unwrap();
    let copied = Command::new("cp").arg("-r").arg(lib.join("site-packages/gunicorn")).arg(&place).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
}
