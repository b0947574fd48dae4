use super::*;
use crate::base::Bytes;
use crate::os::output::Output;
use nix::unistd::write as put;
use std::fs;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pintle-scribe-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn target(path: &Path) -> LogTarget {
    LogTarget { path: path.into(), max: Bytes(64 << 20), keep: 2 }
}

fn attached(scribe: &Scribe, target: LogTarget) -> OwnedFd {
    let (read, write) = make_pipe().unwrap();
    scribe.attach(target, read).unwrap();
    write
}

#[test]
fn several_instances_share_a_file_line_by_line() {
    let dir = scratch("share");
    let path = dir.join("web.log");
    let scribe = Scribe::start().unwrap();
    let (one, two) = (attached(&scribe, target(&path)), attached(&scribe, target(&path)));
    put(&one, b"one be").unwrap();
    put(&two, b"two\n").unwrap();
    put(&one, b"gun\n").unwrap();
    scribe.flush();
    put(&one, b"unfinished").unwrap();
    scribe.flush();
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), ["one begun", "two", "unfinished"]);
    put(&one, b" after all\n").unwrap();
    scribe.flush();
    put(&one, b"cut").unwrap();
    scribe.flush();
    put(&two, b"other\n").unwrap();
    scribe.flush();
    assert!(fs::read_to_string(&path).unwrap().ends_with("unfinished after all\ncut\nother\n"));
    drop((one, two));
    drop(scribe);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_in_the_pipe_is_written_before_the_thread_ends() {
    let dir = scratch("end");
    let path = dir.join("web.log");
    let scribe = Scribe::start().unwrap();
    let pipe = attached(&scribe, target(&path));
    put(&pipe, b"last words").unwrap();
    drop(scribe);
    assert_eq!(fs::read_to_string(&path).unwrap(), "last words");
    assert_eq!(put(&pipe, b"x"), Err(Errno::EPIPE), "nobody reads any more");
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn eight_mebibytes_come_through_rotation_whole() {
    let dir = scratch("eight");
    let path = dir.join("web.log");
    let scribe = Scribe::start().unwrap();
    let pipe = attached(&scribe, LogTarget { path: path.clone(), max: Bytes(1 << 20), keep: 20 });
    let line = |number: u32| format!("{number:063}\n");
    let lines = (8 << 20) / 64;
    let mut pipe = File::from(pipe);
    for number in 0..lines {
        io::Write::write_all(&mut pipe, line(number).as_bytes()).unwrap();
    }
    drop(pipe);
    drop(scribe);
    let files = (0..20).rev().map(|number| crate::os::logfile::rotated(&path, number));
    let texts = files.filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>();
    assert!(texts.len() >= 8 && texts.iter().all(|text| text.len() <= 1 << 20 && text.ends_with('\n')));
    assert!(texts.concat().lines().map(|line| line.parse::<u32>().unwrap()).eq(0..lines));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_endless_line_is_broken_and_a_full_disk_holds_nobody_up() {
    let dir = scratch("endless");
    let path = dir.join("web.log");
    let scribe = Scribe::start().unwrap();
    let (endless, full) = (attached(&scribe, target(&path)), attached(&scribe, target(Path::new("/dev/full"))));
    io::Write::write_all(&mut File::from(endless), &vec![b'x'; 3 * LINE_MAX]).unwrap();
    io::Write::write_all(&mut File::from(full), &vec![b'\n'; 3 << 20]).unwrap();
    scribe.flush();
    let lost = scribe.lost();
    drop(scribe);
    assert!(lost >= 2 << 20, "{lost}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() >= 2 && text.lines().all(|line| line.len() <= 2 * LINE_MAX));
    assert_eq!(text.bytes().filter(|byte| *byte == b'x').count(), 3 * LINE_MAX);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_image_that_goes_on_finds_the_begun_line_in_the_pipe() {
    let dir = scratch("close");
    let path = dir.join("web.log");
    fs::create_dir_all(&dir).unwrap();
    let seven = Output::make(&dir, InstanceId(7), None).unwrap();
    let ended = Output::make(&dir, InstanceId(8), None).unwrap();
    let eye = ended.read.try_clone().unwrap();
    let scribe = Scribe::start().unwrap();
    scribe.follow(InstanceId(7), target(&path), seven.read).unwrap();
    scribe.follow(InstanceId(8), target(&dir.join("other.log")), ended.read).unwrap();
    let anonymous = attached(&scribe, target(&dir.join("other.log")));
    put(&ended.write, b"last words\n").unwrap();
    drop(ended.write);
    // A child that another test is just starting may hold a copy until it executes its program.
    let hangs_up = || {
        let mut eye = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&eye), nix::poll::PollFlags::empty())];
        nix::poll::poll(&mut eye, nix::poll::PollTimeout::from(20_000_u16)).unwrap() == 1
    };
    assert!(hangs_up(), "its last writer is gone");
    put(&anonymous, b"and more").unwrap();
    put(&seven.write, b"whole\nbegun by one").unwrap();
    let mut back = scribe.close();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
    assert_eq!(fs::read_to_string(dir.join("other.log")).unwrap(), "last words\nand more");
    put(&seven.write, b" and ended by the next\n").unwrap();
    // A child that another test is just starting may hold a copy until it executes its program.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while put(&anonymous, b"x").is_ok() {
        assert!(std::time::Instant::now() < until, "what ends with us has no reader any more");
        std::thread::yield_now();
    }

    let (instance, read) = back.remove(0);
    assert_eq!((instance, back.len()), (InstanceId(7), 0), "the other one has nothing more to say");
    let next = Scribe::start().unwrap();
    next.follow(instance, target(&path), read).unwrap();
    next.flush();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nbegun by one and ended by the next\n");
    put(&seven.write, b"cut off").unwrap();
    next.flush();
    let mut back = next.close();
    put(&seven.write, b"a new line\n").unwrap();
    let last = Scribe::start().unwrap();
    last.follow(instance, target(&path), back.remove(0).1).unwrap();
    last.flush();
    assert!(fs::read_to_string(&path).unwrap().ends_with("next\ncut off\na new line\n"));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_pipe_nobody_can_write_to_any_more_is_closed_at_once() {
    let dir = scratch("nobody");
    fs::create_dir_all(&dir).unwrap();
    drop(Output::make(&dir, InstanceId(7), None).unwrap());
    let again = crate::os::output::reopen(&dir, InstanceId(7)).unwrap();
    let scribe = Scribe::start().unwrap();
    scribe.follow(InstanceId(7), target(&dir.join("web.log")), again).unwrap();
    assert!(scribe.close().is_empty());
    fs::remove_dir_all(&dir).unwrap();
}
