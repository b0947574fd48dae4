//! Switches told to two shell scripts that write down when they were called and what they found, and fail when asked
//! to; nginx itself is in `tests/pintle/nginx.rs`.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

/// A state directory, with nginx's two commands as scripts.
struct Stage {
    dir: PathBuf,
    place: Place,
    app: AppName,
    nginx: Nginx,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let dir = std::env::temp_dir().join(format!("pintle-nginx-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let place = Place { state_dir: dir.join("state"), runtime_dir: dir.join("run") };
        let script = |deed: &str| {
            // `KEY.fails` holds what it says then, `KEY.hangs` makes it wait until it is ended.
            let script = format!(
                "cd {}; ports=$(sed -n 's/.*server 127.0.0.1:\\([0-9]*\\).*/\\1/p' state/apps/shop/nginx/web.conf 2>/dev/null)\n\
                 echo {deed} $ports >> calls\n\
                 if [ -e {deed}.hangs ]; then exec tail -f /dev/null; fi\n\
                 if [ -e {deed}.fails ]; then cat {deed}.fails >&2; exit 1; fi\n",
                dir.display()
            );
            Command::Argv(vec!["/bin/sh".into(), "-c".into(), script])
        };
        let nginx =
            Nginx { file: "web.conf".into(), upstream: "shop".into(), test: script("test"), reload: script("reload") };
        Stage { app: AppName::new("shop").unwrap(), dir, place, nginx }
    }

    fn switch(&self, ports: &[u16]) -> io::Result<Routed> {
        self.switch_with(ports, PATIENCE, &Cancel::new().unwrap())
    }
    fn switch_with(&self, ports: &[u16], timeout: Duration, cancel: &Cancel) -> io::Result<Routed> {
        write_and_reload(&self.place, &self.app, &self.nginx, ports, timeout, cancel)
    }
    fn routed(&self) -> Vec<u16> {
        routed_ports(&self.place, &self.app, &self.nginx)
    }
    fn file(&self) -> UpstreamFile {
        UpstreamFile::of(&self.place, &self.app, &self.nginx)
    }
    /// From now on the command fails with these words; `None`: it works again.
    fn fails(&self, deed: &str, words: Option<&str>) {
        let path = self.dir.join(format!("{deed}.fails"));
        match words {
            Some(words) => fs::write(path, words).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }
    /// What was called since the last look, each with the ports it found in the file.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.dir.join("calls"));
        calls.lines().map(str::to_owned).collect()
    }
    /// The names in the directory nginx includes.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.place.nginx(&self.app)).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_switch_is_tested_then_read_and_the_same_again_is_nothing() {
    let stage = Stage::new("switch");
    assert_eq!(stage.routed(), [0; 0]);
    assert_eq!(stage.switch(&[20_001]).unwrap(), Routed::Switched);
    assert_eq!(stage.calls(), ["test 20001", "reload 20001"]);
    assert_eq!(stage.switch(&[20_001]).unwrap(), Routed::Already);
    assert_eq!(stage.calls(), [""; 0]);
    assert_eq!(stage.switch(&[20_002, 20_003]).unwrap(), Routed::Switched);
    assert_eq!(stage.calls(), ["test 20002 20003", "reload 20002 20003"]);
    assert_eq!((stage.routed(), stage.names()), (vec![20_002, 20_003], vec!["web.conf".to_owned()]));

    let text = fs::read_to_string(stage.file().path).unwrap();
    let meant: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        meant,
        [
            "upstream shop {",
            "    least_conn;",
            "    server 127.0.0.1:20002 max_fails=0;",
            "    server 127.0.0.1:20003 max_fails=0;",
            "}"
        ]
    );
    assert_eq!(stage.switch(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!((stage.routed(), stage.calls()), (vec![20_002, 20_003], vec![]));
}

#[test]
fn a_failed_test_puts_the_old_file_back_and_says_why() {
    let stage = Stage::new("test");
    let words = "nginx: [warn] x\n\nnginx: [emerg] unknown directive \"sevrer\" in /etc/nginx/nginx.conf:3\n";
    stage.fails("test", Some(words));
    let error = stage.switch(&[20_001]).unwrap_err().to_string();
    let path = stage.file().path.display().to_string();
    assert_eq!(
        error,
        format!(
            "nginx.test: exit 1: nginx: [warn] x; nginx: [emerg] unknown directive \"sevrer\" in /etc/nginx/nginx.conf:3; \
             {path} is as it was, requests go where they went"
        )
    );
    assert_eq!((stage.names().len(), stage.calls()), (0, vec!["test 20001".to_owned()]), "there was no file");

    stage.fails("test", None);
    stage.switch(&[20_001]).unwrap();
    let before = fs::read_to_string(&stage.file().path).unwrap();
    stage.calls();
    stage.fails("test", Some("no\n"));
    stage.switch(&[20_002]).unwrap_err();
    assert_eq!(stage.calls(), ["test 20002"], "nginx never read the new one");
    assert_eq!(fs::read_to_string(&stage.file().path).unwrap(), before);
    assert_eq!(stage.names(), ["web.conf"]);
}

#[test]
fn a_failed_reload_puts_the_old_file_back_and_reloads_that() {
    let stage = Stage::new("reload");
    let old_release = TcpListener::bind("127.0.0.1:0").unwrap();
    let old = old_release.local_addr().unwrap().port();
    stage.switch(&[old]).unwrap();
    stage.calls();
    stage.fails("reload", Some("nginx: [error] invalid PID number\n"));
    let error = stage.switch(&[20_002]).unwrap_err().to_string();
    assert!(error.starts_with("nginx.reload: exit 1: nginx: [error] invalid PID number; "), "{error}");
    assert!(error.contains("is as it was, but nginx could not be made to read it: nginx.reload: exit 1"), "{error}");
    assert_eq!(stage.calls(), ["test 20002".into(), "reload 20002".into(), format!("reload {old}")]);
    assert_eq!(stage.routed(), [old]);

    // Whether nginx reads the old file is not known: it is said once more, though its content is right.
    stage.fails("reload", None);
    assert_eq!(stage.switch(&[old]).unwrap(), Routed::Switched);
    assert_eq!(stage.calls(), [format!("test {old}"), format!("reload {old}")]);
    assert_eq!(stage.switch(&[old]).unwrap(), Routed::Already);
}

#[test]
fn at_boot_the_new_file_stays_for_an_nginx_that_comes_later() {
    let stage = Stage::new("boot");
    let gone = 1; // tcpmux: nobody has served it for decades
    stage.switch(&[gone]).unwrap();
    stage.fails("reload", Some("no nginx\n"));
    let error = stage.switch(&[20_002]).unwrap_err().to_string();
    assert!(error.ends_with("web.conf stays: nobody listens on the ports it named before"), "{error}");
    assert_eq!(stage.routed(), [20_002, gone], "who knows");
    stage.fails("reload", None);
    stage.calls();
    assert_eq!(stage.switch(&[20_002]).unwrap(), Routed::Switched);
    assert_eq!((stage.calls().len(), stage.routed()), (2, vec![20_002]));
}

#[test]
fn a_switch_that_was_cut_off_is_never_taken_for_one_that_is_done() {
    let stage = Stage::new("crash");
    stage.switch(&[20_001]).unwrap();
    let cut_off = || {
        let content = render(&stage.app, &stage.nginx, &[20_002]).unwrap();
        stage.file().try_out(&content).unwrap();
        stage.calls();
    };
    cut_off();
    assert_eq!(stage.routed(), [20_002, 20_001], "nginx may have read either");
    assert_eq!(stage.switch(&[20_002]).unwrap(), Routed::Switched, "forwards");
    assert_eq!((stage.calls().len(), stage.routed()), (2, vec![20_002]));
    stage.switch(&[20_001]).unwrap();

    cut_off();
    assert_eq!(stage.switch(&[20_001]).unwrap(), Routed::Switched, "back");
    assert_eq!((stage.calls().len(), stage.routed()), (2, vec![20_001]));

    cut_off();
    stage.fails("test", Some("broken elsewhere\n"));
    stage.switch(&[20_003]).unwrap_err();
    assert_eq!(stage.calls(), ["test 20003", "reload 20001"], "nginx may have read 20002");
    assert_eq!(stage.routed(), [20_001]);
}

#[test]
fn commands_that_hang_or_are_cancelled_end_in_the_old_file() {
    let stage = Stage::new("hang");
    let old_release = TcpListener::bind("127.0.0.1:0").unwrap();
    let old = old_release.local_addr().unwrap().port();
    stage.switch(&[old]).unwrap();
    let hangs = stage.dir.join("test.hangs");
    fs::write(&hangs, "").unwrap();
    let error = stage.switch_with(&[20_002], Duration::from_millis(50), &Cancel::new().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("nginx.test: its time was up after 50ms; "), "{error}");
    assert_eq!((stage.routed(), stage.calls().len()), (vec![old], 3));

    fs::rename(&hangs, stage.dir.join("reload.hangs")).unwrap();
    let cancel = Cancel::new().unwrap();
    let error = std::thread::scope(|scope| {
        let switch = scope.spawn(|| stage.switch_with(&[20_002], PATIENCE, &cancel));
        let until = Instant::now() + PATIENCE;
        while !fs::read_to_string(stage.dir.join("calls")).is_ok_and(|calls| calls.contains("reload 20002")) {
            assert!(Instant::now() < until, "it never came to the reload");
            std::thread::yield_now();
        }
        fs::remove_file(stage.dir.join("reload.hangs")).unwrap();
        cancel.cancel();
        switch.join().unwrap().unwrap_err().to_string()
    });
    assert!(
        error.starts_with("nginx.reload: cancelled; ") && error.ends_with("requests go where they went"),
        "{error}"
    );
    assert_eq!(stage.calls(), ["test 20002".into(), "reload 20002".into(), format!("reload {old}")]);
    assert_eq!(stage.names(), ["web.conf"]);
}

#[test]
fn what_cannot_be_started_or_written_changes_nothing() {
    let mut stage = Stage::new("start");
    stage.nginx.test = Command::Argv(vec!["no-such-nginx".into(), "hunter2".into()]);
    let error = stage.switch(&[20_001]).unwrap_err().to_string();
    assert!(error.starts_with("nginx.test: ") && error.contains("not found in PATH"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    assert_eq!(stage.names().len(), 0);
    fs::remove_dir(stage.place.nginx(&stage.app)).unwrap();
    fs::write(stage.place.nginx(&stage.app), "a file in the way").unwrap();
    assert!(stage.switch(&[20_001]).is_err());
    assert_eq!(stage.routed(), [0; 0]);
}

#[test]
fn a_port_is_quiet_when_the_last_connection_has_ended() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let cancel = Cancel::new().unwrap();

    // Nobody is there: only the least time passes.
    let began = Instant::now();
    assert!(drain(&[port], Duration::from_millis(700), PATIENCE, &cancel));
    assert!((Duration::from_millis(700)..Duration::from_secs(10)).contains(&began.elapsed()));

    // Somebody stays: the most passes, and that is said.
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (accepted, _) = server.accept().unwrap();
    let began = Instant::now();
    assert!(!drain(&[20_000, port], Duration::ZERO, Duration::from_millis(600), &cancel));
    assert!(began.elapsed() >= Duration::from_millis(600));

    // Somebody leaves while we wait: it ends half a second later.
    let (left, has_left) = mpsc::channel();
    let drained = std::thread::scope(|scope| {
        scope.spawn(move || {
            drop((client, accepted));
            left.send(Instant::now()).unwrap();
        });
        drain(&[port], Duration::ZERO, PATIENCE, &cancel)
    });
    assert!(drained && has_left.recv().unwrap().elapsed() + LOOK >= QUIET);

    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    cancel.cancel();
    assert!(!drain(&[port], PATIENCE, PATIENCE, &cancel));
}
