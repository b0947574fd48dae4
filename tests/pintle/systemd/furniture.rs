//! What a machine is furnished with: Pintle as the package will install it, and one application in a repository.
//!
//! Everything is put below a root directory - of a running machine or of one that is to be booted.

use crate::world::App;
use crate::world::repo::Repo;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where the shop serves.
pub const SHOP: u16 = 8000;
/// Where the webhook listener serves.
pub const HOOK: u16 = 9000;
/// Who runs the shop.
pub const KEEPER: &str = "keeper";

const USERS: &str =
    "pintle-listen:x:901:901::/nonexistent:/usr/sbin/nologin\nkeeper:x:1500:1500::/home/keeper:/bin/sh\n";
const GROUPS: &str = "pintle-listen:x:901:\nkeeper:x:1500:\npintle:x:902:\n";
const HOST: &str = "[listen]\naddress = \"127.0.0.1:9000\"\nrate_limit = \"1000/min\"\n";

/// The shop: the sample application on a socket of the daemon, run by a user of its own.
pub fn shop() -> App {
    serving("shop", SHOP)
}

/// The sample application under another name, on `port`.
pub fn serving(name: &str, port: u16) -> App {
    App::bare(name)
        .set("app", "user", &format!("{KEEPER:?}"))
        .set("app", "allow_root", "false")
        .set("service.web", "run", "[\"/usr/bin/pintle\", \"demo-app\"]")
        .set("service.web", "listen", &format!("[\"127.0.0.1:{port}\"]"))
        .set("service.web", "stop_timeout", "\"5s\"")
        .set("health", "http", &format!("\"http://127.0.0.1:{port}/health\""))
        .set("health", "every", "\"500ms\"")
        .set("health", "timeout", "\"5s\"")
}

/// A further service of the shop that runs a script of the repository.
pub fn with_script(app: App, service: &str, script: &str) -> App {
    let table = format!("service.{service}");
    app.set(&table, "run", &format!("[\"/bin/sh\", {script:?}]")).set(&table, "stop_timeout", "\"3s\"")
}

/// Installs binary, units, users and a configuration without an app below `root`.
pub fn install(root: &Path) {
    append(&root.join("etc/passwd"), USERS);
    append(&root.join("etc/group"), GROUPS);
    for dir in ["usr/bin", "etc/systemd/system", "etc/pintle/apps", "etc/pintle/secrets", "home/keeper"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::os::unix::fs::chown(root.join("home/keeper"), Some(1500), Some(1500)).unwrap();
    install_binary(root);
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for unit in ["pintle.service", "pintle-health.service", "pintle-health.timer"] {
        fs::copy(units.join(unit), root.join("etc/systemd/system").join(unit)).unwrap();
    }
    fs::write(root.join("etc/pintle/pintle.toml"), HOST).unwrap();
}

/// Adds an app: its secret and configuration below `root`, and a repository for it in `srv`.
pub fn add(root: &Path, srv: &Path, app: &App) -> Repo {
    crate::world::write_secret(&root.join("etc/pintle/secrets").join(&app.name), crate::world::site::SECRET);
    configure(root, app);
    Repo::init(&srv.join(&app.name))
}

/// Commits a version of the sample application that misbehaves as `conf` says, with `more` files.
pub fn commit(repo: &Repo, version: &str, conf: &str, more: &[(&str, &str)]) -> String {
    let conf = format!("version = {version}\n{conf}\n");
    let mut files = vec![("app.conf", conf.as_str()), ("data/README", "kept")];
    files.extend(more);
    repo.commit(&files)
}

/// Puts the binary under test in place as a package does: under another name, then renamed over the old one.
pub fn install_binary(root: &Path) {
    let (new, place) = (root.join("usr/bin/pintle.new"), root.join("usr/bin/pintle"));
    fs::copy(env!("CARGO_BIN_EXE_pintle"), &new).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &place).unwrap();
}

/// Writes the configuration of `app`.
pub fn configure(root: &Path, app: &App) {
    let file = root.join("etc/pintle/apps").join(format!("{}.toml", app.name));
    fs::write(file, app.text(&format!("/srv/{}", app.name))).unwrap();
}

fn append(path: &Path, lines: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(lines.as_bytes()).unwrap();
}
