//! The listener behind the real nginx, configured as the documentation says, and bare: the same answers.

use super::raw::Line;
use crate::world::nginx::Nginx;
use crate::world::site::SECRET;
use crate::world::{App, Reply, Request, World, payload, wait_until};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;

/// A world, and an nginx that passes `/webhook`, `/webhook-health` and `/deploy` on to its listener.
fn fronted(world: World) -> (World, Nginx) {
    let site = documented().replace("127.0.0.1:9000", &format!("127.0.0.1:{}", world.hook));
    let mut nginx = Nginx::serving(&world.root, |port| format!("server {{ listen 127.0.0.1:{port};\n{site}\n}}"));
    nginx.up();
    wait_until("nginx", || TcpStream::connect(nginx.address()).ok());
    (world.up(), nginx)
}

/// The locations as docs/operating.md has them.
fn documented() -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap();
    let (_, rest) = text.split_once("## Behind nginx\n\n```nginx\n").expect("the section on nginx");
    rest.split_once("```").unwrap().0.to_owned()
}

/// What must be the same: all but the moment, and what is numbered.
fn same(reply: &Reply) -> (u16, Value) {
    let mut json = if reply.body.is_empty() { Value::Null } else { reply.json() };
    if let Some(object) = json.as_object_mut() {
        for moving in ["timestamp", "deployment", "deployments"] {
            object.remove(moving);
        }
    }
    (reply.status, json)
}

#[test]
#[ignore = "needs nginx"]
fn behind_nginx_and_bare_the_answers_are_the_same() {
    let (world, nginx) = fronted(World::with([App::new("shop")]).host("max_body = \"64KiB\""));
    let commit = world.shop().version("v1", &[]);
    world.end_of(world.shop().push(&commit).accepted());
    let event = |name: &str, body: &Value| Request::post("/webhook/shop").header("X-GitHub-Event", name).json(body);
    let typed = |kind: &str, body: &str| {
        let request = Request::post("/webhook").header("X-GitHub-Event", "push").header("Content-Type", kind);
        request.body(body).signed(SECRET)
    };
    let push = |branch: &str| event("push", &payload::push("owner/shop", branch, &commit)).signed(SECRET);
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(80 << 10));
    let table = [
        ("health", Request::get("/webhook-health"), 200),
        ("a page with GET", Request::get("/webhook"), 405),
        ("a page with DELETE", Request::new("DELETE", "/webhook/shop"), 405),
        ("health with POST", Request::post("/webhook-health"), 405),
        ("no such page", Request::get("/webhooks"), 404),
        ("no such forge", Request::post("/webhooks/sourceforge").json(&json!({})), 404),
        ("no such app", Request::post("/webhook/nobody").json(&json!({})).signed(SECRET), 404),
        ("ping", event("ping", &json!({ "zen": "Design for failure." })).signed(SECRET), 200),
        ("another branch", push("other"), 200),
        ("what is live", push("main"), 200),
        ("another event", event("issues", &json!({})).signed(SECRET), 200),
        ("no signature", event("push", &json!({})), 401),
        ("a wrong signature", event("push", &json!({})).signed("not the secret"), 401),
        ("bad JSON", typed("application/json", "{ not json"), 400),
        ("text", typed("text/plain", "{}"), 415),
        ("too large", typed("application/json", &large), 413),
        ("nothing", typed("application/json", ""), 400),
        ("a script's nonsense", Request::post("/deploy/shop").json(&json!({ "commit": "HEAD" })).signed(SECRET), 400),
    ];
    for (name, request, status) in table {
        let bare = request.send(world.hook).unwrap_or_else(|error| panic!("{name}, bare: {error}"));
        let behind = request.send(nginx.port).unwrap_or_else(|error| panic!("{name}, behind nginx: {error}"));
        assert_eq!(same(&bare), same(&behind), "{name}: bare, behind nginx");
        assert_eq!(bare.status, status, "{name}: {bare:?}");
    }
    for (version, port) in [("v2", world.hook), ("v3", nginx.port)] {
        let request = world.shop().push_request("main", &world.shop().version(version, &[]));
        world.end_of(request.send(port).unwrap().accepted());
        world.shop().serves(version);
    }
    for (name, head, expected) in RAW {
        let statuses = [world.hook, nginx.port].map(|port| Line::saying(port, head).hear_status());
        assert_eq!(statuses, expected.map(Some), "{name}: bare, behind nginx");
    }
    assert!(!nginx.said().contains("[crit]"), "{}", nginx.said());
}

/// What a client library does not send; statuses bare and behind nginx, which refuses most of it by itself.
const RAW: [(&str, &str, [u16; 2]); 6] = [
    ("HEAD", "HEAD /webhook-health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", [200, 200]),
    (
        "two lengths",
        "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        [400, 400],
    ),
    ("a negative length", "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}", [400, 400]),
    ("no host", "GET /webhook-health HTTP/1.1\r\n\r\n", [400, 400]),
    ("HTTP/2.0", "GET /webhook-health HTTP/2.0\r\nHost: a\r\n\r\n", [505, 505]),
    ("a coding", "POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", [400, 501]),
];

/// A client of its own address: 127.0.0.`host`.
fn from(host: u8, port: u16, request: &str) -> Reply {
    let address = |host: u8, port: u16| SockaddrIn::from(SocketAddrV4::new([127, 0, 0, host].into(), port));
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &address(host, 0)).unwrap();
    connect(fd.as_raw_fd(), &address(1, port)).unwrap();
    let mut line = Line::over(TcpStream::from(fd));
    line.say(request).unwrap();
    line.hear().expect("an answer")
}

#[test]
#[ignore = "needs nginx"]
fn behind_nginx_each_client_has_a_share_of_its_own() {
    let mut world = World::empty().host("rate_limit = \"8/hour\"");
    world.add(App::new("shop"));
    let (world, nginx) = fronted(world);
    let ping = |lie: &str| {
        let signature = crate::world::http::sign(SECRET, b"{}");
        format!(
            "POST /webhook/shop HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-GitHub-Event: ping\r\n\
             X-Hub-Signature-256: {signature}\r\n{lie}Content-Length: 2\r\n\r\n{{}}"
        )
    };
    for number in 1..=8 {
        let lie = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        assert_eq!(from(2, nginx.port, &ping(&lie)).status, 200, "number {number}");
    }
    let limited = from(2, nginx.port, &ping("X-Forwarded-For: 203.0.113.99\r\n"));
    assert_eq!(limited.status, 429, "{limited:?}");
    assert!(limited.header("retry-after").is_some(), "{limited:?}");
    assert_eq!(from(3, nginx.port, &ping("")).status, 200, "another client");
    assert_eq!(from(2, nginx.port, "GET /webhook-health HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    drop((nginx, world));
}
