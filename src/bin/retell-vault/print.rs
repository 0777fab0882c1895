//! Output: results to standard output, everything else to standard error. Nothing else prints; what others named is shown in
//! its visible form, and cannot begin a line.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use retell_vault::display::{visible, visible_json};
use serde_json::Value;

use crate::failure::Failure;

/// A result, in lines. Each was put together from visible texts, by the functions below or by the library.
pub fn out(text: &str) -> Result<(), Failure> {
    let lines: Vec<_> = text.split('\n').map(visible).collect();
    write(&lines.join("\n"))
}

/// A result of one line.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&indented(0, text))
}

/// A script as the library prints it: its lines and blanks stay, and it has nothing else that is not seen.
pub fn script(text: &str) -> Result<(), Failure> {
    write(text)
}

/// A result as one line of JSON.
pub fn json(value: &Value) -> Result<(), Failure> {
    json_text(&format!("{value}\n"))
}

/// A result that is JSON already, with the end of its line.
pub fn json_text(json: &str) -> Result<(), Failure> {
    write(&visible_json(json))
}

/// Where a result goes that is too long for the memory. Its lines must consist of visible texts.
pub fn lines() -> io::Stdout {
    io::stdout()
}

/// A closed pipe, as after `head`, is not a failure.
fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            format!("the command succeeded, but its result cannot be written: {error}"),
            "check where standard output goes",
        )),
        _ => Ok(()),
    }
}

/// A problem that did not make the command fail.
pub fn warning(text: &str) {
    note("warning", text);
}

/// What to do next.
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
    writeln!(io::stderr().lock(), "{label}: {}", visible(text)).ok();
}

/// Rows in aligned columns, two spaces apart.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let shown: Vec<[_; N]> = rows.iter().map(|row| row.each_ref().map(|cell| visible(cell))).collect();
    let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &shown {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A table below its title.
pub fn titled(title: &str, table: &str) -> String {
    let lines: String = table.lines().map(|line| format!("  {line}\n")).collect();
    format!("{}:\n{lines}", visible(title))
}

/// One line, so many spaces further in.
pub fn indented(by: usize, text: &str) -> String {
    match text.trim_end() {
        "" => "\n".to_owned(),
        text => format!("{:by$}{}\n", "", visible(text)),
    }
}

/// Statements as the library prints them, one on a line.
pub fn statements(by: usize, sql: &str) -> String {
    sql.lines().map(|line| indented(by, line)).collect()
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
    fn counts_are_words() {
        assert_eq!([count(0, "row"), count(1, "row"), count(2, "row")], ["0 rows", "1 row", "2 rows"]);
    }

    #[test]
    fn durations_are_rough() {
        let texts = [0.44, 119.0, 121.0, 12_000.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(texts, ["0.4 s", "119 s", "2 min", "3 h 20 min"]);
    }

    #[test]
    fn no_text_begins_a_line_or_steers_the_terminal() {
        assert_eq!(indented(2, "a\n\tb\u{1b}[2J\u{202e}\n"), "  a\\u{a}\\u{9}b\\u{1b}[2J\\u{202e}\n");
        assert_eq!(statements(2, "A;\nB;"), "  A;\n  B;\n");
        assert_eq!(titled("a\nb", "c\n"), "a\\u{a}b:\n  c\n");
    }

    #[test]
    fn tables_are_aligned_as_they_are_shown() {
        let rows = [["a\nb".to_owned(), "x".to_owned()], ["äbc".to_owned(), "\u{1b}[2J\u{2028}".to_owned()]];
        assert_eq!(table(&rows), "a\\u{a}b  x\näbc      \\u{1b}[2J\\u{2028}\n");
    }
}
