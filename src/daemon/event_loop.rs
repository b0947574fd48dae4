//! The loop: waits for an event or a deadline, takes one whole turn, has the hands carry it out - and sleeps for ever when
//! nothing is due.
//!
//! Inside it nothing may die: an error becomes an event, a notice or a line in the journal.

use super::action::Action;
use super::event::Event;
use super::hands::{Hands, Leave, OUTPUT};
use super::world::World;
use crate::base::{AppName, InstanceId, Moment};
use crate::config;
use crate::os::clock::ClockWatch;
use crate::os::fdstore::name_of;
use crate::os::{memory, reexec, signals, systemd};
use crate::runtime::ports::SOCKET;
use jiff::tz::TimeZone;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// After a deployment its followers and its tidying are done by then.
const QUIET_AFTER_WORK: Duration = Duration::from_secs(2);

/// How long the diary may take for what it was told last, when all is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the loop waits for.
const BELL: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;
const KEEPER: u64 = u64::MAX - 2;
const FILES: u64 = u64::MAX - 3;
const CLOCK: u64 = u64::MAX - 4;
/// With an instance's number: its notify socket; without: its end.
const VOICE: u64 = 1 << 60;
/// What an instance says is heard so often at most; nobody's life hangs on less.
const HUSH: Duration = Duration::from_millis(20);

/// The apps as configured now, for whoever asks beside the loop.
pub type Apps = Arc<RwLock<BTreeMap<AppName, Arc<config::App>>>>;

/// The loop and all it needs.
pub struct Loop {
    world: World,
    hands: Hands,
    signals: signals::Signals,
    epoll: Epoll,
    apps: Apps,
    /// When systemd is told next that the loop turns, and how often.
    heartbeat: Option<(Duration, Duration)>,
    /// When what a deployment needed is given back.
    rest_at: Option<Duration>,
    /// When each instance last said something.
    heard: BTreeMap<InstanceId, Duration>,
    /// Those that are not listened to for a moment, and until when.
    hushed: BTreeMap<InstanceId, Duration>,
    /// What systemd was last told.
    status: String,
    clock: ClockWatch,
}

impl Loop {
    /// A loop that watches what its hands took over.
    pub fn new(world: World, hands: Hands, signals: signals::Signals, apps: Apps) -> io::Result<Loop> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(hands.bench.post.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        epoll.add(signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        hands.bench.kept.watch(&epoll, KEEPER)?;
        epoll.add(hands.files.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, FILES))?;
        let clock = ClockWatch::new()?;
        epoll.add(clock.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, CLOCK))?;
        let heartbeat = systemd::heartbeat().map(|every| (Moment::now().mono, every));
        let mut it = Loop {
            world,
            hands,
            signals,
            epoll,
            apps,
            heartbeat,
            rest_at: None,
            heard: BTreeMap::new(),
            hushed: BTreeMap::new(),
            status: String::new(),
            clock,
        };
        it.hands.running.keys().copied().collect::<Vec<_>>().into_iter().for_each(|instance| it.watch(instance));
        Ok(it)
    }

    /// The first turns.
    pub fn begin(&mut self, actions: Vec<Action>) {
        self.carry_out(actions);
        let actions = self.world.start_listener(Moment::now());
        self.carry_out(actions);
        self.turn(Event::Tick);
    }

    /// Turns until it is to be left.
    pub fn turn_until_told(&mut self) -> io::Result<Leave> {
        let mut ready = [EpollEvent::empty(); 64];
        loop {
            self.hands.journal.hand_on();
            if let Some(leave) = self.hands.leave {
                return Ok(leave);
            }
            let count = match self.epoll.wait(&mut ready, self.timeout()) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            // Ends of processes first: a crashed app is back before anything else is looked at.
            for event in &ready[..count] {
                match event.data() {
                    BELL | SIGNALS | KEEPER | FILES | CLOCK => {}
                    voice if voice & VOICE != 0 => {}
                    instance => self.ended(InstanceId(instance)),
                }
            }
            for event in
                ready[..count].iter().filter(|event| !matches!(event.data(), BELL | SIGNALS | KEEPER | FILES | CLOCK))
            {
                if event.data() & VOICE != 0 {
                    self.hear(InstanceId(event.data() & !VOICE));
                }
            }
            if ready[..count].iter().any(|event| event.data() == SIGNALS) {
                self.take_signals();
            }
            if ready[..count].iter().any(|event| event.data() == KEEPER)
                && let Err(error) = self.hands.bench.kept.tend()
            {
                log::warn!("{error}");
            }
            if ready[..count].iter().any(|event| event.data() == FILES) && self.hands.files.changed() {
                self.turn(Event::CertificateTouched);
            }
            if ready[..count].iter().any(|event| event.data() == CLOCK) {
                if let Err(error) = self.clock.heard() {
                    log::warn!("hear when the clock is set: {error}");
                    let _ = self.epoll.delete(self.clock.as_fd());
                }
                self.turn(Event::ClockSet);
            }
            for event in self.hands.bench.post.take() {
                self.turn(event);
            }
            if self.world.deadline().is_some_and(|at| at <= Moment::now().mono) {
                self.turn(Event::Tick);
            }
            self.tell_systemd();
            self.rest();
            self.lift_hushes();
        }
    }

    /// Hears what an instance says. One that speaks again at once is not listened to for a moment: who never stops talking
    /// meets a full socket.
    fn hear(&mut self, instance: InstanceId) {
        if let Some(told) = self.hands.hear(instance) {
            self.turn(told);
        }
        let now = Moment::now().mono;
        if self.heard.insert(instance, now).is_none_or(|before| now >= before + HUSH) {
            return;
        }
        let Some(voice) = self.hands.running.get(&instance).and_then(|running| running.voice()) else { return };
        let mut nothing = EpollEvent::new(EpollFlags::empty(), instance.0 | VOICE);
        if self.epoll.modify(voice, &mut nothing).is_ok() {
            self.hushed.insert(instance, now + HUSH);
        }
    }

    fn lift_hushes(&mut self) {
        let now = Moment::now().mono;
        let (running, epoll) = (&self.hands.running, &self.epoll);
        self.hushed.retain(|instance, until| {
            let Some(voice) = running.get(instance).and_then(|running| running.voice()) else { return false };
            let mut input = EpollEvent::new(EpollFlags::EPOLLIN, instance.0 | VOICE);
            now < *until || epoll.modify(voice, &mut input).is_err()
        });
    }

    /// A while after a deployment, memory is given back: what follows is a long time of little work.
    fn rest(&mut self) {
        let now = Moment::now().mono;
        if std::mem::take(&mut self.hands.worked) {
            self.rest_at = Some(now + QUIET_AFTER_WORK);
        }
        if self.rest_at.is_some_and(|at| now >= at) {
            self.rest_at = None;
            memory::rest();
        }
    }

    /// At the end of a whole turn, and only there: that we live, and how the apps are.
    fn tell_systemd(&mut self) {
        let now = Moment::now().mono;
        if let Some((due, every)) = self.heartbeat.filter(|(due, _)| now >= *due) {
            // A thread that waits for a sick disk lives; one that has ended is a daemon that only seems to.
            if self.hands.journal.lives() && self.hands.scribe.lives() {
                systemd::alive();
            }
            self.heartbeat = Some((due.max(now) + every, every));
        }
        let status = self.world.summary();
        if status != self.status {
            systemd::status(&status);
            self.status = status;
        }
    }

    /// The apps are down; what they had started and lost sight of goes too.
    pub fn leave_nothing_behind(self) {
        let Hands { bench, journal, .. } = self.hands;
        // What was told last is on disk before we are gone.
        journal.close_within(LAST_WORDS);
        // Before its process is found among the leftovers.
        bench.kept.close();
        if let Err(error) = bench.instances.end_leftovers(&|_| false, Duration::ZERO) {
            log::warn!("{error}");
        }
    }

    /// Becomes the program that lies where ours was started from - or, should that fail after all, ours anew: what runs
    /// is taken over either way. Returns only when neither can be executed.
    pub fn into_successor(self, doors: Vec<(String, OwnedFd)>) -> io::Error {
        let Hands { bench, journal, scribe, running, program, .. } = self.hands;
        log::info!("becoming {}", program.display());
        systemd::reloading();
        journal.close();
        let outputs = scribe.close();
        let sockets = bench.ports.sockets();
        let mut fds: Vec<(String, BorrowedFd<'_>)> =
            doors.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
        fds.extend(sockets.iter().map(|(address, fd)| (name_of(SOCKET, &address.to_string()), fd.as_fd())));
        fds.extend(outputs.iter().map(|(instance, fd)| (name_of(OUTPUT, &instance.0.to_string()), fd.as_fd())));
        let theirs =
            running.iter().flat_map(|(id, running)| running.descriptors().map(move |(kind, fd)| (id, kind, fd)));
        fds.extend(theirs.map(|(instance, kind, fd)| (name_of(kind, &instance.0.to_string()), fd)));
        fds.push((super::run::SIGNALS.into(), self.signals.as_fd()));
        let argv: Vec<OsString> = std::env::args_os().collect();
        let error = reexec::into(&program, &argv, &fds);
        log::error!("{error}; going on with the program that runs");
        reexec::into(Path::new("/proc/self/exe"), &argv, &fds)
    }

    fn timeout(&self) -> EpollTimeout {
        let heartbeat = self.heartbeat.map(|(due, _)| due);
        let hushed = self.hushed.values().min().copied();
        let Some(deadline) = self.world.deadline().into_iter().chain(heartbeat).chain(self.rest_at).chain(hushed).min()
        else {
            return EpollTimeout::NONE;
        };
        let left = deadline.saturating_sub(Moment::now().mono);
        // Rounded up: waking a moment too early would only mean waking twice.
        let millis = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
    }

    /// One whole turn, and those that its actions cause at once.
    fn turn(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if let Event::Reconfigured { config, .. } = &event
                && let Ok(mut apps) = self.apps.write()
            {
                *apps = config.apps.iter().map(|(name, app)| (name.clone(), Arc::new(app.clone()))).collect();
                self.world.zone = TimeZone::system();
            }
            for action in self.world.turn(Moment::now(), event) {
                events.extend(self.act(action));
            }
        }
    }

    /// Carries out all actions before the events they caused at once are looked at, so that facts keep their order.
    fn carry_out(&mut self, actions: Vec<Action>) {
        let events: Vec<Event> = actions.into_iter().filter_map(|action| self.act(action)).collect();
        for event in events {
            self.turn(event);
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        let event = self.hands.carry_out(action)?;
        if let Event::Spawned { instance, .. } = &event {
            self.watch(*instance);
        }
        Some(event)
    }

    /// Hears of the process's end, and of what it says.
    fn watch(&mut self, instance: InstanceId) {
        let Some(running) = self.hands.running.get(&instance) else { return };
        let (pid, input) = (running.child.pid, EpollFlags::EPOLLIN);
        let end = self.epoll.add(running.child.pidfd.as_fd(), EpollEvent::new(input, instance.0));
        let voice = running.voice().map(|voice| self.epoll.add(voice, EpollEvent::new(input, instance.0 | VOICE)));
        if let Err(error) = end.and(voice.unwrap_or(Ok(()))) {
            log::error!("watch process {pid}: {error}");
        }
    }

    /// A process ended: told exactly once; whatever it left in its session goes with it. It is started again before its
    /// traces are cleared away.
    fn ended(&mut self, instance: InstanceId) {
        let Some((clean, words)) = self.hands.end_of(instance) else { return };
        if let Some(told) = self.hands.hear(instance) {
            self.turn(told);
        }
        // Its successor first: all else can wait.
        self.heard.remove(&instance);
        self.turn(Event::Exited { instance, clean, words });
        if let Some(running) = self.hands.running.get(&instance) {
            let _ = self.epoll.delete(running.child.pidfd.as_fd());
            let _ = running.voice().map(|voice| self.epoll.delete(voice));
        }
        self.hands.gone(instance);
    }

    fn take_signals(&mut self) {
        for signal in self.signals.take() {
            match signal {
                signals::Signal::Stop => {
                    log::info!("told to end: stopping the apps");
                    systemd::stopping(self.world.longest_stop());
                    self.turn(Event::Stop);
                }
                signals::Signal::Reload => {
                    systemd::reloading();
                    self.hands.reload(None);
                    systemd::ready();
                }
                signals::Signal::Reexec => self.turn(Event::Reexec),
            }
        }
    }
}
