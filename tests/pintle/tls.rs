//! The listener in TLS: certificates of our own and of others, swapped and renewed while requests come in.

use crate::world::{App, Reply, Request, World, wait_until};
use pintle::base::WallTime;
use pintle::control::TlsView;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A client that trusts these certificates and no others.
fn trusting(certificates: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pem in certificates {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(client.with_root_certificates(roots).with_no_client_auth())
}

fn send(world: &World, client: &Arc<ClientConfig>, request: &Request) -> io::Result<Reply> {
    let stream = TcpStream::connect(("127.0.0.1", world.hook))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let connection = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap());
    let connection = connection.map_err(io::Error::other)?;
    request.exchange(&mut StreamOwned::new(connection, stream))
}

/// Waits until the listener answers `client`.
#[track_caller]
fn answers(world: &World, client: &Arc<ClientConfig>) {
    world.wait("an answer in TLS", || send(world, client, &Request::get("/health")).ok().filter(|r| r.status == 200));
}

fn tls(world: &World) -> Option<TlsView> {
    world.status().listener.tls
}

/// Starts the daemon and waits for its certificate.
fn up(world: &mut World) -> TlsView {
    world.launch_daemon();
    world.wait_for_daemon();
    world.wait("a certificate", || tls(world).filter(|tls| tls.fingerprint.is_some()))
}

fn own(world: &World) -> PathBuf {
    world.state().join("tls/self-signed.pem")
}

/// The certificate and its key, valid until then.
fn made(until: (i32, u8, u8)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn openssl(args: &[&str], stdin: Stdio) -> String {
    let output = Command::new("openssl").args(args).stdin(stdin).output().expect("openssl is installed");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
#[ignore = "needs openssl"]
fn a_certificate_of_our_own_serves_a_deploy_and_survives_a_restart() {
    let mut world = World::with([App::new("shop")]).host("tls = \"self-signed\"");
    let shown = up(&mut world);
    let pem = fs::read_to_string(own(&world)).unwrap();
    assert_eq!((mode(&own(&world)), mode(&world.state().join("tls"))), (0o600, 0o700));
    let client = trusting(&[&pem]);
    answers(&world, &client);

    let commit = world.shop().version("v1", &[]);
    let number = send(&world, &client, &world.shop().push_request("main", &commit)).unwrap().accepted();
    world.end_of(number);
    world.shop().serves("v1");

    let fingerprint = shown.fingerprint.clone().unwrap();
    let file = own(&world).display().to_string();
    let says =
        openssl(&["x509", "-in", &file, "-noout", "-fingerprint", "-sha256", "-ext", "subjectAltName"], Stdio::null());
    assert!(says.contains(&fingerprint) && says.contains("DNS:localhost") && says.contains("127.0.0.1"), "{says}");
    assert!(world.pintle(&["status"]).exits(0).stdout.contains(&format!("SHA-256 {fingerprint}")));
    assert_eq!(shown.kind, "self-signed");

    let listener = world.status().listener.pid.unwrap();
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{listener}/{file}")).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("PRIVATE"), "the key is in {file}");
    }
    let plain = Request::get("/health").send(world.hook).unwrap();
    assert!(plain.status == 400 && plain.body.contains("HTTPS"), "{plain:?}");

    world.stop_daemon();
    assert_eq!(up(&mut world), shown, "the same one, which others have come to trust");
    answers(&world, &client);

    fs::remove_file(own(&world)).unwrap();
    world.pintle(&["reload"]).exits(0);
    world.wait("another one", || tls(&world).filter(|tls| tls.fingerprint != shown.fingerprint));
    answers(&world, &trusting(&[&fs::read_to_string(own(&world)).unwrap()]));
}

#[test]
#[ignore = "needs openssl"]
fn what_is_older_than_tls_1_2_is_refused() {
    let mut world = World::with([App::new("shop")]).host("tls = \"self-signed\"");
    up(&mut world);
    answers(&world, &trusting(&[&fs::read_to_string(own(&world)).unwrap()]));
    let at = format!("127.0.0.1:{}", world.hook);
    let agree = |version: &str| {
        openssl(&["s_client", "-connect", &at, version, "-cipher", "DEFAULT@SECLEVEL=0"], Stdio::null())
    };
    for (version, agreed) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let says = agree(version);
        assert!(says.contains(&format!("New, {agreed}")), "{says}");
    }
    let says = agree("-tls1_1");
    assert!(says.contains("Cipher is (NONE)") && says.contains("alert"), "{says}");
}

#[test]
fn one_that_ends_soon_is_made_anew() {
    let mut world = World::with([App::new("shop")]).host("tls = \"self-signed\"");
    let soon = WallTime(pintle::base::Moment::now().wall.0 + 10 * 86_400_000).to_string();
    let part = |range: std::ops::Range<usize>| soon[range].parse::<u16>().unwrap();
    let (chain, key) = made((part(0..4).into(), part(5..7) as u8, part(8..10) as u8));
    fs::create_dir_all(own(&world).parent().unwrap()).unwrap();
    fs::write(own(&world), format!("{chain}{key}")).unwrap();
    up(&mut world);
    // A clock that nobody disciplines is believed ten minutes after the host's start.
    let late = soon.parse::<WallTime>().unwrap().plus(Duration::from_secs(200 * 86_400));
    let after = world.wait("a new one", || tls(&world).filter(|tls| tls.expires > Some(late)));
    assert_eq!(mode(&own(&world)), 0o600, "also what was not, before");
    let pem = fs::read_to_string(own(&world)).unwrap();
    assert_ne!(pem, format!("{chain}{key}"));
    answers(&world, &trusting(&[&pem]));
    assert!(after.fingerprint.is_some());
}

/// As certbot keeps them: links into an archive.
struct Certbot {
    dir: PathBuf,
}

impl Certbot {
    fn new(world: &World, pair: &(String, String)) -> Certbot {
        let certbot = Certbot { dir: world.root.join("letsencrypt") };
        fs::create_dir_all(certbot.dir.join("archive")).unwrap();
        fs::create_dir_all(certbot.dir.join("live")).unwrap();
        certbot.renew(1, pair);
        certbot
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join("live").join(format!("{name}.pem"))
    }

    fn renew(&self, number: u32, (chain, key): &(String, String)) {
        self.put(number, "fullchain", chain);
        self.put(number, "privkey", key);
    }

    fn put(&self, number: u32, name: &str, text: &str) {
        let target = self.dir.join(format!("archive/{name}{number}.pem"));
        fs::write(&target, text).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        let link = self.dir.join(format!("live/.{name}"));
        symlink(format!("../archive/{name}{number}.pem"), &link).unwrap();
        fs::rename(link, self.file(name)).unwrap();
    }
}

fn behind_certbot(pair: &(String, String)) -> (World, Certbot) {
    let world = World::with([App::new("shop")]);
    let certbot = Certbot::new(&world, pair);
    let (cert, key) = (certbot.file("fullchain"), certbot.file("privkey"));
    let mut world = world.host(&format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display()));
    up(&mut world);
    answers(&world, &trusting(&[&pair.0]));
    (world, certbot)
}

#[test]
fn a_renewed_certificate_is_used_while_requests_come_in_and_none_fails() {
    let (first, second) = (made((2050, 1, 1)), made((2051, 1, 1)));
    let (world, certbot) = behind_certbot(&first);
    let client = trusting(&[&first.0, &second.0]);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = || {
            while !over.load(Ordering::Relaxed) {
                let reply = send(&world, &client, &Request::get("/health")).map(|reply| reply.status);
                assert!(matches!(reply, Ok(200)), "{reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        wait_until("requests", || (answered.load(Ordering::Relaxed) > 20).then_some(()));
        certbot.renew(2, &second);
        let strict = trusting(&[&second.0]);
        answers(&world, &strict);
        let by_then = answered.load(Ordering::Relaxed);
        wait_until("more of them", || (answered.load(Ordering::Relaxed) > by_then + 20).then_some(()));
        over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().expect("no request fails"));
    });
    assert_eq!(tls(&world).unwrap().expires, "2051-01-01T00:00:00Z".parse().ok());
}

#[test]
fn a_broken_pair_changes_nothing_and_is_said_until_it_is_whole() {
    let (first, second) = (made((2050, 1, 1)), made((2051, 1, 1)));
    let (world, certbot) = behind_certbot(&first);
    certbot.put(2, "fullchain", &second.0);
    let notices = || world.status().notices;
    wait_until("the notice", || notices().iter().any(|notice| notice.contains("does not belong")).then_some(()));
    answers(&world, &trusting(&[&first.0]));
    assert!(world.daemon_said().contains("does not belong"));
    certbot.put(2, "privkey", &second.1);
    answers(&world, &trusting(&[&second.0]));
    wait_until("no notice", || notices().is_empty().then_some(()));
}

#[test]
fn without_its_certificate_the_apps_run_and_the_listener_waits() {
    let pair = made((2050, 1, 1));
    let (mut world, certbot) = behind_certbot(&pair);
    let client = trusting(&[&pair.0]);
    let commit = world.shop().version("v1", &[]);
    world.end_of(send(&world, &client, &world.shop().push_request("main", &commit)).unwrap().accepted());
    world.stop_daemon();
    fs::rename(certbot.file("privkey"), certbot.file("away")).unwrap();
    world.launch_daemon();
    world.wait_for_daemon();
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
    wait_until("the notice", || world.status().notices.iter().any(|it| it.starts_with("no webhooks")).then_some(()));
    assert_eq!(world.status().listener.pid, None, "plain HTTP is no way out");
    fs::rename(certbot.file("away"), certbot.file("privkey")).unwrap();
    answers(&world, &client);
}

#[test]
fn connections_that_never_finish_a_handshake_stop_nobody() {
    let mut world = World::with([App::new("shop")]).host("tls = \"self-signed\"");
    up(&mut world);
    let client = trusting(&[&fs::read_to_string(own(&world)).unwrap()]);
    answers(&world, &client);
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut idle = Vec::new();
    for round in 0..600 {
        let mut stream = TcpStream::connect(("127.0.0.1", world.hook)).unwrap();
        if round % 2 == 0 {
            let _ = stream.write_all(&hello);
        }
        idle.push(stream);
        if round % 100 == 99 {
            let began = Instant::now();
            send(&world, &client, &Request::get("/health")).unwrap().is(200);
            assert!(began.elapsed() < Duration::from_secs(3), "{:?} after {round}", began.elapsed());
        }
    }
    drop(idle);
}
