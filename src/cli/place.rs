//! Which app, and which of its services, a person means - with names left out where there is only one.

use super::context::{Context, listed};
use super::failure::Failure;
use crate::base::{AppName, ServiceName};

/// The app that is meant.
pub fn app(cx: &Context<'_>, given: Option<&str>) -> Result<AppName, Failure> {
    match given {
        Some(name) => known(cx, name),
        None => only(cx, &cx.paths().apps),
    }
}

/// The app that is meant; `None`: all of them.
pub fn app_or_all(cx: &Context<'_>, given: Option<&str>) -> Result<Option<AppName>, Failure> {
    given.map(|name| known(cx, name)).transpose()
}

/// The app, and the service when one is named. `logs web` means the service `web` of the only app there is.
pub fn target(
    cx: &Context<'_>,
    first: Option<&str>,
    second: Option<&str>,
) -> Result<(AppName, Option<ServiceName>), Failure> {
    let apps = cx.paths().apps;
    match (first, second) {
        (Some(word), None) if apps.len() == 1 && apps[0].as_str() != word => {
            Ok((apps[0].clone(), Some(service(word)?)))
        }
        (Some(name), Some(word)) => Ok((known(cx, name)?, Some(service(word)?))),
        (name, _) => Ok((app(cx, name)?, None)),
    }
}

/// `[APP] WORD`: the app, and the word that is not about which app.
pub fn app_then<'w>(cx: &Context<'_>, words: &'w [String]) -> Result<(AppName, &'w str), Failure> {
    match words {
        [word] => Ok((app(cx, None)?, word)),
        [name, word] => Ok((known(cx, name)?, word)),
        _ => Err(Failure::usage("one app and one word after it are meant")),
    }
}

/// A name that is configured, or was: what an app left behind can still be looked at.
fn known(cx: &Context<'_>, name: &str) -> Result<AppName, Failure> {
    let app = AppName::new(name).map_err(|bad| Failure::usage(bad.to_string()))?;
    let paths = cx.paths();
    // No app seen may mean that we may not look (a member of the control group): the daemon knows.
    if paths.apps.is_empty() || paths.apps.contains(&app) || paths.state_dir.join("apps").join(&app).is_dir() {
        return Ok(app);
    }
    Err(Failure::usage(format!("no app is called {name:?} in {}", cx.config_dir.join("apps").display()))
        .advise(format!("there is: {}", listed(&paths.apps))))
}

fn only(cx: &Context<'_>, apps: &[AppName]) -> Result<AppName, Failure> {
    match apps {
        [app] => Ok(app.clone()),
        [] => {
            let dir = cx.config_dir.join("apps");
            let at = dir.display();
            let failure = match std::fs::read_dir(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    Failure::new(super::failure::NOT_PERMITTED, format!("which app? {at} cannot be read: {error}"))
                        .advise("name the app, or use sudo")
                }
                _ => Failure::new(super::failure::CONFIGURATION, format!("no app is configured in {at}")).advise(
                    "`pintle init` writes a first configuration; --config DIR or $PINTLE_CONFIG points elsewhere",
                ),
            };
            Err(failure)
        }
        several => Err(Failure::usage("which app is meant? More than one is configured")
            .advise(format!("name one of: {}", listed(several)))),
    }
}

fn service(word: &str) -> Result<ServiceName, Failure> {
    ServiceName::new(word).map_err(|bad| Failure::usage(bad.to_string()))
}
