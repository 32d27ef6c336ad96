//! The time of day as a text, worked out once a second.

use time::OffsetDateTime;

use crate::balance::Timestamp;
use crate::config::AccessLogFormat;

/// The text of the last second that was asked for.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    /// Seconds since 1970, and one more: 0 is none.
    second: u64,
    format: Option<AccessLogFormat>,
    text: String,
}

impl Stamp {
    /// Writes the time: `2026-11-21T06:07:08.901Z` in JSON, `21/Nov/2026:06:07:08 +0000` else.
    pub(super) fn write(&mut self, to: &mut Vec<u8>, format: AccessLogFormat, now: Timestamp) {
        let millis = now.as_millis();
        if self.second != millis / 1_000 + 1 || self.format != Some(format) {
            self.second = millis / 1_000 + 1;
            self.format = Some(format);
            self.text = text(format, millis / 1_000);
        }
        to.extend_from_slice(self.text.as_bytes());
        if format == AccessLogFormat::Json {
            let rest = (millis % 1_000) as u16;
            let digit = |place: u16| b'0' + (rest / place % 10) as u8;
            to.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
        }
    }
}

fn text(format: AccessLogFormat, second: u64) -> String {
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    let t = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (t.year(), t.month(), t.day());
    let (hour, minute, second) = (t.hour(), t.minute(), t.second());
    match format {
        AccessLogFormat::Json => {
            let month = u8::from(month);
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
        }
        AccessLogFormat::Combined | AccessLogFormat::Extended => {
            let month = &month.to_string()[..3];
            format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_each_format_wants_them() {
        let mut stamp = Stamp::default();
        let mut written = |format, millis| {
            let mut text = Vec::new();
            stamp.write(&mut text, format, Timestamp::from_millis(millis));
            String::from_utf8(text).unwrap()
        };
        let at = 1_795_241_228_901;
        assert_eq!(written(AccessLogFormat::Json, at), "2026-11-21T06:07:08.901Z");
        assert_eq!(written(AccessLogFormat::Json, at + 99), "2026-11-21T06:07:09.000Z");
        assert_eq!(written(AccessLogFormat::Combined, at), "21/Nov/2026:06:07:08 +0000");
        assert_eq!(written(AccessLogFormat::Json, 0), "1970-01-01T00:00:00.000Z");
    }
}
