//! What one look says of each gauge, with the words for people, the margin and the patience of each.
//!
//! | about | warning | critical | samples up/down | margin |
//! |---|---|---|---|---|
//! | `cpu` | `cpu_percent` | `cpu_percent` | 5 / 3 | 5 |
//! | `memory` | `memory_percent` | `memory_percent` | 3 / 3 | 3 |
//! | `memory-pressure` | everything waits for memory 20 % of a minute | 50 % | 3 / 3 | 5 |
//! | `disk:MOUNT`, `inodes:MOUNT` | `disk_percent` | `disk_percent` | 2 / 2 | 2 |
//! | `read-only:MOUNT` | | where state or data lie | 1 / 1 | |
//! | `ext4:DEVICE` | errors are remembered | | 1 / 1 | |
//! | `temperature` | `temperature_celsius` | `temperature_celsius` | 2 / 3 | 3 |
//! | `under-voltage` | since the boot | now | 1 / 5 | |
//! | `throttled` | now | | 2 / 3 | |
//! | `wear:DEVICE` | 90 % of its life, spare blocks get short | beyond, nearly none left | 1 / 1 | |
//! | `writes:DEVICE` | `card_writes_per_day` | | 3 / 3 | 5 % |
//! | `clock` | not synchronised ten minutes after the boot | | 5 / 1 | |
//! | `network` | no link on any physical interface | | 3 / 1 | |
//! | `sensor:NAME` | cannot be read | | 3 / 1 | |

use super::{Finding, Level, Limits, Thresholds};
use crate::base::{Bytes, Span};
use crate::health::board::{Device, Disk, Medium, Reading, Readings, Spare};
use std::time::Duration;

/// A board without a clock has had its chance to be told the time.
const CLOCK_IS_SET: Duration = Duration::from_secs(600);
/// In percent of a minute in which every process waited for memory.
const MEMORY_PRESSURE: Limits = Limits { warning: 20.0, critical: 50.0 };

/// How many samples in a row move a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    pub rise: u32,
    pub fall: u32,
}

/// What one look says of one thing.
#[derive(Debug, Clone)]
pub(super) struct Opinion {
    pub about: String,
    pub level: Level,
    pub what: String,
    pub advice: &'static str,
    pub patience: Patience,
}

impl Opinion {
    pub(super) fn finding(self) -> Option<Finding> {
        let Opinion { about, level, what, advice, .. } = self;
        (level != Level::Ok).then(|| Finding { about, level, what, advice: advice.to_owned() })
    }

    /// Of something that is not there any more.
    pub(super) fn gone(about: &str) -> Opinion {
        let what = match about.strip_prefix("sensor:") {
            Some(sensor) => format!("{} can be read again", sensor_words(sensor)),
            None => format!("{about}: there is nothing to be found any more"),
        };
        Opinion { about: about.into(), level: Level::Ok, what, advice: "", patience: Patience { rise: 1, fall: 1 } }
    }
}

/// What one look says of everything.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub opinions: Vec<Opinion>,
    /// What could not be read: nothing is known of it.
    pub unknown: Vec<Unknown>,
}

/// Something that could not be read.
#[derive(Debug, Clone)]
pub(super) enum Unknown {
    /// This.
    One(String),
    /// All that begins so.
    All(&'static str),
}

impl Unknown {
    pub(super) fn covers(&self, about: &str) -> bool {
        match self {
            Unknown::One(one) => one == about,
            Unknown::All(all) => about.starts_with(all),
        }
    }
}

/// Judges one look. `standing`: what is found of a thing already, which the margin is for; `daily`: what is written to a
/// device in a day.
pub(super) fn of(
    readings: &Readings,
    thresholds: &Thresholds,
    standing: &dyn Fn(&str) -> Level,
    daily: &dyn Fn(&str) -> Option<Bytes>,
) -> Said {
    let mut said = Said::default();
    processor(readings, thresholds, standing, &mut said);
    memory(readings, thresholds, standing, &mut said);
    for disk in &readings.disks {
        file_system(disk, thresholds, standing, &mut said);
    }
    power(readings, &mut said);
    for device in readings.devices.value().into_iter().flatten() {
        wear(device, thresholds, standing, daily(&device.name), &mut said);
    }
    surroundings(readings, &mut said);
    if readings.devices.unreadable().is_some() {
        said.unknown.extend([Unknown::All("wear:"), Unknown::All("writes:")]);
    }
    if readings.ext4.unreadable().is_some() {
        said.unknown.push(Unknown::All("ext4:"));
    }
    sensors(readings, &mut said);
    said
}

fn processor(readings: &Readings, thresholds: &Thresholds, standing: &dyn Fn(&str) -> Level, said: &mut Said) {
    said.gauge("cpu", readings.cpu.clone().map(|cpu| cpu.busy_percent), |busy| Opinion {
        about: "cpu".into(),
        level: level(busy, thresholds.cpu_percent, 5.0, standing("cpu")),
        what: format!("the processor is {busy:.0} % busy"),
        advice: "`top` shows who computes; an app that needs less, or a faster board, helps",
        patience: Patience { rise: 5, fall: 3 },
    });
    said.gauge("temperature", readings.temperature.clone(), |degrees| Opinion {
        about: "temperature".into(),
        level: level(degrees, thresholds.temperature_celsius, 3.0, standing("temperature")),
        what: format!("the processor is {degrees:.1} °C hot"),
        advice: "give it air, a heat sink or a fan; from about 80 °C on the firmware slows it down; deploys wait while \
                 it is critical, apps go on",
        patience: Patience { rise: 2, fall: 3 },
    });
}

fn memory(readings: &Readings, thresholds: &Thresholds, standing: &dyn Fn(&str) -> Level, said: &mut Said) {
    said.gauge("memory", readings.memory.clone(), |memory| Opinion {
        about: "memory".into(),
        level: level(memory.used_percent(), thresholds.memory_percent, 3.0, standing("memory")),
        what: format!(
            "{:.0} % of the memory is in use, {} of {} are available",
            memory.used_percent(),
            memory.available,
            memory.total
        ),
        advice: "`pintle status` shows what each app holds; set memory_max, run fewer workers, or add swap; deploys wait \
                 while it is critical and less than 512 MiB are available",
        patience: Patience { rise: 3, fall: 3 },
    });
    said.gauge("memory-pressure", readings.pressure.memory.clone(), |pressure| Opinion {
        about: "memory-pressure".into(),
        level: level(pressure.full_avg60, MEMORY_PRESSURE, 5.0, standing("memory-pressure")),
        what: format!("everything waited for memory {:.0} % of the last minute", pressure.full_avg60),
        advice: "the board swaps more than it works: run fewer workers or use a board with more memory",
        patience: Patience { rise: 3, fall: 3 },
    });
}

fn file_system(disk: &Disk, thresholds: &Thresholds, standing: &dyn Fn(&str) -> Level, said: &mut Said) {
    let (mount, device) = (&disk.mount, &disk.device);
    let patience = Patience { rise: 2, fall: 2 };
    said.gauge(&format!("disk:{mount}"), disk.space.clone(), |room| {
        let about = format!("disk:{mount}");
        let (used, free) = (room.used_percent(), Bytes(room.free));
        Opinion {
            level: level(used, thresholds.disk_percent, 2.0, standing(&about)),
            about,
            what: format!("the disk at {mount} is {used:.0} % full, {free} are free"),
            advice: "remove what is not needed: old backups (`pintle backup prune`), old packages (`apt-get clean`), \
                     logs; deploys are refused while it is critical and less than 1 GiB is free",
            patience,
        }
    });
    said.gauge(&format!("inodes:{mount}"), disk.inodes.clone(), |room| {
        let about = format!("inodes:{mount}");
        let used = room.used_percent();
        Opinion {
            level: level(used, thresholds.disk_percent, 2.0, standing(&about)),
            about,
            what: format!(
                "the disk at {mount} has room for {} more files ({used:.0} % of its inodes taken)",
                room.free
            ),
            advice: "remove directories with very many small files (caches, sessions); space alone does not help; \
                     deploys are refused while it is critical and fewer than 10,000 are free",
            patience,
        }
    });
    said.gauge(&format!("read-only:{mount}"), disk.read_only.clone(), |read_only| Opinion {
        about: format!("read-only:{mount}"),
        level: if read_only && disk.must_be_writable { Level::Critical } else { Level::Ok },
        what: match read_only {
            true => format!("nothing can be written at {mount} ({device}): it is mounted read-only"),
            false => format!("{mount} ({device}) can be written to"),
        },
        advice: "the kernel does this after errors of the disk: look into `dmesg`, make a copy of the card, check it \
                 (fsck) or replace it; deploys are refused",
        patience: Patience { rise: 1, fall: 1 },
    });
}

fn power(readings: &Readings, said: &mut Said) {
    let (now, since_boot) = (&readings.power.now, &readings.power.since_boot);
    said.gauge("under-voltage", now.under_voltage.clone(), |is_now| {
        let was = since_boot.under_voltage.value() == Some(&true);
        let (level, what) = match (is_now, was) {
            (true, _) => (Level::Critical, "under-voltage now: the power supply or cable is too weak; deploys wait"),
            (false, true) => (Level::Warning, "there was under-voltage since the boot, not now"),
            (false, false) => (Level::Ok, "the power supply holds its voltage"),
        };
        Opinion {
            about: "under-voltage".into(),
            level,
            what: what.into(),
            advice: "use the official power supply and a short, thick cable, and take USB devices off; under-voltage \
                     corrupts cards",
            patience: Patience { rise: 1, fall: 5 },
        }
    });
    let held_back = [
        (&now.throttled, "slows the processor down"),
        (&now.frequency_capped, "caps the processor's frequency"),
        (&now.soft_temperature_limit, "is at its soft temperature limit"),
    ];
    let words: Vec<&str> =
        held_back.iter().filter(|(is, _)| is.value() == Some(&true)).map(|(_, words)| *words).collect();
    said.gauge("throttled", now.throttled.clone(), |_| Opinion {
        about: "throttled".into(),
        level: if words.is_empty() { Level::Ok } else { Level::Warning },
        what: match words.is_empty() {
            true => "the processor runs as fast as it can".into(),
            false => format!("the firmware {}", words.join(" and ")),
        },
        advice: "it is heat or a weak power supply: the board does less than it could until that is mended",
        patience: Patience { rise: 2, fall: 3 },
    });
}

fn wear(
    device: &Device,
    thresholds: &Thresholds,
    standing: &dyn Fn(&str) -> Level,
    daily: Option<Bytes>,
    said: &mut Said,
) {
    let name = &device.name;
    let worn = match (device.life_used_tenths.value(), device.spare.value()) {
        (Some(11..), _) | (_, Some(Spare::Urgent)) => Level::Critical,
        (Some(10), _) | (_, Some(Spare::Warning)) => Level::Warning,
        _ => Level::Ok,
    };
    let used =
        device.life_used_tenths.value().map(|tenths| format!("{} % of its life is used up", tenths.min(&10) * 10));
    if device.life_used_tenths.value().is_some() || device.spare.value().is_some() {
        said.opinions.push(Opinion {
            about: format!("wear:{name}"),
            level: worn,
            what: format!("{name} wears out: {}", used.unwrap_or("its spare blocks get short".into())),
            advice: "have a backup elsewhere, and replace it soon",
            patience: Patience { rise: 1, fall: 1 },
        });
    }
    if device.medium != Medium::Other
        && let Some(daily) = daily
    {
        let about = format!("writes:{name}");
        let budget = thresholds.card_writes_per_day;
        let most = Limits { warning: budget.0 as f64, critical: f64::INFINITY };
        said.opinions.push(Opinion {
            level: level(daily.0 as f64, most, budget.0 as f64 * 0.05, standing(&about)),
            about,
            what: format!("{daily} a day are written to {name}; its budget is {budget}"),
            advice: "find who writes so much (`iotop -a`), keep logs and caches in memory, or raise \
                     card_writes_per_day when the card is made for it",
            patience: Patience { rise: 3, fall: 3 },
        });
    }
}

fn surroundings(readings: &Readings, said: &mut Said) {
    for file_system in readings.ext4.value().into_iter().flatten() {
        let (device, errors) = (&file_system.device, file_system.errors);
        said.opinions.push(Opinion {
            about: format!("ext4:{device}"),
            level: if errors > 0 { Level::Warning } else { Level::Ok },
            what: format!("the file system on {device} remembers {errors} errors"),
            advice: "check it (`fsck -f` when it is not mounted, or at the next boot with fsck.mode=force), and have a \
                     backup elsewhere",
            patience: Patience { rise: 1, fall: 1 },
        });
    }
    let uptime = readings.uptime.value().copied().unwrap_or_default();
    // It may still be told the time: whether it will be is not known yet.
    let clock = match readings.clock_synchronised.clone() {
        Reading::Value(false) if uptime < CLOCK_IS_SET => Reading::Unreadable("it is too early to tell".into()),
        reading => reading,
    };
    said.gauge("clock", clock, |synchronised| Opinion {
        about: "clock".into(),
        level: if synchronised { Level::Ok } else { Level::Warning },
        what: match synchronised {
            true => "the clock is synchronised".into(),
            false => format!("nothing holds the clock to the true time, {} after the boot", Span(uptime)),
        },
        advice: "times in the history may be wrong and nothing is removed because of its age: see `timedatectl`, and \
                 whether the network is there",
        patience: Patience { rise: 5, fall: 1 },
    });
    said.gauge("network", readings.links.clone(), |links| {
        let up = links.iter().any(|link| link.up);
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        Opinion {
            about: "network".into(),
            level: if up { Level::Ok } else { Level::Warning },
            what: match up {
                true => "there is a network link".into(),
                false => format!("no network: {} has no link", names.join(", ")),
            },
            advice: "look at the cable or at the access point; deploys by webhook or poll come when it is back",
            patience: Patience { rise: 3, fall: 1 },
        }
    });
}

/// Each sensor that is there and cannot be read is a finding of its own.
fn sensors(readings: &Readings, said: &mut Said) {
    let all = [
        ("model", readings.model.unreadable()),
        ("boot-id", readings.boot_id.unreadable()),
        ("uptime", readings.uptime.unreadable()),
        ("cpu", readings.cpu.unreadable()),
        ("load", readings.load.unreadable()),
        ("cpu-pressure", readings.pressure.cpu.unreadable()),
        ("memory-pressure", readings.pressure.memory.unreadable()),
        ("io-pressure", readings.pressure.io.unreadable()),
        ("memory", readings.memory.unreadable()),
        ("swap", readings.swap.unreadable()),
        ("ext4", readings.ext4.unreadable()),
        ("devices", readings.devices.unreadable()),
        ("temperature", readings.temperature.unreadable()),
        ("frequency", readings.frequency.unreadable()),
        ("under-voltage", readings.power.now.under_voltage.unreadable()),
        ("throttled", readings.power.now.throttled.unreadable()),
        ("clock", readings.clock_synchronised.unreadable()),
        ("network", readings.links.unreadable()),
        ("own-memory", readings.own.memory.unreadable()),
        ("own-writes", readings.own.written.unreadable()),
    ];
    let mut found: Vec<(String, &str)> =
        all.into_iter().filter_map(|(name, why)| Some((name.to_owned(), why?))).collect();
    for disk in &readings.disks {
        let of_disk = [disk.space.unreadable(), disk.inodes.unreadable(), disk.read_only.unreadable()];
        found.extend(of_disk.into_iter().flatten().next().map(|why| (format!("disk:{}", disk.mount), why)));
    }
    for device in readings.devices.value().into_iter().flatten() {
        let of_device = [device.written.unreadable(), device.life_used_tenths.unreadable(), device.spare.unreadable()];
        found.extend(of_device.into_iter().flatten().next().map(|why| (format!("device:{}", device.name), why)));
    }
    said.opinions.extend(found.into_iter().map(|(name, why)| Opinion {
        about: format!("sensor:{name}"),
        level: Level::Warning,
        what: format!("{} cannot be read: {why}", sensor_words(&name)),
        advice: "nothing is known of it, so nothing is watched there; mend it, or report it as a bug of Pintle",
        patience: Patience { rise: 3, fall: 1 },
    }));
}

fn sensor_words(name: &str) -> String {
    format!("the sensor {name}")
}

impl Said {
    /// Judges a value; one that could not be read is unknown, one that is not there is nothing.
    fn gauge<T>(&mut self, about: &str, reading: Reading<T>, judge: impl FnOnce(T) -> Opinion) {
        match reading {
            Reading::Value(value) => self.opinions.push(judge(value)),
            Reading::Unreadable(_) => self.unknown.push(Unknown::One(about.to_owned())),
            Reading::Unsupported => {}
        }
    }
}

/// The level of a value. One that stands already is left only when the value is below the limit by `margin`.
fn level(value: f64, limits: Limits, margin: f64, standing: Level) -> Level {
    let of = |value: f64| match value {
        value if value >= limits.critical => Level::Critical,
        value if value >= limits.warning => Level::Warning,
        _ => Level::Ok,
    };
    let bare = of(value);
    if bare < standing { of(value + margin).min(standing) } else { bare }
}
