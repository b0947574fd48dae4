//! How the board was, as rows: written into slots that come round again, read back in the order written.
//!
//! The table never grows beyond what each resolution keeps, and nothing is deleted: an overwritten slot changes one page,
//! a deleted row another one, and pages are what wears a card out.

use super::diary::{Diary, whole};
use super::error::StoreError;
use super::record::{integer, run};
use super::snapshot::{DAYS_IN_SNAPSHOT, HOURS_IN_SNAPSHOT};
use crate::base::WallTime;
use crate::control::{BoardSample, Figure, Figures, Gauge, Shape};
use crate::health::Resolution;
use crate::health::gathering::Kept;
use crate::health::record::{Row, Tail};
use rusqlite::{Connection, params_from_iter};

impl Diary {
    /// How the board was: all that is kept, in the order written.
    pub fn samples(&self) -> Result<Kept, StoreError> {
        let of = |resolution: Resolution| self.sample_rows(resolution, resolution.kept());
        let (hours, days) = (of(Resolution::Hour)?, of(Resolution::Day)?);
        Ok(Kept { minutes: self.minute_rows(0)?, hours, days, unwritten: vec![] })
    }

    /// What a recorder goes on with.
    pub(super) fn samples_tail(&self) -> Result<Tail, StoreError> {
        let [mut hours, mut days] = [[0; 2]; 2];
        for (resolution, found) in [(Resolution::Hour, &mut hours), (Resolution::Day, &mut days)] {
            let sql = "SELECT max(number), max(through) FROM samples WHERE resolution = ?1";
            self.each(sql, [seconds(resolution)], |row| {
                let most = |index| row.get::<_, Option<i64>>(index).map(|most| whole(most.unwrap_or(0)));
                *found = [most(0)?, most(1)?];
                Ok(())
            })?;
        }
        let mut minutes = 0;
        self.each("SELECT max(highest) FROM minutes", [], |row| {
            minutes = whole(row.get::<_, Option<i64>>(0)?.unwrap_or(0));
            Ok(())
        })?;
        Ok(Tail {
            minutes: self.minute_rows(hours[1])?,
            hours: self.sample_rows(Resolution::Hour, HOURS_IN_SNAPSHOT as u64)?,
            days: self.sample_rows(Resolution::Day, DAYS_IN_SNAPSHOT as u64)?,
            highest: [minutes, hours[0], days[0]],
        })
    }

    /// The newest `limit` hours or days, oldest first.
    fn sample_rows(&self, resolution: Resolution, limit: u64) -> Result<Vec<Row>, StoreError> {
        let sql = format!(
            "SELECT number, through, at, seconds, samples, clock_sure, {} FROM samples
             WHERE resolution = ?1 ORDER BY number DESC LIMIT ?2",
            columns().join(", ")
        );
        let mut rows = vec![];
        self.each(&sql, [seconds(resolution), integer(limit)], |row| {
            let mut next = 6;
            let mut figures = Figures::default();
            for gauge in Gauge::ALL {
                let number = |offset: usize| row.get::<_, Option<i64>>(next + offset);
                let figure = match gauge.shape() {
                    Shape::Level => {
                        let (mean, min, max) = (number(0)?, number(1)?, number(2)?);
                        let unit = |number: Option<i64>| number.map(|number| number as f64 / gauge.per_unit());
                        let bound = |number| unit(number).or(unit(mean)).unwrap_or_default();
                        unit(mean).map(|mean| Figure::Level { min: bound(min), mean, max: bound(max) })
                    }
                    Shape::Share => number(0)?.map(|number| Figure::Share(number as f64 / gauge.per_unit())),
                    Shape::Sum => number(0)?.map(|number| Figure::Sum(whole(number))),
                };
                figures.0.extend(figure.map(|figure| (*gauge, figure)));
                next += if gauge.shape() == Shape::Level { 3 } else { 1 };
            }
            let sample = BoardSample {
                at: WallTime(row.get(2)?),
                seconds: whole(row.get(3)?),
                samples: u32::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                clock_sure: row.get(5)?,
                gauges: figures,
            };
            rows.push(Row { resolution, number: whole(row.get(0)?), through: whole(row.get(1)?), sample });
            Ok(())
        })?;
        rows.reverse();
        Ok(rows)
    }
}

/// Puts each row into its slot.
pub(super) fn write(db: &Connection, rows: &[Row]) -> rusqlite::Result<usize> {
    let (minutes, coarse): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.resolution == Resolution::Minute);
    super::minutes::write(db, &minutes)?;
    let columns = columns();
    let places: Vec<String> = (1..=8 + columns.len()).map(|number| format!("?{number}")).collect();
    let sql = format!(
        "INSERT OR REPLACE INTO samples (resolution, slot, number, through, at, seconds, samples, clock_sure, {})
         VALUES ({})",
        columns.join(", "),
        places.join(", ")
    );
    for row in coarse {
        let sample = &row.sample;
        let head = [
            seconds(row.resolution),
            integer(row.number % row.resolution.kept()),
            integer(row.number),
            integer(row.through),
            sample.at.0,
            integer(sample.seconds),
            sample.samples.into(),
            sample.clock_sure.into(),
        ];
        let gauges = Gauge::ALL.iter().flat_map(|gauge| numbers(*gauge, sample.gauges.0.get(gauge)));
        run(db, &sql, params_from_iter(head.into_iter().map(Some).chain(gauges)))?;
    }
    Ok(rows.len())
}

/// The gauges' columns, in the order of [`numbers`].
fn columns() -> Vec<String> {
    let of = |gauge: &Gauge| match gauge.shape() {
        Shape::Level => vec![gauge.to_string(), format!("{gauge}_min"), format!("{gauge}_max")],
        Shape::Share | Shape::Sum => vec![gauge.to_string()],
    };
    Gauge::ALL.iter().flat_map(of).collect()
}

/// A gauge's figure as it is kept; bounds that are the mean itself take no room.
fn numbers(gauge: Gauge, figure: Option<&Figure>) -> Vec<Option<i64>> {
    let kept = |value: f64| (value * gauge.per_unit()).round() as i64;
    match (gauge.shape(), figure) {
        (Shape::Level, Some(Figure::Level { min, mean, max })) => {
            let (min, mean, max) = (kept(*min), kept(*mean), kept(*max));
            vec![Some(mean), Some(min).filter(|min| *min != mean), Some(max).filter(|max| *max != mean)]
        }
        (Shape::Level, _) => vec![None; 3],
        (Shape::Share, Some(Figure::Share(share))) => vec![Some(kept(*share))],
        (Shape::Sum, Some(Figure::Sum(sum))) => vec![Some(integer(*sum))],
        _ => vec![None],
    }
}

fn seconds(resolution: Resolution) -> i64 {
    integer(resolution.span().as_secs())
}
