//! Looks into a pipe before anything is taken out of it: what is taken has been written down by then, so that a daemon
//! which is killed in between loses nothing - its successor writes the same lines once more at worst.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;

/// A pipe of its own, into which the kernel copies (by reference) what is seen.
#[derive(Debug)]
pub(super) struct Peek {
    read: File,
    write: File,
    null: File,
}

impl Peek {
    pub(super) fn new() -> io::Result<Peek> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Half-filled pages take a place each. Where it stays smaller, a long line is seen in parts.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(1 << 18));
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        Ok(Peek { read: File::from(read), write: File::from(write), null })
    }

    /// Shows what comes next out of `pipe`; 0 at its end, `WouldBlock` when there is nothing now.
    pub(super) fn look(&mut self, pipe: &File, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: two open descriptors, and integers.
        let seen =
            unsafe { libc::tee(pipe.as_raw_fd(), self.write.as_raw_fd(), buffer.len(), libc::SPLICE_F_NONBLOCK) };
        let seen = usize::try_from(seen).map_err(|_| io::Error::last_os_error())?;
        let seen = buffer.get_mut(..seen).ok_or(io::ErrorKind::InvalidData)?;
        self.read.read_exact(seen)?;
        Ok(seen.len())
    }

    /// Takes the first `bytes` out of `pipe`, which have been seen.
    pub(super) fn take(&self, pipe: &File, mut bytes: usize) -> io::Result<()> {
        let (here, nowhere) = (pipe.as_raw_fd(), self.null.as_raw_fd());
        while bytes > 0 {
            let none = std::ptr::null_mut();
            // SAFETY: two open descriptors, no offsets, and integers.
            let taken = unsafe { libc::splice(here, none, nowhere, none, bytes, libc::SPLICE_F_NONBLOCK) };
            match usize::try_from(taken) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(taken) => bytes = bytes.saturating_sub(taken),
                Err(_) if Errno::last() == Errno::EINTR => {}
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_seen_stays_until_it_is_taken() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let (read, mut write) = (File::from(read), File::from(write));
        let mut peek = Peek::new().unwrap();
        let mut buffer = [0; 8];
        let look = |peek: &mut Peek, buffer: &mut [u8; 8]| peek.look(&read, buffer).map(|seen| buffer[..seen].to_vec());
        assert_eq!(look(&mut peek, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        write.write_all(b"one two three").unwrap();
        assert_eq!(look(&mut peek, &mut buffer).unwrap(), b"one two ");
        assert_eq!(look(&mut peek, &mut buffer).unwrap(), b"one two ");
        peek.take(&read, 4).unwrap();
        write.write_all(b"!").unwrap();
        drop(write);
        assert_eq!(look(&mut peek, &mut buffer).unwrap(), b"two thre");
        peek.take(&read, 8).unwrap();
        assert_eq!(look(&mut peek, &mut buffer).unwrap(), b"e!");
        peek.take(&read, 2).unwrap();
        assert_eq!(look(&mut peek, &mut buffer).unwrap(), b"");
        assert!(peek.take(&read, 1).is_err());
    }
}
