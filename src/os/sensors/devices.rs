//! Disks and cards: what was written to them, how far they are worn, what their file systems remember.

use super::texts::Texts;
use super::{flat, parsed};
use crate::health::board::{Device, Ext4, Medium, Reading};
use crate::health::parse::{block, emmc, number};

/// Not disks, whatever /sys/block says; an eMMC's boot partitions are not ours to wear.
const NO_DISKS: [&str; 7] = ["loop", "ram", "zram", "dm-", "md", "sr", "nbd"];

/// Every disk and card.
pub(super) fn devices(texts: &Texts) -> Reading<Vec<Device>> {
    let names = texts.names("sys/block").into_iter();
    let disks = names.filter(|name| !NO_DISKS.iter().any(|kind| name.starts_with(kind)) && !name.contains("boot"));
    let devices: Vec<Device> = disks.map(|name| device(texts, name)).collect();
    if devices.is_empty() { Reading::Unsupported } else { Reading::Value(devices) }
}

fn device(texts: &Texts, name: String) -> Device {
    let read = |file: &str| texts.read(&format!("sys/block/{name}/{file}"));
    let kind = read("device/type");
    let medium = match kind.value().map(|kind| kind.trim()) {
        Some("SD") => Medium::Sd,
        Some("MMC") => Medium::Emmc,
        _ => Medium::Other,
    };
    Device {
        medium,
        written: parsed(read("stat"), block::written),
        life_used_tenths: flat(parsed(read("device/life_time"), emmc::life_used)),
        spare: flat(parsed(read("device/pre_eol_info"), emmc::spare)),
        name,
    }
}

/// The errors that each ext4 file system remembers.
pub(super) fn ext4(texts: &Texts) -> Reading<Vec<Ext4>> {
    let mut all = vec![];
    for device in texts.names("sys/fs/ext4") {
        match parsed(texts.read(&format!("sys/fs/ext4/{device}/errors_count")), number::count) {
            Reading::Value(errors) => all.push(Ext4 { device, errors }),
            Reading::Unsupported => {}
            Reading::Unreadable(why) => return Reading::Unreadable(why),
        }
    }
    if all.is_empty() { Reading::Unsupported } else { Reading::Value(all) }
}
