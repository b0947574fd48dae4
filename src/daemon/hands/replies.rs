//! Who waits for an answer of the loop.

use crate::control::Answer;
use crate::daemon::event::RequestId;
use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that wait for an answer, and where each goes.
#[derive(Debug, Clone, Default)]
pub struct Replies(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    asked: u64,
    to: BTreeMap<RequestId, SyncSender<Answer>>,
}

impl Replies {
    /// A new request whose answer goes to `to`.
    pub fn expect(&self, to: SyncSender<Answer>) -> RequestId {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.asked += 1;
        let id = RequestId(waiting.asked);
        waiting.to.insert(id, to);
        id
    }
    /// Whoever asked is gone.
    pub fn forget(&self, id: RequestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).to.remove(&id);
    }
    pub(super) fn answer(&self, id: RequestId, answer: Answer) {
        let to = self.0.lock().unwrap_or_else(PoisonError::into_inner).to.remove(&id);
        if let Some(to) = to {
            // Whoever asked may be gone.
            let _ = to.try_send(answer);
        }
    }
}
