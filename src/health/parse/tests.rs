//! Every parser against real-looking texts and against what a sick kernel, another locale or an attacker may have there.

use super::*;
use crate::base::Bytes;
use crate::health::board::{Load, Memory, Power, Reading, Spare, Strain, Swap};
use std::time::Duration;

/// Whatever it is, no parser makes a value of it.
fn broken() -> Vec<String> {
    let texts = ["", "\n", " ", "\0\0\0", "\u{fffd}ELF\u{fffd}\u{1}\u{1}", "-", "-1", "NaN", "inf", "٣", "+1"];
    let mut texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
    texts.extend(["x".repeat(1 << 20), "9".repeat(400), " ".repeat(100_000), "\n".repeat(100_000)]);
    texts
}

#[test]
fn nothing_is_made_of_what_is_broken() {
    for text in broken() {
        let short: String = text.chars().take(20).collect();
        assert!(stat::times(&text).is_err(), "{short:?}");
        assert!(loadavg::load(&text).is_err(), "{short:?}");
        assert!(pressure::pressure(&text).is_err(), "{short:?}");
        assert!(meminfo::memory(&text).is_err() && meminfo::swap(&text).is_err(), "{short:?}");
        assert!(mounts::mounts(&text).is_err(), "{short:?}");
        assert!(block::written(&text).is_err(), "{short:?}");
        assert!(emmc::life_used(&text).is_err() && emmc::spare(&text).is_err(), "{short:?}");
        assert!(number::count(&text).is_err() && number::flag(&text).is_err(), "{short:?}");
        assert!(own::resident(&text, 4096).is_err() && own::written(&text).is_err(), "{short:?}");
        assert!(throttled::power(&text).is_err(), "{short:?}");
        assert!(uptime::uptime(&text).is_err() || text.starts_with("9999"), "{short:?}");
        // Minus a thousandth of a degree may be.
        assert!(thermal::celsius(&text).is_err() || text == "-1", "{short:?}");
        assert!(Unfit::new("it", &text).to_string().len() < 400);
    }
}

const STAT: &str = "cpu  100 10 50 800 20 5 5 10 0 0\ncpu0 50 5 25 400 10 5 5 5 0 0\ncpu1 50 5 25 400 10 0 0 5 0 0\n\
                    intr 1 2 3\nctxt 5\nbtime 1700000000\n";

#[test]
fn processors_are_compared_between_two_looks() {
    let before = stat::times(STAT).unwrap();
    assert_eq!(stat::between(&before, &before), None, "no time passed");
    let later = STAT.replace("cpu  100 10 50 800 20", "cpu  130 10 60 850 25").replace("10 0 0\ncpu0", "15 0 0\ncpu0");
    let later = later.replace("cpu1 50 5 25 400", "cpu1 75 5 25 425");
    let cpu = stat::between(&before, &stat::times(&later).unwrap()).unwrap();
    assert_eq!((cpu.busy_percent, cpu.iowait_percent, cpu.steal_percent), (40.0, 5.0, 5.0));
    assert_eq!(cpu.core_busy_percent, [0.0, 50.0]);
    // Backwards, as after a restored virtual machine.
    assert_eq!(stat::between(&stat::times(&later).unwrap(), &before), None);
    // An old kernel has four columns; a core that came meanwhile is not compared.
    let old = stat::times("cpu 1 2 3 4\n").unwrap();
    assert_eq!(stat::between(&old, &stat::times("cpu 2 2 3 5\ncpu0 2 2 3 5\n").unwrap()).unwrap().busy_percent, 50.0);
    for bad in ["cpu 1 2 3\n", "cpu 1 2 3 -4\n", "cpu0 1 2 3 4\n", "cpu 1,5 2 3 4\n", "intr 1\n", "cpu\n"] {
        assert!(stat::times(bad).is_err(), "{bad:?}");
    }
    let greedy = format!("cpu {0} {0} {0} {0}\n", u64::MAX);
    assert!(stat::times(&greedy).is_err());
}

#[test]
fn load_uptime_and_numbers() {
    let load = Load { one_minute: 0.2, five_minutes: 0.18, fifteen_minutes: 12.0 };
    assert_eq!(loadavg::load("0.20 0.18 12.00 1/80 11206\n"), Ok(load));
    for bad in ["0,20 0,18 0,12 1/80 1\n", "0.20 0.18\n", "0.2 -0.1 0.1 1/1 1"] {
        assert!(loadavg::load(bad).is_err(), "{bad:?}");
    }
    assert_eq!(uptime::uptime("350735.47 234388.90\n"), Ok(Duration::from_millis(350_735_470)));
    assert!(uptime::uptime("350735,47 1,0").is_err());
    assert_eq!(number::count(" 1500000\n"), Ok(1_500_000));
    assert_eq!((number::flag("1\n"), number::flag("0")), (Ok(true), Ok(false)));
    assert_eq!(number::name("Raspberry Pi 5 Model B Rev 1.0\0").unwrap(), "Raspberry Pi 5 Model B Rev 1.0");
    for bad in ["", "\0", "a\nb", "\u{1b}[31mred", &"x".repeat(300)] {
        assert!(number::name(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn pressure_of_all_three_kinds() {
    let text = "some avg10=1.50 avg60=2.25 avg300=0.10 total=123\nfull avg10=0.50 avg60=0.75 avg300=0.00 total=45\n";
    let read = pressure::pressure(text).unwrap();
    assert_eq!((read.some_avg60, read.full_avg60), (2.25, 0.75));
    // Of the processor there was no `full` before Linux 5.13.
    let read = pressure::pressure("some avg10=9.00 avg60=0.00 avg300=0.00 total=0\n").unwrap();
    assert_eq!((read.some_avg10, read.full_avg10), (9.0, 0.0));
    for bad in [
        "some avg10=1,50 avg60=2,25 avg300=0,10 total=1\n",
        "some avg10=1.50 avg60=2.25\n",
        "some avg10=101.00 avg60=0.00 avg300=0.00 total=0\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=",
    ] {
        assert!(pressure::pressure(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn memory_and_swap() {
    let text = "MemTotal:         949444 kB\nMemFree:           60032 kB\nMemAvailable:     512000 kB\n\
                SwapTotal:        102396 kB\nSwapFree:         102396 kB\n";
    let memory = Memory { total: Bytes(949_444 << 10), available: Bytes(512_000 << 10) };
    assert_eq!(meminfo::memory(text), Ok(memory));
    let swap = Swap { total: Bytes(102_396 << 10), free: Bytes(102_396 << 10) };
    assert_eq!(meminfo::swap(text), Ok(Reading::Value(swap)));
    assert_eq!(meminfo::swap("SwapTotal: 0 kB\nSwapFree: 0 kB\n"), Ok(Reading::Unsupported));
    for bad in [
        "MemTotal: 949444 kB\nMemFree: 60032 kB\n",
        "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
        "MemTotal: -5 kB\nMemAvailable: 1 kB\n",
        "MemTotal: 949444\nMemAvailable: 1\n",
        "MemTotal: 949444 kB\nMemAvailable: 5",
        "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n",
    ] {
        assert!(meminfo::memory(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn mounts_and_who_holds_a_path() {
    let text = "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\nproc /proc proc rw 0 0\n\
                /dev/sda1 /srv/my\\040data ext4 ro,relatime,errors=remount-ro 0 0\n\
                tmpfs /var/lib tmpfs rw,nosuid 0 0\n/dev/sdb1 /var/lib ext4 ro 0 0\nnonsense\nx relative ext4 rw 0 0\n";
    let all = mounts::mounts(text).unwrap();
    assert_eq!(all.len(), 5);
    let holding = |path: &str| mounts::holding(&all, path).map(|mount| (mount.device.as_str(), mount.read_only));
    assert_eq!(holding("/"), Some(("/dev/mmcblk0p2", false)));
    assert_eq!(holding("/srv/my data/x"), Some(("/dev/sda1", true)));
    assert_eq!(holding("/srv/my database"), Some(("/dev/mmcblk0p2", false)), "a name that only begins alike");
    assert_eq!(holding("/var/lib/pintle"), Some(("/dev/sdb1", true)), "the last one at a point is on top");
    assert_eq!(mounts::mounts("a /b\\777\\04 ext4 rw 0 0\n").unwrap()[0].point, "/b\\777\\04");
    assert!(!mounts::mounts("a /errors=ro ext4 rw,errors=remount-ro 0 0\n").unwrap()[0].read_only);
}

#[test]
fn read_only_is_what_the_file_system_is_and_not_what_we_alone_see() {
    let table = [
        ("26 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw", false),
        ("26 1 179:2 / / ro,noatime shared:1 master:2 - ext4 /dev/mmcblk0p2 rw,errors=remount-ro", false),
        ("26 1 179:2 / / ro,noatime - ext4 /dev/mmcblk0p2 ro", true),
        ("26 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 ro,errors=remount-ro", true),
        ("26 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw,emergency_ro,errors=remount-ro", true),
        ("26 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw,shutdown", true),
        ("/dev/mmcblk0p2 / ext4 rw,noatime 0 0", false),
        ("/dev/mmcblk0p2 / ext4 ro,noatime 0 0", true),
        ("/dev/mmcblk0p2 / ext4 rw,emergency_ro 0 0", true),
        ("/dev/mmcblk0p2 / ext4 rw,noatime,shutdown 0 0", true),
    ];
    for (line, read_only) in table {
        let (device, point, kind) = ("/dev/mmcblk0p2".into(), "/".into(), "ext4".into());
        assert_eq!(mounts::mounts(line).unwrap(), [mounts::Mount { device, point, kind, read_only }], "{line}");
    }
    let spaced = "36 26 8:1 / /srv/my\\040data rw - ext4 /dev/sda1 rw\n36 26 8:1 / relative rw - ext4 /dev/sda1 rw\n";
    let all = mounts::mounts(spaced).unwrap();
    assert_eq!((all.len(), all[0].point.as_str()), (1, "/srv/my data"));
}

#[test]
fn devices_and_their_wear() {
    let text = "    5345     2035   303234     4211     2321     3456   198712     9876        0     8000    14000\n";
    assert_eq!(block::written(text), Ok(Bytes(198_712 * 512)));
    for bad in ["1 2 3 4 5 6\n", "1 2 3 4 5 6 -7 8\n", "1 2 3 4 5 6 18446744073709551615\n"] {
        assert!(block::written(bad).is_err(), "{bad:?}");
    }
    assert_eq!(emmc::life_used("0x01 0x03\n"), Ok(Reading::Value(3)));
    assert_eq!(emmc::life_used("0x00 0x00\n"), Ok(Reading::Unsupported), "not defined is not new");
    assert_eq!(emmc::life_used("0x0b 0x01\n"), Ok(Reading::Value(11)));
    assert_eq!(emmc::spare("0x02\n"), Ok(Reading::Value(Spare::Warning)));
    assert_eq!(emmc::spare("0x00"), Ok(Reading::Unsupported));
    for bad in ["0x0c 0x01", "1 2", "0x", "0x01 0x02 0x03", "0x1ff"] {
        assert!(emmc::life_used(bad).is_err(), "{bad:?}");
    }
    for bad in ["0x04", "2", "0x-1", "0x+1"] {
        assert!(emmc::spare(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn temperatures_and_zones() {
    for (text, degrees) in [("48312\n", 48.312), ("-5000", -5.0), ("0", 0.0)] {
        assert_eq!(thermal::celsius(text), Ok(degrees));
    }
    for bad in ["48.3", "48312 x", "-273200", "999999", "--5", "-", "48,3"] {
        assert!(thermal::celsius(bad).is_err(), "{bad:?}");
    }
    assert_eq!(thermal::rank("cpu-thermal\n"), Some(0));
    assert!(thermal::rank("acpitz") > thermal::rank("x86_pkg_temp"));
    assert_eq!((thermal::rank("iwlwifi_1"), thermal::rank("")), (None, None));
}

#[test]
fn what_the_firmware_says() {
    let strain = |bits: [bool; 4]| {
        let [under_voltage, frequency_capped, throttled, soft_temperature_limit] = bits.map(Reading::Value);
        Strain { under_voltage, frequency_capped, throttled, soft_temperature_limit }
    };
    let table = [
        ("throttled=0x0\n", [false; 4], [false; 4]),
        ("throttled=0x50005\n", [true, false, true, false], [true, false, true, false]),
        ("throttled=0x50000\n", [false; 4], [true, false, true, false]),
        ("80008\n", [false, false, false, true], [false, false, false, true]),
        ("20002", [false, true, false, false], [false, true, false, false]),
    ];
    for (text, now, since_boot) in table {
        assert_eq!(throttled::power(text), Ok(Power { now: strain(now), since_boot: strain(since_boot) }), "{text:?}");
    }
    for bad in ["throttled=", "throttled=0x", "VCHI initialization failed", "0x1ffffffff", "throttled=0x0 0x0", "0x-1"]
    {
        assert!(throttled::power(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_we_cost_ourselves() {
    assert_eq!(own::resident("1380 1016 900 300 0 120 0\n", 4096), Ok(Bytes(1016 * 4096)));
    assert!(own::resident("1380\n", 4096).is_err());
    assert!(own::resident("1 18446744073709551615", 4096).is_err());
    let io = "rchar: 1\nwchar: 99\nsyscr: 1\nsyscw: 1\nread_bytes: 0\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n";
    assert_eq!(own::written(io), Ok(Bytes(4096)));
    assert_eq!(own::written("write_bytes: 8192"), Ok(Bytes(8192)));
    assert!(own::written("wchar: 99\nwrite_bytes: x\n").is_err());
}
