//! `history --health`: how the board was, as a table of at most some thirty lines and a summary of each gauge. It works
//! while the daemon is down.

use super::context::Context;
use super::failure::Failure;
use super::offline;
use super::style::{Cell, Style, Table, Tone};
use crate::base::Bytes;
use crate::control::{Answer, BoardHistory, BoardSample, Figure, Gauge, Request};
use crate::health::gathering::coarsen;
use std::time::Duration;

/// When nothing is said.
const A_DAY: Duration = Duration::from_secs(86_400);
/// What a person reads on one screen.
const LINES: u64 = 32;
/// Lengths of time that a line may stand for, in seconds.
const STEPS: [u64; 10] = [60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400];

/// `pintle history --health`.
pub fn run(since: Option<Duration>, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let back = since.unwrap_or(A_DAY);
    let report = cx.ask_or_read(
        &Request::BoardHistory { since_seconds: back.as_secs() },
        |answer| if let Answer::BoardHistory(report) = answer { Some(report) } else { None },
        |paths| offline::board_history(&paths.state_dir, back),
    )?;
    if report.lost > 0 {
        cx.note(&format!("{} samples could not be written down since the daemon began", report.lost));
    }
    let draws = cx.world.terminal;
    cx.answer(&report, |style| text(&report, back, draws, style))?;
    Ok(0)
}

/// A column of the table: its heading, and the gauge whose presence it hangs on.
struct Column {
    heading: &'static str,
    gauge: Gauge,
    cell: fn(&BoardSample) -> Cell,
}

const COLUMNS: [Column; 11] = [
    Column { heading: ">CPU %", gauge: Gauge::CpuPercent, cell: |sample| level(sample, Gauge::CpuPercent, 0) },
    Column { heading: ">LOAD", gauge: Gauge::Load, cell: |sample| level(sample, Gauge::Load, 2) },
    Column { heading: ">MEM %", gauge: Gauge::MemoryPercent, cell: |sample| level(sample, Gauge::MemoryPercent, 0) },
    Column { heading: ">SWAP %", gauge: Gauge::SwapPercent, cell: |sample| level(sample, Gauge::SwapPercent, 0) },
    Column { heading: ">DISK %", gauge: Gauge::DiskPercent, cell: |sample| level(sample, Gauge::DiskPercent, 0) },
    Column {
        heading: ">TEMP C",
        gauge: Gauge::TemperatureCelsius,
        cell: |sample| level(sample, Gauge::TemperatureCelsius, 0),
    },
    Column { heading: ">MHZ", gauge: Gauge::CpuMegahertz, cell: |sample| mean(sample, Gauge::CpuMegahertz, 0) },
    Column {
        heading: ">DISK WAIT %",
        gauge: Gauge::IoPressurePercent,
        cell: |sample| level(sample, Gauge::IoPressurePercent, 0),
    },
    Column { heading: "POWER", gauge: Gauge::UnderVoltage, cell: power },
    Column {
        heading: ">WRITTEN",
        gauge: Gauge::DeviceWrittenBytes,
        cell: |sample| sum(sample, Gauge::DeviceWrittenBytes),
    },
    Column { heading: ">BY PINTLE", gauge: Gauge::OwnWrittenBytes, cell: |sample| sum(sample, Gauge::OwnWrittenBytes) },
];

fn text(report: &BoardHistory, back: Duration, draws: bool, style: &Style) -> String {
    if report.samples.is_empty() {
        return "nothing is known of that time; the daemon looks at the board every [health] every, and writes down what \
                it saw once an hour\n"
            .into();
    }
    let oldest_first: Vec<BoardSample> = report.samples.iter().rev().cloned().collect();
    let fits = |step: &u64| *step >= report.resolution_seconds && back.as_secs() / step < LINES;
    let step = STEPS.into_iter().find(fits).unwrap_or(STEPS[STEPS.len() - 1]);
    let lines = coarsen(&oldest_first, Duration::from_secs(step));
    let mut text = lines_text(&lines, style);
    text.push('\n');
    text += &summary(&oldest_first, &lines, draws, style);
    if lines.iter().any(|line| !line.clock_sure) {
        text += "\n? the clock was not known to be right\n";
    }
    text
}

/// A line for each stretch of time, newest first; mean and, after the slash, greatest. What no look found is left out.
fn lines_text(lines: &[BoardSample], style: &Style) -> String {
    let is_there = |column: &&Column| lines.iter().any(|line| line.gauges.0.contains_key(&column.gauge));
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_there).collect();
    let headings: Vec<&'static str> =
        std::iter::once("FROM").chain(columns.iter().map(|column| column.heading)).collect();
    let mut table = Table::new(0, &headings);
    for line in lines.iter().rev() {
        let from = format!("{}{}", style.time(line.at), if line.clock_sure { "" } else { " ?" });
        table.row(std::iter::once(from.into()).chain(columns.iter().map(|column| (column.cell)(line))).collect());
    }
    table.text(style)
}

fn level(sample: &BoardSample, gauge: Gauge, digits: usize) -> Cell {
    match sample.gauges.0.get(&gauge) {
        Some(Figure::Level { mean, max, .. }) if sample.samples > 1 => format!("{mean:.digits$}/{max:.digits$}").into(),
        _ => mean(sample, gauge, digits),
    }
}

fn mean(sample: &BoardSample, gauge: Gauge, digits: usize) -> Cell {
    Cell::or_dash(sample.gauges.0.get(&gauge).map(|figure| format!("{:.digits$}", figure.number())))
}

fn sum(sample: &BoardSample, gauge: Gauge) -> Cell {
    Cell::or_dash(sample.gauges.0.get(&gauge).map(|figure| Bytes(figure.number() as u64)))
}

/// How much of the time too little voltage arrived, or the processor was held back.
fn power(sample: &BoardSample) -> Cell {
    let share = |gauge| sample.gauges.0.get(&gauge).map(|figure| figure.number());
    let percent = |share: f64| (share * 100.0).ceil();
    match (share(Gauge::UnderVoltage), share(Gauge::Throttled)) {
        (None, _) => Cell::or_dash(None::<&str>),
        (Some(low), _) if low > 0.0 => Cell::toned(format!("under-voltage {}%", percent(low)), Tone::Bad),
        (_, Some(held)) if held > 0.0 => Cell::toned(format!("held back {}%", percent(held)), Tone::Busy),
        _ => Cell::toned("ok", Tone::Good),
    }
}

/// Each gauge over the whole time; on a terminal drawn, too, from the oldest line to the newest.
fn summary(samples: &[BoardSample], lines: &[BoardSample], draws: bool, style: &Style) -> String {
    let mut table = match draws {
        true => Table::new(0, &["GAUGE", ">LEAST", ">MEAN", ">GREATEST", "OLDEST TO NEWEST"]),
        false => Table::new(0, &["GAUGE", ">LEAST", ">MEAN", ">GREATEST"]),
    };
    let mut absent = vec![];
    for gauge in Gauge::ALL {
        let seen: Vec<(f64, Figure)> = samples
            .iter()
            .filter_map(|sample| Some((f64::from(sample.samples.max(1)), *sample.gauges.0.get(gauge)?)))
            .collect();
        if seen.is_empty() {
            absent.push(gauge.as_str());
            continue;
        }
        let mut row: Vec<Cell> = vec![gauge.as_str().into()];
        row.extend(over_all(*gauge, &seen));
        if draws {
            let drawn: Vec<Option<f64>> =
                lines.iter().map(|line| line.gauges.0.get(gauge).map(|figure| figure.number())).collect();
            row.push(sparkline(&drawn).into());
        }
        table.row(row);
    }
    let mut text = table.text(style);
    if !absent.is_empty() {
        text += &format!("not seen on this board in that time: {}\n", absent.join(", "));
    }
    text
}

/// Least, mean and greatest; of counters the sum stands where the mean does.
fn over_all(gauge: Gauge, seen: &[(f64, Figure)]) -> [Cell; 3] {
    let weight: f64 = seen.iter().map(|(weight, _)| weight).sum();
    let mean = seen.iter().map(|(weight, figure)| weight * figure.number()).sum::<f64>() / weight.max(1.0);
    let bound = |pick: fn(&Figure) -> f64, better: fn(f64, f64) -> f64| {
        seen.iter().map(|(_, figure)| pick(figure)).reduce(better).unwrap_or_default()
    };
    let least = |figure: &Figure| if let Figure::Level { min, .. } = figure { *min } else { figure.number() };
    let greatest = |figure: &Figure| if let Figure::Level { max, .. } = figure { *max } else { figure.number() };
    match seen[0].1 {
        Figure::Level { .. } => [bound(least, f64::min), mean, bound(greatest, f64::max)].map(|value| match gauge {
            Gauge::OwnMemoryBytes => Bytes(value as u64).into(),
            _ => format!("{value:.1}").into(),
        }),
        Figure::Share(_) => ["".into(), format!("{:.1}%", mean * 100.0).into(), "".into()],
        Figure::Sum(_) => {
            let sum: f64 = seen.iter().map(|(_, figure)| figure.number()).sum();
            ["".into(), format!("{} in all", Bytes(sum as u64)).into(), "".into()]
        }
    }
}

/// Heights from the least to the greatest value; a gap where there is none.
fn sparkline(values: &[Option<f64>]) -> String {
    const HEIGHTS: [char; 8] =
        ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    let known = || values.iter().flatten().copied();
    let (least, greatest) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let height = |value: f64| match greatest - least {
        range if range > 0.0 => (((value - least) / range) * 7.0).round() as usize,
        _ => 0,
    };
    values.iter().map(|value| value.map_or(' ', |value| HEIGHTS[height(value).min(7)])).collect()
}

#[cfg(test)]
mod tests;
