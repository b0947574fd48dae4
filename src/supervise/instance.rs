//! One instance of a service: what it is, apart from what is wanted of it.
//!
//! ```text
//! Down -> Starting -> Up -> (exit) -> Backoff{until} -> Starting ...
//!             |        |                              Held{why}: ended, and its policy says leave it
//!             |        +-- Stopping{kill_at} -> Down  asked to end
//!             +--------+-- Failing{kill_at, why}      made to end: not ready in time, or its watchdog missed it;
//!                                                     then as after any crash
//! ```
//! Every state x input stands in [`Instance::on`]. An input about an earlier process of the same instance never gets
//! here: `daemon` matches exits by [`crate::base::InstanceId`], which is new for each spawn.

use super::backoff;
use super::notice::Notice;
use crate::base::Span;
use crate::config::{Ready, Restart};
use std::time::Duration;

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Wanted {
    Up,
    Down,
}

/// What an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No process, none on its way.
    Down,
    /// Spawned or being spawned; not ready yet.
    Starting {
        /// Since when.
        since: Duration,
        /// By when it must be ready; `None`: it is once it runs.
        ready_by: Option<Duration>,
        /// When somebody looks whether it is; `None`: somebody does right now, or nobody need look.
        look_at: Option<Duration>,
    },
    /// Ready.
    Up {
        /// When it was spawned.
        since: Duration,
    },
    /// Asked to end.
    Stopping {
        /// When the whole group is killed; `None` once it was.
        kill_at: Option<Duration>,
        /// No extension goes beyond.
        at_most: Duration,
    },
    /// Made to end, because it is of no use as it is.
    Failing {
        /// When the whole group is killed; `None` once it was.
        kill_at: Option<Duration>,
        /// What was wrong with it.
        why: String,
    },
    /// It ended; the next start is at `until`.
    Backoff {
        /// When.
        until: Duration,
    },
    /// It ended and stays so until a person starts it.
    Held {
        /// Why, for people.
        why: String,
        /// It did what it was for (exit 0 under a policy that allows it).
        done: bool,
    },
}

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// What is wanted changed (or is said again).
    Want(Wanted),
    /// The process exists.
    Spawned,
    /// There is none: it could not be executed.
    SpawnFailed(String),
    /// It said something.
    Told(Notice),
    /// Somebody looked whether it is ready.
    Looked(Result<(), String>),
    /// The process ended.
    Exited {
        /// Exit code 0, or ended as we asked.
        clean: bool,
        /// How, in words: `exit 3`, `killed by SIGSEGV`.
        words: String,
    },
    /// Time passed.
    Tick,
}

/// What is to be done for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Start a process; answered by `Spawned` or `SpawnFailed`.
    Spawn,
    /// Look whether it is ready; answered by `Looked`.
    Look,
    /// It is ready now, after it had to show that.
    BecameReady,
    /// It changed how often it says that it lives.
    SpeaksEvery(Duration),
    /// Send the stop signal to the group.
    Terminate,
    /// It hangs: SIGABRT to the process, so that it can leave a core dump.
    Abort {
        /// What was wrong with it.
        why: String,
    },
    /// Kill the whole group.
    Kill,
    /// It is a crash loop now; said once per loop.
    CrashLoop {
        /// Failures in a row.
        failures: u32,
        /// How it last ended.
        words: String,
    },
}

/// How an instance is treated; from the service's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What its end means.
    pub restart: Restart,
    /// What being up means.
    pub ready: Ready,
    /// How long it may take to be ready, where it has to show that.
    pub startup: Duration,
    /// It says that it lives at least so often; `None`: it need not.
    pub watchdog: Option<Duration>,
    /// How long it may take to end before it is killed.
    pub stop_timeout: Duration,
    /// Spreads the backoff.
    pub seed: u64,
}

/// What an earlier daemon left running, as its records tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survival {
    /// When it was spawned, on the monotonic clock.
    pub since: Duration,
    /// It was ready.
    pub ready: bool,
    /// How often it had been started again.
    pub restarts: u64,
    /// How often it says that it lives, by its own word; `None`: as configured.
    pub speaks_every: Option<Duration>,
    /// It was asked to end, and will.
    pub asked_to_end: bool,
}

const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_GAP: Duration = Duration::from_millis(500);
/// `EXTEND_TIMEOUT_USEC` lengthens a stop by no more than this: a stop must come to an end.
const LONGEST_EXTENSION: Duration = Duration::from_secs(600);

/// One instance's machine.
#[derive(Debug, Clone)]
pub struct Instance {
    policy: Policy,
    wanted: Wanted,
    state: State,
    /// Failures in a row since the last stable run.
    failures: u32,
    restarts: u64,
    spawned_at: Duration,
    /// The process was ready at some time.
    has_served: bool,
    /// When its silence is a hang.
    bark_at: Option<Duration>,
    /// How often it is to say that it lives: as configured, or as it said itself.
    alive_every: Option<Duration>,
    /// The gap before the next look.
    gap: Duration,
    /// What it lacked at the last look.
    last_look: Option<String>,
    status: Option<String>,
    last_exit: Option<String>,
}

impl Instance {
    /// An instance that is down, and wanted so.
    pub fn new(policy: Policy) -> Instance {
        Instance {
            alive_every: policy.watchdog,
            policy,
            wanted: Wanted::Down,
            state: State::Down,
            failures: 0,
            restarts: 0,
            spawned_at: Duration::ZERO,
            has_served: false,
            bark_at: None,
            gap: FIRST_LOOK,
            last_look: None,
            status: None,
            last_exit: None,
        }
    }

    /// An instance whose process an earlier daemon started; wanted up, also one that has yet to end for it.
    pub fn adopted(policy: Policy, now: Duration, survival: Survival) -> Instance {
        let Survival { since, ready, restarts, speaks_every, asked_to_end } = survival;
        let mut it = Instance { wanted: Wanted::Up, restarts, spawned_at: since, ..Instance::new(policy) };
        it.state = it.starting(now);
        it.alive_every = it.policy.watchdog.map(|configured| speaks_every.unwrap_or(configured));
        match ready {
            true => drop(it.up(now)),
            false => drop(it.on(now, Input::Spawned)),
        }
        if asked_to_end {
            it.stop(now);
        }
        it
    }

    /// What it is.
    pub fn state(&self) -> &State {
        &self.state
    }
    /// Ready, or ended as it should.
    pub fn is_settled_up(&self) -> bool {
        matches!(self.state, State::Up { .. } | State::Held { done: true, .. })
    }
    /// No process and none on its way.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Down | State::Held { .. })
            || (self.wanted == Wanted::Down && matches!(self.state, State::Backoff { .. }))
    }
    /// Its process was never ready: nobody relies on it yet.
    pub fn never_served(&self) -> bool {
        !self.has_served
    }
    /// We asked it to end, or made it.
    pub fn is_being_ended(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Failing { .. })
    }
    /// What is wanted of it.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }
    /// How often it was started again after ending by itself.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }
    /// What it says of itself.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }
    /// How its last process ended, in words.
    pub fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    /// When [`Input::Tick`] is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Starting { ready_by, look_at, .. } => [ready_by, look_at, self.bark_at].into_iter().flatten().min(),
            State::Up { .. } => self.bark_at,
            State::Stopping { kill_at, .. } | State::Failing { kill_at, .. } => kill_at,
            State::Backoff { until } => Some(until),
            State::Down | State::Held { .. } => None,
        }
    }

    /// Takes one input at `now` (monotonic) and says what is to be done.
    pub fn on(&mut self, now: Duration, input: Input) -> Vec<Deed> {
        if let Input::Want(wanted) = input {
            self.wanted = wanted;
        }
        match (&mut self.state, input) {
            (State::Down | State::Held { .. }, Input::Want(Wanted::Up)) => self.spawn(now),
            (State::Held { .. }, Input::Want(Wanted::Down)) => self.rest(),
            (State::Down, _) | (State::Held { .. }, _) => vec![],

            (State::Starting { .. }, Input::Spawned) if self.policy.ready == Ready::Exec => self.up(now),
            (State::Starting { look_at, .. }, Input::Spawned) => {
                *look_at = (self.policy.ready == Ready::Probe).then_some(now + FIRST_LOOK);
                vec![]
            }
            (State::Starting { .. }, Input::Told(Notice::Ready)) if self.policy.ready == Ready::Notify => {
                self.became_ready(now)
            }
            (State::Starting { .. }, Input::Looked(Ok(()))) => self.became_ready(now),
            (State::Starting { look_at, .. }, Input::Looked(Err(why))) => {
                self.gap = (self.gap * 2).min(LONGEST_GAP);
                *look_at = Some(now + self.gap);
                self.last_look = Some(why);
                vec![]
            }
            (State::Starting { ready_by: Some(by), .. }, Input::Told(Notice::Extend(span))) => {
                *by = (*by).max(now + span);
                vec![]
            }
            (State::Starting { ready_by: Some(by), .. }, Input::Tick) if now >= *by => self.not_ready(now),
            (State::Starting { .. }, Input::SpawnFailed(why)) => self.ended(now, false, why),

            (State::Starting { .. } | State::Up { .. }, Input::Tick) if self.bark_at.is_some_and(|at| now >= at) => {
                let limit = Span(self.alive_every.unwrap_or_default());
                self.hangs(now, format!("its watchdog heard nothing of it for {limit}"))
            }
            (State::Starting { .. } | State::Up { .. }, Input::Told(Notice::Broken)) => {
                self.hangs(now, "it said that it is broken (WATCHDOG=trigger)".into())
            }
            (State::Starting { look_at, .. }, Input::Tick) if look_at.is_some_and(|at| now >= at) => {
                *look_at = None;
                vec![Deed::Look]
            }
            (State::Starting { .. } | State::Up { .. }, Input::Told(notice)) => self.heard(now, notice),
            (State::Starting { .. } | State::Up { .. }, Input::Want(Wanted::Down)) => self.stop(now),
            (State::Starting { .. } | State::Up { .. }, Input::Exited { clean, words }) => {
                self.ended(now, clean, words)
            }
            (State::Starting { .. } | State::Up { .. }, _) => vec![],

            (State::Stopping { .. }, Input::Exited { words, .. } | Input::SpawnFailed(words)) => {
                self.last_exit = Some(words);
                match self.wanted {
                    Wanted::Up => self.spawn(now),
                    Wanted::Down => self.rest(),
                }
            }
            (State::Stopping { kill_at: Some(at), at_most }, Input::Told(Notice::Extend(span))) => {
                *at = (*at).max(now + span).min(*at_most);
                vec![]
            }
            (State::Failing { why, .. }, Input::Exited { words, .. } | Input::SpawnFailed(words)) => {
                let words = format!("{why}; {words}");
                match self.wanted {
                    Wanted::Up => self.ended(now, false, words),
                    Wanted::Down => {
                        self.last_exit = Some(words);
                        self.rest()
                    }
                }
            }
            (State::Stopping { kill_at, .. } | State::Failing { kill_at, .. }, Input::Tick)
                if kill_at.is_some_and(|at| now >= at) =>
            {
                *kill_at = None;
                vec![Deed::Kill]
            }
            (State::Stopping { .. } | State::Failing { .. }, Input::Told(Notice::Status(text))) => {
                self.status = Some(text);
                vec![]
            }
            (State::Stopping { .. } | State::Failing { .. }, _) => vec![],

            (State::Backoff { .. }, Input::Want(Wanted::Down)) => self.rest(),
            (State::Backoff { until }, Input::Tick) if now >= *until => {
                self.restarts += 1;
                self.spawn(now)
            }
            (State::Backoff { .. }, _) => vec![],
        }
    }

    fn spawn(&mut self, now: Duration) -> Vec<Deed> {
        self.spawned_at = now;
        self.has_served = false;
        self.status = None;
        self.state = self.starting(now);
        vec![Deed::Spawn]
    }

    fn starting(&mut self, now: Duration) -> State {
        self.gap = FIRST_LOOK;
        self.last_look = None;
        self.bark_at = None;
        self.alive_every = self.policy.watchdog;
        let shows_it = self.policy.ready != Ready::Exec;
        State::Starting { since: self.spawned_at, ready_by: shows_it.then(|| now + self.policy.startup), look_at: None }
    }

    fn up(&mut self, now: Duration) -> Vec<Deed> {
        self.has_served = true;
        self.bark_at = self.alive_every.map(|every| now + every);
        self.state = State::Up { since: self.spawned_at };
        vec![]
    }

    fn became_ready(&mut self, now: Duration) -> Vec<Deed> {
        self.up(now);
        vec![Deed::BecameReady]
    }

    /// What it says beside being ready.
    fn heard(&mut self, now: Duration, notice: Notice) -> Vec<Deed> {
        let listens = matches!(self.state, State::Up { .. }).then_some(now);
        match notice {
            Notice::Alive => self.bark_at = listens.and_then(|now| Some(now + self.alive_every?)),
            Notice::AliveEvery(span) if self.policy.watchdog.is_some() => {
                self.alive_every = Some(span);
                self.bark_at = listens.map(|now| now + span);
                return vec![Deed::SpeaksEvery(span)];
            }
            // What ends in its own time is not hung.
            Notice::Stopping => self.bark_at = None,
            Notice::Status(text) => self.status = Some(text),
            Notice::Ready | Notice::Reloading | Notice::AliveEvery(_) | Notice::Extend(_) | Notice::Broken => {}
        }
        vec![]
    }

    fn stop(&mut self, now: Duration) -> Vec<Deed> {
        let kill_at = now + self.policy.stop_timeout;
        self.state = State::Stopping { kill_at: Some(kill_at), at_most: kill_at + LONGEST_EXTENSION };
        vec![Deed::Terminate]
    }

    fn not_ready(&mut self, now: Duration) -> Vec<Deed> {
        let limit = Span(self.policy.startup);
        let lacked = self.last_look.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let why = match self.policy.ready {
            Ready::Notify => format!("it did not say READY=1 within {limit}"),
            _ => format!("it was not ready within {limit}{lacked}"),
        };
        self.state = State::Failing { kill_at: Some(now + self.policy.stop_timeout), why };
        vec![Deed::Terminate]
    }

    fn hangs(&mut self, now: Duration, why: String) -> Vec<Deed> {
        self.state = State::Failing { kill_at: Some(now + self.policy.stop_timeout), why: why.clone() };
        vec![Deed::Abort { why }]
    }

    fn rest(&mut self) -> Vec<Deed> {
        self.failures = 0;
        self.state = State::Down;
        vec![]
    }

    /// It ended although nobody asked: by policy it rests, or comes back now, or waits.
    fn ended(&mut self, now: Duration, clean: bool, words: String) -> Vec<Deed> {
        // What was never ready did not run well, however long it took.
        let ran_for = if self.has_served { now.saturating_sub(self.spawned_at) } else { Duration::ZERO };
        self.last_exit = Some(words.clone());
        let stays_down = match self.policy.restart {
            Restart::Always => false,
            Restart::OnFailure => clean,
            Restart::Never => true,
        };
        if stays_down {
            self.state = State::Held { why: words, done: clean };
            return vec![];
        }
        self.failures = if ran_for >= backoff::STABLE_RUN { 1 } else { self.failures.saturating_add(1) };
        let wait = backoff::delay(self.failures, ran_for, self.policy.seed);
        let mut deeds = match wait {
            Duration::ZERO => {
                self.restarts += 1;
                self.spawn(now)
            }
            _ => {
                self.state = State::Backoff { until: now + wait };
                vec![]
            }
        };
        if self.failures == backoff::CRASH_LOOP {
            deeds.push(Deed::CrashLoop { failures: self.failures, words });
        }
        deeds
    }
}

#[cfg(test)]
mod tests;
