//! stopgap
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
/// signal
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Signal {
    Stop,
    Reload,
    Replace,
}
/// signals
#[derive(Debug)]
pub struct Signals(Vec<(UnixStream, Signal)>, UnixStream);
impl Signals {
    /// install
    pub fn install() -> io::Result<Signals> {
        let (r, w) = UnixStream::pair()?;
        r.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(15, w.try_clone()?)?;
        signal_hook::low_level::pipe::register(2, w)?;
        Ok(Signals(vec![], r))
    }
    /// take
    pub fn take(&self) -> Vec<Signal> {
        let mut b = [0; 16];
        let n = (&self.1).read(&mut b).unwrap_or(0);
        vec![Signal::Stop; n]
    }
}
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }
}
