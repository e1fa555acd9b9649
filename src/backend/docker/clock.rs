//! RFC 3339 times, as the engine writes them in states and log lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads `2024-05-01T12:00:00.123456789Z` or one with an offset; `None` for anything else and for
/// the engine's "never" (year 1).
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let offset = offset(zone)?;
    let mut time = time.splitn(3, ':');
    let hours: i64 = time.next()?.parse().ok()?;
    let minutes: i64 = time.next()?.parse().ok()?;
    let seconds = time.next()?;
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let seconds: i64 = seconds.parse().ok()?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let total = days_since_epoch(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds - offset;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(total).ok()?, nanos))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

/// Howard Hinnant's `days_from_civil`, for years from 1970.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since_epoch(text: &str) -> Option<Duration> {
        parse(text).map(|t| t.duration_since(UNIX_EPOCH).unwrap())
    }

    #[test]
    fn times_as_the_engine_writes_them() {
        assert_eq!(since_epoch("1970-01-01T00:00:00Z"), Some(Duration::ZERO));
        assert_eq!(since_epoch("2024-02-29T12:34:56.5Z"), Some(Duration::from_millis(1_709_210_096_500)));
        assert_eq!(since_epoch("2024-02-29T13:34:56.5+01:00"), Some(Duration::from_millis(1_709_210_096_500)));
        assert_eq!(since_epoch("2024-02-29T12:34:56.123456789Z"), Some(Duration::new(1_709_210_096, 123_456_789)));
    }

    #[test]
    fn never_and_nonsense_are_none() {
        for text in ["0001-01-01T00:00:00Z", "", "2024", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00", "xT1:2:3Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
