//! The texts of a board's sensors: whatever they are, no parser panics, and what comes out is believable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::health::parse::{
    block, emmc, loadavg, meminfo, mounts, number, own, pressure, stat, thermal, throttled, uptime,
};

fn percent(value: f64) -> bool {
    (0.0..=100.0).contains(&value)
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    // Two looks at the processors, cut where the input says.
    let (before, after) = text.split_once('\x1e').unwrap_or((&text, &text));
    if let (Ok(before), Ok(after)) = (stat::times(before), stat::times(after))
        && let Some(cpu) = stat::between(&before, &after)
    {
        let all = cpu.core_busy_percent.iter().chain([&cpu.busy_percent, &cpu.iowait_percent, &cpu.steal_percent]);
        assert!(all.into_iter().all(|share| percent(*share)), "{cpu:?}");
    }
    if let Ok(load) = loadavg::load(&text) {
        assert!(load.one_minute >= 0.0 && load.one_minute.is_finite());
    }
    if let Ok(pressure) = pressure::pressure(&text) {
        assert!(percent(pressure.some_avg60) && percent(pressure.full_avg300));
    }
    if let Ok(memory) = meminfo::memory(&text) {
        assert!(percent(memory.used_percent()), "{memory:?}");
    }
    let _ = meminfo::swap(&text);
    if let Ok(all) = mounts::mounts(&text) {
        for mount in &all {
            assert!(mount.point.starts_with('/'));
            assert!(mounts::holding(&all, &mount.point).is_some(), "{mount:?}");
        }
    }
    if let Ok(degrees) = thermal::celsius(&text) {
        assert!((-60.0..=200.0).contains(&degrees));
    }
    if let Ok(name) = number::name(&text) {
        assert!(!name.is_empty() && !name.chars().any(char::is_control));
    }
    let _ = (thermal::rank(&text), throttled::power(&text), uptime::uptime(&text));
    let _ = (block::written(&text), emmc::life_used(&text), emmc::spare(&text));
    let _ = (number::count(&text), number::flag(&text), own::resident(&text, 4096), own::written(&text));
});
