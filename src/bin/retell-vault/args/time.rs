//! Times on the command line: `2026-01-31`, `2026-01-31T23:59:59Z`, or a time ago, such as `7d`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FORMS: &str = "use a date (2026-01-31, at 00:00 UTC), a time (2026-01-31T23:59:59Z or with +01:00), or how long ago it was (90s, 30m, 12h, 7d, 4w)";

/// A time, or a time ago.
pub fn time(text: &str) -> Result<SystemTime, String> {
    time_at(text, SystemTime::now())
}

fn time_at(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let time = ago(text).map_or_else(|| date_time(text), |ago| now.checked_sub(ago));
    time.filter(|time| *time >= UNIX_EPOCH).ok_or_else(|| FORMS.to_owned())
}

fn ago(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count = number(&text[..text.len() - 1], 1..=9)?;
    Some(Duration::from_secs(count * unit))
}

/// RFC 3339, with a space allowed in place of the `T`, and a date alone.
fn date_time(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = date_parts(date)?;
    let days = days_since_1970(year, month, day)?;
    let (seconds, fraction) = if rest.is_empty() { (0, Duration::ZERO) } else { time_of_day(rest)? };
    let seconds = u64::try_from(days * 86_400 + seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + fraction)
}

fn date_parts(date: &str) -> Option<(i64, i64, i64)> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let parts = (signed(year, 4)?, signed(month, 2)?, signed(day, 2)?);
    let is_leap = parts.0 % 4 == 0 && (parts.0 % 100 != 0 || parts.0 % 400 == 0);
    let last = match parts.1 {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=last).contains(&parts.2).then_some(parts)
}

/// Seconds since midnight UTC, and a fraction of a second.
fn time_of_day(text: &str) -> Option<(i64, Duration)> {
    let text = text.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = text.split_at_checked(8)?;
    let seconds = clock_seconds(clock, true)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let fraction = match fraction.strip_prefix('.') {
        Some(digits) => {
            let nanos = number(digits, 1..=9)? * 10_u64.pow(9 - u32::try_from(digits.len()).ok()?);
            Duration::from_nanos(nanos)
        }
        None if fraction.is_empty() => Duration::ZERO,
        None => return None,
    };
    let offset = match zone.split_at(1) {
        ("+", ahead) => clock_seconds(ahead, false)?,
        ("-", behind) => -clock_seconds(behind, false)?,
        (_, "") => 0,
        _ => return None,
    };
    Some((seconds - offset, fraction))
}

/// `23:59`, with seconds if there are any.
fn clock_seconds(text: &str, has_seconds: bool) -> Option<i64> {
    let parts: Option<Vec<i64>> = text.split(':').map(|part| signed(part, 2)).collect();
    let (hour, minute, second) = match (parts?.as_slice(), has_seconds) {
        ([hour, minute, second], true) => (*hour, *minute, *second),
        ([hour, minute], false) => (*hour, *minute, 0),
        _ => return None,
    };
    // 60 is a leap second
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// By Howard Hinnant's `days_from_civil` (<https://howardhinnant.github.io/date_algorithms.html>). `None` before 1970.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468).filter(|days| *days >= 0)
}

fn signed(text: &str, digits: usize) -> Option<i64> {
    number(text, digits..=digits).and_then(|number| i64::try_from(number).ok())
}

/// Only digits, and so many.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Result<u128, String> {
        let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        time_at(text, now).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_millis())
    }

    #[test]
    fn times_are_those_of_date() {
        // as `date -u -d TEXT +%s` prints them
        let times = [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400_000),
            ("2026-01-31T23:59:59Z", 1_769_903_999_000),
            ("2026-01-31 23:59:59.25z", 1_769_903_999_250),
            ("2026-02-01T00:59:59+01:00", 1_769_903_999_000),
            ("2026-01-31T18:29:59-05:30", 1_769_903_999_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ];
        for (text, expected) in times {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn times_ago_are_counted_from_now() {
        let times =
            [("0s", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)];
        for (text, seconds) in times {
            assert_eq!(millis(text), Ok((2_000_000_000 - seconds) * 1000), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_forms() {
        let texts = [
            "",
            "7",
            "d",
            "-7d",
            "+7d",
            "7 d",
            "7y",
            "99999999999d",
            "ü",
            "2026",
            "2026-1-1",
            "2026-13-01",
            "2026-02-29",
            "1969-12-31",
            "2026-01-31T",
            "2026-01-31T23:59:59",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2026-01-31T23:59Z",
            "2026-01-31T23:59:59.Z",
            "2026-01-31T23:59:59+1",
            "2026-01-31T23:59:59ZZ",
            "2026-01-3\u{fc}",
            "999999999w",
        ];
        for text in texts {
            assert!(millis(text).is_err_and(|error| error.contains("7d")), "{text}");
        }
    }
}
