//! The probes of one running release: when each is due, and the verdict of all.
//!
//! A watch is *eager* while a deploy is being verified (short, growing gaps; one good look at every probe is enough),
//! *close* in probation and *steady* afterwards; in those two, `failures` bad looks in a row mean unwell.

use crate::config::Probe;
use std::time::Duration;

/// What a failed look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In a sentence.
    pub said: String,
    /// The beginning of the answer's body, or the end of the command's output; bounded.
    pub output: Option<String>,
}

impl From<String> for Failure {
    fn from(said: String) -> Failure {
        Failure { said, output: None }
    }
}
impl From<&str> for Failure {
    fn from(said: &str) -> Failure {
        said.to_owned().into()
    }
}

/// How closely it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Eager,
    Close(Duration),
    Steady,
}

/// What all probes together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough seen yet.
    Unknown,
    /// Every probe's last look was good.
    Well,
    /// A probe failed as often in a row as its limit says.
    Unwell(String),
}

#[derive(Debug, Clone)]
struct Watched {
    probe: Probe,
    due: Duration,
    in_flight: bool,
    gap: Duration,
    bad_in_a_row: u32,
    last: Option<Result<(), Failure>>,
}

/// The probes of one running release.
#[derive(Debug, Clone)]
pub struct Watch {
    mode: Mode,
    watched: Vec<Watched>,
    /// New for every watch, so that a late look at an earlier release is not taken for one at this.
    pub serial: u64,
}

const FIRST_GAP: Duration = Duration::from_millis(20);
const LONGEST_EAGER_GAP: Duration = Duration::from_millis(500);

impl Watch {
    /// Looks eagerly at `probes` from `now` on.
    pub fn eager(probes: &[Probe], now: Duration, serial: u64) -> Watch {
        let watched = probes.iter().map(|probe| Watched {
            probe: probe.clone(),
            due: now,
            in_flight: false,
            gap: FIRST_GAP,
            bad_in_a_row: 0,
            last: None,
        });
        Watch { mode: Mode::Eager, watched: watched.collect(), serial }
    }

    /// Looks closely: about six times in `probation`, and no less often than configured.
    pub fn close(&mut self, now: Duration, probation: Duration) {
        self.look(Mode::Close((probation / 6).max(Duration::from_millis(100))), now);
    }

    /// Looks as often as configured.
    pub fn steady(&mut self, now: Duration) {
        self.look(Mode::Steady, now);
    }

    fn look(&mut self, mode: Mode, now: Duration) {
        self.mode = mode;
        for watched in &mut self.watched {
            watched.bad_in_a_row = 0;
            watched.due = now + gap(mode, watched);
        }
    }

    /// When [`Watch::due`] has something, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.watched.iter().filter(|watched| !watched.in_flight).map(|watched| watched.due).min()
    }

    /// The probes to look at now, by index; each counts as under way until [`Watch::seen`].
    pub fn due(&mut self, now: Duration) -> Vec<(usize, Probe)> {
        let mut due = vec![];
        for (index, watched) in self.watched.iter_mut().enumerate() {
            if !watched.in_flight && watched.due <= now {
                watched.in_flight = true;
                due.push((index, watched.probe.clone()));
            }
        }
        due
    }

    /// The probe that a look was of.
    pub fn probe(&self, index: usize) -> Option<&Probe> {
        self.watched.get(index).map(|watched| &watched.probe)
    }

    /// Takes a look's result; a failure that is excused is shown and does not count.
    pub fn seen(&mut self, now: Duration, index: usize, result: Result<(), Failure>, is_excused: bool) {
        let mode = self.mode;
        let Some(watched) = self.watched.get_mut(index) else { return };
        watched.in_flight = false;
        watched.bad_in_a_row = match &result {
            Ok(()) => 0,
            Err(_) => watched.bad_in_a_row.saturating_add(u32::from(!is_excused)),
        };
        watched.last = Some(result);
        watched.due = now + gap(mode, watched);
        watched.gap = (watched.gap * 2).min(LONGEST_EAGER_GAP);
    }

    /// What all probes together say.
    pub fn verdict(&self) -> Verdict {
        for watched in &self.watched {
            let limit = watched.probe.failures.max(1);
            if let (Some(Err(why)), true) = (&watched.last, watched.bad_in_a_row >= limit) {
                return Verdict::Unwell(format!("{}: {}", watched.probe.name, why.said));
            }
        }
        let all_good = self.watched.iter().all(|watched| matches!(watched.last, Some(Ok(()))));
        if all_good { Verdict::Well } else { Verdict::Unknown }
    }

    /// The probes that failed as often in a row as their limits say.
    pub fn failing(&self) -> impl Iterator<Item = &Probe> {
        let failed = |watched: &&Watched| watched.bad_in_a_row >= watched.probe.failures.max(1);
        self.watched.iter().filter(failed).map(|watched| &watched.probe)
    }

    /// What the last failing look said, for the explanation of a verify that ran out of time.
    pub fn last_failure(&self) -> Option<String> {
        self.watched.iter().find_map(|watched| match &watched.last {
            Some(Err(why)) => Some(format!("{}: {}", watched.probe.name, why.said)),
            Some(Ok(())) => None,
            None => Some(format!("{}: no answer yet", watched.probe.name)),
        })
    }

    /// Name and last result of every probe.
    pub fn looks(&self) -> impl Iterator<Item = (&str, Option<&Result<(), Failure>>)> {
        self.watched.iter().map(|watched| (watched.probe.name.as_str(), watched.last.as_ref()))
    }
}

fn gap(mode: Mode, watched: &Watched) -> Duration {
    match mode {
        Mode::Eager => watched.gap,
        Mode::Close(gap) => gap.min(watched.probe.every),
        Mode::Steady => watched.probe.every,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeTarget;

    const SECOND: Duration = Duration::from_secs(1);

    fn probe(name: &str, failures: u32) -> Probe {
        let target = ProbeTarget::Tcp("127.0.0.1:1".into());
        Probe { name: name.into(), target, every: 30 * SECOND, timeout: SECOND, failures, grace: Duration::ZERO }
    }
    fn bad() -> Result<(), Failure> {
        Err("HTTP 500".into())
    }

    #[test]
    fn eager_looks_come_soon_and_one_good_look_at_each_is_enough() {
        let mut watch = Watch::eager(&[probe("health", 3), probe("dicom", 3)], SECOND, 1);
        assert_eq!(watch.due(SECOND).len(), 2);
        assert_eq!(watch.due(SECOND).len(), 0, "never two looks at once");
        watch.seen(SECOND, 0, Ok(()), false);
        watch.seen(SECOND, 1, bad(), false);
        assert_eq!(watch.verdict(), Verdict::Unknown);
        let due = watch.deadline().unwrap();
        assert!(due - SECOND <= Duration::from_millis(50));
        assert_eq!(watch.due(due).len(), 2);
        watch.seen(due, 1, Ok(()), false);
        assert_eq!(watch.verdict(), Verdict::Well);
    }

    #[test]
    fn unwell_needs_as_many_failures_in_a_row_as_configured() {
        let mut watch = Watch::eager(&[probe("health", 3)], SECOND, 1);
        watch.steady(SECOND);
        let verdicts: Vec<bool> = [bad(), bad(), Ok(()), bad(), bad(), bad()]
            .into_iter()
            .map(|result| {
                watch.seen(SECOND, 0, result, false);
                matches!(watch.verdict(), Verdict::Unwell(_))
            })
            .collect();
        assert_eq!(verdicts, [false, false, false, false, false, true]);
        assert_eq!(watch.verdict(), Verdict::Unwell("health: HTTP 500".into()));
    }

    #[test]
    fn what_is_excused_is_shown_and_does_not_count() {
        let mut watch = Watch::eager(&[probe("health", 2)], SECOND, 1);
        watch.steady(SECOND);
        for is_excused in [true, true, true, false] {
            watch.seen(SECOND, 0, bad(), is_excused);
            assert_eq!(watch.verdict(), Verdict::Unknown);
        }
        assert_eq!(watch.last_failure().as_deref(), Some("health: HTTP 500"));
        assert_eq!(watch.failing().count(), 0);
        watch.seen(SECOND, 0, bad(), false);
        assert_eq!(watch.failing().count(), 1);
    }

    #[test]
    fn probation_looks_more_often_than_the_steady_state() {
        let mut watch = Watch::eager(&[probe("health", 3)], SECOND, 1);
        watch.close(SECOND, 3 * SECOND);
        assert_eq!(watch.deadline(), Some(SECOND + SECOND / 2));
        watch.steady(SECOND);
        assert_eq!(watch.deadline(), Some(31 * SECOND));
    }

    #[test]
    fn an_app_without_probes_is_well_as_soon_as_it_runs() {
        assert_eq!(Watch::eager(&[], SECOND, 1).verdict(), Verdict::Well);
    }
}
