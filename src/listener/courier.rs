//! Carries deliveries to the daemon: all that wait at a moment on one way, so that they are written to its disk together.
//!
//! While one load is being written the next one gathers; a thread is busy with it only as long as there is something to
//! carry. A daemon that is being restarted is back within moments: what could not be handed over is carried again, each
//! delivery for as long as its sender can be expected to wait. Line: what a delivery is answered with is `routes`'
//! matter.

use super::ask::Reply;
use super::daemon::Daemon;
use super::errands::Errands;
use super::hooks;
use crate::control::client::AskError;
use crate::control::{Delivery, Request, Verdict};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Loads on their way at a time: while one is on its way to the disk the next is judged.
pub(super) const CARRIERS: usize = 2;
/// Deliveries of a load at most. The daemon takes so many together: nobody waits for the word about a later group.
const LOAD: usize = 32;
/// Between two attempts to reach a daemon that does not answer: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What is done with the daemon's word about a delivery, or with what its sender is to hear instead.
pub(super) type Word = Box<dyn FnOnce(Result<Vec<Verdict>, Reply>) + Send>;

/// Where deliveries are left.
#[derive(Clone)]
pub(super) struct Courier(Arc<Shared>);

struct Shared {
    daemon: Arc<Daemon>,
    errands: Errands,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    waiting: Vec<Parcel>,
    /// Threads that carry.
    carriers: usize,
}

/// A delivery, and who waits for the word about it.
struct Parcel {
    request: Request,
    until: Instant,
    word: Word,
}

impl Courier {
    pub(super) fn to(daemon: Arc<Daemon>, errands: Errands) -> Courier {
        Courier(Arc::new(Shared { daemon, errands, desk: Mutex::default() }))
    }

    /// Has `delivery` carried. Fails when no thread can be had for it: then its sender is told, with all that wait.
    pub(super) fn carry(&self, delivery: Delivery, word: Word) -> io::Result<()> {
        let mut desk = self.0.desk();
        let until = Instant::now() + hooks::PATIENCE;
        desk.waiting.push(Parcel { request: Request::Deliver(delivery), until, word });
        if desk.carriers == CARRIERS {
            return Ok(());
        }
        desk.carriers += 1;
        drop(desk);
        let shared = Arc::clone(&self.0);
        self.0.errands.run(move || shared.carry_on()).or_else(|why| self.0.without_thread(why))
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A carrier could not begin: what waits is left to the other ones, or given up where there is none.
    fn without_thread(&self, why: io::Error) -> io::Result<()> {
        let mut desk = self.desk();
        desk.carriers -= 1;
        if desk.carriers > 0 || desk.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut desk.waiting);
        drop(desk);
        for parcel in waiting {
            (parcel.word)(Err(hooks::unwritten(&why)));
        }
        Err(why)
    }

    /// Carries until nothing waits any more.
    fn carry_on(&self) {
        loop {
            let mut desk = self.desk();
            if desk.waiting.is_empty() {
                desk.carriers -= 1;
                return;
            }
            let count = desk.waiting.len().min(LOAD);
            let load = desk.waiting.drain(..count).collect();
            drop(desk);
            // Whose sender has been waiting for too long is not begun with.
            self.deliver(give_up_late(load, Instant::now(), &AskError::TimedOut));
        }
    }

    /// Hands a load over; what nobody takes in its time is given up.
    fn deliver(&self, mut load: Vec<Parcel>) {
        let mut pause = PAUSES.0;
        while let Some(first_until) = load.iter().map(|parcel| parcel.until).min() {
            let left = first_until.saturating_duration_since(Instant::now());
            let (requests, rest): (Vec<Request>, Vec<(Instant, Word)>) =
                load.into_iter().map(|parcel| (parcel.request, (parcel.until, parcel.word))).unzip();
            let mut answers = Vec::with_capacity(requests.len());
            let outcome = self.daemon.ask_all(&requests, left, &mut answers);
            let answered = answers.len();
            let mut rest = rest.into_iter();
            for (answer, (_, word)) in answers.into_iter().zip(&mut rest) {
                word(hooks::verdicts(answer));
            }
            let Err(error) = outcome else { return };
            let left_over = requests.into_iter().skip(answered).zip(rest);
            load = left_over.map(|(request, (until, word))| Parcel { request, until, word }).collect();
            load = give_up_late(load, Instant::now() + pause, &error);
            if !matches!(error, AskError::TimedOut) && !load.is_empty() {
                thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Those whose sender waits until `then`; the others are told that it could not be done.
fn give_up_late(load: Vec<Parcel>, then: Instant, why: &AskError) -> Vec<Parcel> {
    let (patient, late): (Vec<Parcel>, Vec<Parcel>) = load.into_iter().partition(|parcel| parcel.until > then);
    for parcel in late {
        (parcel.word)(Err(hooks::unwritten(why)));
    }
    patient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{AppName, DeployId};
    use crate::control::{Answer, DeployStatus, Trigger, wire};
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A courier, a played daemon that a test answers for, and the words that came.
    struct Stage {
        dir: PathBuf,
        daemon: UnixListener,
        courier: Courier,
        said: Sender<(u64, Result<DeployId, u16>)>,
        words: Receiver<(u64, Result<DeployId, u16>)>,
    }

    impl Stage {
        fn new(name: &str) -> Stage {
            let dir = std::env::temp_dir().join(format!("pintle-courier-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir).unwrap();
            let daemon = UnixListener::bind(dir.join("it.sock")).unwrap();
            let courier = Courier::to(Arc::new(Daemon::at(dir.join("it.sock"))), Errands::default());
            let (said, words) = channel();
            Stage { dir, daemon, courier, said, words }
        }

        fn carry(&self, n: u64) {
            let said = self.said.clone();
            let word = move |word: Result<Vec<Verdict>, Reply>| {
                let number = word.map_err(|reply| reply.status).map(|verdicts| match &verdicts[..] {
                    [Verdict::Accepted { deployment, .. }] => *deployment,
                    other => panic!("{other:?}"),
                });
                said.send((n, number)).unwrap();
            };
            let delivery = Delivery::new(Some(n.to_string()), Trigger::Webhook, "push");
            self.courier.carry(delivery, Box::new(word)).unwrap();
        }

        fn heard(&self, count: usize) -> BTreeMap<u64, Result<DeployId, u16>> {
            (0..count).map(|_| self.words.recv_timeout(PATIENCE).unwrap()).collect()
        }

        fn connection(&self) -> BufReader<UnixStream> {
            let (stream, _) = self.daemon.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            BufReader::with_capacity(64 << 10, stream)
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    /// What came in one piece: the deliveries' ids.
    fn load(connection: &mut BufReader<UnixStream>) -> Vec<u64> {
        let lines = connection.fill_buf().unwrap().iter().filter(|byte| **byte == b'\n').count();
        let ids = (0..lines).map(|_| match wire::receive(connection).unwrap() {
            Some(Request::Deliver(delivery)) => delivery.id.unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        });
        ids.collect()
    }

    /// Accepts each as the deployment of its own number.
    fn accept(connection: &mut BufReader<UnixStream>, ids: &[u64]) {
        let verdict = |n: u64| {
            let (app, deployment) = (AppName::new("shop").unwrap(), DeployId(n));
            Answer::Delivered { verdicts: vec![Verdict::Accepted { app, deployment, state: DeployStatus::Queued }] }
        };
        wire::send_all(connection.get_mut(), &ids.iter().copied().map(verdict).collect::<Vec<_>>()).unwrap();
    }

    #[test]
    fn what_waits_meanwhile_goes_together_and_each_hears_its_own_word() {
        let stage = Stage::new("together");
        stage.carry(1);
        let mut one = stage.connection();
        assert_eq!(load(&mut one), [1]);
        stage.carry(2);
        let mut two = stage.connection();
        assert_eq!(load(&mut two), [2]);
        // Both ways are taken.
        (3..=9).for_each(|n| stage.carry(n));
        accept(&mut two, &[2]);
        let together: Vec<u64> = (3..=9).collect();
        assert_eq!(load(&mut two), together);
        accept(&mut two, &together);
        accept(&mut one, &[1]);
        assert_eq!(stage.heard(9), (1..=9).map(|n| (n, Ok(DeployId(n)))).collect());
    }

    #[test]
    fn what_a_daemon_left_unanswered_is_asked_of_the_next_one() {
        let stage = Stage::new("again");
        stage.carry(1);
        let mut one = stage.connection();
        stage.carry(2);
        let mut two = stage.connection();
        (3..=5).for_each(|n| stage.carry(n));
        let first = load(&mut one);
        accept(&mut one, &first);
        assert_eq!(load(&mut one), [3, 4, 5]);
        accept(&mut one, &[3]);
        drop(one);
        let mut next = stage.connection();
        assert_eq!(load(&mut next), [4, 5]);
        accept(&mut next, &[4, 5]);
        let second = load(&mut two);
        accept(&mut two, &second);
        assert_eq!(stage.heard(5), (1..=5).map(|n| (n, Ok(DeployId(n)))).collect());
    }

    #[test]
    fn a_crowd_goes_in_loads_and_the_first_hear_before_the_last_are_written() {
        let stage = Stage::new("crowd");
        stage.carry(1);
        let mut one = stage.connection();
        assert_eq!(load(&mut one), [1]);
        stage.carry(2);
        let mut two = stage.connection();
        assert_eq!(load(&mut two), [2]);
        let crowd: Vec<u64> = (3..).take(LOAD + 5).collect();
        crowd.iter().for_each(|n| stage.carry(*n));
        accept(&mut one, &[1]);
        assert_eq!(stage.heard(1), [(1, Ok(DeployId(1)))].into());
        let (first, rest) = crowd.split_at(LOAD);
        assert_eq!(load(&mut one), first);
        accept(&mut one, first);
        assert_eq!(stage.heard(LOAD), first.iter().map(|n| (*n, Ok(DeployId(*n)))).collect());
        assert_eq!(load(&mut one), rest);
        accept(&mut one, rest);
        accept(&mut two, &[2]);
        let last = rest.iter().chain(&[2]).map(|n| (*n, Ok(DeployId(*n)))).collect();
        assert_eq!(stage.heard(rest.len() + 1), last);
    }

    #[test]
    fn without_a_thread_what_waits_is_left_to_another_carrier_or_its_senders_are_told() {
        let stage = Stage::new("threadless");
        let shared = &stage.courier.0;
        let none = || io::Error::from(io::ErrorKind::WouldBlock);
        // Two that never begin hold both places.
        shared.desk().carriers = CARRIERS;
        stage.carry(1);
        stage.carry(2);
        shared.without_thread(none()).unwrap();
        assert_eq!(shared.desk().waiting.len(), 2, "the other one takes them");
        assert!(stage.words.try_recv().is_err());
        shared.without_thread(none()).unwrap_err();
        assert_eq!(stage.heard(2), [(1, Err(503)), (2, Err(503))].into());
        assert_eq!(shared.desk().carriers, 0);
    }

    #[test]
    fn a_refusal_of_the_daemon_is_said_to_whom_it_is_about() {
        let stage = Stage::new("refusal");
        stage.carry(1);
        let mut one = stage.connection();
        assert_eq!(load(&mut one), [1]);
        let full = Answer::Error { exit: 3, message: "the disk is full".into() };
        wire::send(one.get_mut(), &full).unwrap();
        assert_eq!(stage.heard(1), [(1, Err(503))].into());
    }
}
