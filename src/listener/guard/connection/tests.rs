use super::*;
use crate::base::WallTime;
use crate::listener::guard::limits::Rate;

/// Doors take 1000 bytes and count, pages take none.
struct Plan;

impl Entrance for Plan {
    fn admit(&self, method: &str, path: &str, _: Option<&str>) -> Result<Admission, Reply> {
        match (method, path) {
            ("POST", "/door") => Ok(Admission { max_body: 1000, counts: Counts::Always }),
            ("GET" | "HEAD", "/page") => Ok(Admission { max_body: 0, counts: Counts::Never }),
            (_, "/door") => Err(Reply::error(405, "no").with("Allow", "POST")),
            _ => Err(Reply::error(404, "no")),
        }
    }
}

struct Stage {
    limits: Limits,
    buckets: Buckets,
    budget: Budget,
    now: Moment,
}

impl Stage {
    fn new() -> Stage {
        let rate = Rate { count: 1000, per: Duration::from_secs(60) };
        Stage {
            limits: Limits {
                connections: 8,
                head: Duration::from_secs(5),
                body: Duration::from_secs(20),
                max_body: 1000,
                memory_budget: 4000,
                rate,
                trusted: vec![],
            },
            buckets: Buckets::new(rate),
            budget: Budget::of(4000),
            now: Moment { mono: Duration::from_secs(1000), wall: WallTime(1_795_267_386_000) },
        }
    }

    fn house(&mut self) -> House<'_> {
        House { limits: &self.limits, entrance: &Plan, buckets: &mut self.buckets, budget: &self.budget, now: self.now }
    }

    fn guest(&self) -> Connection {
        Connection::new(Peer::Tcp("9.9.9.9:1".parse().unwrap()), self.now.mono)
    }

    fn later(&mut self, millis: u64) {
        self.now.mono += Duration::from_millis(millis);
    }
}

/// What a client saw and the routes got of `bytes`, sent in pieces; every request is answered at once.
fn played(bytes: &[u8], mut next: impl FnMut() -> usize) -> (Vec<String>, String) {
    let mut stage = Stage::new();
    let mut guest = stage.guest();
    let (mut asked, mut seen) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() && guest.reads() {
        let (piece, behind) = rest.split_at(next().clamp(1, rest.len()));
        rest = behind;
        let mut whole = guest.receive(piece, &mut stage.house());
        loop {
            if let Some(Whole { ask, .. }) = whole.take() {
                asked.push(format!(
                    "{} {}?{} {:?}",
                    ask.method,
                    ask.path,
                    ask.query,
                    String::from_utf8_lossy(&ask.body)
                ));
                let body = if ask.method == "HEAD" { "" } else { "answer" };
                let answer = format!("HTTP/1.1 200 OK\r\nServer: pintle\r\nContent-Length: 6\r\n\r\n{body}");
                assert_eq!(guest.relay(answer.as_bytes(), &mut stage.house()), Ok(true));
            }
            let unwritten = guest.unwritten().len();
            if unwritten == 0 {
                break;
            }
            // The client takes it in two pieces.
            let taken = unwritten.div_ceil(2);
            seen.extend_from_slice(&guest.unwritten()[..taken]);
            whole = guest.wrote(taken, &mut stage.house());
        }
    }
    (asked, String::from_utf8(seen).unwrap())
}

const REQUESTS: [&str; 14] = [
    "GET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /door?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n\r\nHEAD /page HTTP/1.1\r\nHost: x\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /door HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloPOST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n!",
    "GET /page HTTP/1.0\r\n\r\nGET /page HTTP/1.0\r\n\r\n",
    "GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /page HTTP/1.0\r\n\r\n",
    "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\nhello",
    "POST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    "POST /door HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloGET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /door HTTP/1.1\r\nHost: x\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /page HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET /page HTTP/1.1\nHost: x\n\n",
];

#[test]
fn how_the_bytes_came_makes_no_difference() {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for request in REQUESTS {
        let at_once = played(request.as_bytes(), || usize::MAX);
        assert!(at_once.1.starts_with("HTTP/1.1 "), "{request:?} {at_once:?}");
        assert_eq!(played(request.as_bytes(), || 1), at_once, "{request:?} byte by byte");
        for _ in 0..50 {
            assert_eq!(played(request.as_bytes(), || random() % 40), at_once, "{request:?} in pieces");
        }
    }
}

#[test]
fn what_is_asked_and_answered() {
    let (asked, seen) = played(REQUESTS[2].as_bytes(), || usize::MAX);
    assert_eq!(asked, ["GET /page? \"\"", "HEAD /page? \"\"", "GET /page? \"\""]);
    assert_eq!(seen.matches("200 OK").count(), 3);
    assert_eq!(seen.matches("answer").count(), 2, "HEAD has none");
    let (asked, seen) = played(REQUESTS[3].as_bytes(), || usize::MAX);
    assert_eq!(asked, ["POST /door? \"hello\"", "GET /page? \"\""]);
    assert!(!seen.contains("Connection"), "{seen}");
    let (asked, seen) = played(REQUESTS[5].as_bytes(), || usize::MAX);
    assert_eq!((asked.len(), seen.matches("Connection: close").count()), (1, 1), "HTTP/1.0 ends");
    let (asked, seen) = played(REQUESTS[6].as_bytes(), || usize::MAX);
    assert_eq!((asked.len(), seen.matches("Connection: keep-alive").count()), (2, 1));
    let (asked, seen) = played(REQUESTS[7].as_bytes(), || usize::MAX);
    assert!(asked.len() == 1 && seen.starts_with("HTTP/1.1 404 Not Found\r\n"), "{seen}");
    assert!(seen.contains("Date: Sat, 21 Nov 2026"), "{seen}");
    for (request, status) in [(8, "413"), (9, "400"), (10, "400"), (12, "505"), (13, "400")] {
        let (asked, seen) = played(REQUESTS[request].as_bytes(), || usize::MAX);
        assert!(asked.is_empty() && seen.starts_with(&format!("HTTP/1.1 {status} ")), "{seen}");
        assert!(seen.contains("Connection: close\r\n") && seen.contains("\"status\":\"error\""), "{seen}");
    }
}

#[test]
fn who_waits_for_a_word_before_the_body_gets_it() {
    let head = "POST /door HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let (_, seen) = played(head.as_bytes(), || usize::MAX);
    assert_eq!(seen, "HTTP/1.1 100 Continue\r\n\r\n");
    let (asked, seen) = played(format!("{head}hello").as_bytes(), || head.len());
    assert!(asked.len() == 1 && seen.contains("100 Continue") && seen.contains("200 OK"), "{seen}");
    let (_, seen) = played(format!("{head}hello").as_bytes(), || usize::MAX);
    assert!(!seen.contains("100 Continue"), "the body is there already: {seen}");
    let (_, seen) = played(head.replace("5\r", "5000\r").as_bytes(), || usize::MAX);
    assert!(seen.starts_with("HTTP/1.1 413"), "{seen}");
}

fn says(guest: &Connection) -> String {
    let text = String::from_utf8_lossy(guest.unwritten());
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn flush(guest: &mut Connection, stage: &mut Stage) {
    let all = guest.unwritten().len();
    assert!(guest.wrote(all, &mut stage.house()).is_none());
}

#[test]
fn every_wait_has_an_end() {
    let mut stage = Stage::new();
    let start = stage.now.mono;
    let mut silent = stage.guest();
    assert_eq!(silent.deadline(&stage.limits), Some(start + Duration::from_secs(5)));
    silent.expire(stage.now);
    assert!(silent.is_closed(), "who said nothing is told nothing");

    let mut dripping = stage.guest();
    stage.later(3000);
    assert!(dripping.receive(b"GET / HT", &mut stage.house()).is_none());
    assert_eq!(dripping.deadline(&stage.limits), Some(start + Duration::from_secs(5)), "from the connection on");
    dripping.expire(stage.now);
    assert_eq!(says(&dripping), "408");
    flush(&mut dripping, &mut stage);
    assert!(dripping.is_lingering() && dripping.reads());
    assert!(dripping.receive(b"TP/1.1\r\n", &mut stage.house()).is_none());
    assert_eq!(dripping.deadline(&stage.limits), Some(stage.now.mono + LINGER));
    dripping.expire(stage.now);
    assert!(dripping.is_closed());

    let mut slow = stage.guest();
    let body = b"POST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n";
    assert!(slow.receive(body, &mut stage.house()).is_none());
    let due = slow.deadline(&stage.limits).unwrap();
    assert_eq!(due, stage.now.mono + Duration::from_secs(20));
    assert!(slow.receive(&[b'x'; 640], &mut stage.house()).is_none());
    let more = slow.deadline(&stage.limits).unwrap() - due;
    assert_eq!(more.as_millis(), 9, "64 KiB are worth a second");
    assert_eq!(slow.holding(stage.now.mono), Some((640, false)));
    assert_eq!(stage.budget.used(), 640);
    stage.later(1000);
    assert_eq!(slow.holding(stage.now.mono), Some((640, true)));
    slow.expire(stage.now);
    assert_eq!((says(&slow).as_str(), stage.budget.used()), ("408", 0), "and its memory is free");
}

#[test]
fn an_answer_may_take_its_time_but_its_reader_may_not() {
    let mut stage = Stage::new();
    let mut guest = stage.guest();
    assert!(guest.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).is_some());
    assert_eq!((guest.deadline(&stage.limits), guest.reads()), (None, false));
    assert_eq!(guest.room(), OUTPUT);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(guest.relay(head, &mut stage.house()), Ok(false));
    let piece = [b"8000\r\n".as_slice(), &[b'x'; 0x8000], b"\r\n"].concat();
    assert_eq!(guest.relay(&piece, &mut stage.house()), Ok(false));
    assert_eq!(guest.relay(&piece, &mut stage.house()), Ok(false));
    assert_eq!(guest.room(), 0, "no more is read behind");
    assert_eq!(guest.deadline(&stage.limits), Some(stage.now.mono + WRITE));
    stage.later(9000);
    assert!(guest.wrote(1000, &mut stage.house()).is_none());
    assert_eq!(guest.deadline(&stage.limits), Some(stage.now.mono + WRITE), "every byte taken counts");
    flush(&mut guest, &mut stage);
    assert_eq!(guest.deadline(&stage.limits), None, "a quiet stream hurries nobody");
    assert_eq!(guest.relay(b"0\r\n\r\n", &mut stage.house()), Ok(true));
    flush(&mut guest, &mut stage);
    assert_eq!(guest.deadline(&stage.limits), Some(stage.now.mono + IDLE));
    guest.expire(stage.now);
    assert!(guest.is_closed());
}

#[test]
fn what_was_written_is_not_kept() {
    let mut stage = Stage::new();
    let mut guest = stage.guest();
    assert!(guest.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).is_some());
    guest.relay(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", &mut stage.house()).unwrap();
    for _ in 0..1000 {
        let room = guest.room();
        guest.relay(&vec![b'x'; room], &mut stage.house()).unwrap();
        // The client never takes the last byte.
        let most = guest.unwritten().len() - 1;
        assert!(guest.wrote(most, &mut stage.house()).is_none());
        assert!(guest.out.capacity() <= 4 * OUTPUT, "{} bytes are held", guest.out.capacity());
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_for_a_whole_one() {
    let mut stage = Stage::new();
    let asked = |stage: &mut Stage| {
        let mut guest = stage.guest();
        assert!(guest.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).is_some());
        guest
    };
    let mut before = asked(&mut stage);
    before.relay_broke(stage.now);
    assert_eq!(says(&before), "503");
    let mut amid = asked(&mut stage);
    amid.relay(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", &mut stage.house()).unwrap();
    amid.relay_broke(stage.now);
    let text = String::from_utf8(amid.unwritten().to_vec()).unwrap();
    assert!(text.ends_with("3\r\nabc\r\n"), "no last chunk: {text:?}");
    flush(&mut amid, &mut stage);
    assert!(amid.is_closed());
    let mut garbled = asked(&mut stage);
    assert_eq!(garbled.relay(b"no answer\r\n\r\n", &mut stage.house()), Err(Garbled));
    let mut old = stage.guest();
    assert!(old.receive(b"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &mut stage.house()).is_some());
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(old.relay(answer, &mut stage.house()), Ok(true));
    let text = String::from_utf8(old.unwritten().to_vec()).unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", "no chunks for HTTP/1.0");
}

#[test]
fn half_closed_clients_are_still_answered() {
    let mut stage = Stage::new();
    let mut guest = stage.guest();
    assert!(guest.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).is_some());
    guest.receive_end(&stage.house());
    assert_eq!(guest.relay(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &mut stage.house()), Ok(true));
    assert!(guest.unwritten().ends_with(b"ok"));
    flush(&mut guest, &mut stage);
    assert!(guest.is_closed());
    let mut early = stage.guest();
    assert!(
        early.receive(b"POST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", &mut stage.house()).is_none()
    );
    early.receive_end(&stage.house());
    assert_eq!(says(&early), "400");
}

#[test]
fn deliveries_are_counted_and_failed_signatures_cost_more() {
    let mut stage = Stage::new();
    stage.buckets = Buckets::new(Rate { count: 6, per: Duration::from_secs(60) });
    let post = b"POST /door HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    let deliver = |stage: &mut Stage, answer: &[u8]| {
        let mut guest = stage.guest();
        let whole = guest.receive(post, &mut stage.house());
        if whole.is_some() {
            guest.relay(answer, &mut stage.house()).unwrap();
        }
        (whole.is_some(), String::from_utf8(guest.unwritten().to_vec()).unwrap())
    };
    assert!(deliver(&mut stage, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").0);
    assert!(deliver(&mut stage, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").0);
    assert!(deliver(&mut stage, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").0);
    let (admitted, said) = deliver(&mut stage, b"");
    assert!(!admitted && said.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{said}");
    assert!(said.contains("Retry-After: 10\r\n"), "{said}");
    let mut guest = stage.guest();
    assert!(guest.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).is_some(), "pages are free");
}

#[test]
fn a_house_that_closes_lets_everybody_finish() {
    let mut stage = Stage::new();
    let now = stage.now.mono;
    let mut fresh = stage.guest();
    fresh.drain(now);
    assert_eq!(fresh.deadline(&stage.limits), Some(now + DRAIN_SILENT));
    assert!(fresh.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).is_some());
    assert_eq!(fresh.deadline(&stage.limits), Some(now + DRAIN));
    fresh.relay(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &mut stage.house()).unwrap();
    assert!(String::from_utf8_lossy(fresh.unwritten()).contains("Connection: close"));
    flush(&mut fresh, &mut stage);
    assert!(fresh.is_closed());

    let mut idle = stage.guest();
    idle.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).unwrap();
    idle.relay(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &mut stage.house()).unwrap();
    flush(&mut idle, &mut stage);
    assert!(!idle.is_closed());
    idle.drain(now);
    assert!(idle.is_closed());

    let mut long = stage.guest();
    long.receive(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", &mut stage.house()).unwrap();
    long.drain(now);
    stage.later(4000);
    long.expire(stage.now);
    assert!(long.is_closed(), "but not for ever");
}
