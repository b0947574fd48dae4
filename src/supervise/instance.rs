//! One instance of a service: what it is, apart from what is wanted of it.
//!
//! ```text
//! Down -> Starting -> Up -> (exit) -> Backoff{until} -> Starting ...
//!                     Up -> Stopping{kill_at} -> Down          Held{why}: ended, and its policy says leave it
//! ```
//! Every state x input stands in [`Instance::on`]. An input about an earlier process of the same instance never gets
//! here: `daemon` matches exits by [`crate::base::InstanceId`], which is new for each spawn.

use super::backoff;
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
    /// It said or showed that it is ready.
    Ready,
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
    /// Send the stop signal to the group.
    Terminate,
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
#[allow(missing_docs)]
pub struct Policy {
    pub restart: Restart,
    pub ready: Ready,
    pub stop_timeout: Duration,
    /// Spreads the backoff.
    pub seed: u64,
}

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
    last_exit: Option<String>,
}

impl Instance {
    /// An instance that is down, and wanted so.
    pub fn new(policy: Policy) -> Instance {
        Instance {
            policy,
            wanted: Wanted::Down,
            state: State::Down,
            failures: 0,
            restarts: 0,
            spawned_at: Duration::ZERO,
            last_exit: None,
        }
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
    /// What is wanted of it.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }
    /// How often it was started again after ending by itself.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }
    /// How its last process ended, in words.
    pub fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    /// When [`Input::Tick`] is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Stopping { kill_at } => kill_at,
            State::Backoff { until } => Some(until),
            _ => None,
        }
    }

    /// Takes one input at `now` (monotonic) and says what is to be done.
    pub fn on(&mut self, now: Duration, input: Input) -> Vec<Deed> {
        if let Input::Want(wanted) = input {
            self.wanted = wanted;
        }
        match (&self.state, input) {
            (State::Down | State::Held { .. }, Input::Want(Wanted::Up)) => self.spawn(now),
            (State::Held { .. }, Input::Want(Wanted::Down)) => self.rest(),
            (State::Down, _) | (State::Held { .. }, _) => vec![],

            (State::Starting { .. }, Input::Spawned) if self.policy.ready == Ready::Exec => self.up(),
            (State::Starting { .. }, Input::Spawned) => vec![],
            (State::Starting { .. }, Input::Ready) => self.up(),
            (State::Starting { .. }, Input::SpawnFailed(why)) => self.ended(now, false, why),

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
            (State::Stopping { kill_at: Some(at) }, Input::Tick) if now >= *at => {
                self.state = State::Stopping { kill_at: None };
                vec![Deed::Kill]
            }
            (State::Stopping { .. }, _) => vec![],

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
        self.state = State::Starting { since: now };
        vec![Deed::Spawn]
    }

    fn up(&mut self) -> Vec<Deed> {
        self.state = State::Up { since: self.spawned_at };
        vec![]
    }

    fn stop(&mut self, now: Duration) -> Vec<Deed> {
        self.state = State::Stopping { kill_at: Some(now + self.policy.stop_timeout) };
        vec![Deed::Terminate]
    }

    fn rest(&mut self) -> Vec<Deed> {
        self.failures = 0;
        self.state = State::Down;
        vec![]
    }

    /// It ended although nobody asked: by policy it rests, or comes back now, or waits.
    fn ended(&mut self, now: Duration, clean: bool, words: String) -> Vec<Deed> {
        let ran_for = now.saturating_sub(self.spawned_at);
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

    fn instance(restart: Restart) -> Instance {
        Instance::new(Policy { restart, ready: Ready::Exec, stop_timeout: 10 * SECOND, seed: 1 })
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
}
