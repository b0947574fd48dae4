//! What changes while an app lives: its services, its shared paths, its configuration, and what people want of it.

use crate::deploy::ended;
use crate::world::site::Site;
use crate::world::{App, Gate, Request, World, processes, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::control::{AppState, DeployStatus, Phase, Trigger};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn reload(world: &World) {
    kill(Pid::from_raw(world.daemon_pid()), Signal::SIGHUP).unwrap();
}

/// The shop with the ports it has, to be configured anew.
fn same_ports(site: &Site) -> App {
    let mut app = App::new(&site.name);
    app.port = Some(site.port);
    let app = app.set("service.web", "listen", &format!("[\"127.0.0.1:{}\"]", site.port));
    app.set("health", "http", &format!("\"http://127.0.0.1:{}/health\"", site.port))
}

#[test]
fn an_app_that_is_stopped_stays_so_over_a_deploy() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    world.pintle(&["stop", "shop"]).exits(0);
    let report = shop.deploy("v2", &[]);
    assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
    assert_eq!(shop.view().unwrap().state, AppState::Stopped);
    assert_eq!(shop.pid_of("web"), None);
    world.pintle(&["start", "shop"]).exits(0);
    world.wait("the new version", || shop.get("/").ok().filter(|reply| reply.body == "v2"));
}

#[test]
fn services_come_and_go_with_the_configuration() {
    let mut world = World::with([App::new("shop").worker("old", &[])]).up();
    world.shop().goes_live("v1");
    let old = world.wait("the worker", || world.shop().pid_of("old"));
    let changed = same_ports(world.shop()).worker("new", &[]);
    world.add(changed);
    reload(&world);
    let shop = world.shop();
    shop.goes_live("v2");
    wait_until("the old worker's end", || (!processes::is_alive(old)).then_some(()));
    world.wait("the new worker", || shop.pid_of("new"));
    world.pintle(&["rollback", "shop"]).exits(0);
    world.wait("the old worker's return", || shop.pid_of("old"));
    shop.serves("v1");
}

#[test]
fn a_reload_hands_over_what_changed_and_touches_nothing_else() {
    let mut world = World::with([App::new("shop").worker("job", &[])]).up();
    world.shop().goes_live("v1");
    let job = world.wait("the worker", || world.shop().pid_of("job"));
    let web = world.shop().pid();
    let greeting = "{ GREETING = \"hello\" }";
    world.add(same_ports(world.shop()).set("service.web", "env", greeting).worker("job", &[]));
    reload(&world);
    let greeted = |world: &World| {
        let shop = world.shop().clone();
        world.wait("the greeting", || shop.get("/env/GREETING").ok().filter(|reply| reply.body == "hello"));
        shop.pid()
    };
    let now = greeted(&world);
    assert_ne!(now, web, "its definition changed");
    assert_eq!(world.shop().pid_of("job"), Some(job), "its definition did not");

    world.kill_daemon();
    world.start_daemon();
    assert_eq!((greeted(&world), world.shop().pid_of("job")), (now, Some(job)), "a killed daemon changes nothing");
    world.stop_daemon();
    world.start_daemon();
    greeted(&world);

    world.shop().goes_live("v2");
    world.pintle(&["rollback", "shop"]).exits(0);
    let shop = world.shop();
    shop.serves("v1");
    assert_eq!(shop.get("/env/GREETING").unwrap().status, 404, "a rollback runs old code with its old definition");
}

#[test]
fn a_definition_that_does_not_run_is_taken_back() {
    let mut world = World::with([App::new("shop").worker("job", &[])]).up();
    world.shop().goes_live("v1");
    let job = world.wait("the worker", || world.shop().pid_of("job"));
    let absent = "[\"./only-in-the-next-release\"]";
    world.add(same_ports(world.shop()).set("service.web", "run", absent).worker("job", &[]));
    reload(&world);
    world.wait("the word about it", || world.daemon_said().contains("is taken back").then_some(()));
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
    assert_eq!(world.shop().pid_of("job"), Some(job));
    world.kill_daemon();
    world.start_daemon();
    world.shop().serves("v1");
}

#[test]
fn an_app_can_be_added_while_others_run() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    let pid = world.shop().pid();
    world.add(App::new("blog"));
    reload(&world);
    world.wait("the new app", || world.status().apps.iter().any(|app| app.app.as_str() == "blog").then_some(()));
    // The listener learns of it too, in its own time.
    let blog = world.site("blog");
    let commit = blog.version("b1", &[]);
    let reply = world
        .wait("its webhook", || blog.push_request("main", &commit).send(world.hook).ok().filter(|r| r.status == 202));
    ended(&blog.end_of(reply.accepted()), DeployStatus::Success, 0);
    blog.serves("b1");
    assert_eq!(world.shop().pid(), pid, "the other app is left alone");
}

#[test]
fn an_app_that_is_taken_out_ends() {
    let world = World::with([App::new("shop"), App::new("blog")]).up();
    world.shop().goes_live("v1");
    world.site("blog").goes_live("b1");
    let pid = world.site("blog").pid();
    fs::remove_file(world.config().join("apps/blog.toml")).unwrap();
    reload(&world);
    wait_until("its end", || (!processes::is_alive(pid)).then_some(()));
    world.shop().serves("v1");
    assert!(world.site("blog").dir().join("shared/data/README").exists(), "its data stays");
}

#[test]
fn a_daemon_that_is_told_to_end_during_a_deploy_tries_it_again() {
    let mut world = World::with([]);
    let gate = Gate::closed(&world.root);
    world.add(App::new("shop").step("build", "gate", &format!("grep v1 version || {}", gate.wait())));
    let mut world = world.up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let number = shop.push(&shop.version("v2", &[])).accepted();
    shop.reaches(number, Phase::Build);
    assert_eq!(world.stop_daemon().code(), Some(0));
    gate.open();
    world.start_daemon();
    world.wait("the retry", || {
        let history = world.history();
        history.iter().any(|d| d.trigger == Trigger::Retry && d.status == DeployStatus::Success).then_some(())
    });
    assert_eq!(world.show(number).deployment.status, DeployStatus::Failed);
    shop.serves("v2");
}

#[test]
fn shared_paths_are_seeded_once_and_then_kept() {
    let world =
        World::with([App::new("shop").set("source", "shared", "[\"data\", \"uploads\", \"settings.ini\"]")]).up();
    let shop = world.shop();
    shop.repo.commit(&[("settings.ini", "from=first"), ("data/seed", "first")]);
    shop.goes_live("v1");
    fs::write(shop.shared("settings.ini"), "from=person").unwrap();
    fs::write(shop.dir().join("current/data/seed"), "changed").unwrap();
    assert!(shop.dir().join("current/uploads").is_dir(), "a shared path that no commit has is a directory");
    fs::write(shop.dir().join("current/uploads/a.jpg"), "bytes").unwrap();
    shop.repo.commit(&[("settings.ini", "from=second"), ("data/seed", "second")]);
    shop.goes_live("v2");
    assert_eq!(shop.live("settings.ini").as_deref(), Some("from=person"));
    assert_eq!(shop.live("data/seed").as_deref(), Some("changed"));
    assert_eq!(shop.live("uploads/a.jpg").as_deref(), Some("bytes"));
}

#[test]
fn a_step_cannot_leave_processes_behind() {
    let world =
        World::with([App::new("shop").step("build", "leaver", "(sleep 600 & setsid sleep 601 &) > /dev/null 2>&1")])
            .up();
    world.shop().goes_live("v1");
    let left: Vec<i32> = processes::of(&world.places()).into_iter().filter(|pid| is_sleep(*pid)).collect();
    assert!(left.is_empty(), "{}", processes::describe(&world.places()));
}

fn is_sleep(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
}

#[test]
fn output_that_is_no_text_does_no_harm() {
    let noise = "head -c 3000 /dev/zero | tr '\\0' '\\377'; printf 'no newline'";
    let world = World::with([App::new("shop").step("build", "noise", noise)]).up();
    let report = world.shop().goes_live("v1");
    let printed = world.pintle(&["--json", "logs", "--deploy", &report.deployment.number.0.to_string()]).exits(0);
    assert!(printed.stdout.contains("no newline"), "{printed:?}");
}

#[test]
fn an_app_and_the_listener_may_live_on_unix_sockets() {
    let mut world = World::with([]);
    let (app, hook) = (world.root.join("app.sock"), world.root.join("hook.sock"));
    let listen = format!("[\"unix:{}\"]", app.display());
    world.add(App::new("shop").set("service.web", "listen", &listen).without("health"));
    let config = world.config().join("pintle.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&format!("127.0.0.1:{}", world.hook), &format!("unix:{}", hook.display())))
        .unwrap();
    world.launch_daemon();
    world.wait_for_daemon();
    let ask = |socket: &std::path::Path, path: &str| -> Option<String> {
        let mut stream = UnixStream::connect(socket).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    world.wait("the listener", || ask(&hook, "/health").filter(|answer| answer.contains("healthy")));
    world.shop().version("v1", &[]);
    world.pintle(&["deploy", "shop"]).exits(0);
    assert!(ask(&app, "/").is_some_and(|answer| answer.ends_with("v1")));
}

#[test]
fn a_waiting_script_that_leaves_changes_nothing() {
    let (world, gate) = World::of_a_gated_shop();
    let shop = world.shop();
    let body = serde_json::json!({ "commit": shop.version("v1", &[]) });
    let request = Request::post("/deploy/shop?wait=1").json(&body).signed(crate::world::site::SECRET);
    request.send_and_leave(world.hook).unwrap();
    let number = world.wait("the deploy", || world.history().first().map(|d| d.number.0));
    gate.open();
    ended(&shop.end_of(number), DeployStatus::Success, 0);
    shop.send(&Request::get("/health")).is(200);
}

#[test]
fn a_rollback_can_bring_the_data_back_too() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    fs::write(shop.shared("data/note"), "of v1").unwrap();
    shop.goes_live("v2");
    fs::write(shop.shared("data/note"), "of v2").unwrap();
    world.pintle(&["rollback", "shop"]).exits(0);
    assert_eq!(fs::read_to_string(shop.shared("data/note")).unwrap(), "of v2", "without being asked data is kept");
    world.pintle(&["deploy", "shop", "--force"]).exits(0);
    world.pintle(&["rollback", "shop", "--with-data"]).exits(0);
    shop.serves("v1");
    assert!(["of v1", "of v2"].contains(&fs::read_to_string(shop.shared("data/note")).unwrap().as_str()));
}

#[test]
fn an_app_that_turns_unhealthy_is_restarted_once_and_shown_until_it_is_well() {
    let world = World::of_a_shop();
    let shop = world.shop();
    ended(&shop.deploy("v1", &["sick_if = data/sick"]), DeployStatus::Success, 0);
    let pid = shop.pid();
    fs::write(shop.shared("data/sick"), "").unwrap();
    world.wait("degraded", || (shop.view()?.state == AppState::Degraded).then_some(()));
    let second = world.wait("a fresh process", || Some(shop.pid()).filter(|now| *now != pid));
    fs::remove_file(shop.shared("data/sick")).unwrap();
    world.wait("running again", || (shop.view()?.state == AppState::Running).then_some(()));
    assert_eq!(shop.pid(), second, "one restart is all an incident gets");
}

#[test]
fn a_reload_gives_the_listener_its_new_limits() {
    let world = World::of_a_shop();
    let file = world.config().join("pintle.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[listen]", "[listen]\nmax_body = \"1KiB\"")).unwrap();
    let push = || Request::post("/webhook").body(vec![b'x'; 2048]);
    world.shop().send(&push()).is(401);
    world.pintle(&["reload"]).exits(0);
    wait_until("a smaller body is too large", || (world.shop().send(&push()).status == 413).then_some(()));
}
