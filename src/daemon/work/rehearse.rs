//! The rehearsal: the new release started alone, on a private socket or port, on a scratch copy of the data, with its
//! migrations run there first. It must pass health and smoke; production sees none of it.

use super::Task;
use super::backup::verified;
use super::look::{Aim, look};
use super::steps::own_port;
use super::voice::Voice;
use crate::base::{InstanceId, Span};
use crate::config::{Address, Handover, Probe, ProbeTarget, Ready, RehearsalData, Service, StepPhase};
use crate::control::Phase;
use crate::deploy::Worked;
use crate::os::command::Spec;
use crate::os::releases::Data;
use crate::os::{backup, files, group, reap, sockets};
use crate::os::{poll, spawn::Child};
use crate::runtime::confinement;
use crate::runtime::process::{self, Ears, Outfit};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A started candidate and where it answers.
struct Candidate<'a> {
    service: &'a Service,
    child: Option<Child>,
    /// Public address -> the private one that stands for it here.
    instead: Vec<(Address, Address)>,
    voice: Voice,
    /// How long it may take to end.
    patience: Duration,
    ended: Option<String>,
}

impl Task<'_> {
    pub(super) fn rehearse(&self) -> io::Result<Worked> {
        let missing = || io::Error::other("there is no release to rehearse");
        let release = self.job.release.as_ref().ok_or_else(missing)?;
        let (releases, source, user) = (self.releases(), &self.job.app.source, self.user()?);
        if let Some(why) = self.missing_env_file() {
            return Ok(Worked::Unready(why));
        }
        let scratch = self.bench.place.scratch(&self.job.app.name);
        files::remove_tree(&scratch)?;
        let linked = self.job.app.rehearsal.shared != RehearsalData::Live;
        if linked {
            self.fill(&scratch)?;
            releases.link_shared(release, source, Data::Scratch(&scratch), user.as_ref())?;
        }
        let played = self.play(&scratch);
        if linked {
            releases.link_shared(release, source, Data::Real, user.as_ref())?;
        }
        // What is left of it is removed again when the deploy tidies up.
        let _ = files::remove_tree(&scratch);
        played
    }

    /// The scratch data: what the backup just made holds. So every deploy proves its backup.
    fn fill(&self, scratch: &Path) -> io::Result<()> {
        files::make_dir(scratch, 0o755)?;
        let app_dir = self.bench.place.app(&self.job.app.name);
        match (&self.job.backup, self.job.app.rehearsal.shared) {
            (Some(id), RehearsalData::Copy) => {
                backup::materialise(&app_dir, id, scratch, self.cancel)?;
                self.bench.tell(vec![verified(&self.job.app, id)]);
            }
            (None, RehearsalData::Copy) if !self.job.app.source.shared.is_empty() => {
                self.say("warning: there is no backup of this deploy: the rehearsal runs on empty data");
            }
            _ => {}
        }
        Ok(())
    }

    fn play(&self, scratch: &Path) -> io::Result<Worked> {
        let migrated = self.run_steps(StepPhase::Migrate, Phase::Rehearse, None, true)?;
        if !matches!(migrated, Worked::Done(_)) {
            return Ok(in_rehearsal(migrated));
        }
        let mut candidates = vec![];
        let result = self.play_with(&mut candidates, scratch);
        for candidate in &mut candidates {
            candidate.end();
        }
        self.sweep(self.marks().candidates);
        let (app, mark) = (&self.job.app.name, self.marks().candidates);
        confinement::clear_leftovers(self.bench.host(), [app], &|instance| instance != mark);
        result.map(in_rehearsal)
    }

    fn play_with<'a>(&'a self, candidates: &mut Vec<Candidate<'a>>, scratch: &Path) -> io::Result<Worked> {
        for service in self.job.app.services.values().filter(|service| service.rehearse) {
            let candidate = self.start_candidate(service, candidates.len() as u64, scratch)?;
            candidates.push(candidate);
        }
        if let Err(why) = self.until_healthy(candidates)? {
            return Ok(Worked::Failed(why));
        }
        if self.cancel.is_cancelled() {
            return Ok(Worked::Cancelled);
        }
        let url =
            candidates.iter().find_map(|candidate| candidate.instead.iter().find_map(|(_, private)| url_of(private)));
        let smoked = self.run_steps(StepPhase::Smoke, Phase::Rehearse, url.as_deref(), true)?;
        match candidates.iter_mut().find_map(|candidate| candidate.look()) {
            Some(why) if matches!(smoked, Worked::Done(_)) => Ok(Worked::Failed(why)),
            _ => Ok(smoked),
        }
    }

    fn start_candidate<'a>(&'a self, service: &'a Service, at: u64, scratch: &Path) -> io::Result<Candidate<'a>> {
        let mut instead = vec![];
        let ears = if service.listen.is_empty() {
            own_port(&self.bench.ports)?
        } else {
            let mut own = vec![];
            for public in &service.listen {
                let (socket, private) = sockets::private(public, scratch)?;
                instead.push((public.clone(), private));
                own.push(Arc::new(socket));
            }
            Ears::Sockets(own)
        };
        let (reader, writer) = io::pipe()?;
        let writer: OwnedFd = writer.into();
        let which = self.which(service)?;
        let id = self.marks().candidates;
        let user = process::user(which)?;
        // All candidates of a deployment share a mark; their sockets need a number each.
        let number = InstanceId(id.0 + (at << 32));
        let voice = Voice::listen(&self.bench.place.notify_sockets(), number, user.as_ref())?;
        let (output, notify) = (writer.as_fd(), Some(voice.path()));
        let outfit = Outfit { user: user.as_ref(), ears: &ears, check: None, output, notify };
        let child = process::start(self.bench.host(), which, id, outfit, |env| {
            if let Ears::Port(port) = ears
                && service.handover != Handover::Socket
            {
                env.set("PORT", port.to_string());
            }
            env.set("PINTLE_REHEARSAL", "1").set_all(&self.job.app.rehearsal.env);
        })?;
        if let (Ears::Port(port), true) = (&ears, service.listen.is_empty()) {
            let private = Address::Tcp(([127, 0, 0, 1], *port).into());
            instead.push((private.clone(), private));
        }
        self.copy_output(service, reader)?;
        self.say(&format!("rehearsing {} (pid {})", service.name, child.pid));
        let patience = match self.job.app.rehearsal.shared {
            RehearsalData::Live => service.stop_timeout,
            RehearsalData::Copy | RehearsalData::Empty => service.stop_timeout.min(PARTING),
        };
        Ok(Candidate { service, child: Some(child), instead, voice, patience, ended: None })
    }

    /// The candidate's output becomes part of the deployment's log; ends with the candidate.
    fn copy_output(&self, service: &Service, mut reader: io::PipeReader) -> io::Result<()> {
        let (hub, number, name) = (self.bench.hub.clone(), self.number(), service.name.clone());
        let copy = move || {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                for line in String::from_utf8_lossy(&buffer[..read]).lines() {
                    hub.say(number, &format!("{name} | {line}"));
                }
            }
        };
        std::thread::Builder::new().name("candidate".into()).stack_size(256 << 10).spawn(copy).map(drop)
    }

    /// `Err`: why it is not healthy, when it ended or `[deploy] startup` was up.
    fn until_healthy(&self, candidates: &mut [Candidate<'_>]) -> io::Result<Result<(), String>> {
        let app = &self.job.app;
        let began = Instant::now();
        let mut open: Vec<Aim> = app.probes.iter().filter_map(|probe| aim(probe, candidates)).collect();
        let (mut gap, mut last) = (Duration::from_millis(10), String::new());
        loop {
            if let Some(why) = candidates.iter_mut().find_map(|candidate| candidate.look()) {
                return Ok(Err(why));
            }
            open.retain(|aim| match self.look_at(aim) {
                Ok(()) => false,
                Err(why) => {
                    last = format!("{}: {why}", aim.probe.name);
                    true
                }
            });
            let silent = candidates.iter().find(|candidate| !candidate.is_ready());
            if let Some(candidate) = silent {
                last = format!("{} did not say READY=1", candidate.service.name);
            } else if open.is_empty() {
                let ended = self.pause(candidates, SETTLE);
                return Ok(ended.map_or(Ok(()), Err));
            }
            if began.elapsed() >= app.deploy.startup || self.cancel.is_cancelled() {
                let limit = Span(app.deploy.startup);
                return Ok(Err(format!("not healthy within {limit} (`[deploy] startup`): {last}")));
            }
            if let Some(why) = self.pause(candidates, gap) {
                return Ok(Err(why));
            }
            gap = (gap * 2).min(Duration::from_millis(500));
        }
    }

    fn look_at(&self, aim: &Aim) -> Result<(), String> {
        look(aim, self.cancel, self.probe_command(&aim.probe)).map_err(|failure| failure.said)
    }

    /// The environment and directory of a probe that is a command.
    fn probe_command(&self, probe: &Probe) -> Option<Spec> {
        let ProbeTarget::Run(command) = &probe.target else { return None };
        let (app, release) = (&self.job.app, self.job.release.as_ref()?);
        let user = self.user().ok()?;
        let mut env =
            crate::runtime::environment::of_release(app, release, self.job.commit.as_ref(), user.as_ref()).ok()?;
        let (marker, value) = self.bench.instances.variable(self.marks().candidates);
        env.set("PINTLE_REHEARSAL", "1").set_all(&app.rehearsal.env).set(&marker, value);
        let cwd = self.bench.place.working_dir(app, release);
        Some(Spec { argv: command.argv(), cwd, env: env.pairs(), user, nice: 0, stdin: vec![] })
    }

    /// Waits, but not past the end of a candidate or a cancel. Says which candidate ended.
    fn pause(&self, candidates: &mut [Candidate<'_>], span: Duration) -> Option<String> {
        let until = Instant::now() + span;
        let children = candidates.iter().filter_map(|candidate| candidate.child.as_ref());
        let mut fds: Vec<_> = children.map(|child| poll::readable(child.pidfd.as_fd())).collect();
        fds.push(poll::readable(self.cancel.as_fd()));
        // An error here only means that the next look comes sooner.
        let _ = poll::until(&mut fds, Some(until));
        drop(fds);
        candidates.iter_mut().find_map(|candidate| candidate.look())
    }
}

/// A candidate that passed must also live a moment longer: what dies right after its first answer is not well.
const SETTLE: Duration = Duration::from_millis(20);
/// A candidate on scratch data has nobody to serve and nothing to save. One that is told to end while it still starts -
/// it is, as soon as it answers - may not have heard it: a gunicorn whose next worker was just being forked.
const PARTING: Duration = Duration::from_secs(2);

impl Candidate<'_> {
    /// It showed what it has to show, beside passing its probes.
    fn is_ready(&self) -> bool {
        self.service.ready != Ready::Notify || self.voice.is_ready()
    }

    /// Why it is not well any more: it ended.
    fn look(&mut self) -> Option<String> {
        if let Some(child) = &self.child
            && let Ok(Some(ended)) = reap::try_wait(child.pid)
        {
            let leader = child.pid;
            self.child = None;
            // Whatever it had started goes with it.
            let _ = group::signal(leader, libc::SIGKILL);
            self.ended = Some(format!("{} ended by itself: {ended}", self.service.name));
        }
        self.ended.clone()
    }

    fn end(&mut self) {
        let Some(child) = self.child.take() else { return };
        let _ = group::signal(child.pid, self.service.stop_signal);
        let until = Instant::now() + self.patience;
        let _ = poll::until(&mut [poll::readable(child.pidfd.as_fd())], Some(until));
        let _ = group::signal(child.pid, libc::SIGKILL);
        let _ = reap::wait(child.pid);
    }
}

fn in_rehearsal(worked: Worked) -> Worked {
    match worked {
        Worked::Failed(why) => Worked::Failed(format!("in the rehearsal: {why}")),
        other => other,
    }
}

/// The probe as it looks at the candidates; `None` when it looks at something that is not rehearsed.
fn aim(probe: &Probe, candidates: &[Candidate<'_>]) -> Option<Aim> {
    let instead = |authority: &str| {
        let mut all = candidates.iter().flat_map(|candidate| &candidate.instead);
        all.find(|(public, _)| is_at(authority, public)).map(|(_, private)| private.clone())
    };
    let at = match &probe.target {
        ProbeTarget::Http { url, .. } => {
            let rest = url.strip_prefix("http://")?;
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            Some((instead(authority)?, if path.is_empty() { "/".into() } else { path.into() }))
        }
        ProbeTarget::Tcp(authority) => Some((instead(authority)?, String::new())),
        ProbeTarget::Service { service, path, .. } => {
            let candidate = candidates.iter().find(|candidate| candidate.service.name == *service)?;
            Some((candidate.instead.first()?.1.clone(), path.clone()))
        }
        ProbeTarget::Run(_) => None,
        ProbeTarget::Alive(_) => return None,
    };
    Some(Aim { probe: probe.clone(), at })
}

/// Whether `host:port` of a probe means the address a service listens on.
pub(in super::super) fn is_at(authority: &str, public: &Address) -> bool {
    let Address::Tcp(public) = public else { return false };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = public.ip().is_unspecified() && matches!(host, "127.0.0.1" | "localhost" | "::1");
    let named = public.ip().is_loopback() && host == "localhost";
    port.parse() == Ok(public.port()) && (here || named || host.parse() == Ok(public.ip()))
}

/// The URL of a service that listens on TCP.
pub(super) fn url_of(address: &Address) -> Option<String> {
    match address {
        Address::Tcp(address) if address.ip().is_unspecified() => Some(format!("http://127.0.0.1:{}", address.port())),
        Address::Tcp(address) => Some(format!("http://{address}")),
        Address::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_finds_the_listener_it_means() {
        let at = |text: &str| Address::Tcp(text.parse().unwrap());
        assert!(is_at("127.0.0.1:5000", &at("127.0.0.1:5000")));
        assert!(is_at("localhost:5000", &at("127.0.0.1:5000")));
        assert!(is_at("localhost:5000", &at("0.0.0.0:5000")));
        assert!(is_at("[::1]:5000", &at("[::]:5000")));
        assert!(!is_at("127.0.0.1:5001", &at("127.0.0.1:5000")));
        assert!(!is_at("10.0.0.1:5000", &at("127.0.0.1:5000")));
        assert!(is_at("127.0.0.1", &at("127.0.0.1:80")));
    }
}
