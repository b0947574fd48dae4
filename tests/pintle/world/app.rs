//! The configuration file of one application, put together by the test that needs it.

use std::collections::BTreeMap;

/// `apps/NAME.toml` in the making: a web service, quick deadlines, everything else as the test says.
#[derive(Debug, Clone)]
pub struct App {
    pub name: String,
    /// Where it serves; `None`: it has no `web` service.
    pub port: Option<u16>,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    lists: Vec<(String, String)>,
}

impl App {
    /// One service `web` on a socket of the daemon, with a health check.
    pub fn new(name: &str) -> App {
        let port = super::ports::take();
        let binary = env!("CARGO_BIN_EXE_pintle");
        let app = App::bare(name)
            .set("service.web", "run", &format!("[{binary:?}, \"demo-app\"]"))
            .set("service.web", "listen", &format!("[\"127.0.0.1:{port}\"]"))
            .set("service.web", "stop_timeout", "\"3s\"")
            .set("health", "http", &format!("\"http://127.0.0.1:{port}/health\""))
            .set("health", "every", "\"100ms\"")
            .set("health", "timeout", "\"1s\"")
            .set("health", "failures", "2");
        App { port: Some(port), ..app }
    }

    /// No service at all.
    pub fn bare(name: &str) -> App {
        let app = App { name: name.into(), port: None, tables: BTreeMap::new(), lists: Vec::new() };
        let app = app
            .set("source", "branch", "\"main\"")
            .set("source", "shared", "[\"data\"]")
            .set("trigger", "forge", "\"github\"")
            .set("trigger", "secret", &format!("{{ file = \"secrets/{name}\" }}"))
            // Between a commit and its webhook nobody is to look; tests of polling say when.
            .set("trigger", "poll", "\"off\"")
            .set("trigger", "repository", &format!("\"owner/{name}\""))
            .set("deploy", "timeout", "\"30s\"")
            .set("deploy", "startup", "\"4s\"")
            .set("deploy", "probation", "\"300ms\"")
            .set("backup", "paths", "[\"data\"]");
        if super::is_root() { app.set("app", "allow_root", "true") } else { app }
    }

    /// Sets a key of a table; `value` is TOML.
    pub fn set(mut self, table: &str, key: &str, value: &str) -> App {
        self.tables.entry(table.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// Says where it is reached.
    pub fn reached_at(self, port: u16) -> App {
        App { port: Some(port), ..self }
    }

    /// Takes a key out of a table.
    pub fn unset(mut self, table: &str, key: &str) -> App {
        self.tables.entry(table.into()).or_default().remove(key);
        self
    }

    /// Takes a table out.
    pub fn without(mut self, table: &str) -> App {
        self.tables.remove(table);
        self
    }

    /// A step that runs `command` with the shell.
    pub fn step(self, phase: &str, name: &str, command: &str) -> App {
        self.step_with(phase, name, command, "")
    }

    /// A step with more keys.
    pub fn step_with(mut self, phase: &str, name: &str, command: &str, more: &str) -> App {
        let run = format!("name = {name:?}\nphase = {phase:?}\nrun = {command:?}\n{more}\n");
        self.lists.push(("step".into(), run));
        self
    }

    /// One more table of a list: `[[list]]`, with these lines.
    pub fn list(mut self, list: &str, lines: &str) -> App {
        self.lists.push((list.into(), lines.into()));
        self
    }

    /// A further service of the sample app, without a socket of the daemon.
    pub fn worker(self, name: &str, more: &[(&str, &str)]) -> App {
        let table = format!("service.{name}");
        let binary = env!("CARGO_BIN_EXE_pintle");
        let app = self.set(&table, "run", &format!("[{binary:?}, \"demo-app\"]")).set(&table, "stop_timeout", "\"3s\"");
        more.iter().fold(app, |app, (key, value)| app.set(&table, key, value))
    }

    /// The file's text; `git` is where the repository is.
    pub fn text(&self, git: &str) -> String {
        let mut text = String::new();
        let mut app = self.clone();
        app.tables.entry("source".into()).or_default().entry("git".into()).or_insert_with(|| format!("{git:?}"));
        for (table, keys) in &app.tables {
            text.push_str(&format!("[{table}]\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
            text.push('\n');
        }
        for (list, keys) in &app.lists {
            text.push_str(&format!("[[{list}]]\n{keys}\n"));
        }
        text
    }
}
