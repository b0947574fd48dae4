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

/// Feeds the glutton and waits until it was ended and started again; how it ended.
#[track_caller]
fn feed(machine: &mut Emulator) -> InstanceView {
    let before = instance(machine, "glutton");
    machine.says("touch /var/lib/pintle/apps/shop/shared/data/food");
    machine.wait("the glutton to be ended and started again", |machine| {
        Some(instance(machine, "glutton")).filter(|now| now.pid.is_some() && now.pid != before.pid)
    })
}

/// SIGKILL for the daemon; the next one must have taken over what runs.
#[track_caller]
fn kill_the_daemon(machine: &mut Emulator) {
    let (gone, web) = (machine.status().daemon.pid, instance(machine, "web").pid);
    machine.says(&format!("kill -KILL {gone}"));
    machine.wait("the next daemon", |machine| {
        (machine.run("pintle status").0 == 0 && machine.status().daemon.pid != gone).then_some(())
    });
    assert_eq!(instance(machine, "web").pid, web);
    assert_eq!(machine.says("systemctl is-active pintle.service"), "active");
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
    let again = feed(&mut machine);
    let words = again.last_exit.clone().unwrap_or_default();
    assert!(words.contains("SIGKILL") && words.contains("memory_max"), "how it ended, in words: {words:?}");
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
    // A new daemon can join its group although controllers are enabled beside it, and the limit holds what it adopted.
    kill_the_daemon(&mut machine);
    let words = feed(&mut machine).last_exit.unwrap_or_default();
    assert!(words.contains("memory_max"), "how an adopted one ended, in words: {words:?}");
}

#[test]
#[ignore = "needs root, debootstrap, qemu and minutes"]
fn where_systemd_is_older_the_limit_is_given_up_for_a_daemon_that_comes_back() {
    // A daemon in the unit's own group could not be started again once controllers are enabled below it.
    let mut machine = machine();
    machine.boot("");
    machine.says("mkdir --parents /etc/systemd/system/pintle.service.d");
    machine.says("printf '[Service]\\nDelegateSubgroup=\\n' > /etc/systemd/system/pintle.service.d/older.conf");
    machine.says("systemctl daemon-reload && systemctl restart pintle.service");
    machine.says("pintle deploy shop");
    let notices = machine.status().notices.join("\n");
    assert!(notices.contains("memory_max") && notices.contains("NOT enforced"), "{notices:?}");
    kill_the_daemon(&mut machine);
    kill_the_daemon(&mut machine);
}

#[test]
#[ignore = "needs root, debootstrap, qemu and minutes"]
fn a_kernel_that_does_not_limit_memory_is_told_loudly() {
    let mut machine = machine();
    machine.boot("cgroup_disable=memory");
    machine.says("pintle deploy shop");
    assert!(instance(&mut machine, "glutton").pid.is_some(), "it runs all the same");
    let notices = machine.status().notices.join("\n");
    assert!(notices.contains("memory_max") && notices.contains("NOT enforced"), "{notices:?}");
    let journal = machine.journal();
    assert!(journal.contains("memory_max"), "{journal}");
    assert_eq!(machine.says("curl --silent --fail http://127.0.0.1:8000/"), "v1");
}
