use super::super::scratch::{Scratch, app_with, brief, environment};
use super::super::*;
use super::clash;
use std::path::Path;

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

#[test]
fn defaults_are_those_of_the_contract() {
    let scratch = Scratch::new("defaults");
    let more = "shared = [\"data\"]\n[service.web]\nrun = [\"app\"]\nlisten = [\"127.0.0.1:5000\"]\n[service.worker]\nrun = \"work\"\n\
                [[step]]\nname = \"s\"\nphase = \"build\"\nrun = \"true\"\n[health]\nservice = \"web\"\npath = \"/\"\n";
    let loaded = scratch.load_app(&app_with(more)).unwrap();
    assert_eq!(loaded.notices, []);
    let Host { state_dir, runtime_dir, listen, control_group, health, .. } = loaded.config.host;
    assert_eq!((state_dir, runtime_dir), (PathBuf::from("/var/lib/pintle"), PathBuf::from("/run/pintle")));
    assert_eq!((listen, control_group), (None, None));
    assert_eq!(health, HostHealth::default());
    let app = &loaded.config.apps[&name("app")];
    assert_eq!((app.source.keep_releases, &app.source.subdirectory), (5, &PathBuf::new()));
    assert_eq!((app.source.submodules, app.source.lfs, &app.source.access), (false, false, &Access::default()));
    assert_eq!(app.trigger.repository.as_deref(), Some("owner/name"));
    assert_eq!(app.trigger.on, [TriggerEvent::Push]);
    assert_eq!(app.trigger.workflow_events, ["push", "workflow_dispatch"]);
    let seconds = Duration::from_secs;
    let deploy = Deploy {
        timeout: seconds(300),
        probation: seconds(30),
        startup: seconds(60),
        nice: 10,
        migrate_stopped: false,
    };
    assert_eq!(app.deploy, deploy);
    assert_eq!(app.rehearsal, Rehearsal { shared: RehearsalData::Copy, env: BTreeMap::new(), off: None });
    assert_eq!((app.steps[0].timeout, app.steps[0].warn_only), (seconds(300), false));
    let probe = &app.probes[0];
    assert_eq!(
        (probe.name.as_str(), probe.every, probe.timeout, probe.failures),
        ("health", seconds(30), seconds(5), 3)
    );
    assert!(matches!(&probe.target, ProbeTarget::Service { page, .. } if *page == Page::default()));
    let paths = vec![PathBuf::from("data")];
    let backup = Backup { paths, sqlite: Vec::new(), keep: 5, keep_for: None, before_deploy: true };
    assert_eq!(app.backup, backup);
    let [web, worker] = ["web", "worker"].map(|name| &app.services[&name.parse().unwrap()]);
    assert_eq!((web.handover, web.rehearse), (Handover::Socket, true));
    assert_eq!((worker.handover, worker.rehearse), (Handover::Restart, false));
    for service in [web, worker] {
        assert_eq!((service.instances, service.restart, service.ready), (1, Restart::Always, Ready::Exec));
        assert_eq!((service.stop_signal, service.stop_timeout), (libc::SIGTERM, seconds(10)));
        assert_eq!((service.watchdog, service.memory_max), (None, None));
        assert_eq!((service.no_new_privs, service.private_tmp), (true, false));
        assert_eq!((service.log_max, service.log_keep), (Bytes(10 << 20), 5));
    }
}

#[test]
fn the_listeners_defaults_are_those_of_the_contract() {
    let scratch = Scratch::new("listen-defaults");
    scratch.write("etc/pintle.toml", "[listen]\n[control]\ngroup = \"staff\"\n");
    let loaded = scratch.load().unwrap();
    assert_eq!(loaded.config.host.control_group.as_deref(), Some("staff"));
    let listen = loaded.config.host.listen.unwrap();
    assert_eq!(listen.address.to_string(), "127.0.0.1:9000");
    assert_eq!((listen.max_body, listen.memory_budget, listen.connections), (Bytes(25 << 20), Bytes(48 << 20), 256));
    assert_eq!((listen.header_timeout, listen.body_timeout), (Duration::from_secs(5), Duration::from_secs(20)));
    assert_eq!(listen.rate_limit, Rate { count: 30, per: Duration::from_secs(60) });
    assert_eq!((listen.user, listen.token), (None, None));
    assert_eq!(loaded.notices.len(), 1, "no application is configured: {:?}", loaded.notices);
}

#[test]
fn twenty_mistakes_are_twenty_problems() {
    let scratch = Scratch::new("twenty");
    scratch.write(
        "etc/pintle.toml",
        "state_dir = \"var\"\nstate_dri = \"/x\"\n[listen]\naddress = \"9000\"\nmax_body = 25\n",
    );
    scratch.write("etc/pintle.env", "A=1\nnonsense\n");
    scratch.write("etc/apps/Bad Name.toml", "");
    scratch.write("etc/apps/broken.toml", "[source\n");
    let app = "[source]\ngit = \"ext::sh -c id\"\nbranch = \"-b\"\nkeep_releases = 1\nshared = [\"data\", \"data/x\", \"../y\"]\n\
               [app]\nuser = \"ghost\"\n[trigger]\nforge = \"gihub\"\nsecret = \"hunter2\"\n[deploy]\ntimeout = 300\n\
               [[step]]\nname = \"s\"\nphase = \"biuld\"\nrun = \"true\"\n[[step]]\nname = \"s\"\nphase = \"test\"\n\
               [service.web]\nrun = \"app --serve\"\nlisten = [\"127.0.0.1:5000\"]\nstop_signal = \"TREM\"\nafter = [\"db\"]\n\
               [health]\nevery = \"30s\"\n";
    scratch.write("etc/apps/app.toml", app);
    let problems = scratch.load().unwrap_err();
    let expected = [
        "is not a usable name",
        "there is no '=': write KEY=value",
        "state_dir: \"var\" is not an absolute path",
        "state_dri: is not a known key",
        "listen.address: \"9000\" is not an address to listen on",
        "listen.max_body: is a number without a unit, not a size",
        "source.git: \"ext::sh -c id\" names a transport helper",
        "source.branch: \"-b\" is not a branch's name",
        "source.keep_releases: is 1",
        "source.shared[3]: \"../y\" leads out with '..'",
        "source.shared: data and data/x lie in each other",
        "app.user: \"ghost\" is not a user of this host",
        "trigger.forge: \"gihub\" is not one of the words known here",
        "trigger.secret: is a secret written out in the configuration",
        "deploy.timeout: is a number without a unit, not a span of time",
        "step[1].phase: \"biuld\" is not one of the words known here",
        "step[2].name: \"s\" is there twice",
        "step[2].run: is missing",
        "service.web.run: is a line for the shell, and a shell between would spoil LISTEN_PID",
        "service.web.stop_signal: \"TREM\" is not a signal that ends a service",
        "service.web.after[1]: \"db\" is not a service of this application",
        "health: looks at nothing",
        ": is not valid TOML",
    ];
    let found = brief(&problems);
    for expected in expected {
        let hits = found.iter().filter(|found| found.contains(expected)).count();
        assert_eq!(hits, 1, "{expected:?} in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(problems.iter().all(|problem| !problem.advice.is_empty()), "{problems:#?}");
    assert!(!format!("{problems:?}").contains("hunter2"));
    let placed = problems.iter().filter(|problem| problem.line.is_some()).count();
    assert_eq!(placed, found.len() - 1, "only a file's name has no line: {problems:#?}");
    let phase = problems.iter().find(|problem| problem.key == "step[1].phase").unwrap();
    assert_eq!((phase.line, phase.advice.as_str()), (Some(15), "write \"build\""));
}

/// Each application alone is refused, with one problem whose key and text begin so.
#[test]
fn what_would_not_work_is_refused() {
    let scratch = Scratch::new("refused");
    let service = "[service.web]\nrun = [\"a\"]\n";
    let web = |more: &str| format!("{service}{more}");
    let port = |nginx: &str| web(&format!("handover = \"port\"\nnginx = {{ {nginx} }}"));
    const U: &str = "file = \"web.conf\", upstream = \"web\", reload = \"true\"";
    let table = [
        (web("handover = \"port\"\nlisten = [\"127.0.0.1:1\"]"), "service.web.handover: \"port\" forbids listen"),
        (web("handover = \"socket\""), "service.web.handover: \"socket\" needs a socket"),
        (web("after = [\"web\"]"), "service.web.after: goes in a circle: web after web"),
        (
            web("after = [\"b\"]\n[service.b]\nrun = [\"b\"]\nafter = [\"web\"]"),
            "service.b.after: goes in a circle: b after web after b",
        ),
        (
            web("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]"),
            "service.web.listen: 127.0.0.1:1 is taken by service.web.listen",
        ),
        (
            web("listen = [\"0.0.0.0:1\"]\n[service.b]\nrun = [\"b\"]\nlisten = [\"127.0.0.1:1\"]"),
            "service.web.listen: 0.0.0.0:1 is taken by service.b.listen",
        ),
        (web("env_file = [\"/etc/x\"]"), "service.web.env_file[1]: \"/etc/x\" is an absolute path"),
        (
            web("nginx = { file = \"u.conf\", upstream = \"u\", reload = \"true\" }"),
            "service.web.nginx: is for handover",
        ),
        (port("upstream = \"u\", reload = \"true\""), "service.web.nginx.file: is missing"),
        (
            port("file = \"../u.conf\", upstream = \"u\", reload = \"true\""),
            "service.web.nginx.file: \"../u.conf\" leads",
        ),
        (
            port("file = \"/u.conf\", upstream = \"u\", reload = \"true\""),
            "service.web.nginx.file: \"/u.conf\" is an abs",
        ),
        (
            port("file = \"u\\n.conf\", upstream = \"u\", reload = \"true\""),
            "service.web.nginx.file: \"u\\n.conf\" holds",
        ),
        (port("file = \".u.conf\", upstream = \"u\", reload = \"true\""), "service.web.nginx.file: \".u.conf\" begins"),
        (
            port("file = \"u.conf\", upstream = \"u;\", reload = \"true\""),
            "service.web.nginx.upstream: \"u;\" is not an",
        ),
        (port("file = \"u.conf\", upstream = \"\", reload = \"true\""), "service.web.nginx.upstream: \"\" is not an"),
        (port("file = \"u.conf\", upstream = \"u\", reload = []"), "service.web.nginx.reload: names no program"),
        (
            port("file = \"u.conf\", upstream = \"u\", reload = \"true\", test = \"\""),
            "service.web.nginx.test: is empty",
        ),
        (
            port("file = \"u.conf\", upstream = \"u\", reload = \"true\", tset = \"t\""),
            "service.web.nginx.tset: is not a known",
        ),
        (
            port(&format!(
                "{U} }}\n[service.api]\nrun = [\"a\"]\nhandover = \"port\"\nnginx = {{ {}",
                U.replace("web.conf", "api.conf")
            )),
            "service.web.nginx.upstream: web is the upstream of service api too",
        ),
        (
            port(&format!(
                "{U} }}\n[service.api]\nrun = [\"a\"]\nhandover = \"port\"\nnginx = {{ {}",
                U.replace("\"web\"", "\"api\"")
            )),
            "service.web.nginx.file: web.conf is written by service api too",
        ),
        (web("ready = \"probe\""), "service.web.ready: \"probe\" needs a probe"),
        ("[service.\"A b\"]\nrun = [\"a\"]".into(), "service.A b: \"A b\" is not a usable name"),
        (web("instances = 0"), "service.web.instances: is 0"),
        (
            web("[health]\nhttp = \"http://a/\"\nservice = \"web\"\npath = \"/\""),
            "health: looks at several things: http, service",
        ),
        (web("[health]\nservice = \"web\""), "health.path: is missing"),
        (web("[health]\nhttp = \"http://a/\"\npath = \"/\""), "health.path: goes with service"),
        (
            web("[health]\nservice = \"wbe\"\npath = \"/\""),
            "health.service: \"wbe\" is not a service of this application",
        ),
        ("[health]\ntcp = \"a:1\"\nhttp = \"http://a/\"".into(), "health.tcp: is not a known key"),
        ("[[probe]]\nname = \"p\"\n".into(), "probe[1]: looks at nothing"),
        (
            "[[probe]]\nname = \"p\"\ntcp = \"a:1\"\nrun = \"true\"".into(),
            "probe[1]: looks at several things: tcp, run",
        ),
        ("[[probe]]\nname = \"health\"\ntcp = \"a:1\"".into(), "probe[1].name: \"health\" is there twice"),
        ("[[probe]]\nname = \"p\"\ntcp = \"a:1\"\nexpect = 200".into(), "probe[1].expect: is for http"),
        ("[backup]\npaths = [\"../x\"]".into(), "backup.paths[1]: \"../x\" leads out"),
        (
            "[backup]\npostgres = [{ url = \"postgres://u:hunter2@h/d\" }]".into(),
            "backup.postgres[1].url: is a secret written out",
        ),
        ("[trigger]\non = []".into(), "trigger.on: names no event"),
        ("[trigger]\nwindow = \"at night\"".into(), "trigger.window: \"at night\" is not a window"),
        ("[[schedule]]\nname = \"x\"\nrun = \"true\"".into(), "schedule[1]: must say when"),
        ("[compose]\nfile = \"x\"".into(), "compose: not active yet"),
        ("[deploy]\nnice = 20".into(), "deploy.nice: is 20"),
    ];
    for (more, expected) in table {
        let found = brief(&scratch.load_app(&app_with(&more)).unwrap_err());
        assert!(found.len() == 1 && found[0].starts_with(expected), "{more}\n{found:#?}");
    }
}

#[test]
fn a_password_in_the_repositorys_address_is_refused_unseen() {
    let scratch = Scratch::new("password");
    for git in ["https://me:hunter2@h/x y", "https://ghp_hunter2@github.com/o/n"] {
        let problems = scratch.load_app(&format!("[source]\ngit = \"{git}\"\nbranch = \"main\"\n")).unwrap_err();
        assert_eq!(brief(&problems), ["source.git: holds a password or token, which is a secret written out"]);
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}

#[test]
fn addresses_clash_over_all_files() {
    let scratch = Scratch::new("clash");
    scratch.write("etc/pintle.toml", "[listen]\naddress = \"127.0.0.1:9000\"\n");
    let app = |port: u16| app_with(&format!("[service.web]\nrun = [\"a\"]\nlisten = [\"127.0.0.1:{port}\"]\n"));
    scratch.write("etc/apps/a.toml", app(9000));
    scratch.write("etc/apps/b.toml", app(5000));
    scratch.write("etc/apps/c.toml", app(5000));
    let problems = scratch.load().unwrap_err();
    let places = [
        "listen.address in ".to_owned() + scratch.path("etc/pintle.toml").to_str().unwrap(),
        "service.web.listen in ".to_owned() + scratch.path("etc/apps/b.toml").to_str().unwrap(),
    ];
    assert_eq!(problems.len(), 2, "{problems:#?}");
    for (problem, place) in problems.iter().zip(&places) {
        assert!(problem.wrong.ends_with(place.as_str()) && problem.line == Some(6), "{problem:?}");
    }
    let table = [
        ("0.0.0.0:1", "127.0.0.1:1", true),
        ("[::]:1", "127.0.0.1:1", false),
        ("127.0.0.1:1", "127.0.0.2:1", false),
        ("unix:/a", "unix:/a", true),
        ("unix:/a", "127.0.0.1:1", false),
    ];
    for (a, b, clashes) in table {
        let [a, b] = [a, b].map(|text| units::address(text).unwrap());
        assert_eq!(clash(&a, &b), clashes, "{a} {b}");
    }
}

#[test]
fn root_needs_a_user_or_a_clear_word() {
    let scratch = Scratch::new("root");
    scratch.write("etc/pintle.toml", "");
    let user_exists = |name: &str| name == "pi" || name == "root";
    let root = Environment { is_root: true, user_exists: Box::new(user_exists), ..environment() };
    let table = [
        ("", Some("app.user: is missing: steps and services would run as root")),
        ("[app]\nuser = \"root\"\n", Some("app.user: is root")),
        ("[app]\nuser = \"nobody\"\n", Some("app.user: \"nobody\" is not a user of this host")),
        ("[app]\nuser = \"pi\"\n", None),
        ("[app]\nallow_root = true\n", None),
    ];
    for (more, problem) in table {
        scratch.write("etc/apps/app.toml", app_with(more));
        let found =
            Config::load(&scratch.path("etc"), &root).map_err(|problems| brief(&problems)).err().unwrap_or_default();
        assert_eq!(found, Vec::from_iter(problem), "{more}");
    }
}

#[test]
fn keys_that_do_nothing_yet_are_said_and_harm_nothing() {
    let scratch = Scratch::new("notices");
    scratch.write("etc/pintle.env", "T=t\nEMPTY=\n");
    let host = "[listen]\ndashboard = true\ntls = \"self-signed\"\ntoken = { env = \"T\" }\n[health]\ncpu_percent = [90, 98]\n\
                [notify.slack]\nurl = { env = \"EMPTY\" }\n[dns.duckdns]\nsubdomain = \"x\"\ntoken = { env = \"T\" }\n";
    let app = "image = \"x/y\"\n[trigger]\nforge = \"gitea\"\nsecret = { env = \"T\" }\npoll = \"5m\"\nrate_limit = \"6/hour\"\n\
               window = \"02:00-05:00\"\napproval = true\n[service.web]\nrun = [\"a\"]\nhandover = \"port\"\nready = \"notify\"\n\
               watchdog = \"30s\"\nmemory_max = \"1MiB\"\nnginx = { file = \"u.conf\", upstream = \"u\", reload = \"true\" }\n\
               [[schedule]]\nname = \"x\"\nevery = \"24h\"\nrun = \"true\"\n[backup]\nevery = \"24h\"\ndrill = \"7d\"\n\
               postgres = [{ url = { env = \"T\" } }]\nmysql = [{ url = { env = \"T\" } }]\nrestic = { repository = \"r\", password = { env = \"T\" } }\n";
    scratch.write("etc/pintle.toml", host);
    scratch.write("etc/apps/app.toml", app_with(app));
    let loaded = scratch.load().unwrap();
    let said = |text: &str| {
        let said = loaded.notices.iter().filter(|notice| notice.text.starts_with(text));
        said.map(|notice| notice.key.as_str()).collect::<Vec<_>>()
    };
    let mut inactive = said("not active yet");
    inactive.sort_unstable();
    let mut expected =
        vec!["source.image", "backup.every", "backup.drill", "backup.postgres", "backup.mysql", "backup.restic"];
    expected.sort_unstable();
    assert_eq!(inactive, expected);
    assert_eq!(said("is off: a database server"), ["rehearsal"]);
    let placed = loaded.notices.iter().all(|notice| notice.line.is_some() || notice.key == "rehearsal");
    assert!(placed, "every key that is written down has its line: {:#?}", loaded.notices);
}

#[test]
fn a_port_handover_tells_nginx_or_says_that_nobody_is_told() {
    let scratch = Scratch::new("port");
    let load = |more: &str| {
        let loaded = scratch.load_app(&app_with(&format!("[service.web]\nrun = [\"a\"]\nhandover = \"port\"\n{more}")));
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:#?}"));
        let web = loaded.config.apps.values().next().unwrap().services.values().next().unwrap().clone();
        (web, loaded.notices)
    };
    let (web, notices) = load("");
    assert_eq!((web.handover, web.nginx, web.rehearse), (Handover::Port, None, true));
    assert!(notices.len() == 1 && notices[0].key == "service.web.handover", "{notices:#?}");
    assert!(notices[0].text.starts_with("nothing tells clients the new port: add nginx = {"), "{notices:#?}");

    let (web, notices) =
        load("nginx = { file = \"web.conf\", upstream = \"shop-web_1.x\", reload = \"nginx -s reload\" }");
    let expected = Nginx {
        file: "web.conf".into(),
        upstream: "shop-web_1.x".into(),
        test: Command::Argv(vec!["nginx".into(), "-t".into()]),
        reload: Command::Shell("nginx -s reload".into()),
    };
    assert_eq!((web.nginx, notices), (Some(expected), vec![]));

    let (web, _) =
        load("[service.web.nginx]\nfile = \"a/b.conf\"\nupstream = \"u\"\nreload = [\"r\"]\ntest = \"t -x\"");
    let nginx = web.nginx.unwrap();
    assert_eq!((nginx.test, nginx.file), (Command::Shell("t -x".into()), "a/b.conf".into()));
}

#[test]
fn rehearsal_is_on_where_it_can_be_and_says_why_not() {
    let scratch = Scratch::new("rehearsal");
    scratch.write("etc/pintle.env", "T=t\n");
    let web = "[service.web]\nrun = [\"a\"]\nlisten = [\"127.0.0.1:1\"]\n";
    let database = "[backup]\npostgres = [{ url = { env = \"T\" } }]\n";
    let table = [
        (web.to_owned(), true, ""),
        (format!("{web}rehearse = false\n"), false, ""),
        (format!("rehearsal = false\n[source]{web}"), false, "switched off in the configuration"),
        (format!("{web}[rehearsal]\nrehearse = false\n"), false, "switched off in the configuration"),
        (format!("{web}{database}"), false, "a database server is configured"),
        (format!("{web}{database}[rehearsal]\nenv = {{ DATABASE_URL = \"x\" }}\n"), true, ""),
        (format!("shared = [\"data\"]\n{web}[backup]\nbefore_deploy = false\n"), false, "there is no backup"),
        (
            format!("shared = [\"data\"]\n{web}[backup]\nbefore_deploy = false\n[rehearsal]\nshared = \"empty\"\n"),
            true,
            "",
        ),
    ];
    for (more, rehearsed, off) in table {
        let text = match more.strip_prefix("rehearsal = false\n[source]") {
            Some(more) => format!("rehearsal = false\n{}", app_with(more)),
            None => app_with(&more),
        };
        let loaded = scratch.load_app(&text).unwrap();
        let app = &loaded.config.apps[&name("app")];
        assert_eq!(app.services.values().any(|service| service.rehearse), rehearsed, "{text}");
        let why = app.rehearsal.off.clone().unwrap_or_default();
        assert!(why.starts_with(off) && why.is_empty() == off.is_empty(), "{text}\n{why}");
    }
    let partly = app_with(&format!("shared = [\"data\", \"logs\"]\n{web}[backup]\npaths = [\"data\", \"data/x\"]\n"));
    let loaded = scratch.load_app(&partly).unwrap();
    assert_eq!(loaded.config.apps[&name("app")].backup.paths, [PathBuf::from("data")]);
    assert_eq!(loaded.notices.len(), 1);
    assert!(loaded.notices[0].text.contains("shared path logs"), "{:?}", loaded.notices);
}

#[test]
fn which_event_deploys_depends_on_the_workflow() {
    let scratch = Scratch::new("events");
    scratch.write("etc/pintle.env", "T=t\n");
    let table = [
        ("", TriggerEvent::Push, 0),
        ("workflow = \"CI\"", TriggerEvent::WorkflowRun, 0),
        ("on = [\"workflow_run\"]", TriggerEvent::WorkflowRun, 1),
        ("on = [\"push\"]\nworkflow = \"CI\"", TriggerEvent::Push, 1),
        ("on = [\"workflow_run\", \"push\"]\nworkflow = \"CI\"", TriggerEvent::WorkflowRun, 1),
    ];
    for (more, event, notices) in table {
        let text = app_with(&format!("[trigger]\nsecret = {{ env = \"T\" }}\n{more}\n"));
        let loaded = scratch.load_app(&text).unwrap();
        assert_eq!(loaded.config.apps[&name("app")].trigger.on, [event], "{more}");
        assert_eq!(loaded.notices.len(), notices, "{more}: {:?}", loaded.notices);
    }
}

#[test]
fn systemds_directories_win_and_the_first_of_several_is_ours() {
    let scratch = Scratch::new("systemd");
    scratch.write("etc/pintle.toml", "state_dir = \"/srv/state/\"\nruntime_dir = \"/srv/run\"\n");
    let variable = |name: &str| match name {
        "STATE_DIRECTORY" => Some("/var/lib/first:/var/lib/second".to_owned()),
        "RUNTIME_DIRECTORY" => Some("relative".to_owned()),
        _ => None,
    };
    let systemd = Environment { variable: Box::new(variable), ..environment() };
    let host = Config::load(&scratch.path("etc"), &systemd).unwrap().config.host;
    assert_eq!((host.state_dir, host.runtime_dir), ("/var/lib/first".into(), "/srv/run".into()));
}

#[test]
fn a_client_finds_the_daemon_through_broken_files() {
    let scratch = Scratch::new("locate");
    scratch.write("etc/pintle.env", "BASE=/srv/x\n");
    scratch.write(
        "etc/pintle.toml",
        "state_dir = \"${BASE}/state\"\nruntime_dir = \"/srv/x/run\"\nlisten = 5\nwhat = 1\n",
    );
    scratch.write("etc/apps/b.toml", "broken [");
    scratch.write("etc/apps/a.toml", "");
    scratch.write("etc/apps/notes.txt", "");
    let paths = Paths::locate_with(&scratch.path("etc"), &environment());
    let expected =
        Paths { state_dir: "/srv/x/state".into(), runtime_dir: "/srv/x/run".into(), apps: vec![name("a"), name("b")] };
    assert_eq!(paths, expected);
    scratch.write("etc/pintle.toml", "broken [");
    let paths = Paths::locate_with(&scratch.path("etc"), &environment());
    assert_eq!(
        (paths.state_dir.as_path(), paths.runtime_dir.as_path()),
        (Path::new("/var/lib/pintle"), Path::new("/run/pintle"))
    );
    assert_eq!(Paths::locate_with(&scratch.path("nowhere"), &environment()).apps, []);
}

#[test]
fn a_missing_directory_and_stray_files_are_said() {
    let scratch = Scratch::new("stray");
    let problems = Config::load(&scratch.path("nowhere"), &environment()).unwrap_err();
    assert_eq!(brief(&problems), [": is not there"]);
    scratch.write("etc/pintle.toml", "");
    for file in ["app.yaml", "app.toml~", ".app.toml.swp", "app.toml.dpkg-old"] {
        scratch.write(&format!("etc/apps/{file}"), "");
    }
    scratch.write("etc/apps/latin.toml", [0xff, 0xfe]);
    assert_eq!(brief(&scratch.load().unwrap_err()), [": is not UTF-8 text"]);
    scratch.remove("etc/apps/latin.toml");
    let notices = scratch.load().unwrap().notices;
    assert!(notices.len() == 2 && notices[0].file.ends_with("app.yaml"), "{notices:?}");
}
