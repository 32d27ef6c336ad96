//! `traceparent`, by which the logs and traces of many servers find together (W3C Trace Context).

use std::fmt::Write;

/// The id of a trace, as it is written: 32 hexadecimal digits.
pub type TraceId = [u8; 32];

/// Length of a value of version 00: `00-<trace>-<parent>-<flags>`.
const LENGTH: usize = 55;

/// The trace that a value names; `None` if it is not valid. Versions after ours may say more at
/// the end.
pub fn trace_id(value: &[u8]) -> Option<TraceId> {
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|&b| b != b'0');
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let (version, trace) = (&known[..2], &known[3..35]);
    let (parent, flags) = (&known[36..52], &known[53..55]);
    let has_dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
    let is_whole = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    let is_valid = has_dashes
        && is_whole
        && is_hex(version)
        && version != b"ff"
        && is_id(trace)
        && is_id(parent)
        && is_hex(flags);
    if is_valid { trace.try_into().ok() } else { None }
}

/// A new value, of three random numbers: the trace's id (two of them) and the parent's. Says that
/// the trace is recorded: otherwise most tracers behind us would record nothing of it.
pub fn started(random: [u64; 3]) -> (String, TraceId) {
    // All zeros would not be valid.
    let [high, low, parent] = random.map(|number| number.max(1));
    let mut value = String::with_capacity(LENGTH);
    let _ = write!(value, "00-{high:016x}{low:016x}-{parent:016x}-01");
    let mut trace = [b'0'; 32];
    trace.copy_from_slice(&value.as_bytes()[3..35]);
    (value, trace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn values_are_read_as_the_standard_says() {
        let id = |value: &str| trace_id(value.as_bytes());
        assert_eq!(id(VALID), Some(*b"0af7651916cd43dd8448eb211c80319c"));
        let later = VALID.replacen("00-", "cc-", 1);
        assert!(id(&later).is_some() && id(&format!("{later}-what-the-future-says")).is_some());
        for bad in [
            "",
            &VALID[..54],
            &format!("{VALID}-more"),
            &format!("{later}.more"),
            &VALID.replacen("00-", "ff-", 1),
            &VALID.replacen("0af7", "0AF7", 1),
            &VALID.replacen("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32), 1),
            &VALID.replacen("b7ad6b7169203331", &"0".repeat(16), 1),
            &VALID.replacen("-01", "-0g", 1),
            &VALID.replace('-', "_"),
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_started_is_valid() {
        for random in [[0; 3], [u64::MAX; 3], [0xa, 0xb, 0xc]] {
            let (value, trace) = started(random);
            assert_eq!(trace_id(value.as_bytes()), Some(trace), "{value}");
        }
        let (value, _) = started([0xa, 0xb, 0xc]);
        assert_eq!(value, "00-000000000000000a000000000000000b-000000000000000c-01");
    }

    proptest! {
        /// What is started is read back, and a byte that is another one makes another trace, or none.
        #[test]
        fn values_say_one_thing(random in any::<[u64; 3]>(), at in 0..LENGTH, byte in any::<u8>()) {
            let (value, trace) = started(random);
            prop_assert_eq!(trace_id(value.as_bytes()), Some(trace));
            let mut other = value.into_bytes();
            let is_same = other[at] == byte;
            other[at] = byte;
            let read = trace_id(&other);
            let is_of_trace = (3..35).contains(&at);
            prop_assert!(is_same || !is_of_trace || read != Some(trace));
            prop_assert!(read.is_none() || byte.is_ascii_hexdigit() || is_same);
        }

        #[test]
        fn anything_may_come(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = trace_id(&value);
        }
    }
}
