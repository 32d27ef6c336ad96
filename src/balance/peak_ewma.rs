//! A backend's recent latency: an average that believes bad news at once and good news slowly.
//!
//! A sample above the average replaces it; one below moves it by `1 - exp(-dt / tau)`, and so does
//! time without samples. That is the peak-sensitive exponentially weighted moving average of
//! Finagle (`PeakEwma.scala`) and linkerd (`linkerd/ewma`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Timestamp;

/// How fast old samples are forgotten: after so long a sample weighs 1/e.
const TAU: Duration = Duration::from_secs(10);

/// What a failed request counts as, at least: whoever fails quickly must not look fast.
pub(super) const PENALTY: Duration = Duration::from_secs(1);

/// The average in microseconds (an `f32`, upper half) and when it was updated (milliseconds,
/// wrapping, lower half). 0: no sample yet.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    /// The average at `now`, in microseconds; `None` without a sample. It decays while nothing is
    /// heard, so that whoever was slow is tried again.
    pub(super) fn get(&self, now: Timestamp) -> Option<f32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(f32::from_bits((bits >> 32) as u32) * kept(bits as u32, now)),
        }
    }

    /// Takes in a sample. Two at the same time may lose one of them, which an average survives.
    pub(super) fn observe(&self, sample: Duration, now: Timestamp) {
        let sample = (sample.as_nanos() as f32 / 1e3).max(1.0);
        let bits = self.0.load(Ordering::Relaxed);
        let average = match bits {
            0 => sample,
            _ => {
                let last = f32::from_bits((bits >> 32) as u32);
                let keep = kept(bits as u32, now);
                if sample > last { sample } else { last * keep + sample * (1.0 - keep) }
            }
        };
        let bits = u64::from(average.to_bits()) << 32 | u64::from(now.as_millis() as u32);
        self.0.store(bits, Ordering::Relaxed);
    }
}

/// What is left at `now` of an average of that time, in milliseconds. Nothing if the clock stepped
/// back, since the difference is huge then.
fn kept(millis: u32, now: Timestamp) -> f32 {
    let elapsed = (now.as_millis() as u32).wrapping_sub(millis) as f32;
    (-elapsed / TAU.as_millis() as f32).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + secs * 1_000)
    }

    #[test]
    fn bad_news_counts_at_once_and_good_news_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.get(at(0)), None);
        latency.observe(Duration::from_millis(1), at(0));
        assert_eq!(latency.get(at(0)), Some(1_000.0));
        latency.observe(Duration::from_millis(100), at(0));
        assert_eq!(latency.get(at(0)), Some(100_000.0));
        latency.observe(Duration::from_millis(1), at(10));
        let inverse_e = (-1.0f32).exp();
        let expected = 100_000.0 * inverse_e + 1_000.0 * (1.0 - inverse_e);
        let average = latency.get(at(10)).unwrap();
        assert!((average - expected).abs() < 1.0, "{average}");
        let later = latency.get(at(20)).unwrap();
        assert!((later - expected * inverse_e).abs() < 1.0, "silence is forgiven: {later}");
    }

    #[test]
    fn a_clock_that_steps_back_does_no_harm() {
        let latency = Latency::default();
        latency.observe(Duration::from_millis(9), at(100));
        latency.observe(Duration::from_millis(1), at(0));
        assert_eq!(latency.get(at(0)), Some(1_000.0));
    }
}
