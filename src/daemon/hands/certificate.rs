//! The listener's certificate: read, made, and heard of when its files change - beside the loop, since a disk may be slow.

use super::Hands;
use crate::config::{Certificate, Tls};
use crate::daemon::event::{Certified, Event};
use crate::os::{certificate, clock};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

impl Hands {
    /// Looks at what `meant` names. Changes from now on are heard of, those while it is read too.
    pub(super) fn read_certificate(&mut self, meant: Tls) -> Option<Event> {
        match &meant {
            Tls::SelfSigned => self.follow_files(&[]),
            Tls::Files { cert, key } => self.follow_files(&[cert.clone(), key.clone()]),
        }
        let state_dir = self.bench.place.state_dir.clone();
        let asked = meant.clone();
        self.on_a_certificate(meant, false, move || certificate::in_use(&asked, &state_dir))
    }

    /// Makes one of our own.
    pub(super) fn make_certificate(&mut self) -> Option<Event> {
        let state_dir = self.bench.place.state_dir.clone();
        let address = self.config.host.listen.as_ref().map(|listen| listen.address.clone());
        self.on_a_certificate(Tls::SelfSigned, true, move || {
            let address = address.ok_or("there is no [listen] table")?;
            let now = crate::base::Moment::now().wall;
            certificate::make(&state_dir, &address, now).map(Some).map_err(|error: io::Error| error.to_string())
        })
    }

    pub(super) fn follow_files(&mut self, files: &[PathBuf]) {
        if let Err(error) = self.files.follow(files) {
            log::warn!("{error}: a changed certificate may be noticed only at a reload (SIGHUP)");
        }
    }

    fn on_a_certificate(
        &self,
        meant: Tls,
        is_new: bool,
        get: impl FnOnce() -> Result<Option<Certificate>, String> + Send + 'static,
    ) -> Option<Event> {
        let post = self.post().clone();
        let answer = move |result: Result<Option<Certificate>, String>| {
            let result = result.map(|certificate| certificate.map(Arc::new));
            Event::Certified(Certified { meant, result, is_new, clock_is_held: clock::is_disciplined() })
        };
        let fallback = answer.clone()(Err("no thread could be started to read the certificate".into()));
        self.on_a_thread("certificate", fallback, move || post.send(answer(get())))
    }
}
