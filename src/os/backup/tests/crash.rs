//! What a power cut leaves, and what `clean_scratch` makes of it.

use super::*;
use serde_json::json;

#[test]
fn half_made_and_half_deleted_backups_go_and_whole_ones_stay() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let made = bench.create();
    for name in [".20251024_200000-000042.partial/files/data", ".20251024_200000-000007.gone/files"] {
        fs::create_dir_all(bench.app_dir.join("backups").join(name)).unwrap();
    }
    assert_eq!(list(&bench.app_dir).unwrap().len(), 1, "they were never seen");
    assert_eq!(clean_scratch(&bench.app_dir).unwrap().len(), 2);
    assert_eq!(bench.names("backups"), [made.id.as_str()]);
    assert_eq!(clean_scratch(&bench.app_dir).unwrap(), Vec::<String>::new());
    assert_eq!(clean_scratch(&bench.scratch.join("no such app")).unwrap(), Vec::<String>::new());
}

/// Where each of the three names of a swap may be found: content, or nothing.
type State = [Option<&'static str>; 3];
const LIVE: usize = 0;
const STAGED: usize = 1;
const BEFORE: usize = 2;
const NAMES: [&str; 3] = ["data", ".data.restore.partial", ".data.before-restore"];

struct Scene(Bench);

impl Scene {
    /// A restore of `data` (and of a file that only goes) that was cut off at `stage`.
    fn set(stage: &str, state: State) -> Scene {
        let bench = Bench::new();
        fs::remove_dir(bench.shared("data")).unwrap();
        for (name, content) in NAMES.iter().zip(state) {
            content.map(|content| bench.write(&format!("{name}/file"), content));
        }
        let dir = fs::canonicalize(bench.app_dir.join("shared")).unwrap();
        let place = json!({"path": "data", "dir": dir, "name": "data", "goes": false});
        let journal = json!({"stage": stage, "places": [place]});
        fs::write(bench.app_dir.join(".restore.json"), journal.to_string()).unwrap();
        Scene(bench)
    }
    fn state(&self) -> State {
        NAMES.map(|name| match fs::read_to_string(self.0.shared(name).join("file")) {
            Ok(text) if text == "old" => Some("old"),
            Ok(text) if text == "new" => Some("new"),
            _ => None,
        })
    }
}

#[test]
fn a_restore_that_was_cut_off_ends_in_one_of_two_states() {
    let [old, new] = [Some("old"), Some("new")];
    let cases: [(&str, &str, State, State); 14] = [
        ("staging", "nothing copied", [old, None, None], [old, None, None]),
        ("staging", "half copied", [old, new, None], [old, None, None]),
        ("staging", "half copied, nothing was there before", [None, new, None], [None, None, None]),
        ("swapping", "not begun", [old, new, None], [new, None, None]),
        ("swapping", "old one set aside", [None, new, old], [new, None, None]),
        ("swapping", "new one in", [new, None, old], [new, None, None]),
        ("swapping", "nothing was there before", [None, new, None], [new, None, None]),
        ("swapping", "nothing was there before, new one in", [new, None, None], [new, None, None]),
        ("undoing", "new one in", [new, None, old], [old, None, None]),
        ("undoing", "new one taken back", [None, new, old], [old, None, None]),
        ("undoing", "old one put back", [old, new, None], [old, None, None]),
        ("undoing", "nothing was there before", [new, None, None], [None, None, None]),
        ("tidying", "old one still there", [new, None, old], [new, None, None]),
        ("tidying", "done", [new, None, None], [new, None, None]),
    ];
    for (stage, what, cut, expected) in cases {
        let scene = Scene::set(stage, cut);
        let said = clean_scratch(&scene.0.app_dir).unwrap_or_else(|error| panic!("{stage}, {what}: {error}"));
        assert_eq!(scene.state(), expected, "{stage}, {what}");
        assert_eq!(said.len(), 1);
        let rest = usize::from(expected[LIVE].is_some());
        assert_eq!(scene.0.names("shared").len(), rest, "{stage}, {what}: {:?}", scene.0.names("shared"));
        assert_eq!(scene.0.names("."), ["shared"]);
        assert_eq!(clean_scratch(&scene.0.app_dir).unwrap(), Vec::<String>::new());
    }
    assert_eq!((NAMES[STAGED], NAMES[BEFORE]), (".data.restore.partial", ".data.before-restore"));
}

#[test]
fn what_somebody_else_put_in_the_way_is_never_overwritten() {
    let [old, new] = [Some("old"), Some("new")];
    for stage in ["swapping", "undoing"] {
        let scene = Scene::set(stage, [old, new, old]);
        let error = clean_scratch(&scene.0.app_dir).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(scene.state(), [old, new, old]);
        fs::remove_dir_all(scene.0.shared("data")).unwrap();
        clean_scratch(&scene.0.app_dir).unwrap();
        assert_eq!(scene.state(), [if stage == "swapping" { new } else { old }, None, None]);
    }
}

#[test]
fn a_journal_that_cannot_be_understood_is_left_for_a_person() {
    let bench = Bench::new();
    fs::write(bench.app_dir.join(".restore.json"), "{").unwrap();
    let error = clean_scratch(&bench.app_dir).unwrap_err().to_string();
    assert!(error.contains(".restore.json") && error.contains(".before-restore"), "{error}");
    assert!(bench.app_dir.join(".restore.json").exists());
}

#[test]
fn a_new_restore_first_ends_the_one_that_was_cut_off() {
    let mut scene = Scene::set("swapping", [None, Some("new"), Some("old")]);
    scene.0.write("data2/file", "other");
    let plan = Plan { paths: vec!["data2".into()], shared: vec!["data2".into()], ..scene.0.plan() };
    let made = scene.0.try_create(&plan).unwrap();
    scene.0.restore(&made.id, &What::All).unwrap();
    assert_eq!(scene.state(), [Some("new"), None, None]);
    assert_eq!(scene.0.names("shared"), ["data", "data2"]);
}

#[test]
fn a_swap_that_fails_in_the_middle_is_undone() {
    let mut bench = Bench::new();
    for path in ["data/f", "logs/f"] {
        bench.write(path, "kept");
    }
    let both = vec![PathBuf::from("data"), PathBuf::from("logs")];
    let plan = Plan { paths: both.clone(), shared: both, ..bench.plan() };
    let made = bench.try_create(&plan).unwrap();
    for path in ["data/f", "logs/f"] {
        bench.write(path, "live");
    }
    let places = ["data", "logs"].map(|name| {
        let parent = tree::Dir::open(&bench.app_dir.join("shared")).unwrap();
        let path = crate::backup::path::Inside::new(name).unwrap();
        swap::Place::new(&path, &parent, name.as_ref()).unwrap()
    });
    let swap = swap::Swap::begin(&bench.app_dir, places.to_vec()).unwrap();
    for name in ["data", "logs"] {
        bench.write(&format!(".{name}.restore.partial/f"), "kept");
    }
    // Appears after the check at the beginning, so that the second of the two renames has nowhere to go.
    bench.write(".logs.before-restore/f", "somebody's");
    let error = swap.commit().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
    for path in ["data/f", "logs/f"] {
        assert_eq!(fs::read_to_string(bench.shared(path)).unwrap(), "live", "{path}: {error}");
    }
    assert_eq!(fs::read_to_string(bench.shared(".logs.before-restore/f")).unwrap(), "somebody's");
    fs::remove_dir_all(bench.shared(".logs.before-restore")).unwrap();
    clean_scratch(&bench.app_dir).unwrap();
    assert_eq!(bench.names("shared"), ["data", "logs"]);
    bench.restore(&made.id, &What::All).unwrap();
    assert_eq!(fs::read_to_string(bench.shared("logs/f")).unwrap(), "kept");
}
