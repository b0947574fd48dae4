//! What happens in the demo, and what must come of it. Each act checks what it tells.

use super::Failure;
use super::crowd::Crowd;
use super::stage::Stage;
use super::tell::{Tell, spell, thousands};
use crate::base::DeployId;
use crate::control::{Answer, DeployStatus, Followed, Phase, Request, StepStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// Plays every act.
pub(super) fn play(stage: &mut Stage, tell: &Tell) -> Result<(), Failure> {
    curtain(stage, tell)?;

    tell.act("v1 - the first push");
    push(stage, tell, "v1", "", "", DeployStatus::Success)?;
    serves(stage, tell, "v1")?;
    let crowd = Crowd::gather(stage.agent.clone(), format!("{}/", stage.app_url));
    tell.line("from now on visitors ask for / all the time");

    tell.act("v2 - the next push, under load");
    push(stage, tell, "v2", "", "", DeployStatus::Success)?;
    serves(stage, tell, "v2")?;

    tell.act("v3 - does not build");
    let before = stage.app_pid()?;
    push(stage, tell, "v3", "", "echo 'shop.c:12: error: expected ; before }' >&2\nexit 1", DeployStatus::Failed)?;
    untouched(stage, tell, "v2", before)?;

    tell.act("v4 - builds, but is sick: it must not get past the rehearsal");
    push(stage, tell, "v4", "health = fail\n", "", DeployStatus::Failed)?;
    untouched(stage, tell, "v2", before)?;
    if crowd.met().versions.contains_key("v4") {
        return Err(Failure::wrong("v4 answered a visitor, though it never left the rehearsal"));
    }
    tell.good(&format!("v4 never saw a request; {}", nobody_turned_away(&crowd)?));

    tell.act("SIGKILL of the daemon itself");
    kill_the_daemon(stage, tell, before)?;
    tell.good(&nobody_turned_away(&crowd)?);

    tell.act("pintle reexec - as an upgrade does it");
    replace_the_daemon(stage, tell, before)?;
    tell.good(&nobody_turned_away(&crowd)?);

    tell.act("v5 - passes the rehearsal and dies a second after it went live");
    push(stage, tell, "v5", "die_after = 1s\n", "", DeployStatus::RolledBack)?;
    serves(stage, tell, "v2")?;

    tell.act("SIGKILL of the application");
    kill_the_app(stage, tell)?;

    tell.act("a stranger's webhook");
    wrong_signature(stage, tell)?;

    let met = crowd.met();
    drop(crowd);
    tell.act("the visitors");
    let by_version: Vec<String> =
        met.versions.iter().map(|(version, count)| format!("{version} {}", thousands(*count))).collect();
    tell.line(&format!(
        "{} requests: {} answered ({}), {} failed; the longest waited {}",
        thousands(met.answered + met.failed),
        thousands(met.answered),
        by_version.join(", "),
        met.failed,
        spell(met.longest),
    ));
    if let Some(first) = met.first_failure {
        tell.line(&format!("the first that failed: {first} (a killed process takes the request in its hands with it)"));
    }

    tell.act("pintle history");
    history(stage, tell)
}

/// Waits for Ctrl-C, after saying what can be tried.
pub(super) fn stay(stage: &Stage, tell: &Tell) -> Result<(), Failure> {
    tell.act("it stays up - try:");
    let pintle = format!("{} --config {}", stage.binary().display(), stage.config().display());
    for what in ["status", "history", "show 5", "logs shop -f", "rollback shop", "deploy shop --force"] {
        tell.plain(&format!("  {pintle} {what}"));
    }
    tell.plain(&format!("  curl {}/            # the app", stage.app_url));
    tell.plain(&format!("  curl {}/status      # the listener", stage.hook_url));
    tell.plain(&format!(
        "  cd {} && sed -i 's/version = .*/version = v6/; /die_after/d' app.conf && git commit -am v6 && {pintle} deploy shop",
        stage.repo().display()
    ));
    tell.plain("Ctrl-C ends it and removes everything.");
    loop {
        match stage.check_interrupt() {
            Err(Failure::Interrupted) => return Ok(()),
            other => other?,
        }
        // A signal cuts this short only sometimes; half a second is soon enough.
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn curtain(stage: &mut Stage, tell: &Tell) -> Result<(), Failure> {
    tell.plain("Pintle: a signed push becomes a running, supervised release - or the last good one stays.");
    tell.act("the stage");
    tell.line(&format!("scratch directory {}", stage.root.display()));
    tell.line(&format!("a git repository {}, a configuration {}", stage.repo().display(), stage.config().display()));
    tell.line("$ pintle run");
    let began = Instant::now();
    let (daemon, listener) = stage.start_daemon()?;
    tell.good(&format!(
        "daemon (pid {daemon}) and listener (pid {listener}) answer after {}: webhooks at {}, the app at {}",
        spell(began.elapsed()),
        stage.hook_url,
        stage.app_url
    ));
    Ok(())
}

/// Commits `version`, sends the signed webhook, follows the deployment and checks how it ends.
fn push(
    stage: &Stage,
    tell: &Tell,
    version: &str,
    conf: &str,
    build: &str,
    expected: DeployStatus,
) -> Result<(), Failure> {
    stage.check_interrupt()?;
    let commit = stage.commit(version, conf, build)?;
    let began = Instant::now();
    let (status, answer) = stage.push(&commit)?;
    if status != 202 {
        return Err(Failure::wrong(format!("the push of {version} was answered {status} {answer}, not 202")));
    }
    let number = answer["deployment"].as_u64().map(DeployId);
    let number = number.ok_or_else(|| Failure::wrong(format!("the answer names no deployment: {answer}")))?;
    tell.line(&format!(
        "git commit {}; POST /webhook, signed: {status} deployment {} in {}",
        &commit[..7],
        number.0,
        spell(began.elapsed())
    ));
    let mut watch = Watch::new();
    let end = stage.follow(number, &mut |line| watch.see(line))?;
    watch.close();
    tell.line(&watch.phases.join(" · "));
    for line in &watch.troubles {
        tell.line(&format!("  {line}"));
    }
    let Followed::End { status, message, .. } = end else { return Err(Failure::wrong("a stream without an end")) };
    let message = message.map(|text| format!(": {text}")).unwrap_or_default();
    let outcome = format!("{status} after {}{message}", spell(began.elapsed()));
    if status != expected {
        return Err(Failure::wrong(format!("{version} should have ended as {expected}, but: {outcome}")));
    }
    tell.good(&outcome);
    Ok(())
}

/// What is told of a deployment: each phase with what it took, and what went wrong in its steps.
struct Watch {
    phases: Vec<String>,
    troubles: Vec<String>,
    now: Option<(Phase, Instant)>,
}

impl Watch {
    fn new() -> Watch {
        Watch { phases: Vec::new(), troubles: Vec::new(), now: None }
    }

    fn see(&mut self, line: &Followed) {
        match line {
            Followed::Phase { phase, .. } => {
                self.close();
                self.now = Some((*phase, Instant::now()));
            }
            Followed::Step(step) if step.status != StepStatus::Success => {
                let exit = step.exit.map(|code| format!(", exit {code}")).unwrap_or_default();
                self.troubles.push(format!("{} {}: {}{exit}", step.phase, step.name, step.status));
            }
            _ => {}
        }
    }

    fn close(&mut self) {
        if let Some((phase, since)) = self.now.take().filter(|(phase, _)| *phase != Phase::Done) {
            self.phases.push(format!("{phase} {}", spell(since.elapsed())));
        }
    }
}

fn serves(stage: &Stage, tell: &Tell, version: &str) -> Result<(), Failure> {
    let (status, body) = stage.visit("/")?;
    if (status, body.as_str()) != (200, version) {
        return Err(Failure::wrong(format!("the app should answer 200 {version:?}, but answers {status} {body:?}")));
    }
    tell.good(&format!("GET {}/ -> {body}", stage.app_url));
    Ok(())
}

fn untouched(stage: &Stage, tell: &Tell, version: &str, pid: i32) -> Result<(), Failure> {
    serves(stage, tell, version)?;
    let now = stage.app_pid()?;
    if now != pid {
        return Err(Failure::wrong(format!(
            "{version} was restarted (pid {pid} -> {now}), though nothing was to happen"
        )));
    }
    tell.good(&format!("{version} untouched: still pid {pid}"));
    Ok(())
}

/// What can be said of the visitors as long as nobody killed the app.
fn nobody_turned_away(crowd: &Crowd) -> Result<String, Failure> {
    let met = crowd.met();
    if met.failed > 0 {
        let first = met.first_failure.unwrap_or_default();
        return Err(Failure::wrong(format!("{} visitors were turned away; the first: {first}", met.failed)));
    }
    Ok(format!("{} visitors so far, none turned away", thousands(met.answered)))
}

fn kill_the_daemon(stage: &mut Stage, tell: &Tell, app: i32) -> Result<(), Failure> {
    let old = stage.kill_daemon()?;
    serves(stage, tell, "v2")?;
    tell.line("$ pintle run");
    let began = Instant::now();
    let (new, _) = stage.start_daemon()?;
    tell.good(&format!("kill -9 {old}; the next one (pid {new}) answers after {}", spell(began.elapsed())));
    untouched(stage, tell, "v2", app)
}

fn replace_the_daemon(stage: &Stage, tell: &Tell, app: i32) -> Result<(), Failure> {
    let began = Instant::now();
    let said = stage.printed(&["reexec"])?;
    tell.good(&format!("{} - the same process, after {}", said.trim_end(), spell(began.elapsed())));
    untouched(stage, tell, "v2", app)
}

fn kill_the_app(stage: &mut Stage, tell: &Tell) -> Result<(), Failure> {
    let old = stage.app_pid()?;
    let began = Instant::now();
    kill(Pid::from_raw(old), Signal::SIGKILL).map_err(|error| Failure::wrong(format!("kill {old}: {error}")))?;
    let new = stage.wait_for("the app to come back", |stage| match stage.visit("/pid") {
        Ok((200, pid)) if pid != old.to_string() => Ok(Some(pid)),
        _ => Ok(None),
    })?;
    tell.good(&format!("kill -9 {old}; back as pid {new}, first answer {} after the kill", spell(began.elapsed())));
    tell.line("  (100 ms of that are the pause after a run of less than 10 s; a longer run is followed at once)");
    serves(stage, tell, "v2")
}

fn wrong_signature(stage: &Stage, tell: &Tell) -> Result<(), Failure> {
    let (status, _) = stage.push_signed_with(&"a".repeat(40), "not the secret")?;
    if status != 401 {
        return Err(Failure::wrong(format!("a push signed with a wrong secret was answered {status}, not 401")));
    }
    tell.good("POST /webhook, signed with a wrong secret: 401");
    Ok(())
}

fn history(stage: &Stage, tell: &Tell) -> Result<(), Failure> {
    tell.plain(stage.printed(&["history"])?.trim_end());
    let Answer::History(report) = stage.ask(&Request::History { app: None, limit: 20 })? else {
        return Err(Failure::wrong("history was not answered with a history"));
    };
    use DeployStatus::{Failed, RolledBack, Success};
    let told: Vec<DeployStatus> = report.deployments.iter().rev().map(|deployment| deployment.status).collect();
    let expected = [Success, Success, Failed, Failed, RolledBack];
    if told != expected {
        return Err(Failure::wrong(format!("history says {told:?}, but it was {expected:?}")));
    }
    Ok(())
}
