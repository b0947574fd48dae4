//! What the record of the board's health costs the card that it lies on.
//!
//! Days in virtual time, the real diary on a real ext4: what arrives at the device is counted, with all that is beside
//! the rows - the database's log and the index of that, the journal of the file system. After each transaction the file
//! system is flushed, as the kernel does by itself within half a minute: on a board an hour lies between two of them. And
//! a real daemon, that looks as often as in a day within a minute or two.

use crate::world::{App, World, is_root};
use pintle::base::{Moment, WallTime};
use pintle::control::{BoardHistory, Gauge, Shape};
use pintle::health::Recorder;
use pintle::store::{Diary, Entry};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DAY: u64 = 86_400;
/// What may arrive at the device in a day.
const BUDGET: u64 = 1_000_000;
/// 2025-10-24T00:00:00Z.
const MIDNIGHT: i64 = 1_761_264_000_000;

/// A card: an ext4 image on a loop device of its own.
struct Card {
    dir: PathBuf,
    device: String,
}

impl Card {
    fn new() -> Card {
        let dir = std::env::temp_dir().join(format!("pintle-card-{}", std::process::id()));
        fs::create_dir_all(dir.join("mounted")).unwrap();
        let image = dir.join("card.img");
        File::create(&image).unwrap().set_len(128 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        let mut card = Card { dir, device: String::new() };
        run("mount", &["-o", "loop", image.to_str().unwrap(), card.mounted().to_str().unwrap()]);
        let device = run("findmnt", &["-no", "SOURCE", card.mounted().to_str().unwrap()]);
        card.device = Path::new(device.trim()).file_name().unwrap().to_str().unwrap().to_owned();
        card
    }

    fn mounted(&self) -> PathBuf {
        self.dir.join("mounted")
    }

    fn flush(&self) {
        nix::unistd::syncfs(File::open(self.mounted()).unwrap()).unwrap();
    }

    /// Bytes that arrived.
    fn written(&self) -> u64 {
        let text = fs::read_to_string(format!("/sys/block/{}/stat", self.device)).unwrap();
        text.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mounted()).status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every gauge of a board that is never the same.
fn look(minute: u64) -> BTreeMap<Gauge, f64> {
    let value = |(nth, gauge): (usize, &Gauge)| match gauge.shape() {
        Shape::Sum => (*gauge, (minute * (60 << 20)) as f64),
        Shape::Share => (*gauge, f64::from(minute.is_multiple_of(7))),
        Shape::Level => (*gauge, (minute * 7919 * (nth as u64 + 1) % 9973) as f64 / 10.0),
    };
    Gauge::ALL.iter().enumerate().map(value).collect()
}

/// A look each minute from the day `from` on, for so many days; with something that changes at each look, or never. Gives
/// the number of transactions.
fn live(card: &Card, diary: &mut Diary, from: u64, days: u64, changes: bool) -> u64 {
    let mut recorder = Recorder::resume(Duration::from_secs(from * DAY), diary.snapshot().unwrap().samples);
    let mut transactions = 0;
    for minute in from * 1440..(from + days) * 1440 {
        let wall = WallTime(MIDNIGHT + minute as i64 * 60_000);
        let now = Moment { mono: Duration::from_secs(minute * 60), wall };
        recorder.look(now, true, &look(minute));
        if changes {
            recorder.something_changed();
        }
        let rows = recorder.due(now.mono);
        if !rows.is_empty() {
            diary.record(&[Entry::Sampled(rows)]).unwrap();
            card.flush();
            transactions += 1;
        }
    }
    transactions
}

#[test]
#[ignore = "mounts a file system, needs root; .ci/run runs it"]
fn a_day_of_health_costs_a_card_less_than_a_megabyte() {
    assert!(is_root(), "the card needs root: it mounts a file system");
    let card = Card::new();
    let now = Moment { mono: Duration::ZERO, wall: WallTime(MIDNIGHT) };
    let mut diary = Diary::open(&card.mounted(), now).unwrap().diary;
    // The table and the log get the size that they have after months.
    live(&card, &mut diary, 0, 20, false);
    // Some days each, so that the log is folded into the database now and then.
    for (name, from, changes) in [("quiet", 20, false), ("flapping", 40, true)] {
        let days = 20;
        card.flush();
        let before = card.written();
        let transactions = live(&card, &mut diary, from, days, changes);
        card.flush();
        let written = (card.written() - before) / days;
        println!("{name}: {} transactions and {written} bytes a day at the device", transactions / days);
        assert!(written > 50_000, "it was measured: {written}");
        assert!(written < BUDGET, "{name}: {written} bytes a day");
    }
}

/// What the daemon had the kernel write: by its calls, and to disks.
fn written_by(world: &World) -> [u64; 2] {
    let text = fs::read_to_string(format!("/proc/{}/io", world.daemon_pid())).unwrap();
    ["wchar", "write_bytes"].map(|name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap().parse().unwrap()
    })
}

/// As many looks as in a day, all within a minute or two: they are hours apart in none of it, so nothing but the end of the
/// daemon may write them down. What a transaction of each hour costs is added to that by the test above.
#[test]
#[ignore = "takes a minute or two; .ci/run runs it"]
fn a_days_looks_of_a_real_daemon_are_not_written_one_by_one() {
    let mut world = World::with([App::new("shop")]).host("[health]\nevery = \"20ms\"").up();
    world.shop().goes_live("v1");
    let looks = |world: &World| {
        let told = world.pintle(&["--json", "history", "--health"]).exits(0);
        let told: BoardHistory = serde_json::from_value(told.json()).unwrap();
        told.samples.iter().map(|sample| u64::from(sample.samples)).sum::<u64>()
    };
    // What the deploy left to write comes first.
    let begun = world.wait("some looks", || Some(looks(&world)).filter(|looks| *looks > 100));
    let before = written_by(&world);
    let mut seen = begun;
    while seen < begun + 1440 {
        // Asked seldom: each answer is written to a socket.
        seen = world.wait("more looks", || Some(looks(&world)).filter(|looks| *looks >= seen + 100));
    }
    let after = written_by(&world);
    let [calls, disk] = [0, 1].map(|which| after[which] - before[which]);
    println!("{} looks: {calls} bytes by calls, {disk} bytes to disks", seen - begun);
    assert!(disk < 64 << 10, "{disk} bytes for {} looks", seen - begun);
    world.stop_daemon();
    assert!(looks(&world) >= seen, "and all of it is there");
}
