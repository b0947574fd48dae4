//! The plug is pulled: at any instant of deploys and rollbacks, what is on the disk starts as a complete release.
//!
//! An XFS loop file holds an ext4 image that is mounted as the state directory. While deploys run, reflink copies of
//! the image are taken at random instants - each is what a board finds after the power is back: what was flushed is
//! there, what was not is gone. Then each copy is mounted in the place of the original and the daemon started on it.

use crate::recovery::history_is_true;
use crate::world::chance::Chance;
use crate::world::{Site, World, is_root, processes, wait, whole};
use pintle::control::{DeployStatus, DeploymentView};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Instants in all; fewer or more by `PINTLE_POWER_CUTS`.
const INSTANTS: usize = 500;
/// Instants of one burst, before their copies are looked at.
const BURST: usize = 50;

#[test]
#[ignore = "mounts file systems, needs root and minutes; .ci/run runs it"]
fn a_complete_release_runs_after_a_power_cut_at_any_instant() {
    assert!(is_root(), "the power cut needs root: it mounts file systems");
    for tool in ["mkfs.xfs", "mkfs.ext4"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success();
        assert!(found, "{tool} is missing: install xfsprogs and e2fsprogs");
    }
    let wanted = std::env::var("PINTLE_POWER_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(INSTANTS);
    let mut chance = Chance::announced();
    let bench = Bench::build();
    let mut world = World::with_state_in(&bench.mount_point().join("pintle"), [whole::shop()]);
    let shop = world.shop().clone();
    let mut author = Author::new(shop.clone());
    let mut looked = 0;
    let mut phases = std::collections::BTreeMap::<String, usize>::new();
    bench.mount("disk.img");
    world.start_daemon();
    author.first_release(&world);
    world.stop_daemon();
    bench.unmount();
    while looked < wanted {
        bench.mount("disk.img");
        world.start_daemon();
        let copies = burst(&bench, &world, &mut author, &mut chance, BURST.min(wanted - looked));
        world.stop_daemon();
        bench.unmount();
        for copy in copies {
            *phases.entry(copy.phase.clone()).or_default() += 1;
            look(&bench, &mut world, &copy);
            looked += 1;
        }
        eprintln!("{looked} of {wanted} power cuts survived");
    }
    eprintln!("cut during: {phases:?}");
}

/// A copy of the disk, and what the world had been promised when it was begun.
struct Copy {
    image: String,
    /// The newest deployment that was known to be over.
    promised: Option<DeploymentView>,
    /// Where the deployment under way was, about.
    phase: String,
}

/// Makes deploys and rollbacks while copies are taken at random instants.
fn burst(bench: &Bench, world: &World, author: &mut Author, chance: &mut Chance, count: usize) -> Vec<Copy> {
    let known: Mutex<Option<DeploymentView>> = Mutex::new(None);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            while !enough.load(Ordering::SeqCst) {
                let over = author.something_new(world);
                *known.lock().unwrap() = Some(over);
            }
        });
        let copies: Vec<Copy> = (0..count)
            .map(|number| {
                // Not a wait for something: the instant is what is tested.
                thread::sleep(chance.span(Duration::from_millis(90)));
                let promised = known.lock().unwrap().clone();
                let phase = world.history().first().map_or("nothing".into(), |newest| match newest.status.is_final() {
                    true => "rest".to_owned(),
                    false => newest.phase.to_string(),
                });
                let image = format!("cut-{number}.img");
                bench.copy("disk.img", &image);
                Copy { image, promised, phase }
            })
            .collect();
        enough.store(true, Ordering::SeqCst);
        work.join().unwrap();
        copies
    })
}

/// Mounts a copy in the disk's place, starts the daemon on it, and checks what runs and what is told.
fn look(bench: &Bench, world: &mut World, copy: &Copy) {
    bench.mount(&copy.image);
    let what = format!("{} during {}", copy.image, copy.phase);
    world.launch_daemon();
    world.wait_for_daemon();
    let shop = world.shop().clone();
    let outcome = wait::wait_quietly(Duration::from_secs(20), || whole::serving(&shop).ok());
    assert!(outcome.is_some(), "{what}: {:?}\n{}", whole::serving(&shop), world.daemon_said());
    // A retry of the interrupted deploy may be on its way; the history is compared at a moment when nothing changed.
    let consistent = wait::wait_quietly(Duration::from_secs(20), || {
        let live = shop.live_release();
        let history = world.history();
        (live == shop.live_release() && told(&history) == live).then_some(history)
    });
    let history = consistent.unwrap_or_else(|| {
        history_is_true(&world.history(), shop.live_release().as_deref(), &what);
        world.history()
    });
    let told = world.pintle(&["--json", "history"]).exits(0).json();
    assert!(told.get("notices").is_none(), "{what}: the diary was damaged: {}", told["notices"]);
    if let Some(promised) = &copy.promised {
        let kept = history.iter().find(|deployment| deployment.number == promised.number);
        let same = kept.is_some_and(|kept| (kept.status, &kept.release) == (promised.status, &promised.release));
        assert!(same, "{what}: it was told {promised:?}, and now: {kept:?}");
    }
    world.kill_daemon();
    processes::end_all(&world.places());
    wait::wait_until("the copy's processes to end", || processes::of(&world.places()).is_empty().then_some(()));
    bench.unmount();
    bench.remove(&copy.image);
}

/// The release of the newest success.
fn told(history: &[DeploymentView]) -> Option<String> {
    let newest = history.iter().find(|deployment| deployment.status == DeployStatus::Success)?;
    newest.release.as_ref().map(|release| release.to_string())
}

/// Makes new versions: most are good, some die in probation, now and then a person rolls back.
struct Author {
    site: Site,
    made: u32,
}

impl Author {
    fn new(site: Site) -> Author {
        Author { site, made: 0 }
    }

    fn first_release(&mut self, world: &World) {
        let commit = whole::commit(&self.site, "v0", &[]);
        let report = world.end_of(self.site.push(&commit).accepted());
        assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
    }

    /// One more deployment, waited for.
    fn something_new(&mut self, world: &World) -> DeploymentView {
        self.made += 1;
        if self.made.is_multiple_of(7) {
            world.pintle(&["rollback", "shop"]);
            return world.history().into_iter().find(|deployment| deployment.status.is_final()).unwrap();
        }
        let conf: &[&str] = if self.made.is_multiple_of(4) { &["die_after = 80ms"] } else { &[] };
        let commit = whole::commit(&self.site, &format!("v{}", self.made), conf);
        world.end_of(self.site.push(&commit).accepted()).deployment
    }
}

/// The file systems: XFS in a file, and in it images of ext4, one of them mounted.
struct Bench {
    root: PathBuf,
}

impl Bench {
    fn build() -> Bench {
        let root = std::env::temp_dir().join(format!("pt-cut-{}", std::process::id()));
        let bench = Bench { root };
        for dir in ["xfs", "state"] {
            fs::create_dir_all(bench.root.join(dir)).unwrap();
        }
        let outer = bench.root.join("outer.img");
        sparse(&outer, 6 << 30);
        run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&outer));
        run(Command::new("mount").args(["-o", "loop"]).arg(&outer).arg(bench.root.join("xfs")));
        let disk = bench.image("disk.img");
        sparse(&disk, 256 << 20);
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk));
        bench
    }

    fn image(&self, name: &str) -> PathBuf {
        self.root.join("xfs").join(name)
    }

    /// Where the state is, whichever image is mounted.
    fn mount_point(&self) -> PathBuf {
        self.root.join("state")
    }

    fn mount(&self, name: &str) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image(name)).arg(self.mount_point()));
    }

    fn unmount(&self) {
        let gone = wait::wait_quietly(Duration::from_secs(10), || {
            Command::new("umount").arg(self.mount_point()).output().unwrap().status.success().then_some(())
        });
        assert!(gone.is_some(), "{} is busy", self.mount_point().display());
    }

    fn copy(&self, from: &str, to: &str) {
        let began = Instant::now();
        run(Command::new("cp").arg("--reflink=always").arg(self.image(from)).arg(self.image(to)));
        assert!(began.elapsed() < Duration::from_secs(5), "a copy that takes {:?} is no instant", began.elapsed());
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.image(name)).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // After a failure the world's processes are ended by now; the file systems go too, the images with them.
        for dir in ["state", "xfs"] {
            let dir = self.root.join(dir);
            wait::wait_quietly(Duration::from_secs(5), || {
                let unmounted = Command::new("umount").arg(&dir).output().unwrap().status.success();
                let mounted = fs::read_to_string("/proc/mounts").unwrap().contains(dir.to_str().unwrap());
                (unmounted || !mounted).then_some(())
            });
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn sparse(path: &Path, size: u64) {
    fs::File::create(path).unwrap().set_len(size).unwrap();
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
