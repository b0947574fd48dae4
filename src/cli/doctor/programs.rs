//! The programs that Pintle calls, and what this system is built for.

use super::super::findings::Finding;
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// The oldest that was tried: Debian 11's.
const OLDEST_GIT: (u32, u32) = (2, 30);

/// What is to be said of them.
pub fn look() -> Vec<Finding> {
    vec![git(said(&["git", "--version"])), architecture(said(&["dpkg", "--print-architecture"]))]
}

/// What a program prints; `None`: it cannot be run.
pub fn said(argv: &[&str]) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| crate::os::program::DEFAULT_PATH.into());
    let spec = Spec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        cwd: "/".into(),
        env: vec![("PATH".into(), path), ("LC_ALL".into(), "C".into())],
        ..Spec::default()
    };
    let mut said = Vec::new();
    let ending = command::run(&spec, PATIENCE, &Cancel::new().ok()?, &mut |bytes| said.extend_from_slice(bytes));
    matches!(ending, Ok(Ending::Exited(0))).then(|| String::from_utf8_lossy(&said).trim().to_owned())
}

fn git(said: Option<String>) -> Finding {
    let Some(said) = said else {
        return Finding::critical("git", "it is not installed: nothing can be fetched", "apt install git");
    };
    let version = said.trim_start_matches("git version ").to_owned();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match found < OLDEST_GIT {
        true => {
            let (major, minor) = OLDEST_GIT;
            let what = format!("git {version} is older than what Pintle was tried with ({major}.{minor})");
            Finding::warning("git", what, "upgrade this system")
        }
        false => Finding::ok("git", format!("git {version}")),
    }
}

/// A 64-bit kernel under 32-bit programs is common on a Pi: packages go by the programs.
fn architecture(packages: Option<String>) -> Finding {
    let kernel = nix::sys::utsname::uname().map(|name| name.machine().to_string_lossy().into_owned());
    let kernel = kernel.unwrap_or_else(|_| "unknown".into());
    let own = std::env::consts::ARCH;
    let Some(packages) = packages else {
        return Finding::ok("architecture", format!("built for {own}, the kernel is {kernel}"));
    };
    let fits = match packages.as_str() {
        "arm64" => own == "aarch64",
        "armhf" | "armel" => own == "arm",
        "amd64" => own == "x86_64",
        "i386" => own == "x86",
        _ => true,
    };
    match fits {
        true => Finding::ok("architecture", format!("packages are of {packages}, the kernel is {kernel}")),
        false => {
            let what = format!("this program is built for {own}, this system's packages are of {packages}");
            Finding::warning("architecture", what, format!("install the package of {packages}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    #[test]
    fn git_must_be_there_and_not_too_old() {
        let table = [
            (None, Level::Critical, "apt install git"),
            (Some("git version 2.39.5"), Level::Ok, ""),
            (Some("git version 2.9.1.windows"), Level::Warning, "upgrade"),
            (Some("git version 3.0.0"), Level::Ok, ""),
        ];
        for (said, level, advice) in table {
            let finding = git(said.map(str::to_owned));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.advice.unwrap_or_default().contains(advice));
        }
    }

    #[test]
    fn packages_of_another_kind_are_told() {
        assert!(architecture(None).is_ok());
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "arm" => "armhf",
            _ => "other",
        };
        assert!(architecture(Some(own.into())).is_ok());
        let foreign = if own == "armhf" { "arm64" } else { "armhf" };
        assert!(architecture(Some(foreign.into())).advice.unwrap().contains(foreign));
    }

    #[test]
    fn a_program_that_is_not_there_says_nothing() {
        assert_eq!(said(&["/nonexistent/program"]), None);
        assert_eq!(said(&["false"]), None);
        assert_eq!(said(&["echo", "a word"]).as_deref(), Some("a word"));
    }
}
