//! Ends what ended programs had started and let go of (a double fork), beside whoever asks: it reads all of /proc.
//!
//! However many programs end at once, one thread looks, and looks once for all that ended meanwhile. It lives only while
//! there is something to look for. Line: who belongs to a program, and how it is ended, is `group`'s matter.

use crate::os::group;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Takes orders to sweep.
#[derive(Debug, Clone, Default)]
pub struct Sweeper(Arc<Mutex<Orders>>);

#[derive(Debug, Default)]
struct Orders {
    markers: Vec<String>,
    /// A thread is at it and will take what is added.
    is_working: bool,
}

impl Sweeper {
    /// Kills every process that was started with [`group::MARKER`] set to `marker`, soon. Fails where no thread can be had.
    pub fn sweep(&self, marker: String) -> io::Result<()> {
        let mut orders = self.orders();
        orders.markers.push(marker);
        if orders.is_working {
            return Ok(());
        }
        let own = self.clone();
        std::thread::Builder::new().name("sweep".into()).stack_size(128 << 10).spawn(move || own.work())?;
        orders.is_working = true;
        Ok(())
    }

    fn work(&self) {
        while let Some(markers) = self.next() {
            group::sweep_marked(&markers);
        }
    }

    /// All that is to be swept now; `None` when nothing is, and the thread may end.
    fn next(&self) -> Option<Vec<String>> {
        let mut orders = self.orders();
        let markers = std::mem::take(&mut orders.markers);
        orders.is_working = !markers.is_empty();
        orders.is_working.then_some(markers)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::spawn::{self, Start};
    use crate::os::{poll, reap};
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::time::{Duration, Instant};

    #[test]
    fn everybody_who_carries_one_of_many_markers_is_ended_and_nobody_else() {
        let mark = |name: &str| format!("sweeper-{}-{name}", std::process::id());
        let argv = ["/bin/sleep", "66"].map(String::from);
        let null = std::fs::File::open("/dev/null").unwrap();
        let sleeper = |name: &str| {
            let env = [(group::MARKER.to_owned(), mark(name))];
            spawn::start(&Start::new(&argv, Path::new("/"), &env, null.as_fd())).unwrap()
        };
        let spared = sleeper("spared");
        let marked: Vec<_> = (0..20).map(|number| sleeper(&number.to_string())).collect();
        let sweeper = Sweeper::default();
        (0..20).for_each(|number| sweeper.sweep(mark(&number.to_string())).unwrap());
        let soon = Instant::now() + Duration::from_secs(20);
        for child in &marked {
            assert!(poll::until(&mut [poll::readable(child.pidfd.as_fd())], Some(soon)).unwrap());
            assert_eq!(reap::wait(child.pid).unwrap().to_string(), "killed by SIGKILL");
        }
        assert!(reap::try_wait(spared.pid).unwrap().is_none());
        group::signal(spared.pid, libc::SIGKILL).unwrap();
        reap::wait(spared.pid).unwrap();
    }
}
