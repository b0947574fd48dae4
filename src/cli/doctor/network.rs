//! Whether what is elsewhere can be reached: names, the apps' repositories by their own access, and our own listener.

use super::super::check;
use super::super::findings::Finding;
use super::installation::Installation;
use crate::config::App;
use crate::os::cancel::Cancel;
use crate::os::git::{Limits, Mirror};
use crate::os::probe;
use std::time::Duration;

/// What a name may take.
const NAME: Duration = Duration::from_secs(5);
/// What a repository may take, a slow one over ssh too.
const REPOSITORY: Duration = Duration::from_secs(20);

/// What is to be said of it; all repositories are asked at once.
pub fn look(here: &Installation) -> Vec<Finding> {
    // Without its key or token a repository may be closed to us that is open to the app.
    let complete = here.loaded.is_ok();
    let remotes = std::thread::scope(|scope| {
        let ask = |app| scope.spawn(move || remote(here, app, complete));
        let asked: Vec<_> = here.apps.iter().map(ask).collect();
        asked.into_iter().filter_map(|one| one.join().ok()).collect::<Vec<Finding>>()
    });
    check::listener(&here.daemon, here.config(), false).into_iter().chain(remotes).collect()
}

fn remote(here: &Installation, app: &App, complete: bool) -> Finding {
    let about = format!("app/{}/repository", app.name);
    if let Some(host) = host(&app.source.git)
        && let Err(why) = probe::resolve(&format!("{host}:443"), NAME)
    {
        let advice = "is this host online? `resolvectl status` or /etc/resolv.conf says who is asked for names";
        return Finding::critical(about, format!("the name of {host} cannot be looked up: {why}"), advice);
    }
    match tip(here, app) {
        Ok(commit) => {
            let short = commit.get(..7).unwrap_or(&commit);
            Finding::ok(about, format!("answers: {} is at {short}", app.source.branch))
        }
        Err(why) if complete => {
            let advice =
                "correct [source] git and its ssh_key or token in apps/APP.toml; deploys fail until it answers";
            Finding::critical(about, why, advice.replace("APP", app.name.as_str()))
        }
        Err(why) => {
            let advice = "correct the configuration first: it was asked without the app's key or token";
            Finding::warning(about, why, advice)
        }
    }
}

fn tip(here: &Installation, app: &App) -> Result<String, String> {
    let ask = || {
        let mirror = Mirror::open(&here.paths.state_dir.join("apps").join(&app.name), &app.source)?;
        let cancel = Cancel::new()?;
        let mut unheard = |_: &[u8]| {};
        mirror.remote_tip(&mut Limits::new(REPOSITORY, &cancel, &mut unheard))
    };
    ask().map(|commit| commit.to_string()).map_err(|error: std::io::Error| error.to_string())
}

/// The host a repository is on; `None`: this one.
fn host(git: &str) -> Option<&str> {
    let authority = match git.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split('/').next()?,
        None if git.starts_with('/') => return None,
        // user@host:path
        None => git.split_once(':')?.0,
    };
    let host = authority.rsplit('@').next()?;
    // An address needs no look-up.
    if host.starts_with('[') {
        return None;
    }
    let host = host.split(':').next()?;
    (!host.is_empty() && host.parse::<std::net::IpAddr>().is_err()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_repository_is_found_however_it_is_written() {
        let table = [
            ("https://github.com/owner/shop.git", Some("github.com")),
            ("https://me@git.example.org:8443/shop", Some("git.example.org")),
            ("ssh://git@host:2222/shop", Some("host")),
            ("git@github.com:owner/shop.git", Some("github.com")),
            ("http://127.0.0.1:80/shop", None),
            ("http://[::1]:80/shop", None),
            ("/srv/git/shop.git", None),
            ("file:///srv/git/shop.git", None),
        ];
        for (git, expected) in table {
            assert_eq!(host(git), expected, "{git}");
        }
    }
}
