//! Who a request is counted for: rate limits, connections per address, and whose word about addresses is believed.

use super::raw::Line;
use super::vital::Vital;
use crate::world::http::sign;
use crate::world::site::SECRET;
use crate::world::{App, Reply, World, wait_until};
use std::time::{Duration, Instant};

/// A world whose listener lets each address have eight deliveries an hour: nothing comes back while a test runs.
pub(super) fn strict(listen: &str) -> World {
    let mut world = World::empty().host(&format!("rate_limit = \"8/hour\"\n{listen}"));
    world.add(App::new("shop"));
    world.up()
}

/// A signed ping, with more headers.
pub(super) fn ping(headers: &str) -> String {
    request("/webhook/shop", &sign(SECRET, b"{}"), headers)
}

/// A ping that is not signed by us.
fn forged(headers: &str) -> String {
    request("/webhook/shop", &sign("not the secret", b"{}"), headers)
}

fn request(path: &str, signature: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\nX-GitHub-Event: ping\r\n\
         X-Hub-Signature-256: {signature}\r\n{headers}Content-Length: 2\r\n\r\n{{}}"
    )
}

pub(super) fn from_proxy(world: &World, request: String) -> Reply {
    Line::saying(world.hook, request).hear().expect("an answer")
}

pub(super) fn forwarded(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

/// It must be a 429 that says when to come again.
#[track_caller]
pub(super) fn is_limited(reply: &Reply) {
    assert_eq!(reply.status, 429, "{reply:?}");
    let after: u64 = reply.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=3600).contains(&after), "{after}");
    assert_eq!(reply.json()["status"], "error");
}

#[test]
fn an_address_has_its_share_and_no_more() {
    let world = strict("");
    for number in 1..=8 {
        assert_eq!(from_proxy(&world, ping("")).status, 200, "number {number}");
    }
    is_limited(&from_proxy(&world, ping("")));
    is_limited(&from_proxy(&world, request("/deploy/shop", &sign(SECRET, b"{}"), "")));
    // What asks for no secret is not counted.
    for path in ["/health", "/webhook-health"] {
        let reply = from_proxy(&world, format!("GET {path} HTTP/1.1\r\nHost: pintle\r\n\r\n"));
        assert_eq!(reply.status, 200, "{path}");
    }
    // Whoever else comes through the same proxy has a share of its own.
    assert_eq!(from_proxy(&world, ping(&forwarded("203.0.113.9"))).status, 200);
}

#[test]
fn a_failed_signature_counts_fourfold() {
    let world = strict("");
    let from = forwarded("203.0.113.1");
    for _ in 0..2 {
        assert_eq!(from_proxy(&world, forged(&from)).status, 401);
    }
    is_limited(&from_proxy(&world, forged(&from)));
    is_limited(&from_proxy(&world, ping(&from)));
    assert_eq!(from_proxy(&world, ping("")).status, 200);
}

#[test]
fn what_was_used_comes_back_with_time() {
    let mut world = World::empty().host("rate_limit = \"4/s\"");
    world.add(App::new("shop"));
    let world = world.up();
    let limited = wait_until("the limit", || Some(from_proxy(&world, forged(""))).filter(|reply| reply.status == 429));
    assert_eq!(limited.header("retry-after"), Some("1"));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(from_proxy(&world, ping("")).status, 200, "after what Retry-After said");
}

#[test]
fn addresses_of_version_six_are_counted_by_their_network() {
    let world = strict("");
    for host in 1..=8 {
        assert_eq!(from_proxy(&world, ping(&forwarded(&format!("2001:db8:1:2::{host:x}")))).status, 200);
    }
    is_limited(&from_proxy(&world, ping(&forwarded("2001:db8:1:2:ffff::9"))));
    assert_eq!(from_proxy(&world, ping(&forwarded("2001:db8:1:3::1"))).status, 200, "the network beside it");
    // The same address, written in another way.
    for _ in 0..8 {
        assert_eq!(from_proxy(&world, ping(&forwarded("203.0.113.5"))).status, 200);
    }
    is_limited(&from_proxy(&world, ping(&forwarded("::ffff:203.0.113.5"))));
}

#[test]
fn of_a_chain_of_proxies_the_last_stranger_counts() {
    let world = strict("trust_forwarded = [\"127.0.0.1\", \"198.51.100.7\"]");
    // What stands in front was written by the client itself and differs each time.
    let chain = |number: u32| format!("X-Forwarded-For: 10.0.0.{number}, 203.0.113.4, 198.51.100.7\r\n");
    for number in 1..=8 {
        assert_eq!(from_proxy(&world, ping(&chain(number))).status, 200, "number {number}");
    }
    is_limited(&from_proxy(&world, ping(&chain(9))));
    is_limited(&from_proxy(&world, ping("X-Forwarded-For: 10.1.1.1\r\nX-Forwarded-For: 203.0.113.4\r\n")));
    assert_eq!(from_proxy(&world, ping("X-Real-IP: 203.0.113.8\r\n")).status, 200);
    is_limited(&from_proxy(&world, ping("X-Real-IP: 203.0.113.4\r\n")));
}

#[test]
#[ignore = "takes a minute"]
fn a_flood_of_addresses_costs_little_memory() {
    let world = strict("");
    let before = Vital::of_listener(&world);
    let began = Instant::now();
    let mut line = Line::to(world.hook);
    for number in 0..20_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0b00_0000 + number * 256);
        if line.say(ping(&forwarded(&address.to_string()))).is_err() || line.hear().is_none() {
            line = Line::to(world.hook);
        }
    }
    let grown = Vital::of_listener(&world).resident.saturating_sub(before.resident);
    println!("20,000 addresses in {:?}: {} KiB more", began.elapsed(), grown >> 10);
    assert!(grown < 4 << 20, "{} KiB", grown >> 10);
}
