//! What happens to the daemon itself - it is killed, followed by another, replaced - and what may be seen of that from
//! outside: the keeper, visitors of the application, its log.

use super::visitors::{Manner, Seen, Visitors};
use super::{Site, World, processes, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

/// Somebody who may do nothing that others may not.
const NOBODY: u32 = 65534;

impl World {
    /// SIGKILL for the daemon; another one follows.
    #[track_caller]
    pub fn replace_daemon(&mut self) {
        self.kill_daemon();
        self.start_daemon();
    }

    /// The process that holds the descriptors while no daemon runs.
    pub fn keeper(&self) -> Option<i32> {
        let mut keepers =
            processes::of(&self.places()).into_iter().filter(|pid| processes::command(*pid) == "pintle keep ");
        let keeper = keepers.next();
        assert_eq!(keepers.next(), None, "one keeper is enough");
        keeper
    }

    /// SIGKILL for the keeper.
    #[track_caller]
    pub fn kill_keeper(&self) {
        let keeper = self.keeper().expect("a keeper");
        end_at_once(keeper);
    }

    /// Daemon and command line of this world are executed from a file of its own.
    pub fn with_its_own_program(mut self) -> World {
        self.program = self.root.join("bin/pintle");
        fs::create_dir_all(self.root.join("bin")).unwrap();
        self.install(Path::new(env!("CARGO_BIN_EXE_pintle")));
        self
    }

    /// Puts another program in the place of its own, as a package manager does.
    pub fn install(&self, program: &Path) {
        let new = self.program.with_extension("new");
        fs::copy(program, &new).unwrap();
        // A child that another test is just starting may hold the copy open for writing until it executes its program.
        let is_busy = || matches!(Command::new(&new).arg("--version").output(), Err(error) if error.kind() == ErrorKind::ExecutableFileBusy);
        wait_until("the copy to be nobody's but ours", || (!is_busy()).then_some(()));
        fs::rename(&new, &self.program).unwrap();
    }

    /// Where its program lies.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Daemon and command line are run by somebody without privileges: by nobody, where we may choose.
    pub fn without_privileges(mut self) -> World {
        if super::is_root() {
            chown(&self.root, Some(NOBODY), Some(NOBODY)).unwrap();
            ["config", "home", "bin"].iter().for_each(|dir| give(&self.root.join(dir), NOBODY));
            self.user = Some(NOBODY);
        }
        self
    }
}

impl Site {
    /// Visitors who come without pause.
    pub fn visited(&self) -> Visitors {
        Visitors::to(([127, 0, 0, 1], self.port).into(), &[Manner::Anew, Manner::KeepAlive])
    }

    /// What `pintle logs` reads.
    pub fn log(&self, service: &str) -> String {
        fs::read_to_string(self.dir().join(format!("logs/{service}.log"))).unwrap_or_default()
    }
}

impl Seen {
    /// No visitor was refused or kept waiting in vain.
    #[track_caller]
    pub fn all_answered(&self) {
        let why: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        assert!(why.is_empty(), "{} of {} requests failed: {why:#?}", why.len(), self.answers);
        assert!(self.answers > 0, "nobody came");
    }
}

/// SIGKILL, and waits for the end.
#[track_caller]
pub fn end_at_once(pid: i32) {
    end_by(pid, Signal::SIGKILL);
}

/// Sends a signal that ends a process, and waits for that.
#[track_caller]
pub fn end_by(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
    wait_until("the process to end", || (!processes::is_alive(pid)).then_some(()));
}

fn give(dir: &Path, user: u32) {
    let output = Command::new("chown").args(["-R", &user.to_string()]).arg(dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
