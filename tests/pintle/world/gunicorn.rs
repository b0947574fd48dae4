//! The real gunicorn, from PyPI, in a virtual environment that is made once and kept; and a small site for it.

use super::{App, World};
use std::path::PathBuf;

/// What is installed, to the version: figures of two days are to be comparable.
const PACKAGES: [&str; 2] = ["gunicorn==27.0.1", "supervisor==4.3.0"];

/// The site: answers its version.
const SITE: &str = r#"import os

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "version")) as file:
    version = file.read().encode()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(version)))])
    return [version]
"#;

/// Where it listens when it is given a port; sockets that it is given come first by themselves.
const CONFIGURATION: &str = r#"import os

if "PORT" in os.environ:
    bind = "127.0.0.1:" + os.environ["PORT"]
"#;

/// The site's files; beside them stands `version`.
pub const FILES: [(&str, &str); 2] = [("site_of_the_shop.py", SITE), ("gunicorn.conf.py", CONFIGURATION)];

/// How it works off requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worker {
    /// One request per process at a time, one request per connection.
    Sync,
    /// Threads, and connections that are kept.
    Threads,
}

impl Worker {
    /// The arguments of gunicorn: program first, the site last.
    pub fn argv(self) -> Vec<String> {
        let program = environment().join("bin/gunicorn").display().to_string();
        let how: &[&str] = match self {
            Worker::Sync => &["--workers", "2"],
            Worker::Threads => &["--workers", "2", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "30"],
        };
        let how = how.iter().map(|word| word.to_string());
        std::iter::once(program).chain(how).chain(["site_of_the_shop:app".to_owned()]).collect()
    }
}

/// The shop served by gunicorn, which says when it is ready.
pub fn shop(worker: Worker) -> App {
    let run = toml_list(&worker.argv());
    App::new("shop")
        .set("service.web", "run", &run)
        .set("service.web", "ready", "\"notify\"")
        // Where newer versions put a control socket: not into a home that others use too.
        .set("service.web", "env", "{ XDG_RUNTIME_DIR = \".\" }")
        .set("service.web", "stop_timeout", "\"10s\"")
        .set("deploy", "startup", "\"20s\"")
        .set("deploy", "timeout", "\"120s\"")
        .set("health", "every", "\"1s\"")
}

/// Strings as a list of TOML.
pub fn toml_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(", "))
}

/// Puts the site into the shop's repository and deploys its first version.
#[track_caller]
pub fn goes_live(world: &World) {
    let shop = world.shop();
    shop.repo.commit(&FILES);
    shop.repo.commit(&[(".gitignore", "__pycache__/\n")]);
    shop.goes_live("v1");
}

/// The virtual environment, made where it is not there yet.
pub fn environment() -> PathBuf {
    super::python::environment("gunicorn", &PACKAGES)
}
