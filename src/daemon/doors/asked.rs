//! What a connection asks, line by line; deliveries that lie there together are taken together.

use crate::control::{Delivery, Request, wire};
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;

/// Deliveries taken together at most, a few hundred bytes each: what the listener sends in one piece.
const TOGETHER: usize = 32;
/// What is read ahead: so many of them lie in it.
const AHEAD: usize = 32 << 10;

/// The asking side of one connection.
pub(super) struct Asked {
    lines: BufReader<UnixStream>,
    /// Read already, while looking for more deliveries.
    next: Option<Understood>,
}

/// A request, or why it is none.
type Understood = Result<Request, serde_json::Error>;

impl Asked {
    pub(super) fn by(stream: UnixStream) -> Asked {
        Asked { lines: BufReader::with_capacity(AHEAD, stream), next: None }
    }

    /// The next request; `None` when the other side has hung up.
    pub(super) fn next(&mut self) -> io::Result<Option<Understood>> {
        match self.next.take() {
            Some(next) => Ok(Some(next)),
            None => Ok(wire::line(&mut self.lines)?.map(|line| serde_json::from_slice(&line))),
        }
    }

    /// Deliveries that came with the last one. Nothing is waited for.
    pub(super) fn more_deliveries(&mut self) -> io::Result<Vec<Delivery>> {
        let mut more = vec![];
        while more.len() + 1 < TOGETHER && self.lines.buffer().contains(&b'\n') {
            match self.next()? {
                Some(Ok(Request::Deliver(delivery))) => more.push(delivery),
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Trigger;

    #[test]
    fn a_load_is_one_group_and_no_group_is_larger() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let delivery = |n: usize| {
            let about = "x".repeat(600);
            Request::Deliver(Delivery {
                ignored: Some(about),
                ..Delivery::new(Some(n.to_string()), Trigger::Webhook, "push")
            })
        };
        wire::send_all(&mut ours, &(0..TOGETHER + 1).map(delivery).collect::<Vec<_>>()).unwrap();
        let mut asked = Asked::by(theirs);
        assert_eq!(asked.next().unwrap().unwrap().unwrap(), delivery(0));
        assert_eq!(asked.more_deliveries().unwrap().len(), TOGETHER - 1);
        assert_eq!(asked.next().unwrap().unwrap().unwrap(), delivery(TOGETHER));
    }

    #[test]
    fn deliveries_that_lie_there_are_taken_together_and_nothing_is_lost_or_waited_for() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let deliver = |id: &str| Request::Deliver(Delivery::new(Some(id.into()), Trigger::Webhook, "push"));
        wire::send_all(&mut ours, &[deliver("a"), deliver("b"), Request::Ping, deliver("c")]).unwrap();
        let mut asked = Asked::by(theirs);
        let mut heard = vec![];
        for _ in 0..3 {
            let first = asked.next().unwrap().unwrap().unwrap();
            let more = match first {
                Request::Deliver(_) => asked.more_deliveries().unwrap(),
                _ => vec![],
            };
            heard.push((first, more.len()));
        }
        assert_eq!(heard, [(deliver("a"), 1), (Request::Ping, 0), (deliver("c"), 0)]);
        drop(ours);
        assert!(asked.next().unwrap().is_none());
    }
}
