use super::*;

fn limits(trusted: &[&str]) -> Limits {
    Limits {
        connections: 256,
        head: Duration::from_secs(5),
        body: Duration::from_secs(20),
        max_body: 1,
        memory_budget: 1,
        rate: RATE,
        trusted: trusted.iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

const RATE: Rate = Rate { count: 30, per: Duration::from_secs(60) };

fn peer(text: &str) -> Peer {
    Peer::Tcp(text.parse().unwrap())
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_request_counts_for_who_sent_it_as_far_as_that_is_known() {
    let limits = limits(&["10.0.0.1", "fd00::1"]);
    let for_ = |value: &str| vec![("x-forwarded-for".to_owned(), value.to_owned())];
    let real = |value: &str| vec![("X-Real-IP".to_owned(), value.to_owned())];
    let both = [for_("7.7.7.7"), real("8.8.8.8")].concat();
    let cases = [
        (peer("9.9.9.9:1"), vec![], "9.9.9.9"),
        (peer("9.9.9.9:1"), for_("1.2.3.4"), "9.9.9.9"),
        (peer("127.0.0.1:1"), vec![], "127.0.0.1"),
        (peer("127.0.0.1:1"), for_("1.2.3.4"), "1.2.3.4"),
        (peer("[::1]:1"), for_("1.2.3.4"), "1.2.3.4"),
        (peer("[::ffff:127.0.0.1]:1"), for_("1.2.3.4"), "1.2.3.4"),
        (Peer::Unix, for_("1.2.3.4"), "1.2.3.4"),
        (Peer::Unix, vec![], "127.0.0.1"),
        (peer("10.0.0.1:1"), for_("6.6.6.6, 1.2.3.4"), "1.2.3.4"),
        (peer("127.0.0.1:1"), for_("6.6.6.6, 1.2.3.4, 10.0.0.1"), "1.2.3.4"),
        (peer("127.0.0.1:1"), for_("10.0.0.1, fd00::1"), "10.0.0.1"),
        (peer("127.0.0.1:1"), [for_("1.1.1.1"), for_("2.2.2.2")].concat(), "2.2.2.2"),
        (peer("127.0.0.1:1"), for_("1.2.3.4:5678"), "1.2.3.4"),
        (peer("127.0.0.1:1"), for_("[2001:db8::1]:80"), "2001:db8::1"),
        (peer("127.0.0.1:1"), for_("[2001:db8::1]"), "2001:db8::1"),
        (peer("127.0.0.1:1"), for_("1.2.3.4, unknown"), "127.0.0.1"),
        (peer("127.0.0.1:1"), for_(""), "127.0.0.1"),
        (peer("127.0.0.1:1"), real("1.2.3.4"), "1.2.3.4"),
        (peer("127.0.0.1:1"), both, "7.7.7.7"),
    ];
    for (peer, headers, expected) in cases {
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(client(peer, &headers, &limits), expected, "{peer:?} {headers:?}");
    }
    assert!(is_forwarded(&real("x")) && is_forwarded(&[("VIA".to_owned(), String::new())]) && !is_forwarded(&[]));
}

#[test]
fn one_ipv6_subscriber_is_one_client() {
    let of = |text: &str| Client::of(text.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
    assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
}

#[test]
fn tokens_are_spent_and_come_back() {
    let mut buckets = Buckets::new(RATE);
    let one = peer("9.9.9.9:1").client();
    for _ in 0..30 {
        assert_eq!(buckets.take(one, seconds(100)), Ok(()));
    }
    assert_eq!(buckets.take(one, seconds(100)), Err(seconds(2)), "one comes every two seconds");
    assert_eq!(buckets.take(peer("9.9.9.8:1").client(), seconds(100)), Ok(()), "others are not meant");
    assert_eq!(buckets.take(one, seconds(102)), Ok(()));
    assert!(buckets.take(one, seconds(103)).is_err());
    assert_eq!(buckets.take(one, seconds(10_000)), Ok(()));

    let mut guesses = 0;
    while buckets.take(peer("7.7.7.7:1").client(), seconds(5)).is_ok() {
        buckets.fine(peer("7.7.7.7:1").client(), 3, seconds(5));
        guesses += 1;
    }
    assert_eq!(guesses, 8, "a failed signature is worth four");
    for _ in 0..100 {
        buckets.fine(peer("7.7.7.7:1").client(), 3, seconds(5));
    }
    let wait = buckets.take(peer("7.7.7.7:1").client(), seconds(5)).unwrap_err();
    assert_eq!(wait, seconds(62), "the debt has an end");
    assert_eq!(buckets.take(one, seconds(0)), Ok(()), "a moment in the past harms nothing");
}

#[test]
fn however_many_addresses_come_few_are_remembered() {
    let mut buckets = Buckets::new(RATE);
    let guesser = peer("9.9.9.9:1").client();
    for _ in 0..30 {
        buckets.take(guesser, seconds(0)).unwrap();
    }
    for number in 0..20_000_u32 {
        let client = Client::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into());
        buckets.take(client, seconds(0)).unwrap();
        assert!(buckets.len() <= ADDRESSES, "{}", buckets.len());
    }
    assert!(buckets.take(guesser, seconds(0)).is_err(), "who has spent most is forgotten last");
}

#[test]
fn who_makes_way() {
    use Standing::*;
    let client = |host: u8| Client::of(Ipv4Addr::new(9, 9, 9, host).into());
    let all = |list: &[(Standing, u64, u8)]| {
        let one = |(slot, (standing, since, host)): (usize, &(Standing, u64, u8))| Standby {
            slot,
            standing: *standing,
            since: seconds(*since),
            client: client(*host),
        };
        list.iter().enumerate().map(one).collect::<Vec<_>>().into_iter()
    };
    type Here = [(Standing, u64, u8)];
    let cases: [(&Here, Option<usize>); 6] = [
        (&[], None),
        (&[(Served, 1, 1)], None),
        (&[(Incomplete, 3, 1), (Incomplete, 2, 1), (Served, 1, 1)], Some(1)),
        (&[(Sending, 1, 1), (Incomplete, 9, 1)], Some(1)),
        (&[(Incomplete, 1, 1), (Leaving, 9, 1)], Some(1)),
        (&[(Reading, 1, 1), (Sending, 9, 1), (Sending, 8, 1)], Some(2)),
    ];
    for (list, expected) in cases {
        assert_eq!(makes_way(all(list), seconds(100)), expected, "{list:?}");
    }
    // At the tenth second, who came in it.
    let cases: [(&Here, Option<usize>); 3] = [
        (&[(Sending, 1, 1), (Incomplete, 10, 1)], Some(0)),
        (&[(Reading, 1, 1), (Incomplete, 10, 1), (Sending, 9, 1)], Some(2)),
        (&[(Sending, 10, 1), (Incomplete, 10, 1), (Served, 1, 1)], Some(1)),
    ];
    for (list, expected) in cases {
        assert_eq!(makes_way(all(list), seconds(10)), expected, "{list:?}");
    }
    let own = all(&[(Incomplete, 1, 1), (Incomplete, 3, 2), (Incomplete, 2, 2), (Sending, 1, 2)]);
    assert_eq!(makes_way_for_its_own(own, client(2)), Some(2));
    assert_eq!(makes_way_for_its_own(all(&[(Sending, 1, 2)]), client(2)), None);
}

#[test]
fn who_gives_memory_back() {
    let all = |list: &[(u64, bool)]| {
        let one = |(slot, (bytes, is_stalled)): (usize, &(u64, bool))| Holding {
            slot,
            bytes: *bytes,
            is_stalled: *is_stalled,
        };
        list.iter().enumerate().map(one).collect::<Vec<_>>().into_iter()
    };
    assert_eq!(gives_memory_back(all(&[(10, false), (24, false), (3, false)])), Some(1));
    assert_eq!(gives_memory_back(all(&[(10, true), (24, false), (3, true)])), Some(0));
    assert_eq!(gives_memory_back(all(&[(0, true), (24, false)])), Some(1));
    assert_eq!(gives_memory_back(all(&[])), None);
}
