//! Reboots and power cuts: after each the apps run that ran, and those stay stopped that were stopped.

use super::emulator::Emulator;
use crate::systemd::furniture;
use crate::world::chance::Chance;
use pintle::control::{AppState, DeployStatus, HistoryReport};
use std::time::Duration;

const CAFE: u16 = 8001;
const VISIT_SHOP: &str = "curl --silent --fail http://127.0.0.1:8000/";
const VISIT_CAFE: &str = "curl --silent --fail http://127.0.0.1:8001/";

#[track_caller]
fn history(machine: &mut Emulator) -> HistoryReport {
    let said = machine.says("pintle --json history");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
#[ignore = "needs root, debootstrap, qemu and minutes"]
fn the_apps_run_after_a_reboot_and_after_a_power_cut_and_a_stop_lasts() {
    let mut chance = Chance::announced();
    let (mut first, mut second) = (String::new(), String::new());
    let mut machine = Emulator::furnished([furniture::shop(), furniture::serving("cafe", CAFE)], |[shop, cafe]| {
        furniture::commit(&cafe, "v1", "", &[]);
        first = furniture::commit(&shop, "v1", "", &[]);
        second = furniture::commit(&shop, "v2", "", &[]);
    });
    machine.boot("");
    machine.says(&format!("pintle deploy shop --commit {first}"));
    machine.says("pintle deploy cafe && pintle stop cafe");

    machine.reboot();
    assert_eq!(machine.says(VISIT_SHOP), "v1");
    assert_eq!(machine.app("cafe").state, AppState::Stopped);
    assert_ne!(machine.run(VISIT_CAFE).0, 0);

    // The plug is pulled somewhere in a deployment.
    machine.begin(&format!("pintle deploy shop --commit {second}"));
    machine.wait("the deployment to begin", |machine| (history(machine).deployments.len() == 3).then_some(()));
    // Not a wait for something: the instant is what is tested.
    std::thread::sleep(chance.span(Duration::from_secs(4)));
    machine.pull_the_plug();
    machine.boot("");
    // A deployment that was cut off is tried once more.
    machine.wait("the deployments to be over", |machine| {
        history(machine).deployments.iter().all(|deployment| deployment.status.is_final()).then_some(())
    });
    let visited = machine.says(VISIT_SHOP);
    let told = history(&mut machine);
    let newest = told.deployments.iter().find(|deployment| deployment.status == DeployStatus::Success).unwrap();
    let meant = if newest.commit.as_deref() == Some(second.as_str()) { "v2" } else { "v1" };
    assert_eq!(visited, meant, "{told:#?}");
    assert_eq!(machine.app("shop").state, AppState::Running);
    assert_eq!(machine.app("cafe").state, AppState::Stopped);

    machine.says("pintle start cafe");
    machine.wait("the cafe to open", |machine| (machine.run(VISIT_CAFE).1 == "v1").then_some(()));
}
