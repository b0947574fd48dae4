//! The same application kept by supervisord: gunicorn binds its own port, a deploy is new files and a restart.

use crate::world::gunicorn::{self, Worker};
use crate::world::{self, ports, upheaval, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running supervisord with gunicorn in its care.
pub struct Supervisord {
    pub address: SocketAddr,
    dir: PathBuf,
    daemon: Child,
}

impl Supervisord {
    /// Starts it and waits for the application.
    pub fn up(worker: Worker) -> Supervisord {
        let dir = std::env::temp_dir().join(format!("pt-sv-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::take()));
        write_site(&dir, "v1");
        let home = dir.display();
        let text = format!(
            "[unix_http_server]\nfile={home}/sv.sock\n\
             [supervisord]\nnodaemon=true\nlogfile={home}/supervisord.log\npidfile={home}/pid\nchildlogdir={home}\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{home}/sv.sock\n\
             [program:web]\ndirectory={home}\nenvironment=PORT=\"{}\"\ncommand={}\nstopwaitsecs=10\n",
            address.port(),
            worker.argv().join(" ")
        );
        fs::write(dir.join("supervisord.conf"), text).unwrap();
        let mut command = Command::new(gunicorn::environment().join("bin/supervisord"));
        command.arg("-c").arg(dir.join("supervisord.conf")).current_dir(&dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let daemon = command.spawn().unwrap();
        upheaval::answers(address);
        let supervisord = Supervisord { dir, address, daemon };
        wait_until("supervisord to call it running", || {
            supervisord.ask(&["status", "web"]).contains("RUNNING").then_some(())
        });
        supervisord
    }

    /// Puts other files in place.
    pub fn write_site(&self, version: &str) {
        write_site(&self.dir, version);
    }

    /// `supervisorctl restart`.
    pub fn restart(&self) {
        let said = self.ask(&["restart", "web"]);
        assert!(said.contains("web: started"), "{said}");
    }

    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new(gunicorn::environment().join("bin/supervisorctl"));
        command.arg("-c").arg(self.dir.join("supervisord.conf")).args(words);
        let outcome = world::finish(command, "supervisorctl");
        outcome.stdout + &outcome.stderr
    }
}

fn write_site(dir: &Path, version: &str) {
    for (name, text) in gunicorn::FILES.into_iter().chain([("version", version)]) {
        fs::write(dir.join(name), text).unwrap();
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        // It stops what it keeps before it ends.
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
