//! `init` into real directories, with and without a person at the terminal.

use super::super::testing::Scratch;
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const INIT: [&str; 5] = ["init", "--app", "shop", "--repo", "https://github.com/me/shop.git"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_and_a_secret_are_made_and_the_form_is_told() {
    let scratch = Scratch::new("init");
    let at = scratch.path.display();
    let ran = scratch.pintle(&INIT);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.out,
        format!(
            "\
wrote {at}/secrets/shop
wrote {at}/pintle.toml
wrote {at}/apps/shop.toml

The webhook's form at github:
  Payload URL   https://YOUR.HOST/webhook/shop
  Content type  application/json
  Secret        the content of {at}/secrets/shop
  Events        just the push event

Next:
  1. edit {at}/apps/shop.toml: the user to run as, the services, the steps to build
  2. pintle --config {at} check-config
  3. systemctl restart pintle     (or in the foreground: pintle --config {at} run)
  4. pintle --config {at} deploy shop
"
        )
    );
    let secret = scratch.path.join("secrets/shop");
    assert_eq!((mode(&secret), mode(&scratch.path.join("secrets"))), (0o600, 0o700));
    let value = fs::read_to_string(&secret).unwrap();
    assert!(value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value:?}");
    let app = fs::read_to_string(scratch.path.join("apps/shop.toml")).unwrap();
    assert!(app.contains("https://github.com/me/shop.git") && app.contains("\"main\""), "{app}");
}

#[test]
fn each_forges_form_is_told_in_its_own_words() {
    let table = [
        ("github", "Payload URL", "Events        just the push event"),
        ("gitlab", "URL ", "Trigger        Push events"),
        ("gitea", "Target URL", "POST content type  application/json"),
        ("forgejo", "Target URL", "Branch filter      main"),
        ("gogs", "Payload URL", "Events        just the push event"),
        ("bitbucket", "URL ", "Triggers  Repository: Push"),
    ];
    let scratch = Scratch::new("init-forges");
    for (forge, url, line) in table {
        let ran = scratch.pintle(&["init", "--app", forge, "--repo", "https://h/me/shop.git", "--forge", forge]);
        let secret = format!("the content of {}/secrets/{forge}", scratch.path.display());
        assert!(ran.out.contains(&format!("form at {forge}:\n  {url}")), "{}", ran.out);
        assert!(ran.out.contains(line) && ran.out.contains(&secret), "{}", ran.out);
        assert!(ran.out.contains(&format!("https://YOUR.HOST/webhook/{forge}")), "{}", ran.out);
    }
}

#[test]
fn nothing_is_overwritten_and_a_second_app_joins_the_first() {
    let scratch = Scratch::new("init-again");
    assert_eq!(scratch.pintle(&INIT).exit, 0);
    let read = |name: &str| fs::read_to_string(scratch.path.join(name)).unwrap();
    let before = [read("pintle.toml"), read("apps/shop.toml"), read("secrets/shop")];
    let again = scratch.pintle(&INIT);
    assert_eq!(again.exit, 78);
    assert!(again.err.contains("apps/shop.toml exists already"), "{again:?}");
    let second = scratch.pintle(&["--json", "init", "--app", "mail", "--repo", "git@gitlab.com:me/mail.git"]);
    let document = second.json();
    assert_eq!(document["app"], "mail");
    assert_eq!(document["written"].as_array().unwrap().len(), 2, "pintle.toml was there: {document}");
    assert!(read("apps/mail.toml").contains("gitlab"));
    assert!(!second.out.contains(&read("secrets/mail")), "a secret is shown on a terminal only");
    assert_eq!([read("pintle.toml"), read("apps/shop.toml"), read("secrets/shop")], before);
    // A secret whose app file was lost is used again: the forge knows it.
    fs::remove_file(scratch.path.join("apps/shop.toml")).unwrap();
    assert!(scratch.pintle(&INIT).out.contains(&format!("kept  {}/secrets/shop", scratch.path.display())));
    assert_eq!(read("secrets/shop"), before[2]);
}

#[test]
fn a_person_is_asked_for_what_is_missing_and_shown_the_secret() {
    let scratch = Scratch::new("init-asks");
    let ran = scratch.pintle_asking(&["init"], "https://codeberg.org/me/My.Shop.git\n\nlive\n\n");
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(
        ran.err,
        "What does git clone (URL or path)? What is the app to be called? [my-shop] \
         Which branch is deployed? [main] Who sends the webhook? [forgejo] "
    );
    let app = fs::read_to_string(scratch.path.join("apps/my-shop.toml")).unwrap();
    assert!(app.contains("\"live\"") && app.contains("forgejo"), "{app}");
    assert!(ran.out.contains(&fs::read_to_string(scratch.path.join("secrets/my-shop")).unwrap()));
    let silent = Scratch::new("init-silent");
    assert_eq!(silent.pintle_asking(&["init"], "").exit, 64);
    assert_eq!(silent.pintle_asking(&["init"], "/srv/x.git\n../up\n").exit, 64);
    assert_eq!(silent.pintle_asking(&["init"], "/srv/x.git\nx\nmain\nsourceforge\n").exit, 64);
    assert_eq!(fs::read_dir(&silent.path).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let scratch = Scratch::new("init-denied");
    fs::write(scratch.path.join("apps"), "a file where a directory belongs").unwrap();
    let ran = scratch.pintle(&INIT);
    assert!(ran.exit != 0 && ran.err.contains(&format!("{}/apps", scratch.path.display())), "{ran:?}");
    if !nix::unistd::geteuid().is_root() {
        let closed = Scratch::new("init-closed");
        fs::set_permissions(&closed.path, fs::Permissions::from_mode(0o500)).unwrap();
        let ran = closed.pintle(&INIT);
        assert_eq!(ran.exit, 77, "{ran:?}");
        assert!(ran.err.contains("sudo"), "{ran:?}");
    }
}

#[test]
fn the_forge_and_the_name_are_read_from_the_address() {
    let table = [
        ("https://github.com/me/shop.git", ForgeName::Github, Some("shop")),
        ("git@gitlab.example.org:team/a/shop.git", ForgeName::Gitlab, Some("shop")),
        ("ssh://git@bitbucket.org/me/Shop", ForgeName::Bitbucket, Some("shop")),
        ("https://codeberg.org/me/shop/", ForgeName::Forgejo, Some("shop")),
        ("https://gitea.home/me/my.shop", ForgeName::Gitea, Some("my-shop")),
        ("/srv/git/gitlab-tools.git", ForgeName::Github, Some("gitlab-tools")),
        ("../shop", ForgeName::Github, Some("shop")),
        ("/", ForgeName::Github, None),
    ];
    for (repo, forge, name) in table {
        assert_eq!(forge_of(repo), forge, "{repo}");
        assert_eq!(name_of(repo).as_ref().map(AppName::as_str), name, "{repo}");
    }
}
