//! One look of a probe, wherever it is aimed: at the live release, or at a candidate in rehearsal.

use crate::config::{Address, Probe, ProbeTarget};
use crate::health::Failure;
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::probe;

/// The end of a failed command's output is kept: it usually says why.
const KEPT: usize = 4 << 10;
/// So much of its last line stands in the sentence.
const LINE: usize = 200;

/// A probe and where its target answers now, with the path to ask for; `None`: as configured.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Aim {
    pub probe: Probe,
    pub at: Option<(Address, String)>,
}

/// Looks once. A failure says what was seen.
pub fn look(aim: &Aim, cancel: &Cancel, command: Option<Spec>) -> Result<(), Failure> {
    let Aim { probe, at } = aim;
    match (&probe.target, at) {
        (ProbeTarget::Http { page, .. } | ProbeTarget::Service { page, .. }, Some((at, path))) => {
            probe::http_at(at, path, page, probe.timeout)
        }
        (ProbeTarget::Http { url, page }, None) => probe::http(url, page, probe.timeout),
        (ProbeTarget::Service { service, .. }, None) => Err(format!("{service} has no address").into()),
        (ProbeTarget::Tcp(_), Some((Address::Tcp(at), _))) => Ok(probe::tcp(&at.to_string(), probe.timeout)?),
        (ProbeTarget::Tcp(_), Some((Address::Unix(at), _))) => {
            std::os::unix::net::UnixStream::connect(at).map(drop).map_err(|error| error.to_string().into())
        }
        (ProbeTarget::Tcp(address), None) => Ok(probe::tcp(address, probe.timeout)?),
        (ProbeTarget::Run(_), _) => run(probe, cancel, &command.ok_or("it cannot be run here")?),
        // Whether the instances are up is the supervisor's to say.
        (ProbeTarget::Alive(_), _) => Ok(()),
    }
}

fn run(probe: &Probe, cancel: &Cancel, spec: &Spec) -> Result<(), Failure> {
    let mut last = vec![];
    let mut keep = |bytes: &[u8]| {
        last.extend_from_slice(bytes);
        last.drain(..last.len().saturating_sub(KEPT));
    };
    match command::run(spec, probe.timeout, cancel, &mut keep).map_err(|error| error.to_string())? {
        Ending::Exited(0) => Ok(()),
        ending => {
            let text = String::from_utf8_lossy(&last);
            let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
            let how = command::explain(ending, probe.timeout);
            let Some(line) = text.lines().map(str::trim).rfind(|line| !line.is_empty()) else {
                return Err(how.into());
            };
            let line: String = line.chars().take(LINE).collect();
            Err(Failure { said: format!("{how}: {line}"), output: Some(text.trim().to_owned()) })
        }
    }
}
