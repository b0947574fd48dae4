//! `init`: a first configuration, a webhook secret, and what to enter in the forge's form.
//!
//! Everything is asked and looked at before anything is written, and nothing that exists is touched.

use super::args::{ForgeName, InitArgs};
use super::context::Context;
use super::failure::{CONFIGURATION, Failure, NOT_PERMITTED};
use crate::base::AppName;
use crate::config::{Forge, app_template, host_template};
use crate::os::files;
use clap::ValueEnum;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the listener listens unless the file is changed; nginx passes the webhook on to it.
const LISTEN: &str = "127.0.0.1:9000";

/// What the configuration is about.
struct Wanted {
    app: AppName,
    repo: String,
    branch: String,
    forge: ForgeName,
}

/// The files of the configuration, for one app.
struct Files {
    host: PathBuf,
    app: PathBuf,
    secret: PathBuf,
}

/// `pintle init`.
pub fn run(args: &InitArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let wanted = wanted(args, cx)?;
    let dir = std::path::absolute(&cx.config_dir).unwrap_or_else(|_| cx.config_dir.clone());
    let files = Files {
        host: dir.join("pintle.toml"),
        app: dir.join("apps").join(format!("{}.toml", wanted.app)),
        secret: dir.join("secrets").join(&wanted.app),
    };
    if files.app.symlink_metadata().is_ok() {
        return Err(Failure::new(
            CONFIGURATION,
            format!("{} exists already; nothing was changed", files.app.display()),
        )
        .advise("edit it, or choose another name with --app"));
    }
    let written = write_all(&files, &wanted).map_err(|failure| match failure.exit {
        NOT_PERMITTED => failure.advise("use sudo, or --config DIR for a directory of your own"),
        _ => failure,
    })?;
    told(cx, &wanted, &files, &written)
}

fn wanted(args: &InitArgs, cx: &mut Context<'_>) -> Result<Wanted, Failure> {
    let missing: Vec<&str> = [("--app NAME", args.app.is_none()), ("--repo URL", args.repo.is_none())]
        .into_iter()
        .filter_map(|(flag, missing)| missing.then_some(flag))
        .collect();
    if !missing.is_empty() && !cx.world.terminal {
        return Err(Failure::usage(format!(
            "what is meant? Nobody can be asked here; missing: {}",
            missing.join(", ")
        ))
        .advise("for example: pintle init --app shop --repo https://github.com/me/shop.git"));
    }
    // Once there is something to ask, the choices that have a default are offered too.
    let ask = !missing.is_empty();
    let repo = match &args.repo {
        Some(repo) => repo.clone(),
        None => answered(cx, "What does git clone (URL or path)?", None)?,
    };
    let app = match &args.app {
        Some(app) => app.clone(),
        None => {
            let said = answered(cx, "What is the app to be called?", name_of(&repo).as_ref().map(AppName::as_str))?;
            AppName::new(said).map_err(|bad| Failure::usage(bad.to_string()))?
        }
    };
    let branch = match &args.branch {
        Some(branch) => branch.clone(),
        None if ask => answered(cx, "Which branch is deployed?", Some("main"))?,
        None => "main".into(),
    };
    let forge = match args.forge {
        Some(forge) => forge,
        None if ask => {
            let said = answered(cx, "Who sends the webhook?", Some(&spelled(forge_of(&repo))))?;
            ForgeName::from_str(&said, true).map_err(|_| {
                let known: Vec<String> = ForgeName::value_variants().iter().map(|forge| spelled(*forge)).collect();
                Failure::usage(format!("{said:?} is no forge that is known"))
                    .advise(format!("one of: {}", known.join(", ")))
            })?
        }
        None => forge_of(&repo),
    };
    Ok(Wanted { app, repo, branch, forge })
}

fn answered(cx: &mut Context<'_>, question: &str, default: Option<&str>) -> Result<String, Failure> {
    let offer = default.map(|default| format!(" [{default}]")).unwrap_or_default();
    let said = cx.question(&format!("{question}{offer} "))?;
    match (said.filter(|said| !said.is_empty()), default) {
        (Some(said), _) => Ok(said),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Failure::usage("no answer was given; nothing was written")),
    }
}

/// The last part of the repository's address, as a name.
fn name_of(repo: &str) -> Option<AppName> {
    let last = repo.trim_end_matches('/').rsplit(['/', ':']).next()?;
    AppName::new(last.trim_end_matches(".git").to_ascii_lowercase().replace('.', "-")).ok()
}

/// The forge whose address this looks like; most are GitHub.
fn forge_of(repo: &str) -> ForgeName {
    let host = repo.split_once("://").map_or(repo, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
    let known = [
        ("gitlab", ForgeName::Gitlab),
        ("codeberg.org", ForgeName::Forgejo),
        ("forgejo", ForgeName::Forgejo),
        ("gitea", ForgeName::Gitea),
        ("gogs", ForgeName::Gogs),
        ("bitbucket", ForgeName::Bitbucket),
    ];
    known.into_iter().find(|(word, _)| host.contains(word)).map_or(ForgeName::Github, |(_, forge)| forge)
}

fn spelled(forge: ForgeName) -> String {
    forge.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn configured(forge: ForgeName) -> Forge {
    match forge {
        ForgeName::Github => Forge::Github,
        ForgeName::Gitlab => Forge::Gitlab,
        ForgeName::Gitea => Forge::Gitea,
        ForgeName::Forgejo => Forge::Forgejo,
        ForgeName::Gogs => Forge::Gogs,
        ForgeName::Bitbucket => Forge::Bitbucket,
    }
}

/// Writes what is not there yet; returns the paths written. The app's file comes last: with it the app exists.
fn write_all(files: &Files, wanted: &Wanted) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::io(&error);
    for (path, mode) in [(&files.app, 0o755), (&files.secret, 0o700)] {
        if let Some(parent) = path.parent() {
            files::make_dir(parent, mode).map_err(failed)?;
        }
    }
    let secret = fresh_secret()?;
    let app = app_template(&wanted.app, &wanted.repo, &wanted.branch, configured(wanted.forge), user().as_deref());
    let mut written = Vec::new();
    for (path, content, mode) in
        [(&files.secret, secret, 0o600), (&files.host, host_template(LISTEN), 0o644), (&files.app, app, 0o644)]
    {
        if create(path, content.as_bytes(), mode)? {
            written.push(path.clone());
        }
    }
    Ok(written)
}

/// Who runs the app where the daemon is root: whoever called sudo.
fn user() -> Option<String> {
    let called = std::env::var("SUDO_USER").ok()?;
    (nix::unistd::geteuid().is_root() && called != "root" && !called.is_empty()).then_some(called)
}

/// Creates a file durably; `false` when there is one, which is left as it is.
fn create(path: &Path, content: &[u8], mode: u32) -> Result<bool, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = made.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        files::sync_parent(path)
    });
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failure::on_path("write", path, &error)),
    }
}

/// 32 bytes nobody can guess, as 64 hex digits.
fn fresh_secret() -> Result<String, Failure> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Failure::on_path("read", source, &error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Says what was written, what to enter in the form, and what comes next.
fn told(cx: &mut Context<'_>, wanted: &Wanted, files: &Files, written: &[PathBuf]) -> Result<u8, Failure> {
    let app = &wanted.app;
    let payload_url = format!("https://YOUR.HOST/webhook/{app}");
    let config = cx.config_dir.display().to_string();
    let pintle = if config == "/etc/pintle" { "pintle".into() } else { format!("pintle --config {config}") };
    let next = [
        format!("edit {}: the user to run as, the services, the steps to build", files.app.display()),
        format!("{pintle} check-config"),
        format!("systemctl restart pintle     (or in the foreground: {pintle} run)"),
        format!("{pintle} deploy {app}"),
    ];
    let document = json!({
        "app": app, "written": written,
        "webhook": {
            "payload_url": payload_url, "content_type": "application/json", "secret_file": files.secret, "events": ["push"],
        },
        "next": next,
    });
    let mut secret = format!("the content of {}", files.secret.display());
    if cx.world.terminal && !cx.json {
        let value =
            std::fs::read_to_string(&files.secret).map_err(|error| Failure::on_path("read", &files.secret, &error))?;
        secret = format!("{}   (kept in {})", value.trim(), files.secret.display());
    }
    cx.answer(&document, |_| {
        let mut text = String::new();
        for path in [&files.secret, &files.host, &files.app] {
            let deed = if written.contains(path) { "wrote" } else { "kept " };
            text += &format!("{deed} {}\n", path.display());
        }
        text += &format!("\nThe webhook's form at {}:\n", spelled(wanted.forge));
        let form = form(wanted, &payload_url, &secret);
        let width = form.iter().map(|(label, _)| label.len()).max().unwrap_or_default() + 2;
        for (label, value) in form {
            text += &format!("  {label:width$}{value}\n");
        }
        text += "\nNext:\n";
        for (number, step) in next.iter().enumerate() {
            text += &format!("  {}. {step}\n", number + 1);
        }
        text
    })?;
    Ok(0)
}

/// The fields of the forge's form by the names they have there, and what belongs into each.
fn form(wanted: &Wanted, url: &str, secret: &str) -> Vec<(&'static str, String)> {
    let json = || "application/json".to_owned();
    let (url, secret) = (url.to_owned(), secret.to_owned());
    match wanted.forge {
        ForgeName::Github => vec![
            ("Payload URL", url),
            ("Content type", json()),
            ("Secret", secret),
            ("Events", "just the push event".into()),
        ],
        ForgeName::Gitlab => vec![
            ("URL", url),
            ("Secret token", secret),
            (
                "Signing token",
                "better, where the form has one: put what GitLab shows (whsec_...) into that file instead".into(),
            ),
            ("Trigger", "Push events".into()),
        ],
        ForgeName::Gitea | ForgeName::Forgejo => vec![
            ("Target URL", url),
            ("HTTP method", "POST".into()),
            ("POST content type", json()),
            ("Secret", secret),
            ("Trigger on", "Push events".into()),
            ("Branch filter", wanted.branch.clone()),
        ],
        ForgeName::Gogs => vec![
            ("Payload URL", url),
            ("Content type", json()),
            ("Secret", secret),
            ("Events", "just the push event".into()),
        ],
        ForgeName::Bitbucket => vec![("URL", url), ("Secret", secret), ("Triggers", "Repository: Push".into())],
    }
}

#[cfg(test)]
#[path = "init/tests.rs"]
mod tests;
