//! One message over a Unix socket that keeps messages apart, with the descriptors and the sender that belong to it.
//!
//! Not nix's `recvmsg`: when not all descriptors find room it gives none, and those that did arrive stay open for ever.
//! Here every descriptor that arrives has an owner. Line: what a message means is its reader's matter.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Room for the most descriptors the kernel puts into one message (253), and for the sender; in units that are aligned
/// like a header.
const CONTROL: usize = 160;

/// A message that came.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its bytes in the reader's buffer; 0 from a connected socket when the peer has gone.
    pub(crate) length: usize,
    /// The descriptors that came with it, with CLOEXEC.
    pub(crate) fds: Vec<OwnedFd>,
    /// The sender's user, where the socket was told to pass credentials.
    pub(crate) uid: Option<u32>,
    /// Neither bytes nor descriptors are missing.
    pub(crate) whole: bool,
}

/// Sends one message to the socket's peer. A peer that is gone is an error, never SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, text: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let attached = if fds.is_empty() { &[][..] } else { &rights[..] };
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(text)], attached, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Receives one message into `buffer`, waiting as the socket does.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a header without address, parts and control data.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control) as _;
    let length = loop {
        // SAFETY: the header points to the part and the control buffer, the part to the reader's buffer, each with its
        // true length; all of them outlive the call.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match (usize::try_from(length), Errno::last()) {
            (Ok(length), _) => break length,
            (Err(_), Errno::EINTR) => {}
            (Err(_), errno) => return Err(errno.into()),
        }
    };
    let whole = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0;
    let mut received = Received { length, fds: Vec::new(), uid: None, whole };
    // SAFETY: the kernel has written `msg_controllen` bytes of headers, each with its data, to the aligned buffer; the
    // macros stay within them. Descriptors in them were made for us just now: nobody else owns them.
    unsafe {
        let mut part = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(this) = part.as_ref() {
            let data = libc::CMSG_DATA(part);
            let bytes = this.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            match (this.cmsg_level, this.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let numbers = data.cast::<RawFd>();
                    let fds = (0..bytes / size_of::<RawFd>()).map(|i| numbers.add(i).read_unaligned());
                    received.fds.extend(fds.map(|fd| OwnedFd::from_raw_fd(fd)));
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if bytes >= size_of::<libc::ucred>() => {
                    received.uid = Some(data.cast::<libc::ucred>().read_unaligned().uid);
                }
                _ => {}
            }
            part = libc::CMSG_NXTHDR(&raw const header, part);
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
    use std::os::fd::AsFd;

    #[test]
    fn bytes_descriptors_and_sender_come_together() {
        let (here, there) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        setsockopt(&there, sockopt::PassCred, &true).unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        send(here.as_fd(), b"two", &[write.as_fd(), read.as_fd()]).unwrap();
        send(here.as_fd(), b"long message", &[]).unwrap();
        let mut buffer = [0; 8];

        let two = receive(there.as_fd(), &mut buffer).unwrap();
        assert!(two.whole && two.length == 3 && &buffer[..3] == b"two");
        assert_eq!(two.uid, Some(nix::unistd::geteuid().as_raw()));
        nix::unistd::write(&two.fds[0], b"x").unwrap();
        drop((write, two.fds));
        assert_eq!(nix::unistd::read(&read, &mut buffer).unwrap(), 1);
        assert_eq!(nix::unistd::read(&read, &mut buffer).unwrap(), 0, "the descriptors that came are closed");

        assert!(!receive(there.as_fd(), &mut buffer).unwrap().whole, "it is longer than the buffer");
        drop(here);
        assert_eq!(receive(there.as_fd(), &mut buffer).unwrap().length, 0);
        let error = send(there.as_fd(), b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
