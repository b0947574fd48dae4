//! How people's output looks: colour on a terminal only, tables that line up, local times.

use crate::base::WallTime;
use crate::control::{AppState, DeployStatus, RunState, StepStatus};
use jiff::tz::TimeZone;

/// How to print for whoever reads.
#[derive(Debug, Clone)]
pub struct Style {
    /// Colours are wanted: a terminal reads, and NO_COLOR is not set.
    pub colour: bool,
    /// Times are shown in this zone.
    pub zone: TimeZone,
}

/// What a word means, as a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
    Faint,
    Strong,
}

impl Style {
    /// No colours, UTC: what a file or a test reads.
    pub fn plain() -> Style {
        Style { colour: false, zone: TimeZone::UTC }
    }
    /// `text` in the colour of `tone`.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    /// A time as people read it: date and time of day in their zone.
    pub fn time(&self, time: WallTime) -> String {
        let stamp = jiff::Timestamp::from_second(time.0.div_euclid(1000)).unwrap_or_default();
        stamp.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// The tone of a state.
pub trait Toned {
    /// Good, busy or bad.
    fn tone(&self) -> Tone;
}
impl Toned for DeployStatus {
    fn tone(&self) -> Tone {
        match self {
            DeployStatus::Success => Tone::Good,
            DeployStatus::Queued | DeployStatus::Waiting | DeployStatus::Running | DeployStatus::RolledBack => {
                Tone::Busy
            }
            DeployStatus::Superseded | DeployStatus::Cancelled => Tone::Faint,
            DeployStatus::Failed | DeployStatus::RollbackFailed | DeployStatus::Refused => Tone::Bad,
        }
    }
}
impl Toned for StepStatus {
    fn tone(&self) -> Tone {
        match self {
            StepStatus::Success => Tone::Good,
            StepStatus::Warning | StepStatus::Cancelled => Tone::Busy,
            StepStatus::Failed | StepStatus::TimedOut => Tone::Bad,
        }
    }
}
impl Toned for AppState {
    fn tone(&self) -> Tone {
        match self {
            AppState::Running => Tone::Good,
            AppState::Degraded | AppState::Deploying => Tone::Busy,
            AppState::Stopped => Tone::Faint,
            AppState::Failed => Tone::Bad,
        }
    }
}
impl Toned for RunState {
    fn tone(&self) -> Tone {
        match self {
            RunState::Up => Tone::Good,
            RunState::Starting | RunState::Stopping => Tone::Busy,
            RunState::Down => Tone::Faint,
            RunState::Backoff | RunState::Held => Tone::Bad,
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell whose text is coloured by `tone`.
    pub fn toned(text: impl ToString, tone: Tone) -> Cell {
        Cell { text: text.to_string(), tone }
    }
    /// The value, or `-`.
    pub fn or_dash<T: ToString>(value: Option<T>) -> Cell {
        value.map_or(Cell::toned("-", Tone::Faint), |value| Cell::toned(value, Tone::Plain))
    }
}
impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

/// Rows under headings, each column as wide as its widest cell. A heading that begins with `>` aligns to the right.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// An empty table, its lines moved right by `indent`.
    pub fn new(indent: usize, headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new(), indent }
    }
    /// Adds a row with as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }
    /// The text, a line per row.
    pub fn text(&self, style: &Style) -> String {
        let right: Vec<bool> = self.headings.iter().map(|heading| heading.starts_with('>')).collect();
        let headings: Vec<Cell> =
            self.headings.iter().map(|heading| Cell::toned(heading.trim_start_matches('>'), Tone::Faint)).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let mut widths = vec![0; headings.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines() {
            let mut out = " ".repeat(self.indent);
            for (column, cell) in line.iter().enumerate() {
                let gap = " ".repeat(widths[column] - cell.text.chars().count());
                let painted = style.paint(cell.tone, &cell.text);
                let last = column + 1 == line.len();
                match (right[column], last) {
                    (true, _) => out += &format!("{gap}{painted}"),
                    (false, true) => out += &painted,
                    (false, false) => out += &format!("{painted}{gap}"),
                }
                out += if last { "" } else { "  " };
            }
            text += out.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let mut table = Table::new(2, &["NAME", ">N", "WHY"]);
        table.row(vec![Cell::toned("web", Tone::Good), 7.into(), "".into()]);
        table.row(vec!["worker".into(), 120.into(), Cell::or_dash(None::<u8>)]);
        assert_eq!(table.text(&Style::plain()), "  NAME      N  WHY\n  web       7\n  worker  120  -\n");
        let coloured = table.text(&Style { colour: true, ..Style::plain() });
        assert!(coloured.contains("  \x1b[32mweb\x1b[0m       7"), "{coloured:?}");
    }

    #[test]
    fn times_are_those_of_the_readers_zone() {
        let time: WallTime = "2025-10-24T20:00:05Z".parse().unwrap();
        assert_eq!(Style::plain().time(time), "2025-10-24 20:00:05");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(Style { colour: false, zone }.time(time), "2025-10-24 22:00:05");
    }
}
