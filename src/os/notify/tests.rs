use super::*;
use crate::os::poll::{readable, until};
use crate::os::users;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pintle-notify-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn user(uid: u32) -> User {
    User { name: uid.to_string(), uid, gid: uid, groups: vec![uid], home: "/".into() }
}

/// Sends as a service does that runs as `uid` (`None`: as ourselves).
fn say(path: &str, text: &str, uid: Option<u32>) -> io::Result<()> {
    let (path, text) = (path.to_owned(), text.to_owned());
    // A thread of its own, because for the kernel each has its own user.
    let sender = std::thread::spawn(move || {
        if let Some(uid) = uid {
            // SAFETY: passes integers only, and changes this thread alone, which ends here.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }, 0);
        }
        UnixDatagram::unbound()?.send_to(text.as_bytes(), path).map(drop)
    });
    sender.join().unwrap()
}

fn texts(messages: Vec<Vec<u8>>) -> Vec<String> {
    messages.into_iter().map(|message| String::from_utf8(message).unwrap()).collect()
}

#[test]
fn a_service_is_heard_in_order_and_without_what_is_too_long() {
    let dir = scratch("heard");
    let socket = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
    assert_eq!(socket.path(), dir.join("7.sock").to_str().unwrap());
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o711);
    assert_eq!(fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(socket.receive(9).is_empty());
    say(socket.path(), "READY=1", None).unwrap();
    say(socket.path(), &"x".repeat(MESSAGE_MAX + 1), None).unwrap();
    say(socket.path(), &"y".repeat(MESSAGE_MAX), None).unwrap();
    say(socket.path(), "WATCHDOG=1\nSTATUS=fine", None).unwrap();
    let soon = Instant::now() + Duration::from_secs(20);
    assert!(until(&mut [readable(socket.as_fd())], Some(soon)).unwrap());
    assert_eq!(texts(socket.receive(1)), ["READY=1"]);
    let rest = texts(socket.receive(9));
    assert_eq!((rest.len(), rest[0].len(), rest[1].as_str()), (2, MESSAGE_MAX, "WATCHDOG=1\nSTATUS=fine"));
    socket.remove();
    assert!(!dir.join("7.sock").exists());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn only_the_services_user_and_root_are_heard() {
    let dir = scratch("strangers");
    if !users::is_root() {
        // Who is not root is a stranger to a service of another user.
        let bound = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
        let stranger = user(nix::unistd::geteuid().as_raw() + 1);
        let socket = NotifySocket::from_kept(bound.socket.try_clone().unwrap(), Some(&stranger)).unwrap();
        say(socket.path(), "READY=1", None).unwrap();
        assert!(socket.receive(9).is_empty());
        say(bound.path(), "READY=1", None).unwrap();
        assert_eq!(texts(bound.receive(9)), ["READY=1"]);
        return fs::remove_dir_all(&dir).unwrap();
    }
    let socket = NotifySocket::bind(&dir, InstanceId(7), Some(&user(65534))).unwrap();
    assert_eq!(fs::metadata(socket.path()).unwrap().uid(), 65534);
    say(socket.path(), "from its user", Some(65534)).unwrap();
    say(socket.path(), "from root", None).unwrap();
    assert_eq!(say(socket.path(), "x", Some(65533)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    // Even where the file system lets it pass.
    fs::set_permissions(socket.path(), Permissions::from_mode(0o666)).unwrap();
    say(socket.path(), "from a stranger", Some(65533)).unwrap();
    say(socket.path(), "the last", Some(65534)).unwrap();
    assert_eq!(texts(socket.receive(2)), ["from its user", "from root"]);
    assert_eq!(texts(socket.receive(9)), ["the last"]);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_barrier_passes_when_its_message_is_received() {
    let dir = scratch("barrier");
    let socket = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let service = UnixDatagram::unbound().unwrap();
    service.connect(socket.path()).unwrap();
    message::send(service.as_fd(), b"BARRIER=1", &[theirs.as_fd()]).unwrap();
    drop(theirs);
    assert!(!until(&mut [readable(ours.as_fd())], Some(Instant::now())).unwrap());
    assert_eq!(texts(socket.receive(9)), ["BARRIER=1"]);
    // A child that another test is just starting may hold a copy until it executes its program.
    let soon = Instant::now() + Duration::from_secs(20);
    assert!(until(&mut [readable(ours.as_fd())], Some(soon)).unwrap());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_kept_socket_speaks_on_and_one_without_its_path_is_not_found() {
    let dir = scratch("kept");
    let first = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
    let kept = first.socket.try_clone().unwrap();
    drop(first);
    say(dir.join("7.sock").to_str().unwrap(), "while nobody was there", None).unwrap();
    let second = NotifySocket::from_kept(kept.try_clone().unwrap(), None).unwrap();
    assert_eq!(second.path(), dir.join("7.sock").to_str().unwrap());
    assert_eq!(texts(second.receive(9)), ["while nobody was there"]);
    fs::remove_file(second.path()).unwrap();
    assert_eq!(NotifySocket::from_kept(kept, None).unwrap_err().kind(), io::ErrorKind::NotFound);
    let third = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
    let fourth = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
    say(fourth.path(), "to the newest", None).unwrap();
    assert_eq!((third.receive(9).len(), fourth.receive(9).len()), (0, 1));
    let (nameless, _) = UnixDatagram::pair().unwrap();
    assert!(NotifySocket::from_kept(nameless.into(), None).is_err());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_path_too_long_becomes_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let dir = scratch("long").join("x".repeat(100));
    let socket = NotifySocket::bind(&dir, InstanceId(7), None).unwrap();
    let name = socket.path().strip_prefix("@pintle/notify/").unwrap();
    assert_eq!(name.len(), 32);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&socket.path()[1..]).unwrap();
    UnixDatagram::unbound().unwrap().send_to_addr(b"READY=1", &address).unwrap();
    let kept = NotifySocket::from_kept(socket.socket.try_clone().unwrap(), None).unwrap();
    assert_eq!(kept.path(), socket.path());
    assert_eq!(texts(kept.receive(9)), ["READY=1"]);
    let error = NotifySocket::bind(&dir, InstanceId(7), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    socket.remove();
}
