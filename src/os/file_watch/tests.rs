use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn scratch(name: &str) -> Scratch {
    let dir = std::env::temp_dir().join(format!("pintle-file-watch-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    Scratch(dir)
}

/// As certbot lays it out: `live/x/cert.pem -> ../../archive/x/cert1.pem`.
fn like_certbot(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir.join("live/x")).unwrap();
    fs::create_dir_all(dir.join("archive/x")).unwrap();
    fs::write(dir.join("archive/x/cert1.pem"), "1").unwrap();
    symlink("../../archive/x/cert1.pem", dir.join("live/x/cert.pem")).unwrap();
    dir.join("live/x/cert.pem")
}

#[test]
fn whatever_makes_it_another_file_is_heard_and_nothing_else() {
    let Scratch(dir) = &scratch("changes");
    let file = like_certbot(dir);
    let mut watch = FileWatch::new().unwrap();
    watch.follow(std::slice::from_ref(&file)).unwrap();
    assert!(!watch.changed());

    let quiet: [(&str, &dyn Fn()); 4] = [
        ("read", &|| drop(fs::read(&file).unwrap())),
        ("a neighbour of the link", &|| fs::write(dir.join("live/x/README"), "x").unwrap()),
        ("a neighbour of the file", &|| fs::write(dir.join("archive/x/cert2.pem"), "2").unwrap()),
        ("elsewhere", &|| fs::write(dir.join("y"), "x").unwrap()),
    ];
    for (what, act) in quiet {
        act();
        assert!(!watch.changed(), "{what}");
    }
    let loud: [(&str, &dyn Fn()); 6] = [
        ("written in place", &|| fs::write(dir.join("archive/x/cert1.pem"), "1b").unwrap()),
        ("made readable", &|| {
            fs::set_permissions(dir.join("archive/x/cert1.pem"), fs::Permissions::from_mode(0o640)).unwrap();
        }),
        ("the link swapped by rename", &|| {
            symlink("../../archive/x/cert2.pem", dir.join("live/x/.new")).unwrap();
            fs::rename(dir.join("live/x/.new"), &file).unwrap();
        }),
        ("the file behind the new link", &|| fs::write(dir.join("archive/x/cert2.pem"), "2b").unwrap()),
        ("a directory on the way moved", &|| fs::rename(dir.join("live"), dir.join("old")).unwrap()),
        ("and back", &|| fs::rename(dir.join("old"), dir.join("live")).unwrap()),
    ];
    for (what, act) in loud {
        act();
        assert!(watch.changed(), "{what}");
        watch.follow(std::slice::from_ref(&file)).unwrap();
        assert!(!watch.changed(), "told once: {what}");
    }
}

#[test]
fn a_file_that_is_not_there_yet_is_heard_of_when_it_comes() {
    let Scratch(dir) = &scratch("missing");
    let file = dir.join("a/b/cert.pem");
    let mut watch = FileWatch::new().unwrap();
    for make in [dir.join("a"), dir.join("a/b")] {
        watch.follow(std::slice::from_ref(&file)).unwrap();
        fs::create_dir(&make).unwrap();
        assert!(watch.changed(), "{make:?}");
    }
    watch.follow(std::slice::from_ref(&file)).unwrap();
    fs::write(&file, "x").unwrap();
    assert!(watch.changed());

    watch.follow(&[]).unwrap();
    fs::write(&file, "y").unwrap();
    assert!(!watch.changed(), "nobody wants to hear of it any more");
}

#[test]
fn links_in_a_circle_come_to_an_end() {
    let Scratch(dir) = &scratch("circle");
    symlink("b", dir.join("a")).unwrap();
    symlink("a", dir.join("b")).unwrap();
    assert!(names_on_the_way(&dir.join("a")).len() < 100);
    FileWatch::new().unwrap().follow(&[dir.join("a")]).unwrap();
}
