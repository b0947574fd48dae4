//! Texts made to fit: into a line, into so many characters, as a channel counts them.

use std::iter::Peekable;
use std::str::Chars;

/// What stands where something was left out.
const ELLIPSIS: char = '…';

/// At most `most` characters; where something is left out the last one says so.
pub fn chars(text: &str, most: usize) -> String {
    cut_by(text, most, |_| 1)
}

/// At most `most` UTF-16 code units, as JavaScript, Java and so Telegram and Discord count.
pub fn units(text: &str, most: usize) -> String {
    cut_by(text, most, char::len_utf16)
}

/// At most `most` bytes.
pub fn bytes(text: &str, most: usize) -> String {
    cut_by(text, most, char::len_utf8)
}

/// `most` is at least 3: an ellipsis has so many bytes.
fn cut_by(text: &str, most: usize, size: fn(char) -> usize) -> String {
    if text.chars().map(size).sum::<usize>() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(size(ELLIPSIS));
    let mut used = 0;
    let kept = text.chars().take_while(|c| {
        used += size(*c);
        used <= room
    });
    kept.chain([ELLIPSIS]).collect()
}

/// On one line, without what would upset a terminal or a header; blanks in a row are one.
pub fn line(text: &str, most: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    chars(&plain.split_whitespace().collect::<Vec<_>>().join(" "), most)
}

/// The last lines of `output` that have text, each cut to a width, all of them together at most `most` characters.
pub fn tail(output: &[String], lines: usize, most: usize) -> Vec<String> {
    let readable = output.iter().map(|line| plain(line)).filter(|line| !line.trim().is_empty());
    let mut kept: Vec<String> = vec![];
    let mut used = 0;
    for line in readable.collect::<Vec<_>>().into_iter().rev().take(lines) {
        let line = chars(line.trim_end(), 200);
        used += line.chars().count() + 1;
        if used > most && !kept.is_empty() {
            break;
        }
        kept.push(line);
    }
    kept.reverse();
    kept
}

/// What a program printed, as a person would see it: line by line [`plain`]. Secrets are looked for in this, since an
/// escape sequence may stand in the middle of one.
pub fn readable(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// A line without escape sequences and other control characters; of a line drawn over itself the last state.
fn plain(line: &str) -> String {
    let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut text = String::new();
    let mut rest = last.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            // The same as ESC and `[`, in one character.
            '\u{9b}' => skip_parameters(&mut rest),
            '\t' => text.push_str("  "),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// What follows an ESC, up to the end of its sequence.
fn skip_sequence(rest: &mut Peekable<Chars<'_>>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            skip_parameters(rest);
        }
        // A title or a link: up to BEL, or ESC and a backslash.
        Some(']') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' || c == '\u{1b}' && rest.next_if_eq(&'\\').is_some() {
                    break;
                }
            }
        }
        // `ESC ( B`, which `tput sgr0` prints.
        Some(' '..='/') => {
            while rest.next_if(|c| (' '..='/').contains(c)).is_some() {}
            rest.next_if(|c| ('0'..='~').contains(c));
        }
        _ => {}
    }
}

/// Parameters, then one letter that ends them.
fn skip_parameters(rest: &mut Peekable<Chars<'_>>) {
    while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_within_the_limit_and_says_so() {
        assert_eq!(chars("abcd", 4), "abcd");
        assert_eq!(chars("abcde", 4), "abc…");
        assert_eq!(units("🚨🚨🚨", 6), "🚨🚨🚨");
        assert_eq!(units("🚨🚨🚨", 5), "🚨🚨…");
        assert_eq!(units("🚨🚨🚨", 4), "🚨…");
        assert_eq!(bytes("äöü", 6), "äöü");
        assert_eq!(bytes("äöü", 5), "ä…");
        assert_eq!(line(" a\n\tb\u{1b}[31m ", 20), "a b [31m");
    }

    #[test]
    fn the_tail_has_the_last_lines_as_a_person_would_see_them() {
        let given = ["one", "", "\u{1b}[31mred\u{1b}[0m", "10%\r50%\r100%", "  end\r"].map(String::from);
        assert_eq!(tail(&given, 3, 100), ["red", "100%", "  end"]);
        assert_eq!(tail(&given, 10, 11), ["100%", "  end"]);
        let table = [
            ("a\u{1b}[0m: b", "a: b"),
            ("a\u{1b}(B\u{1b}[m: b", "a: b"),
            ("a\u{9b}31;1m: b", "a: b"),
            ("\u{1b}]8;;http://x\u{1b}\\a\u{1b}]8;;\u{7}: b", "a: b"),
            ("one\ntw\u{1b}[1mo\u{1b}", "one\ntwo"),
        ];
        for (given, seen) in table {
            assert_eq!(readable(given), seen, "{given:?}");
        }
        let long = vec!["x".repeat(500)];
        assert_eq!(tail(&long, 10, 10)[0].chars().count(), 200, "one line is always there");
    }
}
