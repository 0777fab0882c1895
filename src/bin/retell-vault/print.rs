//! Output: results to standard output, everything else to standard error.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;

/// A result. That its reader has left, as `head` does, is no failure.
pub fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            format!("the command was carried out, but its result cannot be written: {error}"),
            "look where standard output goes",
        )),
        _ => Ok(()),
    }
}

/// A result as one line of JSON.
pub fn json(value: &Value) -> Result<(), Failure> {
    out(&format!("{value}\n"))
}

/// Something that went well enough, and should be known.
pub fn warning(text: &str) {
    note("warning", text);
}

/// How to go on.
pub fn hint(text: &str) {
    note("hint", text);
}

/// Why a command failed.
pub fn failure(failure: &Failure) {
    note("error", failure.message());
    note("hint", failure.hint());
}

/// Ends the line of a question that was not answered.
pub fn end_line() {
    writeln!(io::stderr().lock()).ok();
}

/// One line on standard error, after its label. Nobody can be told when that fails.
pub fn note(label: &str, text: &str) {
    writeln!(io::stderr().lock(), "{label}: {}", clean(text)).ok();
}

/// Without control characters, which a name in the database may hold and a terminal would obey.
fn clean(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => text.replace(char::is_control, "\u{fffd}").into(),
        false => text.into(),
    }
}

/// Rows in aligned columns, two spaces apart.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(clean(&line.join("  ")).trim_end());
        text.push('\n');
    }
    text
}

/// A table below its title.
pub fn titled(title: &str, table: &str) -> String {
    let lines: String = table.lines().map(|line| format!("  {line}\n")).collect();
    format!("{title}:\n{lines}")
}

/// A text of one or more lines, so many spaces further in.
pub fn indented(by: usize, text: &str) -> String {
    let steers = |char: char| char.is_control() && char != '\t';
    let line = |line: &str| match line.trim_end() {
        "" => "\n".to_owned(),
        line => format!("{:by$}{}\n", "", line.replace(steers, "\u{fffd}")),
    };
    text.lines().map(line).collect()
}

/// `UnknownKey` as `unknown_key`.
pub fn kind(kind: retell_vault::ErrorKind) -> String {
    let mut words = String::new();
    for char in format!("{kind:?}").chars() {
        if char.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(char.to_ascii_lowercase());
    }
    words
}

/// `1 row`, `2 rows`.
pub fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// About how long: `0.4 s`, `90 s`, `12 min`, `3 h 20 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Milliseconds since 1970 as `2026-01-31 23:59:59Z`.
pub fn utc(millis: u64) -> String {
    let seconds = millis / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day from days since 1970, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // from March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        // as `date -u -d @SECONDS` prints them
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_769_903_999_999), "2026-01-31 23:59:59Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01 00:00:00Z");
    }

    #[test]
    fn kinds_and_counts_are_words() {
        assert_eq!(kind(retell_vault::ErrorKind::UnknownKey), "unknown_key");
        assert_eq!([count(0, "row"), count(1, "row"), count(2, "row")], ["0 rows", "1 row", "2 rows"]);
    }

    #[test]
    fn durations_are_rough() {
        let texts = [0.44, 119.0, 121.0, 12_000.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(texts, ["0.4 s", "119 s", "2 min", "3 h 20 min"]);
    }

    #[test]
    fn texts_go_further_in_and_cannot_steer_the_terminal() {
        assert_eq!(indented(2, "a\n\n\tb\u{1b}[2J\n"), "  a\n\n  \tb\u{fffd}[2J\n");
    }

    #[test]
    fn tables_are_aligned_and_cannot_steer_the_terminal() {
        let rows = [["a".to_owned(), "x".to_owned()], ["äbc".to_owned(), "\u{1b}[2J".to_owned()]];
        assert_eq!(table(&rows), "a    x\näbc  \u{fffd}[2J\n");
    }
}
