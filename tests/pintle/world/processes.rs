//! Which processes belong to a world: those that work in it, or name it in their arguments or environment.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The processes of the world in these directories, zombies not counted.
pub fn of(places: &[PathBuf]) -> Vec<i32> {
    let own = std::process::id() as i32;
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own && places.iter().any(|place| belongs(*pid, place))).collect()
}

fn belongs(pid: i32, root: &Path) -> bool {
    let name = root.as_os_str().as_bytes();
    let names_it = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.windows(name.len()).enumerate().any(|(at, part)| {
            // `/tmp/pt-1-1` is not `/tmp/pt-1-10`.
            part == name && bytes.get(at + name.len()).is_none_or(|next| !next.is_ascii_digit())
        })
    };
    let works_there = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(root));
    is_alive(pid) && (works_there || names_it("cmdline") || names_it("environ"))
}

/// Whether the process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Its state, in the kernel's letter; `T` is stopped.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// SIGKILL for all of them.
pub fn end_all(places: &[PathBuf]) {
    for _ in 0..3 {
        for pid in of(places) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A line for each, for people.
pub fn describe(places: &[PathBuf]) -> String {
    let line = |pid: i32| format!("{pid} {} {}", state(pid).unwrap_or('?'), command(pid));
    of(places).into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Its program and arguments, each followed by a blank.
pub fn command(pid: i32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&command).replace('\0', " ")
}

/// The direct children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parent = |child: &i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
    };
    pids.filter(|child| parent(child) == Some(pid)).collect()
}

/// All processes below a process.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut next = 0;
    while next < found.len() {
        let more = children(found[next]);
        found.extend(more);
        next += 1;
    }
    found
}

/// When a process started, in clock ticks since boot.
pub fn started(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// What a process has computed.
pub fn cpu_time(pid: i32) -> std::time::Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    std::time::Duration::from_millis(ticks * 10)
}
