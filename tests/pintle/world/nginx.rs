//! A real nginx in front of the shop: a directory of its own, one server, the upstream file that Pintle writes.

use super::{World, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/sbin/nginx";

/// A configured nginx; runs from [`Nginx::up`] until it is dropped.
pub struct Nginx {
    dir: PathBuf,
    pub port: u16,
    running: Option<Child>,
}

impl Nginx {
    /// Writes a configuration below `root` that proxies to the upstream `web` of `upstream_file`, which names nobody
    /// yet: without it nginx would not start.
    pub fn configured(root: &Path, upstream_file: &Path) -> Nginx {
        fs::create_dir_all(upstream_file.parent().unwrap()).unwrap();
        fs::write(upstream_file, "upstream web { server 127.0.0.1:9; }\n").unwrap();
        Nginx::serving(root, |port| {
            let file = upstream_file.display();
            format!(
                "include {file};\n    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://web; }} }}"
            )
        })
    }

    /// Writes a configuration below `root` with what `site` says stands in `http`, given the port to listen on.
    pub fn serving(root: &Path, site: impl FnOnce(u16) -> String) -> Nginx {
        let (dir, port) = (root.join("nginx"), ports::take());
        fs::create_dir_all(&dir).unwrap();
        // Root's nginx would become somebody who may not enter a test's directory.
        let user = if super::is_root() { "user root;" } else { "" };
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let scratch: String = kinds.iter().map(|kind| format!("    {kind}_temp_path {kind};\n")).collect();
        let text = format!(
            "daemon off;\npid nginx.pid;\nerror_log error.log;\nworker_processes 2;\n{user}\n\
             events {{ worker_connections 256; }}\nhttp {{\n    access_log off;\n{scratch}    {}\n}}\n",
            site(port)
        );
        fs::write(dir.join("nginx.conf"), text).unwrap();
        Nginx { dir, port, running: None }
    }

    /// Starts it.
    pub fn up(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.args(self.arguments()).stdin(Stdio::null()).process_group(0);
        let spawned = command.spawn().unwrap_or_else(|error| panic!("{PROGRAM} (package nginx-light): {error}"));
        self.running = Some(spawned);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// As the value of a service's `nginx`, for the upstream file `file`.
    pub fn table(&self, file: &str) -> String {
        let command = |more: &[&str]| {
            let words = std::iter::once(PROGRAM.to_owned()).chain(self.arguments());
            super::gunicorn::toml_list(&words.chain(more.iter().map(|word| word.to_string())).collect::<Vec<_>>())
        };
        let (test, reload) = (command(&["-t"]), command(&["-s", "reload"]));
        format!("{{ file = {file:?}, upstream = \"web\", test = {test}, reload = {reload} }}")
    }

    /// What it complained of.
    pub fn said(&self) -> String {
        fs::read_to_string(self.dir.join("error.log")).unwrap_or_default()
    }

    fn arguments(&self) -> Vec<String> {
        let dir = self.dir.display().to_string();
        ["-p", &dir, "-c", "nginx.conf", "-e", "error.log"].map(str::to_owned).to_vec()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(mut master) = self.running.take() {
            // Its workers end with it: fast shutdown.
            let _ = kill(Pid::from_raw(master.id() as i32), Signal::SIGTERM);
            let _ = master.wait();
        }
    }
}

/// A world in which the shop is reached through nginx, each instance on a port of its own.
pub fn shop_behind(worker: super::gunicorn::Worker) -> (World, Nginx) {
    let mut world = World::with([]);
    let mut nginx = Nginx::configured(&world.root, &world.state().join("apps/shop/nginx/upstream.conf"));
    let app = super::gunicorn::shop(worker)
        .unset("service.web", "listen")
        .set("service.web", "handover", "\"port\"")
        .set("service.web", "nginx", &nginx.table("upstream.conf"))
        .unset("health", "http")
        .set("health", "service", "\"web\"")
        .set("health", "path", "\"/health\"");
    world.add(app.reached_at(nginx.port));
    nginx.up();
    (world.up(), nginx)
}
