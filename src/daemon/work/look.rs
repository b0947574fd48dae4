//! One look of a probe, wherever it is aimed: at the live release, or at a candidate in rehearsal.

use crate::config::{Address, Probe, ProbeTarget};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::probe::{self, Expect};

/// The end of a failed command's output is kept: it usually says why.
const KEPT: usize = 512;

/// A probe and where its target answers now, with the path to ask for; `None`: as configured.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Aim {
    pub probe: Probe,
    pub at: Option<(Address, String)>,
}

/// Looks once. `Err` is a sentence that says what was seen.
pub fn look(aim: &Aim, cancel: &Cancel, command: Option<Spec>) -> Result<(), String> {
    let Aim { probe, at } = aim;
    match (&probe.target, at) {
        (
            ProbeTarget::Http { expect, contains, .. } | ProbeTarget::Service { expect, contains, .. },
            Some((at, path)),
        ) => {
            let expect = Expect { status: *expect, contains: contains.as_deref() };
            probe::http_at(at, path, expect, probe.timeout)
        }
        (ProbeTarget::Http { url, expect, contains }, None) => {
            probe::http(url, Expect { status: *expect, contains: contains.as_deref() }, probe.timeout)
        }
        (ProbeTarget::Service { service, .. }, None) => Err(format!("{service} has no address")),
        (ProbeTarget::Tcp(_), Some((Address::Tcp(at), _))) => probe::tcp(&at.to_string(), probe.timeout),
        (ProbeTarget::Tcp(_), Some((Address::Unix(at), _))) => {
            std::os::unix::net::UnixStream::connect(at).map(drop).map_err(|error| error.to_string())
        }
        (ProbeTarget::Tcp(address), None) => probe::tcp(address, probe.timeout),
        (ProbeTarget::Run(_), _) => run(probe, cancel, &command.ok_or("it cannot be run here")?),
        // Whether the instances are up is the supervisor's to say.
        (ProbeTarget::Alive(_), _) => Ok(()),
    }
}

fn run(probe: &Probe, cancel: &Cancel, spec: &Spec) -> Result<(), String> {
    let mut last = vec![];
    let mut keep = |bytes: &[u8]| {
        last.extend_from_slice(bytes);
        last.drain(..last.len().saturating_sub(KEPT));
    };
    match command::run(spec, probe.timeout, cancel, &mut keep).map_err(|error| error.to_string())? {
        Ending::Exited(0) => Ok(()),
        ending => {
            let said = String::from_utf8_lossy(&last);
            Err(format!("{}: {}", command::explain(ending, probe.timeout), said.trim().replace('\n', " / ")))
        }
    }
}
