//! Finding the program of a command, and saying why it could not be executed.
//!
//! The kernel's answer to `execve` is one number for many causes ("No such file or directory" for a script whose
//! interpreter is missing); people get the cause and what to do. Line: nothing is started here.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for when the environment has no PATH.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to hand to `execve`, in order: one entry when `program` has a '/', else one per directory of `path`. Relative
/// entries are meant in the directory the child will have entered. A NUL byte anywhere is `InvalidInput`.
pub fn candidates(program: &str, path: Option<&str>) -> io::Result<Vec<CString>> {
    if program.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty: a program is needed"));
    }
    if program.contains('/') {
        return Ok(vec![CString::new(program)?]);
    }
    path.unwrap_or(DEFAULT_PATH)
        .split(':')
        .map(|dir| if dir.is_empty() { "." } else { dir })
        .map(|dir| Ok(CString::new(format!("{dir}/{program}"))?))
        .collect()
}

/// Why executing `program` in `cwd` failed with `errno`, and what to do, as a clause after "start PROGRAM in DIR: ".
pub fn why_not(program: &str, path: Option<&str>, cwd: &Path, errno: i32) -> String {
    let kernel = io::Error::from_raw_os_error(errno);
    let found = find(program, path, cwd);
    match (errno, found) {
        (libc::ENOENT | libc::ENOTDIR, None) if program.contains('/') => {
            format!("not found: there is no file {}", cwd.join(program).display())
        }
        (libc::ENOENT | libc::ENOTDIR, None) => {
            format!("not found in PATH ({}); install it or give its path", path.unwrap_or(DEFAULT_PATH))
        }
        (libc::ENOENT, Some(file)) => match interpreter(&file) {
            Some(line) => format!("its first line asks for the interpreter {line:?}, which does not exist"),
            None => "its loader does not exist: it was probably built for another system".into(),
        },
        (libc::EACCES, Some(file)) if file.is_dir() => format!("{} is a directory", file.display()),
        (libc::EACCES, Some(file)) if !is_executable(&file) => {
            format!("{} is not executable; set its mode (`chmod +x`)", file.display())
        }
        (libc::EACCES, _) => {
            format!("{kernel}: it, its interpreter or a directory above is closed to this user, or mounted noexec")
        }
        (libc::ENOEXEC, _) => {
            "not in a format this system runs: a script without a `#!` first line, or built for another processor"
                .into()
        }
        (libc::E2BIG, _) => format!("{kernel}: arguments and environment together are too long"),
        _ => kernel.to_string(),
    }
}

fn find(program: &str, path: Option<&str>, cwd: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(cwd.join(program)).filter(|file| file.exists());
    }
    let dirs = path.unwrap_or(DEFAULT_PATH).split(':');
    dirs.map(|dir| cwd.join(dir).join(program)).find(|file| file.exists())
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

fn interpreter(file: &Path) -> Option<String> {
    let mut head = [0; 256];
    let read = File::open(file).and_then(|mut file| file.read(&mut head)).ok()?;
    let line = head.get(..read)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim_matches([' ', '\t']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_slash_is_itself_and_one_without_is_looked_for() {
        let text = |list: Vec<CString>| list.iter().map(|c| c.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(text(candidates("./a", Some("/bin")).unwrap()), ["./a"]);
        assert_eq!(text(candidates("a", Some("/x:/y")).unwrap()), ["/x/a", "/y/a"]);
        assert_eq!(text(candidates("a", Some(":/y")).unwrap()), ["./a", "/y/a"]);
        assert_eq!(candidates("a", None).unwrap().len(), DEFAULT_PATH.split(':').count());
        assert!(candidates("", None).is_err());
        assert!(candidates("a\0b", None).is_err());
    }
}
