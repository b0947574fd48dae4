//! Visitors: requests to the application, one after the other, for as long as the demo plays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two visits; enough to leave a small board time for the deploy.
const PAUSE: Duration = Duration::from_millis(3);

/// What the visitors met so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Met {
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// The longest a visitor waited for an answer.
    pub(super) longest: Duration,
    /// Answers by the version that gave them.
    pub(super) versions: BTreeMap<String, u64>,
    /// The first failure, in words.
    pub(super) first_failure: Option<String>,
}

/// A thread that visits; ended when dropped.
pub(super) struct Crowd {
    met: Arc<Mutex<Met>>,
    leave: Arc<AtomicBool>,
    visiting: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Begins to visit `url`.
    pub(super) fn gather(agent: ureq::Agent, url: String) -> Crowd {
        let met = Arc::new(Mutex::new(Met::default()));
        let leave = Arc::new(AtomicBool::new(false));
        let (theirs, asked) = (Arc::clone(&met), Arc::clone(&leave));
        let visiting = thread::spawn(move || {
            while !asked.load(Ordering::SeqCst) {
                let began = Instant::now();
                let outcome = visit(&agent, &url);
                let mut met = theirs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                met.longest = met.longest.max(began.elapsed());
                match outcome {
                    Ok(version) => {
                        met.answered += 1;
                        *met.versions.entry(version).or_default() += 1;
                    }
                    Err(error) => {
                        met.failed += 1;
                        met.first_failure.get_or_insert(error);
                    }
                }
                drop(met);
                thread::sleep(PAUSE);
            }
        });
        Crowd { met, leave, visiting: Some(visiting) }
    }

    /// What they met up to now.
    pub(super) fn met(&self) -> Met {
        self.met.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::SeqCst);
        if let Some(visiting) = self.visiting.take() {
            let _ = visiting.join();
        }
    }
}

fn visit(agent: &ureq::Agent, url: &str) -> Result<String, String> {
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
    if status == 200 { Ok(body) } else { Err(format!("status {status}")) }
}
