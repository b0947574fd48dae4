//! Peers that are nobody's proxy: what they say about addresses is not believed, and what they take is bounded.

use super::addresses::{forwarded, from_proxy, is_limited, ping, strict};
use super::network::{in_a_network_of_its_own, stranger};
use super::raw::Line;
use super::vital::Vital;

#[test]
#[ignore = "needs root"]
fn a_strangers_word_about_addresses_is_not_believed() {
    in_a_network_of_its_own(|| {
        let world = strict("");
        let from = |host: u8, request: String| {
            let mut line = stranger(host, world.hook);
            line.say(request).unwrap();
            line.hear().expect("an answer")
        };
        for number in 1..=8_u8 {
            let lie = format!("X-Forwarded-For: 198.51.100.{number}\r\nX-Real-IP: 198.51.100.{number}\r\n");
            assert_eq!(from(7, ping(&lie)).status, 200, "number {number}");
        }
        is_limited(&from(7, ping(&forwarded("198.51.100.99"))));
        is_limited(&from(7, ping(&forwarded("127.0.0.1"))));
        // And it used up nobody else's share.
        assert_eq!(from(8, ping("")).status, 200);
        assert_eq!(from_proxy(&world, ping(&forwarded("198.51.100.1"))).status, 200);
    });
}

#[test]
#[ignore = "needs root"]
fn one_address_does_not_take_all_connections() {
    in_a_network_of_its_own(|| {
        let world = strict("connections = 64\nheader_timeout = \"20s\"");
        let before = Vital::of_listener(&world);
        let mut slow = stranger(9, world.hook);
        slow.say("POST /webhook/shop HTTP/1.1\r\n").unwrap();
        let crowd: Vec<Line> = (0..200).map(|_| stranger(7, world.hook)).collect();
        let mut last = stranger(7, world.hook);
        last.say(ping("")).unwrap();
        assert_eq!(last.hear().map(|reply| reply.status), Some(200), "the newcomer is not refused");
        let held = Vital::of_listener(&world).descriptors - before.descriptors;
        assert!(held < 40, "one address holds {held} descriptors of 64");
        // The slow one of another address was left alone.
        slow.say(ping("").split_once("\r\n").unwrap().1).unwrap();
        assert_eq!(slow.hear().map(|reply| reply.status), Some(200));
        drop(crowd);
    });
}
