//! The board's sensors: reads the kernel's texts below a root directory and has them parsed.
//!
//! One look reads some thirty small files, which takes about a millisecond, and starts no process - except `vcgencmd` on
//! Raspberry Pis whose kernel has no file for what it tells. `/proc` and `/sys` are read below the root (another one in
//! tests: `pintle run --root DIR`); the room of file systems, the kernel's clock and this process itself are always
//! the machine's own. Line: reports; what it means is `health::judge`'s.

mod devices;
mod disks;
mod firmware;
mod processor;
mod texts;

pub use disks::Watched;

use crate::health::board::{Link, Own, Pressure, Pressures, Reading, Readings};
use crate::health::parse::{self, loadavg, meminfo, number, own, pressure, stat, throttled, uptime};
use crate::os::clock;
use std::path::PathBuf;
use texts::Texts;

/// Looks at everything, and remembers of the processors what they had done at the look before.
#[derive(Debug)]
pub struct Sensors {
    texts: Texts,
    processors: Option<stat::Times>,
}

impl Sensors {
    /// Sensors below `root`, which is `/` but in tests.
    pub fn below(root: impl Into<PathBuf>) -> Sensors {
        Sensors { texts: Texts::below(root.into()), processors: None }
    }

    /// Looks at everything; of file systems, at those that hold the `watched` paths. What the processors do is known from
    /// the second look on.
    pub fn look(&mut self, watched: &[Watched]) -> Readings {
        let texts = &self.texts;
        let model = processor::model(texts);
        let meminfo = texts.read("proc/meminfo");
        let power = throttled::of_model(firmware::power(texts), model.value().map(String::as_str));
        Readings {
            boot_id: parsed(texts.read("proc/sys/kernel/random/boot_id"), number::name),
            uptime: parsed(texts.read("proc/uptime"), uptime::uptime),
            cpu: processor::use_since(&mut self.processors, parsed(texts.read("proc/stat"), stat::times)),
            load: parsed(texts.read("proc/loadavg"), loadavg::load),
            pressure: Pressures {
                cpu: pressure_of(texts, "cpu"),
                memory: pressure_of(texts, "memory"),
                io: pressure_of(texts, "io"),
            },
            memory: parsed(meminfo.clone(), meminfo::memory),
            swap: flat(parsed(meminfo, meminfo::swap)),
            disks: disks::disks(texts, watched),
            ext4: devices::ext4(texts),
            devices: devices::devices(texts),
            temperature: processor::temperature(texts),
            frequency: processor::frequency(texts),
            power,
            clock_synchronised: Reading::Value(clock::is_disciplined()),
            links: links(texts),
            own: own_cost(),
            model,
        }
    }
}

fn pressure_of(texts: &Texts, what: &str) -> Reading<Pressure> {
    parsed(texts.read(&format!("proc/pressure/{what}")), pressure::pressure)
}

/// Interfaces with hardware behind them; bridges, tunnels and containers' ends have none.
fn links(texts: &Texts) -> Reading<Vec<Link>> {
    let names = texts.names("sys/class/net").into_iter();
    let physical = names.filter(|name| texts.is_there(&format!("sys/class/net/{name}/device")));
    let links: Vec<Link> = physical
        .map(|name| {
            let at = |file: &str| texts.read(&format!("sys/class/net/{name}/{file}"));
            // An interface that is switched off has no carrier to be read.
            let carrier = parsed(at("carrier"), number::flag).value() == Some(&true);
            let state = parsed(at("operstate"), number::name);
            let is_down = matches!(state.value().map(String::as_str), Some("down" | "lowerlayerdown" | "dormant"));
            Link { name, up: carrier && !is_down }
        })
        .collect();
    if links.is_empty() { Reading::Unsupported } else { Reading::Value(links) }
}

fn own_cost() -> Own {
    let texts = Texts::below("/".into());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
    Own {
        memory: parsed(texts.read("proc/self/statm"), |text| own::resident(text, page)),
        written: parsed(texts.read("proc/self/io"), own::written),
    }
}

/// What a text says.
fn parsed<T>(text: Reading<String>, parse: impl FnOnce(&str) -> Result<T, parse::Unfit>) -> Reading<T> {
    match text {
        Reading::Value(text) => {
            parse(&text).map_or_else(|unfit| Reading::Unreadable(unfit.to_string()), Reading::Value)
        }
        Reading::Unsupported => Reading::Unsupported,
        Reading::Unreadable(why) => Reading::Unreadable(why),
    }
}

fn flat<T>(reading: Reading<Reading<T>>) -> Reading<T> {
    match reading {
        Reading::Value(inner) => inner,
        Reading::Unsupported => Reading::Unsupported,
        Reading::Unreadable(why) => Reading::Unreadable(why),
    }
}

#[cfg(test)]
mod tests;
