use super::*;

const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
wlan0\t00000000\t0100A8C0\t0002\t0\t0\t600\t00000000\t0\t0\t0
tun0\t00000000\t0100000A\t0003\t0\t0\t0\t00000080\t0\t0\t0
";
const IPV6_ROUTE: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     ppp0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

fn names(names: &[&str]) -> Ways {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn only_default_routes_that_lead_somewhere_are_ways_out() {
    assert_eq!(default_routes(ROUTE, IPV6_ROUTE), names(&["eth0", "ppp0"]));
    assert_eq!(default_routes("", ""), names(&[]));
    assert_eq!(default_routes("rubbish\n\0", "eth0\n"), names(&[]));
}

/// A message of rtnetlink about a link, as the kernel lays it out.
fn link(kind: u16, flags: i32, name: &str) -> Vec<u8> {
    let mut attributes = vec![];
    // An attribute of an odd length comes before the name.
    for (attribute, value) in
        [(libc::IFLA_OPERSTATE, &b"\x02"[..]), (libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat())]
    {
        attributes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        attributes.extend_from_slice(&attribute.to_ne_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(aligned(attributes.len()), 0);
    }
    let mut body = vec![0, 0];
    body.extend_from_slice(&1u16.to_ne_bytes());
    body.extend_from_slice(&2i32.to_ne_bytes());
    body.extend_from_slice(&(flags as u32).to_ne_bytes());
    body.extend_from_slice(&u32::MAX.to_ne_bytes());
    body.extend(attributes);
    message(kind, &body)
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&[0; 10]);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_way_is_lost_when_its_link_is_down_and_not_when_another_is() {
    let ways = names(&["eth0"]);
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    let table = [
        (link(libc::RTM_NEWLINK, up, "eth0"), false),
        (link(libc::RTM_NEWLINK, libc::IFF_UP, "eth0"), true),
        (link(libc::RTM_DELLINK, up, "eth0"), true),
        (link(libc::RTM_NEWLINK, 0, "veth1"), false),
        (message(libc::RTM_NEWROUTE, &[0; 28]), false),
        ([message(libc::RTM_DELROUTE, &[0; 28]), link(libc::RTM_NEWLINK, 0, "veth1")].concat(), false),
        ([link(libc::RTM_NEWLINK, 0, "veth1"), link(libc::RTM_NEWLINK, 0, "eth0")].concat(), true),
        (vec![], false),
    ];
    for (row, (bytes, lost)) in table.iter().enumerate() {
        assert_eq!(loses_a_way(bytes, &ways), *lost, "row {row}");
    }
}

#[test]
fn what_cannot_be_read_may_be_anything_and_harms_nothing() {
    let whole = link(libc::RTM_NEWLINK, libc::IFF_UP | libc::IFF_RUNNING, "eth0");
    for length in 1..whole.len() {
        assert!(loses_a_way(&whole[..length], &names(&["eth0"])), "cut to {length}");
    }
    for rubbish in [vec![0; 16], vec![0xff; 64], vec![3, 0, 0, 0, 16, 0]] {
        assert!(loses_a_way(&rubbish, &names(&["eth0"])), "{rubbish:?}");
    }
}

#[test]
fn this_host_can_be_asked() {
    ways().expect("there is a /proc here");
}
