//! `exec APP -- CMD`: a command in the live release, as the app's user, with its environment, on this terminal.

use super::args::ExecArgs;
use super::context::Context;
use super::failure::{Failure, IO, NOT_PERMITTED};
use super::{live, place};
use crate::base::{AppName, CommitId, ReleaseName};
use crate::config::Paths;
use crate::os::command::Spec;
use crate::os::users::{self, User};
use crate::runtime::environment;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// `pintle exec`. Comes back only when it failed: the command takes our place, terminal, exit code and all.
pub fn run(args: &ExecArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let name = place::app(cx, args.app.as_deref())?;
    let spec = spec(cx, &name, &cx.paths(), &args.command)?;
    if let Some(user) = &spec.user {
        become_user(user)?;
    }
    Err(replace_us(&spec))
}

/// What to run, where, as whom and with which environment.
fn spec(cx: &Context<'_>, name: &AppName, paths: &Paths, argv: &[String]) -> Result<Spec, Failure> {
    let home = paths.state_dir.join("apps").join(name);
    let (release, dir) = live::release(&home)?;
    let app = &live::definition(cx, name, &home, &release)?;
    let cwd = dir.join(&app.source.subdirectory);
    let user = app.user.as_deref().map(users::lookup).transpose().map_err(|error| Failure::io(&error))?;
    let commit = full_commit(&paths.state_dir, &app.name, &release);
    let mut env = environment::for_command(app, &release, commit.as_ref(), user.as_ref(), &cwd)
        .map_err(|error| Failure::io(&error))?;
    // The command has our terminal, and may want to know which one that is.
    if let (Ok(term), false) = (std::env::var("TERM"), env.iter().any(|(name, _)| name == "TERM")) {
        env.push(("TERM".into(), term));
    }
    Ok(Spec { argv: argv.to_vec(), cwd, env, user, ..Spec::default() })
}

/// The release's commit in full, where the diary can be read; its name has only the beginning.
fn full_commit(state_dir: &Path, app: &AppName, release: &ReleaseName) -> Option<CommitId> {
    let report = super::offline::releases(state_dir, app).ok()?;
    let view = report.releases.into_iter().find(|view| view.release == *release)?;
    CommitId::new(view.commit?).ok()
}

/// Takes the user's groups and ids for good.
fn become_user(user: &User) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if nix::unistd::geteuid() == uid && !uid.is_root() {
        return Ok(());
    }
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let changed = nix::unistd::setgroups(&groups)
        .and_then(|()| nix::unistd::setresgid(gid, gid, gid))
        .and_then(|()| nix::unistd::setresuid(uid, uid, uid));
    changed.map_err(|error| {
        Failure::new(NOT_PERMITTED, format!("become the app's user {}: {error}", user.name)).advise("use sudo")
    })
}

/// Executes the command in our place; the failure says why it could not be.
fn replace_us(spec: &Spec) -> Failure {
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Failure::usage("a command is meant after --");
    };
    let mut command = std::process::Command::new(program);
    let error = command.args(arguments).current_dir(&spec.cwd).env_clear().envs(spec.env.iter().cloned()).exec();
    // For the program's sake SIGPIPE got its default action back; there is no program, and we still have to speak.
    // SAFETY: ignoring runs no code of ours.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let exit = match error.kind() {
        ErrorKind::NotFound => 127,
        ErrorKind::PermissionDenied => 126,
        _ => IO,
    };
    Failure::new(exit, format!("run {program} in {}: {error}", spec.cwd.display()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scratch;
    use super::*;

    #[test]
    fn a_command_that_cannot_run_ends_as_in_a_shell() {
        let scratch = Scratch::new("exec");
        std::fs::write(scratch.path.join("plain"), "no program").unwrap();
        let spec = |program: &str| Spec { argv: vec![program.into()], cwd: scratch.path.clone(), ..Spec::default() };
        let failure = replace_us(&spec("./missing"));
        assert_eq!(failure.exit, 127, "{}", failure.message);
        assert!(failure.message.contains("./missing") && failure.message.contains(scratch.path.to_str().unwrap()));
        assert_eq!(replace_us(&spec("./plain")).exit, 126);
        assert_eq!(replace_us(&Spec::default()).exit, 64);
    }
}
