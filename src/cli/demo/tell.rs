//! The demo's voice: lines with the time since the beginning, coloured on a terminal only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Writes the demo's lines to stdout.
pub(super) struct Tell {
    began: Instant,
    colour: bool,
}

impl Tell {
    pub(super) fn new() -> Tell {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Tell { began: Instant::now(), colour }
    }

    /// A new act.
    pub(super) fn act(&self, title: &str) {
        self.write(&format!("\n{}", self.paint("1", title)));
    }

    /// What happens now.
    pub(super) fn line(&self, what: &str) {
        let time = format!("{:7.2}s", self.began.elapsed().as_secs_f64());
        self.write(&format!("{}  {what}", self.paint("2", &time)));
    }

    /// Something came out as it should.
    pub(super) fn good(&self, what: &str) {
        self.line(&format!("{} {what}", self.paint("32", "✓")));
    }

    /// Something did not; goes to stderr too, with the daemon's last words.
    pub(super) fn wrong(&self, what: &str, said: &str) {
        self.line(&format!("{} {what}", self.paint("31;1", "✗")));
        if !said.is_empty() {
            eprintln!("\nthe daemon said last:\n{said}");
        }
        eprintln!("pintle demo: {what}");
    }

    /// Text without a time in front.
    pub(super) fn plain(&self, text: &str) {
        self.write(text);
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&self, text: &str) {
        // A closed pipe (`| head`) ends the telling, not the clean-up after it.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

/// A span as the story tells it: `0.8 ms`, `34 ms`, `2.10 s`.
pub(super) fn spell(span: Duration) -> String {
    match span.as_micros() {
        0..10_000 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", span.as_millis()),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}

/// A number with thousands separated: `12,345`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_numbers_read_easily() {
        for (micros, text) in [(800, "0.8 ms"), (34_400, "34 ms"), (2_100_000, "2.10 s")] {
            assert_eq!(spell(Duration::from_micros(micros)), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
