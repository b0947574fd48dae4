//! The board under the daemon: what its sensors say is shown, and a deploy waits for power and air.
//!
//! The daemon reads `/proc` and `/sys` of a captured board (`tests/boards`), copied so that a test can change it.

use crate::deploy::ended;
use crate::world::{App, Site, World};
use pintle::control::{DeployStatus, StepStatus};
use std::fs;
use std::path::{Path, PathBuf};

const ALARM: &str = "sys/class/hwmon/hwmon1/in0_lcrit_alarm";
const TEMPERATURE: &str = "sys/class/thermal/thermal_zone0/temp";

/// A shop on a copy of a captured board, looked at each second.
fn on(board: &str) -> (World, PathBuf) {
    let mut world = World::with([App::new("shop")]).host("[health]\nevery = \"1s\"");
    let captured = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boards").join(board);
    let root = world.root.join("board");
    copy(&captured, &root);
    world.board = root.clone();
    (world.up(), root)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// As a kernel changes its files: whole.
fn write(root: &Path, file: &str, text: &str) {
    let beside = root.join(format!("{file}.new"));
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, root.join(file)).unwrap();
}

#[track_caller]
fn waits_for(world: &World, number: u64, what: &str) {
    world.wait(&format!("deployment {number} to wait for {what}"), || {
        let report = world.show(number).deployment;
        assert!(!report.status.is_final(), "{report:#?}");
        let says = report.message.as_deref().is_some_and(|message| message.contains(what));
        (report.status == DeployStatus::Waiting && says).then_some(())
    });
}

fn host(world: &World) -> serde_json::Value {
    world.pintle(&["status", "--json"]).exits(0).json()["host"].clone()
}

/// The text is there, and was seen: what is asked for from now on is judged by it.
#[track_caller]
fn becomes(world: &World, board: &Path, file: &str, text: &str, seen: impl Fn(&serde_json::Value) -> bool) {
    write(board, file, text);
    world.wait(&format!("{file} to be seen as {text:?}"), || seen(&host(world)).then_some(()));
}

fn is_weak(host: &serde_json::Value) -> bool {
    host["power"]["now"]["under_voltage"] == true
}

#[track_caller]
fn finds(world: &World, about: &str, level: &str) {
    world.wait(&format!("{about} to be {level}"), || {
        let host = host(world);
        let mut findings = host["findings"].as_array().unwrap().iter();
        findings.find(|finding| finding["about"] == about).filter(|finding| finding["level"] == level).map(drop)
    });
}

/// Pushes a version; gives the deployment's number.
fn push(shop: &Site, version: &str) -> u64 {
    shop.push(&shop.version(version, &[])).accepted()
}

#[test]
fn a_deploy_waits_while_the_voltage_is_too_low_and_goes_on_by_itself() {
    let (world, board) = on("pi4");
    let shop = world.shop();
    ended(&world.end_of(push(shop, "v1")), DeployStatus::Success, 0);
    let well = host(&world);
    assert_eq!(well["model"], "Raspberry Pi 4 Model B Rev 1.4", "{well}");
    assert_eq!(well["power"]["now"]["under_voltage"], false, "{well}");
    assert_eq!(well["temperature_celsius"], 48.312, "{well}");
    assert_eq!(well["devices"][0]["life_used_tenths"], "unsupported", "{well}");

    becomes(&world, &board, ALARM, "1\n", is_weak);
    let number = push(shop, "v2");
    waits_for(&world, number, "waits for the power supply (under-voltage now");
    finds(&world, "under-voltage", "critical");
    let page = world.pintle(&["status"]).exits(0).stdout;
    assert!(page.contains("the power supply or cable is too weak; deploys wait"), "{page}");
    assert!(page.contains("48 °C (Raspberry Pi 4 Model B Rev 1.4)"), "{page}");
    assert!(world.daemon_said().contains("the power supply or cable is too weak"), "{}", world.daemon_said());
    let followed = world.pintle(&["logs", "--deploy", &number.to_string()]).exits(0).stdout;
    assert!(followed.contains("waits for the power supply"), "{followed}");
    shop.serves("v1");

    write(&board, ALARM, "0\n");
    ended(&world.end_of(number), DeployStatus::Success, 0);
    shop.serves("v2");
}

#[test]
fn a_person_waits_for_power_too_unless_forced_and_the_history_says_so() {
    let (world, board) = on("pi4");
    becomes(&world, &board, ALARM, "1\n", is_weak);
    let shop = world.shop();
    shop.version("v1", &[]);
    let asked = world.pintle(&["deploy", "shop", "--detach", "--json"]).exits(0);
    let number = world.history()[0].number.0;
    waits_for(&world, number, "waits for the power supply");
    assert!(asked.stdout.contains(&number.to_string()), "{asked:?}");
    let forced = world.pintle(&["deploy", "shop", "--force"]).exits(0).stdout;
    assert!(forced.contains("forced, although under-voltage now"), "{forced}");
    shop.serves("v1");
    let report = world.show(world.history()[0].number.0);
    let step = report.steps.iter().find(|step| step.name.starts_with("forced, although under-voltage now"));
    assert_eq!(step.map(|step| step.status), Some(StepStatus::Warning), "{report:#?}");
    assert!(world.show(number).deployment.status.is_final(), "the one that waited is superseded");
}

#[test]
fn heat_defers_a_deploy_and_restarts_nothing() {
    let (world, board) = on("pi3");
    let shop = world.shop();
    ended(&world.end_of(push(shop, "v1")), DeployStatus::Success, 0);
    let pids = |world: &World| world.status().apps[0].services[0].instances.iter().map(|it| it.pid).collect::<Vec<_>>();
    let before = pids(&world);
    becomes(&world, &board, TEMPERATURE, "84512\n", |host| host["temperature_celsius"] == 84.512);
    let number = push(shop, "v2");
    waits_for(
        &world,
        number,
        "waits for the board to cool down (the processor is 84.5 °C hot; it goes on below 79 °C)",
    );
    finds(&world, "temperature", "critical");
    becomes(&world, &board, TEMPERATURE, "80500\n", |host| host["temperature_celsius"] == 80.5);
    waits_for(&world, number, "cool down");
    assert_eq!(pids(&world), before, "heat never restarts an app");
    write(&board, TEMPERATURE, "61000\n");
    ended(&world.end_of(number), DeployStatus::Success, 0);
    shop.serves("v2");
}

#[test]
fn nothing_is_deployed_onto_a_disk_that_became_read_only() {
    let (world, _) = on("pi4-read-only");
    let shop = world.shop();
    let number = push(shop, "v1");
    let report = world.end_of(number);
    ended(&report, DeployStatus::Failed, 3);
    let message = report.deployment.message.unwrap();
    assert!(message.contains("nothing can be written at /: /dev/mmcblk0p2 is mounted read-only"), "{message}");
    assert!(message.contains("--force"), "{message}");
    finds(&world, "read-only:/", "critical");
    finds(&world, "ext4:mmcblk0p2", "warning");
    // The text says so, the disk is well: whoever knows better is believed.
    world.pintle(&["deploy", "shop", "--force"]).exits(0);
    shop.serves("v1");
}
