//! The listener process: unprivileged, its sockets as descriptors 3 and 4, its secrets on stdin and nowhere else.

use super::Hands;
use super::running::Running;
use crate::base::InstanceId;
use crate::config::Certificate;
use crate::daemon::event::Event;
use crate::delivery::signature::Key;
use crate::listener::Setup;
use crate::listener::guard::{Limits, Material};
use crate::os::sockets;
use crate::os::spawn::{self, Start};
use crate::os::users;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

impl Hands {
    pub(super) fn spawn_listener(&mut self, instance: InstanceId, certificate: Option<&Certificate>) -> Event {
        match self.start_listener(instance, certificate) {
            Ok(pid) => Event::Spawned { instance, pid, port: None },
            Err(error) => Event::SpawnFailed { instance, why: error.to_string() },
        }
    }

    fn start_listener(&mut self, instance: InstanceId, certificate: Option<&Certificate>) -> io::Result<u32> {
        let missing = || io::Error::other("there is no [listen] table");
        let listen = self.config.host.listen.as_ref().ok_or_else(missing)?;
        // Bound long ago - or its port was taken then, and by now may be free.
        let socket = self.bench.ports.socket(&listen.address)?;
        let user = listener_user(listen.user.as_deref())?;
        let owner = user.as_ref().map(|user| (user.uid, user.gid));
        let guard = sockets::bind_for_one(&self.bench.place.guard_socket(), owner)?;
        let setup = Setup {
            socket: self.bench.place.listener_socket(),
            daemon_pid: std::process::id(),
            limits: Limits::of(listen),
            tls: certificate.map(|certificate| Material {
                chain: certificate.chain.clone(),
                key: Key(certificate.key.expose().to_vec()),
            }),
            dashboard: listen.dashboard,
            token: listen.token.as_ref().map(|token| Key(token.expose().to_vec())),
            apps: self.config.apps.values().map(crate::delivery::AppTrigger::of).collect(),
        };
        let document = serde_json::to_vec(&setup)?;
        let (stdin, mut feed) = io::pipe()?;
        let argv = ["pintle", "listen"].map(String::from);
        let mut env = vec![self.bench.instances.variable(instance)];
        env.extend(std::env::var("PINTLE_LOG").ok().map(|level| ("PINTLE_LOG".into(), level)));
        let output = io::stderr().as_fd().try_clone_to_owned()?;
        let root = std::path::Path::new("/");
        let mut start = Start::new(&argv, root, &env, output.as_fd());
        // Ourselves, whatever became of our file and whoever may read its directory.
        start.program = Some("/proc/self/exe");
        start.user = user.as_ref();
        start.no_new_privs = true;
        start.no_capabilities = true;
        start.sockets = vec![socket.as_fd(), guard.as_fd()];
        start.fd_names = vec!["listen".into(), "guard".into()];
        let stdin: OwnedFd = stdin.into();
        start.stdin = Some(stdin.as_fd());
        let child = spawn::start(&start)?;
        drop(stdin);
        let pid = child.pid;
        self.running.insert(instance, Running::of(child));
        // Larger than a pipe holds only with hundreds of apps; the listener reads it first of all.
        let feeding = std::thread::Builder::new().name("setup".into()).stack_size(128 << 10);
        feeding.spawn(move || drop(feed.write_all(&document)))?;
        Ok(pid)
    }
}

/// `[listen] user`, else pintle-listen, else nobody - where we may choose.
pub(in super::super) fn listener_user(configured: Option<&str>) -> io::Result<Option<users::User>> {
    if !users::is_root() {
        return Ok(None);
    }
    match configured {
        Some(name) => users::lookup(name).map(Some),
        None => users::lookup("pintle-listen").or_else(|_| users::lookup("nobody")).map(Some),
    }
}
