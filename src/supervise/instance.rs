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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(restart: Restart) -> Policy {
        let (startup, stop_timeout) = (60 * SECOND, 10 * SECOND);
        Policy { restart, ready: Ready::Exec, startup, watchdog: None, stop_timeout, seed: 1 }
    }
    fn instance(restart: Restart) -> Instance {
        Instance::new(policy(restart))
    }
    fn exited(clean: bool) -> Input {
        Input::Exited { clean, words: "exit 3".into() }
    }
    fn up(restart: Restart) -> Instance {
        let mut it = instance(restart);
        assert_eq!(it.on(SECOND, Input::Want(Wanted::Up)), [Deed::Spawn]);
        assert_eq!(it.on(SECOND, Input::Spawned), []);
        assert_eq!(it.state(), &State::Up { since: SECOND });
        it
    }

    #[test]
    fn after_a_long_run_it_is_back_at_once() {
        let mut it = up(Restart::Always);
        assert_eq!(it.on(30 * SECOND, exited(false)), [Deed::Spawn]);
        assert_eq!(it.restarts(), 1);
        assert_eq!(it.last_exit(), Some("exit 3"));
    }

    #[test]
    fn a_crash_loop_slows_down_says_so_once_and_never_gives_up() {
        let mut it = up(Restart::Always);
        let (mut now, mut said, mut longest) = (SECOND, 0, Duration::ZERO);
        for _ in 0..40 {
            let deeds = it.on(now, exited(false));
            said += deeds.iter().filter(|deed| matches!(deed, Deed::CrashLoop { .. })).count();
            let until = it.deadline().expect("it waits");
            longest = longest.max(until - now);
            assert_eq!(it.on(until - Duration::from_millis(1), Input::Tick), [], "not before its time");
            now = until;
            assert_eq!(it.on(now, Input::Tick), [Deed::Spawn]);
            it.on(now, Input::Spawned);
        }
        assert_eq!(said, 1);
        assert!(longest <= 60 * SECOND && longest >= 54 * SECOND);
        let deeds = it.on(now + 61 * SECOND, exited(false));
        assert_eq!(deeds, [Deed::Spawn], "a stable minute forgives");
    }

    #[test]
    fn policies_decide_what_an_exit_means() {
        let cases = [
            (Restart::OnFailure, true, true, true),
            (Restart::OnFailure, false, false, false),
            (Restart::Never, false, true, false),
            (Restart::Never, true, true, true),
            (Restart::Always, true, false, false),
        ];
        for (restart, clean, held, settled) in cases {
            let mut it = up(restart);
            it.on(2 * SECOND, exited(clean));
            assert_eq!(matches!(it.state(), State::Held { .. }), held, "{restart:?} {clean}");
            assert_eq!(it.is_settled_up(), settled, "{restart:?} {clean}");
        }
    }

    #[test]
    fn a_stop_is_asked_first_then_forced_and_an_exit_then_is_no_crash() {
        let mut it = up(Restart::Always);
        assert_eq!(it.on(5 * SECOND, Input::Want(Wanted::Down)), [Deed::Terminate]);
        assert_eq!(it.on(14 * SECOND, Input::Tick), []);
        assert_eq!(it.deadline(), Some(15 * SECOND));
        assert_eq!(it.on(15 * SECOND, Input::Tick), [Deed::Kill]);
        assert_eq!(it.on(16 * SECOND, Input::Tick), [], "killed once");
        assert_eq!(it.on(16 * SECOND, exited(false)), []);
        assert_eq!(it.state(), &State::Down);
    }

    #[test]
    fn wanted_again_while_it_stops_it_starts_once_it_is_gone() {
        let mut it = up(Restart::Always);
        it.on(5 * SECOND, Input::Want(Wanted::Down));
        assert_eq!(it.on(6 * SECOND, Input::Want(Wanted::Up)), []);
        assert_eq!(it.on(7 * SECOND, exited(true)), [Deed::Spawn]);
    }

    #[test]
    fn what_cannot_be_executed_is_retried_slowly() {
        let mut it = instance(Restart::Always);
        it.on(SECOND, Input::Want(Wanted::Up));
        assert_eq!(it.on(SECOND, Input::SpawnFailed("no such file".into())), []);
        assert!(matches!(it.state(), State::Backoff { .. }));
        assert_eq!(it.on(SECOND, Input::Want(Wanted::Down)), []);
        assert_eq!(it.state(), &State::Down);
    }

    fn starting(ready: Ready, watchdog: Option<Duration>) -> Instance {
        let mut it = Instance::new(Policy { ready, watchdog, ..policy(Restart::Always) });
        assert_eq!(it.on(SECOND, Input::Want(Wanted::Up)), [Deed::Spawn]);
        assert_eq!(it.on(SECOND, Input::Spawned), []);
        it
    }

    #[test]
    fn who_must_say_that_it_is_ready_is_up_then_and_not_before() {
        let mut it = starting(Ready::Notify, None);
        assert!(!it.is_settled_up() && it.never_served());
        assert_eq!(it.deadline(), Some(61 * SECOND));
        assert_eq!(it.on(2 * SECOND, Input::Told(Notice::Status("warming up".into()))), []);
        assert_eq!(it.status(), Some("warming up"));
        assert_eq!(it.on(50 * SECOND, Input::Told(Notice::Extend(30 * SECOND))), []);
        assert_eq!(it.on(61 * SECOND, Input::Tick), [], "it asked for more time");
        assert_eq!(it.on(70 * SECOND, Input::Told(Notice::Ready)), [Deed::BecameReady]);
        assert_eq!(it.state(), &State::Up { since: SECOND });
        assert_eq!(it.deadline(), None);
    }

    #[test]
    fn who_is_not_ready_in_time_is_ended_and_tried_again_slowly() {
        let mut it = starting(Ready::Notify, None);
        assert_eq!(it.on(61 * SECOND, Input::Tick), [Deed::Terminate]);
        assert_eq!(it.on(71 * SECOND, Input::Tick), [Deed::Kill]);
        assert_eq!(it.on(71 * SECOND, exited(false)), []);
        assert!(matches!(it.state(), State::Backoff { .. }), "{:?}", it.state());
        assert_eq!(it.last_exit(), Some("it did not say READY=1 within 1m; exit 3"));
    }

    #[test]
    fn a_probe_is_looked_at_with_growing_gaps_until_it_passes() {
        let mut it = starting(Ready::Probe, None);
        let (mut now, mut looks) = (SECOND, 0);
        while now < 5 * SECOND {
            now = it.deadline().unwrap();
            assert_eq!(it.on(now, Input::Tick), [Deed::Look]);
            looks += 1;
            assert_eq!(it.deadline(), Some(61 * SECOND), "one look at a time");
            assert_eq!(it.on(now, Input::Looked(Err("HTTP 503".into()))), []);
        }
        assert!((8..20).contains(&looks), "{looks}");
        assert_eq!(it.on(now, Input::Looked(Ok(()))), [Deed::BecameReady]);
        let mut it = starting(Ready::Probe, None);
        it.on(2 * SECOND, Input::Looked(Err("HTTP 503".into())));
        assert_eq!(it.on(61 * SECOND, Input::Tick), [Deed::Terminate]);
        it.on(62 * SECOND, exited(true));
        assert_eq!(it.last_exit(), Some("it was not ready within 1m: HTTP 503; exit 3"));
    }

    #[test]
    fn silence_is_a_hang_for_who_promised_to_speak() {
        let mut it = starting(Ready::Exec, Some(30 * SECOND));
        for now in [20, 40, 60] {
            assert_eq!(it.on(now * SECOND, Input::Told(Notice::Alive)), []);
            assert_eq!(it.on((now + 15) * SECOND, Input::Tick), []);
        }
        assert_eq!(it.deadline(), Some(90 * SECOND));
        let why = "its watchdog heard nothing of it for 30s".to_string();
        assert_eq!(it.on(90 * SECOND, Input::Tick), [Deed::Abort { why }]);
        assert_eq!(it.on(100 * SECOND, Input::Tick), [Deed::Kill]);
        let aborted = Input::Exited { clean: false, words: "killed by SIGABRT".into() };
        assert_eq!(it.on(100 * SECOND, aborted), [Deed::Spawn]);
        assert_eq!(it.last_exit(), Some("its watchdog heard nothing of it for 30s; killed by SIGABRT"));
        assert_eq!(it.on(100 * SECOND, Input::Spawned), []);
        let promised = it.on(101 * SECOND, Input::Told(Notice::AliveEvery(SECOND)));
        assert_eq!(promised, [Deed::SpeaksEvery(SECOND)], "whoever comes after us is to know");
        assert_eq!(it.deadline(), Some(102 * SECOND), "it may promise more");
        assert_eq!(it.on(101 * SECOND, Input::Told(Notice::Stopping)), []);
        assert_eq!(it.deadline(), None, "who says goodbye need not speak");
    }

    #[test]
    fn before_it_is_ready_silence_is_no_hang() {
        let mut it = starting(Ready::Notify, Some(5 * SECOND));
        assert_eq!(it.on(20 * SECOND, Input::Tick), []);
        it.on(20 * SECOND, Input::Told(Notice::Ready));
        assert_eq!(it.deadline(), Some(25 * SECOND));
        assert!(matches!(it.on(21 * SECOND, Input::Told(Notice::Broken))[..], [Deed::Abort { .. }]));
    }

    #[test]
    fn a_stop_may_be_extended_but_not_for_ever() {
        let mut it = up(Restart::Always);
        it.on(5 * SECOND, Input::Want(Wanted::Down));
        for now in (6..700).step_by(5) {
            it.on(now * SECOND, Input::Told(Notice::Extend(20 * SECOND)));
        }
        assert_eq!(it.deadline(), Some(615 * SECOND));
        assert_eq!(it.on(615 * SECOND, Input::Tick), [Deed::Kill]);
    }

    #[test]
    fn what_is_adopted_goes_on_as_it_was() {
        let survival = Survival { since: SECOND, ready: true, restarts: 4, speaks_every: None, asked_to_end: false };
        let it = Instance::adopted(policy(Restart::Always), 100 * SECOND, survival);
        assert_eq!((it.state(), it.restarts(), it.wanted()), (&State::Up { since: SECOND }, 4, Wanted::Up));
        let watched = Policy { ready: Ready::Notify, watchdog: Some(5 * SECOND), ..policy(Restart::Always) };
        let it = Instance::adopted(watched.clone(), 100 * SECOND, survival);
        assert_eq!(it.deadline(), Some(105 * SECOND), "it is given its time anew");
        let promised = Survival { speaks_every: Some(60 * SECOND), ..survival };
        let it = Instance::adopted(watched.clone(), 100 * SECOND, promised);
        assert_eq!(it.deadline(), Some(160 * SECOND), "by its own word");
        let asked = Survival { asked_to_end: true, ..survival };
        let mut it = Instance::adopted(policy(Restart::Always), 100 * SECOND, asked);
        assert!(it.is_being_ended() && !it.is_settled_up());
        assert_eq!(it.on(101 * SECOND, exited(false)), [Deed::Spawn], "wanted, once it has ended");
        let unready = Survival { ready: false, ..survival };
        let mut it = Instance::adopted(watched, 100 * SECOND, unready);
        assert_eq!(it.deadline(), Some(160 * SECOND));
        assert_eq!(it.on(101 * SECOND, Input::Told(Notice::Ready)), [Deed::BecameReady]);
        assert_eq!(it.state(), &State::Up { since: SECOND });
    }
}
