//! Boxes that no webhook reaches, and webhooks that were missed.

use crate::world::{App, Site, World, is_root};
use pintle::base::Moment;
use pintle::control::{DeployStatus, DeploymentView, Phase, PollView, Trigger};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn polled_shop(interval: &str) -> App {
    App::new("shop").set("trigger", "poll", &format!("{interval:?}"))
}

/// As a shop is that says nothing of polling.
fn unpolled_shop() -> App {
    App::new("shop").unset("trigger", "poll")
}

/// The deployment of `commit`, once it is over.
#[track_caller]
fn deployed(world: &World, commit: &str) -> DeploymentView {
    world.wait("a deployment that nobody asked for", || {
        let found = world.history().into_iter().find(|deployment| deployment.commit.as_deref() == Some(commit));
        found.filter(|deployment| deployment.status.is_final())
    })
}

/// What `status` says of the looks, once it satisfies `is`.
#[track_caller]
fn looked(shop: &Site, world: &World, what: &str, is: impl Fn(&PollView) -> bool) -> PollView {
    world.wait(what, || shop.view().and_then(|view| view.poll).filter(|poll| is(poll)))
}

/// Waits for another look after this moment.
#[track_caller]
fn looks_again(shop: &Site, world: &World) -> PollView {
    let now = Moment::now().wall;
    looked(shop, world, "another look", |poll| poll.last.is_some_and(|last| last > now))
}

#[test]
fn a_push_is_found_by_polling_and_the_first_deploy_too() {
    let world = World::with([polled_shop("1s").unset("trigger", "secret")]);
    let shop = world.shop();
    let first = shop.version("v1", &[]);
    let world = world.up();
    let shop = world.shop();
    assert_eq!(deployed(&world, &first).status, DeployStatus::Success);
    let second = shop.version("v2", &[]);
    let found = deployed(&world, &second);
    assert_eq!((found.status, found.trigger), (DeployStatus::Success, Trigger::Poll));
    shop.serves("v2");
    let poll = looked(shop, &world, "a look at what is live", |poll| {
        poll.result.as_ref().is_some_and(|result| result.contains("live already"))
    });
    assert!(poll.ok == Some(true) && poll.last.is_some(), "{poll:?}");
    assert_eq!(world.history().len(), 2, "each once");
}

#[test]
fn webhook_and_poll_of_one_commit_are_one_deployment() {
    let world = World::with([polled_shop("1s")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    for round in 2..8 {
        let version = format!("v{round}");
        let commit = shop.version(&version, &[]);
        // Anywhere between the look before and the look after.
        std::thread::sleep(Duration::from_millis(round * 170 % 900));
        let reply = shop.push(&commit);
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        assert_eq!(deployed(&world, &commit).status, DeployStatus::Success);
        let of_it = world.history().into_iter().filter(|one| one.commit.as_deref() == Some(commit.as_str()));
        assert_eq!(of_it.count(), 1, "{:#?}", world.history());
        shop.serves(&version);
    }
}

#[test]
fn a_webhook_missed_while_the_daemon_was_down_is_found_at_its_start() {
    let mut world = World::with([unpolled_shop()]).up();
    world.shop().goes_live("v1");
    world.stop_daemon();
    let missed = world.shop().version("v2", &[]);
    world.start_daemon();
    assert_eq!(deployed(&world, &missed).trigger, Trigger::Poll);
    world.shop().serves("v2");
    let poll = looked(world.shop(), &world, "the look", |poll| poll.last.is_some());
    assert_eq!(poll.next, None, "one look, and no more: {poll:?}");
}

#[test]
fn a_first_deploy_and_what_ci_has_not_passed_are_not_begun_by_the_look_at_the_start() {
    let ci = unpolled_shop().set("trigger", "on", "[\"workflow_run\"]").set("trigger", "workflow", "\"CI\"");
    let mut ci = ci;
    ci.name = "ci".into();
    let ci = ci.set("trigger", "secret", "{ file = \"secrets/ci\" }").set("trigger", "repository", "\"owner/ci\"");
    let world = World::with([unpolled_shop(), ci]);
    world.shop().version("v1", &[]);
    world.site("ci").version("v1", &[]);
    let world = world.up();
    let poll = looked(world.shop(), &world, "the look at the start", |poll| poll.last.is_some());
    assert!(poll.result.as_ref().is_some_and(|result| result.contains("nothing is live yet")), "{poll:?}");
    assert_eq!(world.site("ci").view().unwrap().poll, None);
    assert_eq!(world.history(), []);
}

#[test]
fn what_failed_or_was_taken_back_by_a_person_is_not_begun_again() {
    let mut world = World::with([polled_shop("1s").step("build", "build", "! test -e broken")]).up();
    world.shop().goes_live("v1");
    let broken = {
        let shop = world.shop();
        shop.repo.commit(&[("broken", "")])
    };
    let failed = deployed(&world, &broken);
    assert_eq!((failed.status, failed.phase), (DeployStatus::Failed, Phase::Build));
    looks_again(world.shop(), &world);
    // The next daemon remembers too.
    world.kill_daemon();
    world.start_daemon();
    let poll = looked(world.shop(), &world, "a look", |poll| poll.last.is_some());
    assert!(poll.result.as_ref().is_some_and(|result| result.contains("did not move")), "{poll:?}");
    assert_eq!(world.history().len(), 2);

    let shop = world.shop();
    shop.repo.git(&["rm", "--quiet", "broken"]);
    let good = shop.version("v2", &[]);
    assert_eq!(deployed(&world, &good).status, DeployStatus::Success);
    world.pintle(&["rollback", "shop"]).exits(0);
    let before = world.history().len();
    looks_again(shop, &world);
    shop.serves("v1");
    assert_eq!(world.history().len(), before, "a person's word stands until the branch moves");
}

#[test]
fn a_branch_that_was_only_taken_back_is_not_deployed_and_one_that_was_rewritten_is() {
    let world = World::with([polled_shop("1s")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");
    shop.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    looks_again(shop, &world);
    let poll =
        looked(shop, &world, "an older tip", |poll| poll.result.as_ref().is_some_and(|said| said.contains("older")));
    assert_eq!((world.history().len(), poll.ok), (2, Some(true)));
    let other = shop.version("v3", &[]);
    assert_eq!(deployed(&world, &other).status, DeployStatus::Success);
    shop.serves("v3");
}

#[test]
fn an_outage_is_said_once_and_what_was_pushed_in_it_is_deployed_after_it() {
    let world = World::with([polled_shop("1s")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let away = shop.repo.path.with_extension("away");
    fs::rename(&shop.repo.path, &away).unwrap();
    looked(shop, &world, "a look that fails", |poll| poll.ok == Some(false));
    looks_again(shop, &world);
    fs::rename(&away, &shop.repo.path).unwrap();
    let pushed = shop.version("v2", &[]);
    assert_eq!(deployed(&world, &pushed).status, DeployStatus::Success);
    let said = world.daemon_said();
    assert_eq!(said.matches("ever more slowly").count(), 1, "{said}");
    assert_eq!(said.matches("answers again").count(), 1, "{said}");
}

/// Listens and says `answer` to whoever asks; without one it says nothing for ever.
fn forge(answer: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = vec![];
        for mut stream in listener.incoming().flatten() {
            match answer {
                Some(answer) => {
                    let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                    let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
                }
                None => kept.push(stream),
            }
        }
    });
    port
}

#[test]
fn a_forge_that_is_down_is_said_and_one_that_hangs_holds_nobody_up() {
    let down = forge(Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let hangs = forge(None);
    let of = |name: &str, port: u16| {
        let app = App::new(name).set("trigger", "poll", "\"1s\"");
        app.set("source", "git", &format!("\"http://127.0.0.1:{port}/shop.git\""))
    };
    let mut world = World::with([of("down", down), of("hangs", hangs)]).up();
    let poll = looked(world.site("down"), &world, "a look that fails", |poll| poll.ok == Some(false));
    assert!(poll.result.as_ref().is_some_and(|result| result.contains("503")), "{poll:?}");
    // The other one is being looked at: git waits, and the daemon answers and ends all the same.
    world.wait("the look that hangs", || {
        let asks =
            |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| contains(&words, b"ls-remote"));
        let port = format!(":{hangs}/");
        let ours =
            |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| contains(&words, port.as_bytes()));
        pids().into_iter().find(|pid| asks(pid) && ours(pid))
    });
    let began = Instant::now();
    world.status();
    assert!(began.elapsed() < Duration::from_secs(5), "the loop waits for git");
    assert_eq!(world.stop_daemon().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "the end waits for git");
}

fn contains(words: &[u8], word: &[u8]) -> bool {
    words.windows(word.len()).any(|part| part == word)
}

fn pids() -> Vec<i32> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// A `git` that notes what it is asked before it does it; gives the PATH to use and where the notes are.
fn counted_git(dir: &Path) -> (String, PathBuf) {
    let (bin, notes) = (dir.join("bin"), dir.join("git-calls"));
    fs::create_dir_all(&bin).unwrap();
    let paths = std::env::var("PATH").unwrap();
    let real = std::env::split_paths(&paths).map(|dir| dir.join("git")).find(|git| git.exists()).unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> {}\nexec {} \"$@\"\n", notes.display(), real.display());
    fs::write(bin.join("git"), script).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    (format!("{}:{paths}", bin.display()), notes)
}

#[test]
fn a_look_is_one_question_and_changes_nothing_on_the_disk() {
    let world = World::with([polled_shop("2s")]);
    let (path, notes) = counted_git(&world.root);
    let world = world.environment("PATH", &path).up();
    let shop = world.shop();
    shop.goes_live("v1");
    looks_again(shop, &world);
    let mirror = || fs::metadata(shop.dir().join("repo.git")).unwrap().modified().unwrap();
    let diary = || fs::metadata(world.state().join("pintle.db-wal")).and_then(|wal| wal.modified()).ok();
    let (unchanged, began) = ((mirror(), diary()), Instant::now());
    fs::remove_file(&notes).unwrap();
    for _ in 0..3 {
        looks_again(shop, &world);
    }
    let calls = fs::read_to_string(&notes).unwrap();
    let most = began.elapsed().as_millis() / 1800 + 1;
    let count = calls.lines().count() as u128;
    assert!((3..=most).contains(&count), "{count} calls, {most} looks at most:\n{calls}");
    assert!(calls.lines().all(|call| call.contains("ls-remote") && call.ends_with("refs/heads/main")), "{calls}");
    assert_eq!((mirror(), diary()), unchanged, "something was written");
}

#[test]
#[ignore = "needs root: a network of its own that comes and goes"]
fn a_push_missed_while_the_network_was_away_is_found_when_it_is_back() {
    assert!(is_root(), "only root has networks of its own");
    // This thread, and what it starts, from here on.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network of our own");
    ip("link set lo up");
    ip("link add way type veth peer name end");
    ip("link set end up");
    let world = World::with([unpolled_shop()]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    looked(shop, &world, "the look at the start", |poll| poll.last.is_some());
    let missed = shop.version("v2", &[]);
    let now = Moment::now().wall;
    ip("addr add 192.0.2.2/24 dev way");
    ip("link set way up");
    ip("route add default via 192.0.2.1 dev way");
    let found = deployed(&world, &missed);
    assert_eq!((found.status, found.trigger), (DeployStatus::Success, Trigger::Poll));
    shop.serves("v2");
    // Once a minute at most, whatever the link does.
    for _ in 0..5 {
        ip("link set way down");
        ip("link set way up");
    }
    ip("route add default via 192.0.2.1 dev way");
    let poll = looked(shop, &world, "the look that is put off", |poll| poll.next.is_some());
    assert!(poll.next.unwrap().since(now) >= Duration::from_secs(50), "{poll:?}");
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().expect("ip is installed (iproute2)");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}
