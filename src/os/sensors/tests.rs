//! Each captured board (`tests/boards`) is read as what it is; broken and missing files are told apart.

use super::*;
use crate::health::board::{Device, Disk, Frequency, Medium, Spare};
use crate::health::judge::{Level, Thresholds, at_once};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

fn board(name: &str) -> Readings {
    look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boards").join(name))
}

fn look(root: &Path) -> Readings {
    Sensors::below(root).look(&[Watched { path: "/".into(), must_be_writable: true }])
}

/// What is found, without what this machine's own disk and clock add.
fn found(readings: &Readings) -> Vec<(String, Level)> {
    let findings = at_once(readings, &Thresholds::default()).into_iter();
    let own = |about: &str| about == "clock" || about.starts_with("disk:") || about.starts_with("inodes:");
    findings.filter(|finding| !own(&finding.about)).map(|finding| (finding.about, finding.level)).collect()
}

fn device<'a>(readings: &'a Readings, name: &str) -> &'a Device {
    readings.devices.value().unwrap().iter().find(|device| device.name == name).unwrap()
}

#[test]
fn boards_that_are_well_are_read_whole_and_nothing_is_found() {
    let table = [
        ("zero2", "Raspberry Pi Zero 2 W Rev 1.0", 46.160, Reading::Unsupported, 1_000_000),
        ("pi3", "Raspberry Pi 3 Model B Plus Rev 1.3", 52.078, Reading::Value(false), 1_400_000),
        ("pi4", "Raspberry Pi 4 Model B Rev 1.4", 48.312, Reading::Value(false), 1_800_000),
        ("pi5", "Raspberry Pi 5 Model B Rev 1.0", 55.350, Reading::Value(false), 2_400_000),
        ("pc", "OptiPlex 7040", 61.0, Reading::Unsupported, 4_000_000),
    ];
    for (name, model, degrees, under_voltage, max_khz) in table {
        let readings = board(name);
        assert_eq!(readings.model.value().map(String::as_str), Some(model), "{name}");
        assert_eq!(readings.temperature, Reading::Value(degrees), "{name}");
        assert_eq!(readings.power.now.under_voltage, under_voltage, "{name}");
        assert_eq!(readings.frequency.value().map(|it: &Frequency| it.max_khz), Some(max_khz), "{name}");
        assert_eq!(readings.cpu, Reading::Unsupported, "{name}: one look says nothing of a processor's use");
        assert!(readings.memory.value().unwrap().used_percent() < 60.0, "{name}");
        assert!(readings.links.value().unwrap().iter().any(|link| link.up), "{name}");
        assert_eq!(found(&readings), [], "{name}: {readings:#?}");
    }
}

#[test]
fn what_a_board_does_not_have_is_unsupported() {
    let zero = board("zero2");
    assert_eq!(zero.power.since_boot.under_voltage, Reading::Unsupported, "nothing measures its voltage");
    assert_eq!(zero.power.now.throttled, Reading::Value(false), "vcgencmd tells this");
    assert_eq!(zero.pressure.memory, Reading::Unsupported);
    assert_eq!(device(&zero, "mmcblk0").life_used_tenths, Reading::Unsupported, "a card does not say");
    let pc = board("pc");
    assert_eq!(pc.power, crate::health::board::Power::default());
    assert_eq!(device(&pc, "nvme0n1").medium, Medium::Other);
    let names: Vec<&str> = pc.links.value().unwrap().iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["enp0s31f6"], "a bridge is no cable");
    assert_eq!(board("pi5").swap, Reading::Unsupported);
}

#[test]
fn boards_in_trouble_are_found_to_be() {
    let weak = board("pi4-weak-supply");
    let strained = [("under-voltage".to_string(), Level::Critical), ("throttled".into(), Level::Warning)];
    assert_eq!(found(&weak), strained);
    assert_eq!(weak.power.since_boot.throttled, Reading::Value(true));
    let hot = board("pi3-hot");
    assert_eq!(found(&hot)[0], ("temperature".into(), Level::Critical));
    let worn = board("cm4-emmc");
    let wears = [("wear:mmcblk0".to_string(), Level::Warning), ("writes:mmcblk0".into(), Level::Warning)];
    assert_eq!(found(&worn), wears);
    let emmc = device(&worn, "mmcblk0");
    assert_eq!(
        (emmc.medium, &emmc.life_used_tenths, &emmc.spare),
        (Medium::Emmc, &Reading::Value(10), &Reading::Value(Spare::Normal))
    );
    assert!(worn.devices.value().unwrap().iter().all(|device| device.name != "mmcblk0boot0"));
    let broken = board("pi4-read-only");
    assert_eq!(found(&broken), [("read-only:/".into(), Level::Critical), ("ext4:mmcblk0p2".into(), Level::Warning)]);
    let Disk { device, read_only, .. } = &broken.disks[0];
    assert_eq!((device.as_str(), read_only), ("/dev/mmcblk0p2", &Reading::Value(true)));
}

#[test]
fn a_mount_that_only_we_see_read_only_is_no_disk_that_failed() {
    let root = Root::new("mountinfo");
    let read_only = |line: &str| {
        root.write("proc/self/mountinfo", line.as_bytes());
        look(&root.0).disks.remove(0).read_only
    };
    root.write("proc/self/mounts", b"/dev/sda1 / ext4 ro 0 0\n");
    assert_eq!(read_only("26 1 8:1 / / ro,noatime shared:1 - ext4 /dev/sda1 rw\n"), Reading::Value(false));
    assert_eq!(read_only("26 1 8:1 / / rw,noatime shared:1 - ext4 /dev/sda1 rw,emergency_ro\n"), Reading::Value(true));
    fs::remove_file(root.0.join("proc/self/mountinfo")).unwrap();
    assert_eq!(look(&root.0).disks[0].read_only, Reading::Value(true), "where there is only the older file");
}

/// A root of its own, gone with the test.
struct Root(std::path::PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!("pintle-sensors-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Root(path)
    }
    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_broken_file_is_unreadable_and_a_missing_one_unsupported() {
    let root = Root::new("broken");
    let nothing = Sensors::below(&root.0).look(&[]);
    assert_eq!(
        (&nothing.temperature, &nothing.memory, &nothing.links),
        (&Reading::Unsupported, &Reading::Unsupported, &Reading::Unsupported)
    );
    root.write("sys/class/thermal/thermal_zone0/type", b"cpu-thermal\n");
    root.write("sys/class/thermal/thermal_zone0/temp", b"\xff\xfe\x00garbage");
    root.write("proc/meminfo", b"");
    root.write("proc/loadavg/is-a-directory", b"");
    root.write("proc/stat", &vec![b'x'; 3 << 20]);
    let readings = Sensors::below(&root.0).look(&[]);
    for (what, why) in [
        ("temperature", readings.temperature.unreadable()),
        ("memory", readings.memory.unreadable()),
        ("load", readings.load.unreadable()),
        ("cpu", readings.cpu.unreadable()),
    ] {
        assert!(why.is_some_and(|why| !why.is_empty() && why.len() < 500), "{what}: {why:?}");
    }
}

#[test]
fn the_use_of_the_processor_is_known_from_the_second_look_on() {
    let root = Root::new("cpu");
    root.write("proc/stat", b"cpu 100 0 0 900 0 0 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0 0 0\n");
    let mut sensors = Sensors::below(&root.0);
    assert_eq!(sensors.look(&[]).cpu, Reading::Unsupported);
    root.write("proc/stat", b"cpu 175 0 0 925 0 0 0 0 0 0\ncpu0 175 0 0 925 0 0 0 0 0 0\n");
    assert_eq!(sensors.look(&[]).cpu.value().unwrap().busy_percent, 75.0);
}

#[test]
fn a_vcgencmd_that_hangs_or_fails_is_waited_for_only_briefly() {
    use std::os::unix::fs::PermissionsExt;
    let root = Root::new("vcgencmd");
    let answer = |script: &str| {
        root.write("usr/bin/vcgencmd", format!("#!/bin/sh\n{script}\n").as_bytes());
        fs::set_permissions(root.0.join("usr/bin/vcgencmd"), fs::Permissions::from_mode(0o755)).unwrap();
        let began = Instant::now();
        let power = Sensors::below(&root.0).look(&[]).power;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        power
    };
    assert_eq!(answer("echo throttled=0x50005").now.under_voltage, Reading::Value(true));
    let failed = answer("echo VCHI initialization failed >&2; exit 255");
    assert!(failed.now.under_voltage.unreadable().unwrap().contains("VCHI"), "{failed:?}");
    let hung = answer("exec sleep 600");
    assert!(hung.now.throttled.unreadable().unwrap().contains("get_throttled"), "{hung:?}");
}

#[test]
fn this_machine_is_read() {
    let mut sensors = Sensors::below("/");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let watched = [Watched { path: here.join("not/there/yet"), must_be_writable: true }];
    let readings = sensors.look(&watched);
    assert!(readings.uptime.value().unwrap() > &Duration::ZERO);
    assert!(readings.memory.value().unwrap().total.0 > 1 << 20);
    assert!(readings.own.memory.value().unwrap().0 > 1 << 20);
    let disk = &readings.disks[0];
    assert!(disk.space.value().unwrap().total > 0 && disk.mount.starts_with('/'), "{disk:?}");
}
