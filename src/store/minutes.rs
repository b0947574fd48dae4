//! Minutes, packed: an hour of them in one row of some two kilobytes, because pages are what wears a card out.
//!
//! A minute is written as what differs from the minute before: whole numbers, seven bits in a byte (LEB128), the sign in
//! the lowest bit. What cannot be unpacked ends its row, and is no damage to the history. Line: rows of `samples` become
//! bytes and come back; which are kept is decided by their number alone.

use super::diary::{Diary, whole};
use super::error::StoreError;
use super::record::{integer, run};
use crate::base::WallTime;
use crate::control::{BoardSample, Figure, Figures, Gauge, Shape};
use crate::health::Resolution;
use crate::health::record::Row;
use rusqlite::{Connection, OptionalExtension, params};

/// Minutes in a row.
const IN_A_ROW: usize = 60;
/// Two rows one after the other hold more than sixty minutes together - else they would be one - so these hold a day.
const SLOTS: u64 = 49;

impl Diary {
    /// The newest minutes whose number is above `above`, oldest first: a day of them at most.
    pub(super) fn minute_rows(&self, above: u64) -> Result<Vec<Row>, StoreError> {
        let mut rows = vec![];
        let sql = "SELECT packed FROM minutes WHERE highest > ?1 ORDER BY batch";
        self.each(sql, [integer(above)], |row| {
            rows.extend(unpack(row.get_ref(0)?.as_blob()?).into_iter().filter(|row| row.number > above));
            Ok(())
        })?;
        let too_many = rows.len().saturating_sub(Resolution::Minute.kept() as usize);
        Ok(rows.split_off(too_many))
    }
}

/// Appends minutes: to the last row while they all fit into it, else to a row of their own.
pub(super) fn write(db: &Connection, minutes: &[&Row]) -> rusqlite::Result<()> {
    for part in minutes.chunks(IN_A_ROW) {
        let sql = "SELECT batch, count, packed FROM minutes ORDER BY batch DESC LIMIT 1";
        let last =
            db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let (batch, count, earlier): (i64, i64, Vec<u8>) = last.unwrap_or_default();
        let fits = batch > 0 && whole(count) as usize + part.len() <= IN_A_ROW;
        let mut rows = if fits { unpack(&earlier) } else { vec![] };
        rows.extend(part.iter().map(|row| (*row).clone()));
        let batch = if fits { batch } else { batch.saturating_add(1) };
        let highest = rows.iter().map(|row| row.number).max().unwrap_or(0);
        let sql = "INSERT OR REPLACE INTO minutes (slot, batch, highest, count, packed) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (slot, count) = (batch.rem_euclid(SLOTS as i64), integer(rows.len() as u64));
        run(db, sql, params![slot, batch, integer(highest), count, pack(&rows)])?;
    }
    Ok(())
}

/// What the minute before left to differ from.
#[derive(Default)]
struct Before {
    number: i64,
    minute: i64,
    seconds: i64,
    samples: i64,
    means: [i64; Gauge::ALL.len()],
}

fn pack(rows: &[Row]) -> Vec<u8> {
    let (mut bytes, mut before) = (vec![], Before::default());
    for Row { number, sample, .. } in rows {
        let minute = sample.at.0.div_euclid(60_000);
        step(&mut bytes, &mut before.number, integer(*number));
        step(&mut bytes, &mut before.minute, minute);
        step(&mut bytes, &mut before.seconds, integer(sample.seconds));
        step(&mut bytes, &mut before.samples, sample.samples.into());
        let figures = &sample.gauges.0;
        let present = Gauge::ALL.iter().enumerate().filter(|(_, gauge)| figures.contains_key(gauge));
        let present = present.fold(0, |bits, (nth, _)| bits | (2 << nth));
        put(&mut bytes, present | u64::from(sample.clock_sure));
        for (nth, gauge) in Gauge::ALL.iter().enumerate() {
            let kept = |value: f64| (value * gauge.per_unit()).round() as i64;
            match figures.get(gauge) {
                Some(Figure::Level { min, mean, max }) => {
                    step(&mut bytes, &mut before.means[nth], kept(*mean));
                    if sample.samples != 1 {
                        put_signed(&mut bytes, kept(*mean).wrapping_sub(kept(*min)));
                        put_signed(&mut bytes, kept(*max).wrapping_sub(kept(*mean)));
                    }
                }
                Some(Figure::Share(share)) => step(&mut bytes, &mut before.means[nth], kept(*share)),
                Some(Figure::Sum(sum)) => put(&mut bytes, *sum),
                None => {}
            }
        }
    }
    bytes
}

fn unpack(mut bytes: &[u8]) -> Vec<Row> {
    let (mut rows, mut before) = (vec![], Before::default());
    while !bytes.is_empty() {
        let Some(row) = unpack_one(&mut bytes, &mut before) else { break };
        rows.push(row);
    }
    rows
}

fn unpack_one(bytes: &mut &[u8], before: &mut Before) -> Option<Row> {
    let number = whole(step_back(bytes, &mut before.number)?);
    let at = WallTime(step_back(bytes, &mut before.minute)?.checked_mul(60_000)?);
    let seconds = whole(step_back(bytes, &mut before.seconds)?);
    let samples = u32::try_from(step_back(bytes, &mut before.samples)?).ok()?;
    let bits = take(bytes)?;
    let mut gauges = Figures::default();
    for (nth, gauge) in Gauge::ALL.iter().enumerate().filter(|(nth, _)| bits & (2 << nth) != 0) {
        let unit = |number: i64| number as f64 / gauge.per_unit();
        let figure = match gauge.shape() {
            Shape::Level => {
                let mean = step_back(bytes, &mut before.means[nth])?;
                let (mut below, mut above) = (0, 0);
                if samples != 1 {
                    (below, above) = (take_signed(bytes)?, take_signed(bytes)?);
                }
                let (min, max) = (mean.wrapping_sub(below), mean.wrapping_add(above));
                Figure::Level { min: unit(min), mean: unit(mean), max: unit(max) }
            }
            Shape::Share => Figure::Share(unit(step_back(bytes, &mut before.means[nth])?)),
            Shape::Sum => Figure::Sum(take(bytes)?),
        };
        gauges.0.insert(*gauge, figure);
    }
    let sample = BoardSample { at, seconds, samples, clock_sure: bits & 1 != 0, gauges };
    Some(Row { resolution: Resolution::Minute, number, through: number, sample })
}

/// Writes how far `value` is from what was there, which it then is.
fn step(bytes: &mut Vec<u8>, before: &mut i64, value: i64) {
    put_signed(bytes, value.wrapping_sub(std::mem::replace(before, value)));
}

fn step_back(bytes: &mut &[u8], before: &mut i64) -> Option<i64> {
    *before = before.wrapping_add(take_signed(bytes)?);
    Some(*before)
}

fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put(bytes, ((value << 1) ^ (value >> 63)) as u64);
}

fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes).map(|coded| (coded >> 1) as i64 ^ -((coded & 1) as i64))
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn row(number: u64, samples: u32, cpu: [f64; 3]) -> Row {
        let [min, mean, max] = cpu;
        let gauges = BTreeMap::from([
            (Gauge::CpuPercent, Figure::Level { min, mean, max }),
            (Gauge::UnderVoltage, Figure::Share(0.125)),
            (Gauge::OwnWrittenBytes, Figure::Sum(u64::MAX)),
        ]);
        let at = WallTime((number as i64 - 3) * 60_000);
        let sample =
            BoardSample { at, seconds: 60, samples, clock_sure: number.is_multiple_of(2), gauges: Figures(gauges) };
        Row { resolution: Resolution::Minute, number, through: number, sample }
    }

    #[test]
    fn what_is_packed_comes_back() {
        let rows = vec![
            row(1, 1, [12.5; 3]),
            row(2, 6, [-40.0, 0.1, 99.9]),
            row(9, 0, [0.0, 0.0, 0.0]),
            row(u64::MAX >> 20, u32::MAX, [-1e9, 3.0, 1e9]),
        ];
        assert_eq!(unpack(&pack(&rows)), rows);
        assert_eq!(unpack(&pack(&[])), []);
    }

    #[test]
    fn a_quiet_hour_is_small() {
        let hour: Vec<Row> = (1..=60).map(|number| row(number, 1, [number as f64 / 10.0; 3])).collect();
        let per_minute = (pack(&hour).len() - 16) / 60;
        assert!(per_minute <= 8 + 10, "{per_minute} bytes, ten of them for the sum of all sums");
    }

    #[test]
    fn bytes_that_are_none_of_ours_end_the_row_and_nothing_else() {
        let rows = vec![row(1, 1, [12.5; 3]), row(2, 1, [13.0; 3])];
        let packed = pack(&rows);
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length]).len() < 2);
        }
        for seed in 0..2_000_u64 {
            let noise: Vec<u8> = (0..seed % 80)
                .map(|nth| (seed.wrapping_mul(nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
                .collect();
            unpack(&noise);
        }
    }
}
