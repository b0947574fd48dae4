//! Real releases of real repositories.

use super::{Data, Releases};
use crate::base::{CommitId, DeployId, ReleaseName};
use crate::config::Source;
use crate::os::git::Mirror;
use crate::os::git::fixture::{AMPLE, Origin, Scratch, fetch, git, source, within};
use crate::os::users::User;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An application's directory with its origin beside it.
struct Bench {
    scratch: Scratch,
    origin: Origin,
    releases: Releases,
    source: Source,
    user: User,
}

impl Bench {
    fn new() -> Bench {
        let scratch = Scratch::new();
        let origin = Origin::new(scratch.path("origin"));
        let releases = Releases::new(&scratch.path("app"));
        let source = source(origin.url());
        let user = User { name: "nobody".into(), uid: 65534, gid: 65534, groups: vec![65534], home: "/".into() };
        Bench { scratch, origin, releases, source, user }
    }
    /// Fetches the tip and stages it as deployment `number`.
    fn stage(&self, number: u64) -> io::Result<ReleaseName> {
        let mirror = Mirror::open(&self.scratch.path("app"), &self.source)?;
        let commit = fetch(&mirror)?;
        let release = ReleaseName::of(DeployId(number), &commit);
        let (path, said) = within(AMPLE, |limits| {
            self.releases.stage(&mirror, &release, &commit, &self.source, limits, Some(&self.user))
        });
        assert_eq!(path.map_err(|error| io::Error::new(error.kind(), format!("{error}\n{said}")))?, self.dir(&release));
        Ok(release)
    }
    fn link(&self, release: &ReleaseName, data: Data) -> io::Result<()> {
        self.releases.link_shared(release, &self.source, data, Some(&self.user))
    }
    fn dir(&self, release: &ReleaseName) -> PathBuf {
        self.releases.path(release)
    }
    fn shared(&self, path: &str) -> PathBuf {
        self.releases.shared_root().join(path)
    }
    /// What the application's user owns: `nobody`'s when we are root, else ours.
    fn owner(&self) -> u32 {
        if nix::unistd::geteuid().is_root() { self.user.uid } else { nix::unistd::geteuid().as_raw() }
    }
    /// Nothing but releases and their definitions is left.
    fn assert_clean(&self) {
        let names = fs::read_dir(self.scratch.path("app/releases")).unwrap().map(|entry| entry.unwrap().file_name());
        let scratch: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
        assert_eq!(scratch, Vec::<std::ffi::OsString>::new());
    }
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(text: &str) -> ReleaseName {
    ReleaseName::new(text).unwrap()
}

#[test]
fn a_release_is_a_whole_repository_of_the_applications_user() {
    let bench = Bench::new();
    bench.origin.commit(&[("app.py", "print(1)"), ("a dir/b", "2")]);
    git(&bench.origin.0, &["tag", "-a", "-m", "First", "v1.0"]);
    symlink("/etc/passwd", bench.origin.0.join("link")).unwrap();
    bench.origin.commit(&[("a dir/b", "3")]);
    let passwd = fs::metadata("/etc/passwd").unwrap();
    let release = bench.stage(7).unwrap();
    assert_eq!(release, ReleaseName::of(DeployId(7), &bench.origin.head()));
    let dir = bench.dir(&release);
    assert_eq!(read(dir.join("a dir/b")), "3");
    for path in ["", "app.py", "a dir", "a dir/b", "link", ".git/HEAD"] {
        assert_eq!(fs::symlink_metadata(dir.join(path)).unwrap().uid(), bench.owner(), "{path}");
    }
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), passwd.uid(), "links are given, not what they point at");
    let described = run_as_owner(&bench, &dir, &["git", "describe"]);
    assert!(described.starts_with("v1.0-1-g"), "{described}");
    assert_eq!(git_as_owner(&bench, &dir, &["status", "--porcelain"]), "");
    assert_eq!(git_as_owner(&bench, &dir, &["remote", "get-url", "origin"]).trim(), bench.origin.url());
    bench.assert_clean();
}

fn git_as_owner(bench: &Bench, dir: &Path, args: &[&str]) -> String {
    run_as_owner(bench, dir, &[&["git"], args].concat())
}

/// Runs a command as a build step would.
fn run_as_owner(bench: &Bench, dir: &Path, argv: &[&str]) -> String {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).current_dir(dir).env("HOME", "/nonexistent");
    if nix::unistd::geteuid().is_root() {
        command.uid(bench.user.uid).gid(bench.user.gid);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn current_is_what_the_link_says() {
    let bench = Bench::new();
    assert_eq!(bench.releases.current().unwrap(), None);
    bench.releases.unpoint().unwrap();
    bench.origin.commit(&[("a", "1")]);
    let release = bench.stage(1).unwrap();
    bench.releases.point(&release).unwrap();
    assert_eq!(bench.releases.current().unwrap(), Some(release.clone()));
    let link = bench.scratch.path("app/current");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("releases").join(&release));
    assert_eq!(read(link.join("a")), "1");

    let missing = bench.releases.point(&name("000009-abc")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    assert_eq!(bench.releases.current().unwrap(), Some(release.clone()), "still the old one");
    let live = bench.releases.remove(&release).unwrap_err();
    assert!(live.to_string().contains("it is live"), "{live}");
    assert!(bench.stage(1).unwrap_err().to_string().contains("it is live"), "nor is it staged over");

    bench.releases.unpoint().unwrap();
    assert_eq!(bench.releases.current().unwrap(), None);
    symlink("/etc", &link).unwrap();
    assert!(bench.releases.current().unwrap_err().to_string().contains("points at /etc"));
}

#[test]
fn a_definition_is_kept_beside_its_release_for_us_alone() {
    let bench = Bench::new();
    let release = name("000001-abc");
    assert_eq!(bench.releases.frozen(&release).unwrap(), None);
    let definition = serde_json::json!({"service": {"web": {"run": ["./app"]}}});
    bench.releases.freeze(&release, &definition).unwrap();
    assert_eq!(bench.releases.frozen(&release).unwrap(), Some(definition));
    let path = bench.scratch.path("app/releases/000001-abc.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "{").unwrap();
    assert_eq!(bench.releases.frozen(&release).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn pruning_keeps_the_newest_and_those_that_must_stay() {
    let bench = Bench::new();
    let root = bench.scratch.path("app/releases");
    assert_eq!(bench.releases.list().unwrap(), vec![]);
    assert_eq!(bench.releases.highest().unwrap(), DeployId(0));
    let all: Vec<ReleaseName> = (1..=6).map(|number| name(&format!("{number:06}-abc"))).collect();
    for release in &all {
        fs::create_dir_all(root.join(release).join("read only")).unwrap();
        fs::write(root.join(release).join("read only/file"), "").unwrap();
        fs::set_permissions(root.join(release).join("read only"), fs::Permissions::from_mode(0o555)).unwrap();
        bench.releases.freeze(release, &serde_json::Value::Null).unwrap();
    }
    fs::create_dir(root.join(".000041-abc.partial")).unwrap();
    fs::write(root.join("000040-abc"), "a file is no release").unwrap();
    assert_eq!(bench.releases.list().unwrap(), all);
    assert_eq!(bench.releases.highest().unwrap(), DeployId(41));

    bench.releases.point(&all[0]).unwrap();
    let removed = bench.releases.prune(3, &[all[1].clone(), name("000099-gone")]).unwrap();
    assert_eq!(removed, all[2..5]);
    assert_eq!(bench.releases.list().unwrap(), [all[0].clone(), all[1].clone(), all[5].clone()]);
    assert!(!root.join("000003-abc.json").exists() && root.join("000006-abc.json").exists());
    assert_eq!(bench.releases.prune(0, &[all[1].clone()]).unwrap(), all[5..]);
    assert_eq!(bench.releases.list().unwrap(), all[..2]);
    assert_eq!(bench.releases.prune(10, &[]).unwrap(), []);
}

#[test]
fn scratch_of_an_interrupted_deploy_goes() {
    let bench = Bench::new();
    bench.origin.commit(&[("a", "1")]);
    let release = bench.stage(1).unwrap();
    bench.releases.freeze(&release, &serde_json::Value::Null).unwrap();
    let app = bench.scratch.path("app");
    for dir in [
        "releases/.000002-abc.partial/x",
        "releases/.000001-a.gone",
        "releases/.000003-x.aside/1",
        ".repo.git.partial/objects",
    ] {
        fs::create_dir_all(app.join(dir)).unwrap();
    }
    for file in ["releases/000002-abc.json", "releases/.000002-abc.json.new", "releases/notes.json"] {
        fs::write(app.join(file), "").unwrap();
    }
    symlink("releases/x", app.join(".current.new")).unwrap();
    bench.releases.clean_scratch().unwrap();
    bench.assert_clean();
    assert!(bench.releases.holds(&release) && bench.releases.frozen(&release).unwrap().is_some());
    assert!(!app.join("releases/000002-abc.json").exists() && app.join("releases/notes.json").exists());
    assert!(!app.join(".repo.git.partial").exists() && app.join(".current.new").symlink_metadata().is_err());
    bench.releases.clean_scratch().unwrap();
}

#[test]
fn shared_data_is_seeded_once_and_outlives_releases() {
    let mut bench = Bench::new();
    bench.source.shared = ["data", "logs", "conf/app.ini", "db.sqlite3", "var/deep/cache"].map(PathBuf::from).to_vec();
    bench.origin.commit(&[("data/seed", "first"), ("conf/app.ini", "[a]"), ("conf/other", "o")]);
    let first = bench.dir(&bench.stage(1).unwrap());
    assert_eq!(fs::read_link(first.join("data")).unwrap(), Path::new("../../shared/data"));
    assert_eq!(fs::read_link(first.join("var/deep/cache")).unwrap(), Path::new("../../../../shared/var/deep/cache"));
    assert_eq!(read(bench.shared("data/seed")), "first");
    assert_eq!(read(first.join("conf/app.ini")), "[a]");
    assert_eq!(read(first.join("conf/other")), "o", "what is beside stays in the release");
    assert!(bench.shared("logs").is_dir() && bench.shared("var/deep/cache").is_dir());
    for path in ["", "data", "data/seed", "logs", "conf", "var/deep", "var/deep/cache"] {
        assert_eq!(fs::metadata(bench.shared(path)).unwrap().uid(), bench.owner(), "{path}");
    }
    assert_eq!(fs::symlink_metadata(first.join("data")).unwrap().uid(), bench.owner());
    assert!(!bench.shared("db.sqlite3").exists(), "a file nobody wrote yet is not made");
    fs::write(first.join("db.sqlite3"), "rows").unwrap();
    assert_eq!(read(bench.shared("db.sqlite3")), "rows", "but is where it belongs once it is");

    fs::write(bench.shared("data/seed"), "grown").unwrap();
    bench.origin.commit(&[("data/seed", "second"), ("data/new", "n")]);
    let second = bench.dir(&bench.stage(2).unwrap());
    assert_eq!(read(second.join("data/seed")), "grown", "the repository does not overwrite data");
    assert!(!bench.shared("data/new").exists());
    assert_eq!(read(second.join("db.sqlite3")), "rows");
    bench.assert_clean();

    fs::rename(bench.scratch.path("app"), bench.scratch.path("moved")).unwrap();
    let moved = bench.scratch.path("moved/releases").join(second.file_name().unwrap());
    assert_eq!(read(moved.join("data/seed")), "grown", "the whole directory can be moved");
    assert_eq!(git_as_owner(&bench, &moved, &["log", "-1", "--format=%s"]), "Change things\n");
}

#[test]
fn data_may_be_on_another_disk() {
    let mut bench = Bench::new();
    bench.source.shared = vec!["data".into()];
    bench.origin.commit(&[("data/sub/x", "1"), ("data/run", "2")]);
    symlink("sub/x", bench.origin.0.join("data/link")).unwrap();
    fs::set_permissions(bench.origin.0.join("data/run"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.origin.commit(&[]);
    // Another file system where there is one; the outcome is the same without.
    let memory = Path::new("/dev/shm");
    let home = if memory.is_dir() { memory } else { &std::env::temp_dir() };
    let disk = home.join(format!("pintle-disk-{}", std::process::id()));
    fs::create_dir_all(disk.join(".seed.data/left over")).unwrap();
    for made in [disk.clone(), disk.join(".seed.data"), disk.join(".seed.data/left over")] {
        std::os::unix::fs::chown(made, Some(bench.owner()), None).unwrap();
    }
    fs::create_dir_all(bench.scratch.path("app")).unwrap();
    symlink(&disk, bench.releases.shared_root()).unwrap();

    let staged = bench.stage(1).map(|release| bench.dir(&release));
    let seeded = staged.as_ref().map(|dir| (read(dir.join("data/link")), read(disk.join("data/run"))));
    let mode = fs::metadata(disk.join("data/run")).map(|found| (found.mode() & 0o777, found.uid()));
    fs::remove_dir_all(&disk).unwrap();
    assert_eq!(seeded.unwrap(), ("1".into(), "2".into()));
    assert_eq!(mode.unwrap(), (0o755, bench.owner()));
}

#[test]
fn a_rehearsal_sees_other_data_and_the_real_data_comes_back() {
    let mut bench = Bench::new();
    bench.source.shared = ["data", "logs", "app.db"].map(PathBuf::from).to_vec();
    bench.source.subdirectory = "sub/project".into();
    bench.origin.commit(&[("sub/project/data/x", "real"), ("README", "r")]);
    let release = bench.stage(1).unwrap();
    let dir = bench.releases.working_dir(&release, &bench.source);
    assert_eq!(dir, bench.dir(&release).join("sub/project"));
    assert_eq!(read(dir.join("data/x")), "real");

    let copy = bench.scratch.path("copy");
    fs::create_dir_all(copy.join("data")).unwrap();
    fs::write(copy.join("data/x"), "copy").unwrap();
    bench.link(&release, Data::Scratch(&copy)).unwrap();
    assert_eq!(fs::read_link(dir.join("data")).unwrap(), copy.join("data"));
    assert_eq!(read(dir.join("data/x")), "copy");
    fs::write(dir.join("logs/l"), "rehearsed").unwrap();
    fs::write(dir.join("app.db"), "rehearsed").unwrap();
    assert_eq!((read(copy.join("logs/l")), read(copy.join("app.db"))), ("rehearsed".into(), "rehearsed".into()));

    // A step may put something of its own where the link was.
    fs::remove_file(dir.join("data")).unwrap();
    fs::create_dir(dir.join("data")).unwrap();
    fs::write(dir.join("data/x"), "stray").unwrap();
    bench.link(&release, Data::Real).unwrap();
    assert_eq!(read(dir.join("data/x")), "real");
    assert!(!bench.shared("logs/l").exists() && !bench.shared("app.db").exists());
    bench.assert_clean();
}

#[test]
fn links_in_the_repository_lead_nowhere_outside() {
    let outside = Scratch::new();
    fs::write(outside.path("precious"), "p").unwrap();
    let mut bench = Bench::new();
    bench.source.shared = vec!["data".into()];
    symlink(outside.path(""), bench.origin.0.join("data")).unwrap();
    symlink(outside.path(""), bench.origin.0.join("var")).unwrap();
    bench.origin.commit(&[("a", "1")]);
    let release = bench.stage(1).unwrap();
    assert!(bench.shared("data").is_dir() && !bench.shared("data/precious").exists());
    assert_eq!(
        fs::canonicalize(bench.dir(&release).join("data")).unwrap(),
        fs::canonicalize(bench.shared("data")).unwrap()
    );

    for shared in ["var/data", "../escape", "/etc/x", "a/../../x", "a/below a file", ""] {
        bench.source.shared = vec![shared.into()];
        let refused = bench.stage(2).expect_err(shared);
        assert!(refused.to_string().contains("shared path"), "{refused}");
    }
    for subdirectory in ["var", "missing", "a", "..", "/etc"] {
        bench.source = Source { subdirectory: subdirectory.into(), shared: vec![], ..bench.source };
        let refused = bench.stage(3).expect_err(subdirectory).to_string();
        assert!(refused.contains("subdirectory") || refused.contains("relative"), "{refused}");
    }
    // The data belongs to the application, which may try the same there.
    bench.source = Source { subdirectory: "".into(), shared: vec!["conf/x".into()], ..bench.source };
    symlink(outside.path(""), bench.shared("conf")).unwrap();
    bench.stage(4).unwrap_err();

    assert_eq!(fs::read_dir(outside.path("")).unwrap().count(), 1, "nothing was written there");
    assert_eq!(bench.releases.list().unwrap(), [release], "and what failed is no release");
    bench.releases.clean_scratch().unwrap();
    bench.assert_clean();
}

#[test]
fn submodules_are_checked_out_when_configured() {
    let mut bench = Bench::new();
    let library = Origin::new(bench.scratch.path("library"));
    library.commit(&[("lib.py", "l")]);
    bench.origin.commit(&[("a", "1")]);
    // Relative, so that it is resolved against the real source.
    git(&bench.origin.0, &["submodule", "--quiet", "add", "../library", "vendor/library"]);
    bench.origin.commit(&[]);
    let without = bench.stage(1).unwrap();
    assert_eq!(fs::read_dir(bench.dir(&without).join("vendor/library")).unwrap().count(), 0);

    bench.source.submodules = true;
    if nix::unistd::geteuid().is_root() {
        // Fetched as the application's user, who cannot read what is ours alone.
        fs::set_permissions(&library.0, fs::Permissions::from_mode(0o700)).unwrap();
        let refused = bench.stage(2).unwrap_err();
        assert!(refused.to_string().contains("submodules"), "{refused}");
        let given = Command::new("chown").args(["-R", "nobody"]).arg(&library.0).status().unwrap();
        assert!(given.success());
    }
    let with = bench.dir(&bench.stage(3).unwrap());
    assert_eq!(read(with.join("vendor/library/lib.py")), "l");
    assert_eq!(fs::metadata(with.join("vendor/library/lib.py")).unwrap().uid(), bench.owner());
    let lock = fs::metadata(bench.origin.0.join("a")).unwrap();
    assert_eq!(lock.uid(), nix::unistd::geteuid().as_raw(), "the source keeps its owner");
}

#[test]
fn lfs_files_are_fetched_or_it_is_said_what_is_missing() {
    let mut bench = Bench::new();
    bench.source.lfs = true;
    let installed = Command::new("git").args(["lfs", "version"]).output().unwrap().status.success();
    if !installed {
        bench.origin.commit(&[("a", "1")]);
        let told = bench.stage(1).unwrap_err().to_string();
        assert!(told.contains("apt install git-lfs"), "{told}");
        return;
    }
    git(&bench.origin.0, &["lfs", "install", "--local"]);
    git(&bench.origin.0, &["lfs", "track", "*.bin"]);
    bench.origin.commit(&[("big.bin", "big")]);
    let dir = bench.dir(&bench.stage(1).unwrap());
    assert_eq!(read(dir.join("big.bin")), "big");
    bench.source.git = format!("file://{}", bench.origin.url());
    let dir = bench.dir(&bench.stage(1).unwrap());
    assert_eq!(read(dir.join("big.bin")), "big");
    assert_eq!(git_as_owner(&bench, &dir, &["status", "--porcelain"]), "");
    bench.source.lfs = false;
    let pointer = read(bench.dir(&bench.stage(2).unwrap()).join("big.bin"));
    assert!(pointer.starts_with("version https://git-lfs"), "{pointer}");

    bench.source.lfs = true;
    bench.origin.commit(&[("other.bin", "other")]);
    fs::remove_dir_all(bench.origin.0.join(".git/lfs")).unwrap();
    let failed = bench.stage(3).unwrap_err();
    assert!(failed.to_string().contains("Git LFS could not be fetched"), "{failed}");
}

#[test]
fn a_commit_that_is_not_there_leaves_no_release() {
    let bench = Bench::new();
    bench.origin.commit(&[("a", "1")]);
    bench.stage(1).unwrap();
    let mirror = Mirror::open(&bench.scratch.path("app"), &bench.source).unwrap();
    let unknown = CommitId::new("4f2a1c9000000000000000000000000000000000").unwrap();
    let release = ReleaseName::of(DeployId(2), &unknown);
    let error = within(AMPLE, |limits| bench.releases.stage(&mirror, &release, &unknown, &bench.source, limits, None))
        .0
        .unwrap_err();
    assert!(error.to_string().contains(unknown.as_str()), "{error}");
    assert!(!bench.releases.holds(&release));
}
