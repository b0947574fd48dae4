//! Listening sockets that the daemon binds once and holds: connections wait in them while an application restarts.
//!
//! Line: which addresses, and who is given the sockets, is decided by the configuration and the supervisor.

use crate::config::Address;
use crate::os::files::{because, make_dir};
use crate::os::process::{Process, processes};
use nix::sys::socket::sockopt::{AcceptConn, PeerCredentials, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind as bind_to, connect as connect_to,
    getsockname, getsockopt, listen, setsockopt, socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::TimeVal;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Connections the kernel completes while nobody accepts.
const BACKLOG: i32 = 1024;

/// Binds `address` and listens. The directory of a Unix socket is made when it is missing; a socket file nobody answers
/// on any more is replaced; the file is open to every user who may enter its directory. An error says who has the
/// address, and what to do.
pub fn bind(address: &Address) -> io::Result<OwnedFd> {
    let socket = match address {
        Address::Tcp(address) => bind_tcp(*address)?,
        Address::Unix(path) => bind_unix(path)?,
    };
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

/// Connects to the Unix socket at `path`. Where its backlog is full, a connect waits for ever unless a send timeout was
/// set before: then it ends with `WouldBlock`.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let timeout = TimeVal::new(timeout.as_secs() as _, timeout.subsec_micros() as _);
    setsockopt(&fd, SendTimeout, &timeout)?;
    connect_to(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

/// Binds an address of the same family that nobody else knows: a free port on loopback, or a Unix socket in `dir`.
pub fn private(like: &Address, dir: &Path) -> io::Result<(OwnedFd, Address)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Short: a socket's path has 107 bytes in all.
    private_at(like, &dir.join(format!("{}.sock", NEXT.fetch_add(1, Ordering::Relaxed))))
}

/// The same, with the path a Unix socket is to have.
pub fn private_at(like: &Address, path: &Path) -> io::Result<(OwnedFd, Address)> {
    let address = match like {
        Address::Tcp(SocketAddr::V4(_)) => Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
        Address::Tcp(SocketAddr::V6(_)) => Address::Tcp((Ipv6Addr::LOCALHOST, 0).into()),
        Address::Unix(_) => Address::Unix(path.into()),
    };
    let socket = bind(&address)?;
    match address {
        Address::Unix(_) => Ok((socket, address)),
        Address::Tcp(_) => {
            let listener = TcpListener::from(socket);
            let bound = Address::Tcp(listener.local_addr()?);
            Ok((listener.into(), bound))
        }
    }
}

/// Binds a Unix socket anew that only `owner` (user and group; else we ourselves) may connect to, not even for a moment
/// anybody else, and listens.
pub fn bind_for_one(path: &Path, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(because("replace", path, &error)),
        _ => {}
    }
    let address = UnixAddr::new(path)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The file is made with the mode its socket has.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind_to(socket.as_raw_fd(), &address).map_err(|errno| because("listen on", path, &errno.into()))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(|error| because("give away", path, &error))?;
    }
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

/// Whether `socket` is one that listens on exactly `address`.
pub fn listens_on(socket: &OwnedFd, address: &Address) -> bool {
    match (address, address_of(socket)) {
        // A scope and a flow are no part of an address as it is configured.
        (Address::Tcp(address), Some(Address::Tcp(bound))) => {
            (bound.ip(), bound.port()) == (address.ip(), address.port())
        }
        (address, bound) => bound.as_ref() == Some(address),
    }
}

/// Where `socket` listens; `None` for one that does not, or has no name in the file system.
pub fn address_of(socket: &OwnedFd) -> Option<Address> {
    // No socket at all has no such option.
    let listens = getsockopt(socket, AcceptConn).unwrap_or(false);
    let bound: SockaddrStorage = getsockname(socket.as_raw_fd()).ok().filter(|_| listens)?;
    let v4 = bound.as_sockaddr_in().map(|bound| Address::Tcp((bound.ip(), bound.port()).into()));
    let v6 = || bound.as_sockaddr_in6().map(|bound| Address::Tcp((bound.ip(), bound.port()).into()));
    v4.or_else(v6).or_else(|| Some(Address::Unix(bound.as_unix_addr()?.path()?.into())))
}

/// A copy of the socket with which the process behind `pidfd` listens on `address`. Only root, and whoever may trace the
/// process, is given it.
pub fn of_process(pidfd: BorrowedFd<'_>, pid: u32, address: &Address) -> io::Result<OwnedFd> {
    let dir = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&dir).map_err(|error| because("list", Path::new(&dir), &error))?;
    let is_socket = |path: &Path| fs::read_link(path).is_ok_and(|file| file.to_string_lossy().starts_with("socket:"));
    let sockets = entries.flatten().filter(|entry| is_socket(&entry.path()));
    let numbers = sockets.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it does not listen there");
    for number in numbers {
        // SAFETY: passes integers only; a non-negative answer is a new descriptor (CLOEXEC) that nobody else owns.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
        if copy < 0 {
            last = io::Error::last_os_error();
            continue;
        }
        // SAFETY: as above.
        let copy = unsafe { OwnedFd::from_raw_fd(copy as i32) };
        if listens_on(&copy, address) {
            return Ok(copy);
        }
    }
    Err(last)
}

/// Removes the file of a Unix socket; what is no socket is left alone, and so is everything else.
pub fn unlink(address: &Address) {
    if let Address::Unix(path) = address
        && path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket())
    {
        // A file that stays is in nobody's way: whoever binds there replaces one that nobody answers on.
        let _ = fs::remove_file(path);
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    // std sets SO_REUSEADDR and CLOEXEC.
    let error = match TcpListener::bind(address) {
        Ok(listener) => return Ok(listener.into()),
        Err(error) => error,
    };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who =
                listeners_on(address).and_then(owner_of_any).map_or("another process".into(), |owner| named(&owner));
            format!("{address} is taken by {who}; stop it or choose another port")
        }
        io::ErrorKind::PermissionDenied => format!(
            "listen on {address}: {error}; ports below 1024 are root's: choose a higher one, or give the daemon \
             CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("listen on {address}: no interface of this host has the address {} (now)", address.ip())
        }
        _ => format!("listen on {address}: {error}"),
    };
    Err(io::Error::new(error.kind(), why))
}

fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir(parent, 0o755)?;
    }
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    };
    let listener = bound.map_err(|error| because("listen on", path, &error))?;
    let open_to_all = fs::Permissions::from_mode(0o666);
    fs::set_permissions(path, open_to_all).map_err(|error| because("set the mode of", path, &error))?;
    Ok(listener.into())
}

/// Removes a socket file whose process is gone; one that answers, and what is no socket, is left alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let taken = |what: String| Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} {what}", path.display())));
    let meta = path.symlink_metadata().map_err(|error| because("look at", path, &error))?;
    if !meta.file_type().is_socket() {
        return taken("is there and is no socket; move it away or choose another path".into());
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = getsockopt(&stream, PeerCredentials).ok().and_then(|peer| u32::try_from(peer.pid()).ok());
            let who = pid.and_then(Process::read).map_or("another process".into(), |owner| named(&owner));
            taken(format!("is taken by {who}; stop it or choose another path"))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| because("remove the stale socket", path, &error))
        }
        Err(error) => Err(because("ask who listens on", path, &error)),
    }
}

fn named(owner: &Process) -> String {
    format!("pid {} ({})", owner.pid, owner.name())
}

/// The inodes of the listening TCP sockets that keep us from `address`.
fn listeners_on(address: SocketAddr) -> Option<Vec<String>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let sockets = lines.filter_map(|line| {
        let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let clash = u16::from_str_radix(port, 16).ok()? == address.port() && overlap(parse_ip(ip)?, address.ip());
        (*state == "0A" && clash).then(|| format!("socket:[{inode}]"))
    });
    Some(sockets.collect::<Vec<_>>()).filter(|sockets| !sockets.is_empty())
}

fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// An address as `/proc/net/tcp` writes it: words of 32 bits in the host's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes = words.map(|word| word.map(u32::to_ne_bytes)).collect::<Option<Vec<_>>>()?.concat();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => Some(Ipv4Addr::from(v4).into()),
        Err(_) => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(|v6| Ipv6Addr::from(v6).to_canonical()),
    }
}

/// The first process that holds one of the sockets open, as far as we may see that.
fn owner_of_any(sockets: Vec<String>) -> Option<Process> {
    processes().find(|process| {
        let open = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|file| sockets.iter().any(|socket| file.as_os_str() == socket.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("pintle-sockets-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn connections_wait_in_a_socket_nobody_accepts_from_yet() {
        for like in ["127.0.0.1:80", "[::1]:80"] {
            let (socket, address) = private(&Address::Tcp(like.parse().unwrap()), Path::new("/")).unwrap();
            let Address::Tcp(bound) = address else { panic!("{address}") };
            assert!(bound.ip().is_loopback() && bound.port() > 0);
            let waiting = (0..300).map(|_| std::net::TcpStream::connect(bound).unwrap()).collect::<Vec<_>>();
            let flags = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
            let (_, peer) = TcpListener::from(socket).accept().unwrap();
            assert_eq!(peer, waiting[0].local_addr().unwrap());
        }
    }

    #[test]
    fn a_taken_port_says_by_whom() {
        let (socket, address) = private(&Address::Tcp("127.0.0.1:1".parse().unwrap()), Path::new("/")).unwrap();
        let me = Process::read(std::process::id()).unwrap();
        let Address::Tcp(bound) = address else { panic!("{address}") };
        for clash in [bound, (Ipv4Addr::UNSPECIFIED, bound.port()).into()] {
            let error = bind(&Address::Tcp(clash)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let words = format!("{clash} is taken by pid {} ({})", me.pid, me.name());
            assert!(error.to_string().starts_with(&words), "{error}");
        }
        drop(socket);
        // A child that another test is just starting may hold a copy until it executes its program.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while let Err(error) = bind(&Address::Tcp(bound)) {
            assert!(std::time::Instant::now() < until, "{error}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_be_bound_gets_advice() {
        let error = bind(&Address::Tcp("192.0.2.1:8000".parse().unwrap())).unwrap_err().to_string();
        assert!(error.contains("no interface of this host"), "{error}");
        let error = bind(&Address::Unix("/proc/no/such.sock".into())).unwrap_err().to_string();
        assert!(error.contains("/proc/no"), "{error}");
        assert_eq!(parse_ip("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(parse_ip("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(parse_ip("0000000000000000FFFF00000100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(parse_ip("0100007F0100007F"), None);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let dir = scratch("unix");
        let path = dir.join("new/web.sock");
        let address = Address::Unix(path.clone());
        let socket = bind(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        UnixStream::connect(&path).unwrap();
        let error = bind(&address).unwrap_err().to_string();
        assert!(error.contains(&format!("is taken by pid {}", std::process::id())), "{error}");
        drop(socket);
        let _again = bind(&address).unwrap();
        UnixStream::connect(&path).unwrap();

        fs::write(dir.join("file"), "mine").unwrap();
        let error = bind(&Address::Unix(dir.join("file"))).unwrap_err().to_string();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "mine");

        let (_one, first) = private(&address, &dir).unwrap();
        let (_two, second) = private(&address, &dir).unwrap();
        assert_ne!(first, second);
        fs::remove_dir_all(&dir).unwrap();
    }
}
