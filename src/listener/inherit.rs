//! What the daemon passes to the listener: two listening sockets, a setup, and the promise to end with it.

use super::server::Socket;
use super::{Failure, Setup, Sockets};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
use std::io::{self, IsTerminal};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

/// The first inherited socket, by systemd's convention.
pub(super) const FIRST: RawFd = 3;

/// All of them: the public one and the guard's.
pub(super) const SOCKETS: [RawFd; 2] = [FIRST, FIRST + 1];

const BY_HAND: &str = "it is started by `pintle run`, which passes it the listening socket and the setup; \
                       write a [listen] table into pintle.toml and start `pintle run`";

/// What they are called, in their order.
const NAMES: &str = "listen:guard";

/// Takes the listening sockets that were passed as descriptors 3 and 4.
pub(super) fn sockets() -> Result<Sockets, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let are_named = variable("LISTEN_FDNAMES").is_none_or(|names| names == NAMES);
    if !are_passed(variable("LISTEN_FDS").as_deref(), variable("LISTEN_PID").as_deref(), std::process::id())
        || !are_named
    {
        return Err(Failure { exit: 64, message: BY_HAND.to_owned() });
    }
    let unfit = |fd: RawFd| {
        move |error: io::Error| Failure {
            exit: 1,
            message: format!("use the socket passed as descriptor {fd}: {error}"),
        }
    };
    let public = adopt(FIRST).map_err(unfit(FIRST))?;
    match adopt(FIRST + 1).map_err(unfit(FIRST + 1))? {
        Socket::Unix(private) => Ok(Sockets { public, private }),
        Socket::Tcp(_) => Err(unfit(FIRST + 1)(io::Error::other("it is not a Unix socket"))),
    }
}

fn are_passed(fds: Option<&str>, pid: Option<&str>, own: u32) -> bool {
    let meant_for_us = pid.is_none_or(|pid| pid.parse() == Ok(own));
    fds == Some("2") && meant_for_us
}

fn adopt(fd: RawFd) -> io::Result<Socket> {
    let address: SockaddrStorage = getsockname(fd)?;
    // SAFETY: the descriptor is open, as getsockname has just shown, and was passed to this process to own.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if !getsockopt(&fd, sockopt::AcceptConn)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a listening socket"));
    }
    match address.family() {
        Some(AddressFamily::Unix) => Ok(Socket::Unix(UnixListener::from(fd))),
        _ => Ok(Socket::Tcp(TcpListener::from(fd))),
    }
}

/// Reads the setup from stdin, and sees to it that this process ends when the daemon does.
pub(super) fn setup() -> Result<Setup, Failure> {
    let broken = |message: String| Failure { exit: 1, message };
    if io::stdin().is_terminal() {
        return Err(Failure { exit: 64, message: BY_HAND.to_owned() });
    }
    let setup: Setup = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| broken(format!("read the setup from stdin: {error}")))?;
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(|error| broken(format!("ask to end with the daemon: {error}")))?;
    // Asked for too late when the daemon has died in between.
    match u32::try_from(nix::unistd::getppid().as_raw()) == Ok(setup.daemon_pid) {
        true => Ok(setup),
        false => Err(broken(format!("the daemon (pid {}) that started it is gone", setup.daemon_pid))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn sockets_are_taken_only_when_they_were_passed_to_this_process() {
        let cases = [
            (Some("2"), None, true),
            (Some("2"), Some("42"), true),
            (Some("2"), Some("43"), false),
            (Some("2"), Some("x"), false),
            (Some("1"), None, false),
            (Some(""), None, false),
            (None, None, false),
        ];
        for (fds, pid, expected) in cases {
            assert_eq!(are_passed(fds, pid, 42), expected, "{fds:?} {pid:?}");
        }
    }

    #[test]
    fn listening_sockets_of_both_kinds_are_adopted_and_others_refused() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let Ok(Socket::Tcp(adopted)) = adopt(tcp.into_raw_fd()) else { panic!("not TCP") };
        assert_eq!(adopted.local_addr().unwrap(), address);

        let stream = TcpStream::connect(address).unwrap();
        assert!(adopt(stream.into_raw_fd()).is_err(), "a connection is no listener");

        let path = std::env::temp_dir().join(format!("pintle-inherit-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).unwrap();
        assert!(matches!(adopt(unix.into_raw_fd()), Ok(Socket::Unix(_))));
        std::fs::remove_file(&path).unwrap();

        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(adopt(file.as_raw_fd()).is_err(), "a file is no socket");
    }
}
