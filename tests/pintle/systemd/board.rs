//! A machine with Pintle installed and started by systemd, and the shop that it runs.

use super::furniture;
use super::machine::Machine;
use super::visitors::Visitors;
use crate::world::repo::Repo;
use crate::world::{App, Outcome, Reply, Request, ask};
use pintle::control::{Answer, AppView, InstanceView, Request as Ask, StatusReport};
use std::fs;
use std::io;

/// The machine, and the shop's repository in it.
pub struct Board {
    pub machine: Machine,
    pub repo: Repo,
}

impl Board {
    /// Pintle is installed and not started.
    #[track_caller]
    pub fn installed(app: &App) -> Board {
        let machine = Machine::boot();
        furniture::install(&machine.path("/"));
        let repo = furniture::add(&machine.path("/"), &machine.srv(), app);
        let board = Board { machine, repo };
        board.machine.systemctl("daemon-reload");
        board
    }

    /// Pintle runs, version `v1` of the shop is live.
    #[track_caller]
    pub fn with_a_shop() -> Board {
        Board::with(&furniture::shop())
    }

    /// The same with a shop as configured by the test.
    #[track_caller]
    pub fn with(app: &App) -> Board {
        Board::installed(app).started()
    }

    /// Starts what is installed, and deploys `v1`.
    #[track_caller]
    pub fn started(self) -> Board {
        self.machine.systemctl("enable --now pintle.service");
        self.deploy("v1");
        self
    }

    /// A drop-in file for the unit.
    #[track_caller]
    pub fn drop_in(self, text: &str) -> Board {
        let dir = self.machine.path("/etc/systemd/system/pintle.service.d");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("test.conf"), text).unwrap();
        self.machine.systemctl("daemon-reload");
        self
    }

    /// Commits a version of the shop that misbehaves as `conf` says.
    pub fn commit(&self, version: &str, conf: &str, more: &[(&str, &str)]) {
        furniture::commit(&self.repo, version, conf, more);
    }

    /// Commits `version` and deploys it by the command line; it must go live.
    #[track_caller]
    pub fn deploy(&self, version: &str) {
        self.commit(version, "", &[]);
        self.deploy_tip();
        assert_eq!(self.get("/").unwrap().body, version);
    }

    /// Deploys the branch's newest commit; it must go live.
    #[track_caller]
    pub fn deploy_tip(&self) {
        let outcome = self.pintle("deploy shop");
        let words = format!("{}\n{}\n{}", outcome.stdout, outcome.stderr, self.machine.journal());
        assert_eq!(outcome.code, Some(0), "{words}");
    }

    /// Runs `pintle ARGS` in the machine.
    #[track_caller]
    pub fn pintle(&self, args: &str) -> Outcome {
        self.machine.run(&format!("pintle {args}"))
    }

    /// What the daemon says of itself and the apps; `None` while it does not answer.
    pub fn status(&self) -> Option<StatusReport> {
        match ask(&self.machine.path("/run/pintle/control.sock"), &Ask::Status { app: None })? {
            Answer::Status(report) => Some(report),
            _ => None,
        }
    }

    /// The shop.
    pub fn shop(&self) -> Option<AppView> {
        self.status()?.apps.into_iter().find(|view| view.app.as_str() == "shop")
    }

    /// The instances of one of its services.
    pub fn instances(&self, service: &str) -> Vec<InstanceView> {
        let services = self.shop().map(|view| view.services).unwrap_or_default();
        let found = services.into_iter().find(|view| view.service.as_str() == service);
        found.map(|view| view.instances).unwrap_or_default()
    }

    /// Waits until the service's first instance has a process; its pid in the machine.
    #[track_caller]
    pub fn pid_of(&self, service: &str) -> i32 {
        let first = || self.instances(service).first()?.pid.map(|pid| pid as i32);
        self.machine.wait(&format!("a process of {service}"), first)
    }

    /// The daemon as systemd knows it; 0 while there is none.
    #[track_caller]
    pub fn daemon(&self) -> i32 {
        self.machine.property("MainPID").parse().unwrap()
    }

    /// Sends a signal to a process of the machine.
    #[track_caller]
    pub fn signal(&self, signal: &str, pid: i32) {
        self.machine.says(&format!("kill -{signal} {pid}"));
    }

    /// Waits until the journal of the unit says it; the journal's end.
    #[track_caller]
    pub fn wait_for_journal(&self, words: &str) -> String {
        let journal = || Some(self.machine.journal()).filter(|journal| journal.contains(words));
        self.machine.wait(&format!("{words:?} in the journal"), journal)
    }

    /// `GET path` of the shop.
    pub fn get(&self, path: &str) -> io::Result<Reply> {
        let request = Request::get(path);
        self.machine.inside(|| request.send(furniture::SHOP))
    }

    /// The process of the shop that answers.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.get("/pid").unwrap().is(200).body.parse().unwrap()
    }

    /// From now on somebody visits the shop all the time.
    pub fn visitors(&self) -> Visitors<'_> {
        Visitors::come(&self.machine, furniture::SHOP)
    }
}
