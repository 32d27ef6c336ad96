//! Numbers with units: durations, sizes, shares, statuses.

use std::time::Duration;

use bytesize::ByteSize;
use http::StatusCode;

use super::Leaf;

/// Longer than anything that a proxy should wait for, and short enough that adding it to a clock
/// cannot overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Leaf for Duration {
    const FORMAT: &'static str = "duration";
    const EXPECTED: &'static str = "a duration such as \"30s\", \"500ms\" or \"1h 30m\"";

    fn parse(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if duration > LONGEST {
            return Err(format!("{text:?} is longer than a year"));
        }
        if duration < Duration::from_millis(1) && !duration.is_zero() {
            return Err(format!("{text:?} is shorter than a millisecond"));
        }
        Ok(duration)
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// So many kibibytes.
    pub const fn kib(n: u64) -> Size {
        Size(n * bytesize::KIB)
    }
}

impl Leaf for Size {
    const FORMAT: &'static str = "size";
    const EXPECTED: &'static str = "a size such as \"64KiB\" or \"10MB\", or a number of bytes";
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn parse(text: &str) -> Result<Self, String> {
        let size: ByteSize = text.parse().map_err(|_| format!("{text:?} is not a size"))?;
        Ok(Size(size.as_u64()))
    }

    fn show(&self) -> String {
        let units = [(bytesize::GIB, "GiB"), (bytesize::MIB, "MiB"), (bytesize::KIB, "KiB")];
        let whole = |&(unit, _): &(u64, &str)| self.0 >= unit && self.0.is_multiple_of(unit);
        let (unit, name) = units.into_iter().find(whole).unwrap_or((1, "B"));
        format!("{}{name}", self.0 / unit)
    }
}

/// A share of a whole, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl Leaf for Share {
    const FORMAT: &'static str = "share";
    const EXPECTED: &'static str = "a share such as \"10%\" or 0.1";
    const TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, String> {
        let (number, whole) = match text.trim().strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 100.0),
            None => (text.trim(), 1.0),
        };
        let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a number"))?;
        let share = number / whole;
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("{text:?} is not between 0 and 100 %"));
        }
        Ok(Share(share))
    }

    fn show(&self) -> String {
        format!("{}%", self.0 * 100.0)
    }
}

/// A part of the sessions in percent, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl Leaf for Percent {
    const FORMAT: &'static str = "percent";
    const EXPECTED: &'static str = "a number above 0 and up to 100, such as 5";
    const TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, String> {
        let percent: f64 = text.trim().parse().map_err(|_| format!("{text:?} is not a number"))?;
        match percent > 0.0 && percent <= 100.0 {
            true => Ok(Percent(percent)),
            false => Err(format!("{text:?} is not above 0 and up to 100")),
        }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A multiple of a fair share, above 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor(pub f32);

impl Leaf for Factor {
    const FORMAT: &'static str = "factor";
    const EXPECTED: &'static str = "a number above 1 and up to 100, such as 1.25";
    const TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, String> {
        let factor: f32 = text.trim().parse().map_err(|_| format!("{text:?} is not a number"))?;
        match factor > 1.0 && factor <= 100.0 {
            true => Ok(Factor(factor)),
            false => Err(format!("{text:?} is not above 1 and up to 100")),
        }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// An inclusive range of response statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

impl Leaf for StatusRange {
    const FORMAT: &'static str = "status-range";
    const EXPECTED: &'static str = "a status such as 204, or a range such as \"200-399\"";
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn parse(text: &str) -> Result<Self, String> {
        let status = |text: &str| {
            let valid = text.trim().parse().ok().filter(|status| (100..=599).contains(status));
            valid.ok_or_else(|| format!("{text:?} is not a status from 100 to 599"))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = StatusRange(status(first)?, status(last)?);
        if range.0 > range.1 {
            return Err(format!("the range {text:?} ends before it begins"));
        }
        Ok(range)
    }

    fn show(&self) -> String {
        match *self {
            StatusRange(one, last) if one == last => one.to_string(),
            StatusRange(first, last) => format!("{first}-{last}"),
        }
    }
}

/// The status of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(pub StatusCode);

impl RedirectStatus {
    /// For now; clients may go on with a GET.
    pub const FOUND: Self = RedirectStatus(StatusCode::FOUND);
    /// For good, with the same method.
    pub const PERMANENT: Self = RedirectStatus(StatusCode::PERMANENT_REDIRECT);
}

impl Leaf for RedirectStatus {
    const FORMAT: &'static str = "redirect-status";
    const EXPECTED: &'static str = "301, 302, 307 or 308";
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "301" => Ok(RedirectStatus(StatusCode::MOVED_PERMANENTLY)),
            "302" => Ok(RedirectStatus::FOUND),
            "307" => Ok(RedirectStatus(StatusCode::TEMPORARY_REDIRECT)),
            "308" => Ok(RedirectStatus::PERMANENT),
            _ => Err(format!("{text} is not the status of a redirect")),
        }
    }

    fn show(&self) -> String {
        self.0.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        assert_eq!(Duration::parse("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(Duration::parse("0s"), Ok(Duration::ZERO));
        for bad in ["", "30", "s", "-1s", "1sx", "2years", "999us", "18446744073709551615h"] {
            assert!(Duration::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(Size::parse("64KiB"), Ok(Size(65536)));
        assert_eq!(Size::parse("64 kB"), Ok(Size(64000)));
        assert_eq!(Size::parse("65536"), Ok(Size(65536)));
        for bad in ["", "KiB", "-1", "1 potato", "1.5.2KiB", "unlimited"] {
            assert!(Size::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Size::kib(64).show(), "64KiB");
        assert_eq!(Size(240).show(), "240B");
    }

    #[test]
    fn shares() {
        assert_eq!(Share::parse("10%"), Ok(Share(0.1)));
        assert_eq!(Share::parse("0.1"), Ok(Share(0.1)));
        for bad in ["", "%", "101%", "1.1", "-0.1", "nan", "inf"] {
            assert!(Share::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn percents() {
        assert_eq!(Percent::parse("5"), Ok(Percent(5.0)));
        assert_eq!(Percent::parse("0.5"), Ok(Percent(0.5)));
        for bad in ["", "0", "-1", "100.1", "5%", "nan", "inf"] {
            assert!(Percent::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn status_ranges() {
        assert_eq!(StatusRange::parse("200-399"), Ok(StatusRange(200, 399)));
        assert_eq!(StatusRange::parse("204"), Ok(StatusRange(204, 204)));
        for bad in ["", "2xx", "399-200", "99", "600", "200-", "-200", "200-300-400"] {
            assert!(StatusRange::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(seconds in 0..LONGEST.as_secs(), bytes: u64) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(Duration::parse(&duration.show()), Ok(duration));
            prop_assert_eq!(Size::parse(&Size(bytes).show()), Ok(Size(bytes)));
        }
    }
}
