//! The live release of an app, and the app as it runs there: by the definition the release was deployed with, or by what
//! a reload made of it since. Read from the state directory, so that it can be told while the daemon is down.

use super::check_config::loaded_app;
use super::context::Context;
use super::failure::{CONFIGURATION, Failure};
use crate::base::{AppName, ReleaseName};
use crate::config::{self, App, Environment};
use crate::os::releases::Releases;
use serde_json::Value;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The app as it runs; where no definition of the release can be used, by today's files.
pub fn definition(cx: &Context<'_>, name: &AppName, home: &Path, release: &ReleaseName) -> Result<App, Failure> {
    let releases = Releases::new(home);
    let documents = [releases.applied(release), releases.frozen(release)];
    for document in documents {
        if let Some(app) = readable(document)?.and_then(|document| thaw(cx, name, &document)) {
            return Ok(app);
        }
    }
    loaded_app(cx, name)
}

/// What is there; a damaged document is as good as none.
fn readable(document: io::Result<Option<Value>>) -> Result<Option<Value>, Failure> {
    match document {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::io(&error).advise("use sudo")),
        document => Ok(document.ok().flatten()),
    }
}

fn thaw(cx: &Context<'_>, name: &AppName, document: &Value) -> Option<App> {
    config::thaw(name, document, &cx.config_dir, &Environment::of_process()).ok()
}

/// The live release and its directory.
pub fn release(home: &Path) -> Result<(ReleaseName, PathBuf), Failure> {
    let current = &home.join("current");
    let dir = std::fs::canonicalize(current).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Failure::new(CONFIGURATION, format!("no release is live: {} does not exist", current.display()))
                .advise("`pintle deploy` makes the first one")
        }
        _ => Failure::on_path("find the live release by", current, &error),
    })?;
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let release = ReleaseName::new(name)
        .map_err(|bad| Failure::new(CONFIGURATION, format!("{} leads to no release: {bad}", current.display())))?;
    Ok((release, dir))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scratch;
    use super::*;

    #[test]
    fn the_live_release_is_found_by_its_link() {
        let scratch = Scratch::new("live");
        let current = scratch.path.join("current");
        let failure = release(&scratch.path).unwrap_err();
        assert_eq!(failure.exit, 78);
        assert!(failure.text().contains("pintle deploy"));
        std::fs::create_dir_all(scratch.path.join("releases/000042-4f2a1c9")).unwrap();
        std::os::unix::fs::symlink("releases/000042-4f2a1c9", &current).unwrap();
        let (name, dir) = release(&scratch.path).unwrap();
        assert_eq!(name.as_str(), "000042-4f2a1c9");
        assert_eq!(dir, std::fs::canonicalize(&scratch.path).unwrap().join("releases/000042-4f2a1c9"));
        std::fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink("releases", &current).unwrap();
        assert_eq!(release(&scratch.path).unwrap_err().exit, 78);
    }
}
