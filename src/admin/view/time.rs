//! Times as text.

use std::time::{Duration, UNIX_EPOCH};

use crate::balance::Timestamp;

/// `2026-11-21T07:50:00.123Z`
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let since_epoch = Duration::from_millis(time.as_millis());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_shown() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_500)), "1970-01-01T00:00:01.500Z");
        assert!(rfc3339(Timestamp::from_nanos(u64::MAX)).starts_with("2554-"));
    }
}
