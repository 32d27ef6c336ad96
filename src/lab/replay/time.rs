//! Times as access logs write them, to nanoseconds since the epoch, each with how exact it is.

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A time, and how exactly it is known.
pub(super) type Time = (u64, u64);

/// `10/Oct/2025:13:55:36 -0700`, or with a fraction and without a zone, as HAProxy has it: then
/// it is taken as UTC.
pub(super) fn common(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let (day, month, year) =
        (number(text.get(0..2)?)?, month(text.get(3..6)?)?, number(text.get(7..11)?)?);
    let separators = [2, 6, 11, 14, 17].map(|at| bytes.get(at));
    if separators != [Some(&b'/'), Some(&b'/'), Some(&b':'), Some(&b':'), Some(&b':')] {
        return None;
    }
    let clock = [text.get(12..14)?, text.get(15..17)?, text.get(18..20)?];
    let (fraction, zone) = fraction_and_zone(text.get(20..)?)?;
    assemble([year, month, day], clock, fraction, zone.trim())
}

/// `2025-10-10T13:55:36.123Z`, or with an offset.
pub(super) fn iso(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let date = [number(text.get(0..4)?)?, number(text.get(5..7)?)?, number(text.get(8..10)?)?];
    let separators = [4, 7, 13, 16].map(|at| bytes.get(at));
    if separators != [Some(&b'-'), Some(&b'-'), Some(&b':'), Some(&b':')]
        || !matches!(bytes.get(10), Some(b'T' | b't' | b' '))
    {
        return None;
    }
    let clock = [text.get(11..13)?, text.get(14..16)?, text.get(17..19)?];
    let (fraction, zone) = fraction_and_zone(text.get(19..)?)?;
    assemble(date, clock, fraction, zone)
}

/// Seconds since the epoch, with a fraction: `1760104536.123`.
pub(super) fn epoch(text: &str) -> Option<Time> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (nanos, grain) = fraction_of(fraction)?;
    let seconds: u64 = number(seconds)?;
    Some((seconds.checked_mul(SECOND)?.checked_add(nanos)?, grain))
}

/// A length of time in seconds: `0.123`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..1e9).contains(&seconds).then_some((seconds * 1e9) as u64)
}

/// Digits only: no sign, no blank.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// `.123Z` in its two parts.
fn fraction_and_zone(text: &str) -> Option<((u64, u64), &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some(((0, SECOND), text)) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((fraction_of(&rest[..digits])?, &rest[digits..]))
}

/// The nanoseconds of the digits of a fraction, and what the last of them is worth.
fn fraction_of(digits: &str) -> Option<(u64, u64)> {
    if digits.is_empty() {
        return Some((0, SECOND));
    }
    let kept = digits.get(..digits.len().min(9))?;
    let worth = 10u64.pow(9 - kept.len() as u32);
    number(digits.get(kept.len()..).filter(|rest| !rest.is_empty()).unwrap_or("0"))?;
    Some((number(kept)? * worth, worth))
}

fn assemble(date: [u64; 3], clock: [&str; 3], fraction: (u64, u64), zone: &str) -> Option<Time> {
    let [year, month, day] = date;
    let (hour, minute, second) = (number(clock[0])?, number(clock[1])?, number(clock[2])?);
    let is_date = (1970..3000).contains(&year) && (1..=12).contains(&month);
    if !is_date || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let of_day = hour * 3_600 + minute * 60 + second;
    let local = (days(year, month, day) * 86_400 + of_day) as i64;
    let seconds = u64::try_from(local - offset(zone)?).ok()?;
    Some((seconds.checked_mul(SECOND)?.checked_add(fraction.0)?, fraction.1))
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = (rest.get(..2)?, rest.get(2..)?);
    let (hours, minutes) = (number(hours)?, number(minutes.trim_start_matches(':'))?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60) as i64)
}

/// Days since the epoch: leap days up to the year before, those of this year by month.
fn days(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let this_year = BEFORE[month as usize - 1] + day - 1 + u64::from(is_leap && month > 2);
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + this_year
}

fn month(name: &str) -> Option<u64> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = NAMES.iter().position(|known| *known == name)?;
    Some(at as u64 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_the_same_moment_is_the_same() {
        let moment = 1_760_104_536 * SECOND;
        assert_eq!(common("10/Oct/2025:13:55:36 +0000"), Some((moment, SECOND)));
        assert_eq!(common("10/Oct/2025:06:55:36 -0700"), Some((moment, SECOND)));
        assert_eq!(common("10/Oct/2025:13:55:36.250"), Some((moment + SECOND / 4, 1_000_000)));
        assert_eq!(iso("2025-10-10T13:55:36Z"), Some((moment, SECOND)));
        assert_eq!(iso("2025-10-10T15:55:36+02:00"), Some((moment, SECOND)));
        assert_eq!(iso("2025-10-10T13:55:36.5Z"), Some((moment + SECOND / 2, SECOND / 10)));
        assert_eq!(epoch("1760104536.000001"), Some((moment + 1_000, 1_000)));
        assert_eq!(epoch("1760104536"), Some((moment, SECOND)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "10/Foo/2025:13:55:36 +0000", "10/Oct/2025:25:55:36", "1/Oct/2025", "é"] {
            assert_eq!(common(text), None, "{text}");
        }
        for text in ["2025-13-10T13:55:36Z", "2025-10-10T13:55:36X", "2025-10-10", "-1"] {
            assert_eq!(iso(text), None, "{text}");
        }
        assert_eq!((epoch("-1"), epoch("1.x"), epoch("99999999999999999999")), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_moment_is_read_as_it_is_written(seconds in 0u64..18_000_000_000) {
            let written = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
            prop_assert_eq!(iso(&written.to_string()), Some((seconds * SECOND, SECOND)));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            common(&text);
            iso(&text);
            epoch(&text);
            seconds(&text);
        }
    }
}
