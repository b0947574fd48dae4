//! What a deploy and a rollback cost beside what git, the steps and the app's own start take.
//!
//! `cargo bench --bench deploy [-- --quick]`. A repository of 1,000 files, one file changed per commit, no steps: each
//! commit is pushed by a signed webhook and followed to its end. What git and the app need by themselves is measured
//! apart, on the same repository, and taken off. Medians; figures are kept in docs/performance.md.

#[allow(dead_code)]
mod measure;
#[allow(dead_code, unused_imports)]
#[path = "../tests/pintle/world/mod.rs"]
mod world;

use measure::{median, millis};
use pintle::base::DeployId;
use pintle::control::client::Client;
use pintle::control::{Answer, DeployStatus, Followed, Phase, Request as Ask};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::{App, Request, Site, World};

const FILES: usize = 1000;

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let rounds = if quick { 5 } else { 25 };
    let app = App::new("shop").set("deploy", "probation", "\"0s\"");
    let world = World::with([app]).up();
    let shop = world.shop();
    commit_many_files(shop);
    shop.goes_live("first");

    let mut totals = Vec::new();
    let mut phases: BTreeMap<Phase, Vec<Duration>> = BTreeMap::new();
    let mut git = Vec::new();
    for round in 0..rounds {
        let commit = shop.version(&format!("v{round}"), &[]);
        git.push(git_alone(&world, shop, &commit));
        let began = Instant::now();
        let number = shop.push(&commit).accepted();
        for (phase, span) in follow(&world.control(), number) {
            phases.entry(phase).or_default().push(span);
        }
        totals.push(began.elapsed());
        let status = world.show(number).deployment.status;
        assert_eq!(status, DeployStatus::Success, "deployment {number}");
    }
    let start: Vec<Duration> = (0..rounds).map(|_| app_alone(shop)).collect();
    let rollbacks: Vec<Duration> = (0..rounds.min(10)).map(|_| rollback(&world)).collect();

    let (total, git, start, rollback) = (median(&totals), median(&git), median(&start), median(&rollbacks));
    println!("\ndeploy of a {FILES}-file repository, {rounds} rounds, medians");
    row("webhook to end", total);
    for (phase, spans) in &phases {
        row(&format!("  {phase}"), median(spans));
    }
    row("git by itself (fetch, check-out)", git);
    row("app's own start, twice (rehearsal, live)", start * 2);
    row("Pintle's own part (at most 250 ms)", total.saturating_sub(git + start * 2));
    println!("\nrollback to a release on disk, {} rounds, medians", rollbacks.len());
    row("asked to end, probation 0", rollback);
    row("without the app's own start (at most 50 ms)", rollback.saturating_sub(start));
}

fn commit_many_files(shop: &Site) {
    let files: Vec<(String, String)> = (0..FILES)
        .map(|n| (format!("src/{:02}/file-{n:04}.py", n % 40), format!("# file {n}\n{}", "x = 1\n".repeat(n % 200))))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    shop.repo.commit(&files);
}

/// Follows a deployment; what each phase took.
fn follow(control: &Path, number: u64) -> Vec<(Phase, Duration)> {
    let mut client = Client::connect(control).unwrap();
    let answer = client.ask(&Ask::Follow { number: DeployId(number) }, None).unwrap();
    assert_eq!(answer, Answer::Stream);
    let mut spans = Vec::new();
    let mut now: Option<(Phase, Instant)> = None;
    client
        .followed(&mut |line| {
            if let Followed::Phase { phase, .. } = line {
                spans.extend(now.take().map(|(phase, since)| (phase, since.elapsed())));
                now = Some((*phase, Instant::now()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    spans.extend(now.map(|(phase, since)| (phase, since.elapsed())));
    spans
}

/// What git needs to bring a commit into a bare mirror and check it out into an empty directory.
fn git_alone(world: &World, shop: &Site, commit: &str) -> Duration {
    let mirror = world.root.join("mirror.git");
    let tree = world.root.join("tree");
    let run = |args: &[&str]| {
        let output = Command::new("git").args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let (mirror_path, tree_path) = (mirror.to_str().unwrap(), tree.to_str().unwrap());
    if !mirror.exists() {
        run(&["clone", "--quiet", "--mirror", shop.repo.path.to_str().unwrap(), mirror_path]);
    }
    let _ = std::fs::remove_dir_all(&tree);
    std::fs::create_dir(&tree).unwrap();
    let began = Instant::now();
    run(&["--git-dir", mirror_path, "fetch", "--quiet", "origin", "main"]);
    run(&["--git-dir", mirror_path, "--work-tree", tree_path, "checkout", "--quiet", "--force", commit, "--", "."]);
    began.elapsed()
}

/// From the app's execution to its first good answer.
fn app_alone(shop: &Site) -> Duration {
    let port = world::ports::take();
    let began = Instant::now();
    let mut app = Command::new(env!("CARGO_BIN_EXE_pintle"))
        .arg("demo-app")
        .current_dir(&shop.repo.path)
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while Request::get("/health").send(port).is_err() {
        std::thread::sleep(Duration::from_micros(200));
    }
    let spent = began.elapsed();
    app.kill().unwrap();
    app.wait().unwrap();
    spent
}

/// One rollback by hand, as its follower sees it.
fn rollback(world: &World) -> Duration {
    let app = pintle::base::AppName::new("shop").unwrap();
    let began = Instant::now();
    match world.ask(&Ask::Rollback { app, to: None, with_data: false }) {
        Some(Answer::Deployment { number, .. }) => drop(follow(&world.control(), number.0)),
        other => panic!("rollback: {other:?}"),
    }
    began.elapsed()
}

fn row(what: &str, span: Duration) {
    println!("{what:<46} {:>8.1} ms", millis(span));
}
