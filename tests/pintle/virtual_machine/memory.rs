//! `memory_max`: one service that eats the memory is ended alone; where the kernel cannot hold it, that is said loudly.

use super::emulator::Emulator;
use crate::systemd::furniture;
use crate::world::App;
use pintle::control::InstanceView;

/// Sleeps until it is fed, then eats until it is stopped.
const GLUTTON: &str = "while [ ! -e data/food ]; do sleep 0.2; done\nrm data/food\nexec tail /dev/zero\n";

fn shop_with_a_glutton() -> App {
    furniture::with_script(furniture::shop(), "glutton", "glutton.sh").set("service.glutton", "memory_max", "\"48MiB\"")
}

fn machine() -> Emulator {
    Emulator::furnished([shop_with_a_glutton()], |[repo]| {
        furniture::commit(&repo, "v1", "", &[("glutton.sh", GLUTTON)]);
    })
}

#[track_caller]
fn instance(machine: &mut Emulator, service: &str) -> InstanceView {
    let app = machine.app("shop");
    let found = app.services.iter().find(|view| view.service.as_str() == service);
    found.and_then(|view| view.instances.first()).cloned().unwrap_or_else(|| panic!("no {service}: {app:?}"))
}

#[test]
#[ignore = "needs root, debootstrap, qemu and minutes"]
fn a_service_that_eats_the_memory_is_ended_alone() {
    let mut machine = machine();
    machine.boot("");
    machine.says("pintle deploy shop");
    let (web, glutton) = (instance(&mut machine, "web"), instance(&mut machine, "glutton"));
    let daemon = machine.status().daemon.pid;
    assert!(glutton.memory_bytes.is_some_and(|bytes| bytes < 48 << 20), "{glutton:?}");
    machine.says("touch /var/lib/pintle/apps/shop/shared/data/food");
    let again = machine.wait("the glutton to be ended and started again", |machine| {
        Some(instance(machine, "glutton")).filter(|now| now.pid.is_some() && now.pid != glutton.pid)
    });
    let words = again.last_exit.clone().unwrap_or_default();
    assert!(words.contains("memory") && words.contains("48MiB"), "how it ended, in words: {words:?}");
    assert_eq!(again.restarts, 1);
    // Nobody else noticed: neither the app's other service nor the daemon, and systemd did not end the unit.
    assert_eq!(instance(&mut machine, "web").pid, web.pid);
    assert_eq!(machine.status().daemon.pid, daemon);
    assert_eq!(machine.says("systemctl show --property=NRestarts --value pintle.service"), "0");
    assert_eq!(machine.says("curl --silent --fail http://127.0.0.1:8000/"), "v1");
    assert!(!machine.status().notices.iter().any(|notice| notice.contains("memory_max")));
    // What each uses, for people too.
    let page = machine.says("pintle status shop");
    assert!(page.contains("MiB") && page.to_lowercase().contains("cpu"), "{page}");
}

#[test]
#[ignore = "needs root, debootstrap, qemu and minutes"]
fn a_kernel_that_does_not_limit_memory_is_told_loudly() {
    let mut machine = machine();
    machine.boot("cgroup_disable=memory");
    machine.says("pintle deploy shop");
    assert!(instance(&mut machine, "glutton").pid.is_some(), "it runs all the same");
    let notices = machine.status().notices.join("\n");
    assert!(notices.contains("memory_max") && notices.contains("not enforced"), "{notices:?}");
    let journal = machine.journal();
    assert!(journal.contains("memory_max"), "{journal}");
    assert_eq!(machine.says("curl --silent --fail http://127.0.0.1:8000/"), "v1");
}
