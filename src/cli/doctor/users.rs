//! Whether everybody whom something is to run as exists.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::config::App;
use crate::os::users;
use nix::unistd::Group;
use std::collections::BTreeSet;

/// What is to be said of them.
pub fn look(here: &Installation) -> Vec<Finding> {
    let apps = here.apps.iter().flat_map(of_app);
    apps.chain(listener(here)).chain(control_group(here)).collect()
}

/// The users of an app's services and steps.
fn of_app(app: &App) -> Vec<Finding> {
    let services = app.services.values().filter_map(|service| service.user.as_deref());
    let names: BTreeSet<&str> = app.user.as_deref().into_iter().chain(services).collect();
    let about = format!("app/{}/user", app.name);
    let mut findings: Vec<Finding> = names.into_iter().map(|name| exists(&about, name)).collect();
    if app.user.is_none() && users::is_root() {
        let advice = "give it a user of its own: `[app] user = \"NAME\"`";
        findings.push(Finding::warning(about, "steps and services run as root (`allow_root`)", advice));
    }
    findings
}

fn exists(about: &str, name: &str) -> Finding {
    match users::lookup(name) {
        Ok(user) => {
            let groups: Vec<String> = user.groups.iter().filter_map(|gid| group_name(*gid)).collect();
            Finding::ok(about, format!("{name} exists (groups: {})", groups.join(", ")))
        }
        Err(error) => {
            let advice =
                format!("create it: `sudo adduser --system --group {name}`; or name another one in [app] user");
            Finding::critical(about, error.to_string(), advice)
        }
    }
}

fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(gid.into()).ok().flatten().map(|group| group.name)
}

/// Whom the listener runs as where the daemon is root.
fn listener(here: &Installation) -> Option<Finding> {
    let listen = here.listen().filter(|_| users::is_root())?;
    let about = "listener/user";
    Some(match &listen.user {
        Some(name) => exists(about, name),
        None if users::lookup("pintle-listen").is_ok() => exists(about, "pintle-listen"),
        None => {
            let advice = "create one of its own: `sudo adduser --system --no-create-home --group pintle-listen`";
            Finding::warning(about, "it runs as nobody, as other programs do", advice)
        }
    })
}

/// Who may use the command line beside root.
fn control_group(here: &Installation) -> Option<Finding> {
    let name = here.config()?.host.control_group.as_deref()?;
    Some(match Group::from_name(name) {
        Ok(Some(group)) if group.mem.is_empty() => {
            Finding::ok("control/group", format!("{name} exists; nobody is in it, so only root may use `pintle`"))
        }
        Ok(Some(group)) => Finding::ok("control/group", format!("{name} exists: {}", group.mem.join(", "))),
        _ => {
            let advice = format!("create it: `sudo addgroup --system {name}`, then `sudo adduser YOU {name}`");
            Finding::warning("control/group", format!("there is no group {name}: only root may use `pintle`"), advice)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    #[test]
    fn who_does_not_exist_is_named_with_how_to_create_him() {
        assert!(exists("app/shop/user", "root").what.starts_with("root exists (groups: root"));
        let missing = exists("app/shop/user", "no-such-user");
        assert_eq!(missing.level, Level::Critical);
        assert!(missing.what.contains("no-such-user") && missing.advice.unwrap().contains("adduser --system --group"));
    }
}
