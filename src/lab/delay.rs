//! Random lengths of time of real programs: how long a server works on a request, how long a user
//! thinks. The distributions are the simulator's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::simulator::distribution::{NotADistribution, Times};
use crate::balance::Rng;

/// Whatever a distribution says, nobody sleeps longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// A distribution of lengths of time, none of them longer than a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay(Times);

impl Delay {
    /// None at all.
    pub const NONE: Delay = Delay::fixed(Duration::ZERO);

    /// Always the same.
    pub const fn fixed(time: Duration) -> Self {
        Delay(Times::Constant(time))
    }

    /// Mostly short, now and then several times the mean.
    pub const fn exponential(mean: Duration) -> Self {
        Delay(Times::Exponential { mean })
    }

    /// Half are shorter than the median; `sigma` is the standard deviation of the logarithm.
    pub const fn log_normal(median: Duration, sigma: f64) -> Self {
        Delay(Times::LogNormal { median, sigma })
    }

    /// One length of time.
    pub fn sample(&self, mut rng: &mut dyn Rng) -> Duration {
        Duration::from_nanos(self.0.sample(&mut rng)).min(LONGEST)
    }

    /// The mean; of what is never as long as a minute.
    pub fn mean(&self) -> Duration {
        Duration::try_from_secs_f64(self.0.mean()).unwrap_or(LONGEST).min(LONGEST)
    }

    /// A time that hardly one sample in a billion exceeds.
    pub fn upper_bound(&self) -> Duration {
        let (time, by) = match self.0 {
            Times::Constant(time) => (time, 1.0),
            Times::Uniform { to, .. } => (to, 1.0),
            Times::Exponential { mean } => (mean, 1e9f64.ln()),
            Times::LogNormal { median, sigma } => (median, (6.0 * sigma).exp()),
            Times::Pareto { .. } => (LONGEST, 1.0),
        };
        Duration::try_from_secs_f64(time.as_secs_f64() * by).unwrap_or(LONGEST).min(LONGEST)
    }

    /// The distribution, without the limit.
    pub const fn times(&self) -> Times {
        self.0
    }
}

/// The text is none of [`Times::FORMS`], or longer than a minute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a distribution of times up to a minute; write {}", Times::FORMS)]
pub struct NotADelay {
    found: String,
}

impl FromStr for Delay {
    type Err = NotADelay;

    fn from_str(text: &str) -> Result<Self, NotADelay> {
        let wrong = || NotADelay { found: text.into() };
        let times: Times = text.parse().map_err(|_: NotADistribution| wrong())?;
        let longest = match times {
            Times::Constant(time) | Times::Uniform { to: time, .. } => time,
            Times::Exponential { mean } | Times::Pareto { mean, .. } => mean,
            Times::LogNormal { median, .. } => median,
        };
        (longest <= LONGEST).then_some(Delay(times)).ok_or_else(wrong)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn mean_millis(text: &str) -> f64 {
        let delay: Delay = text.parse().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let total: Duration = (0..20_000).map(|_| delay.sample(&mut rng)).sum();
        total.as_secs_f64() * 1e3 / 20_000.0
    }

    #[test]
    fn samples_have_the_mean_that_the_name_promises() {
        for (text, expected) in [
            ("0", 0.0),
            ("5ms", 5.0),
            ("uniform:2ms-8ms", 5.0),
            ("exp:5ms", 5.0),
            ("lognormal:5ms,0.5", 5.0 * (0.5f64 * 0.5 / 2.0).exp()),
        ] {
            let mean = mean_millis(text);
            assert!((mean - expected).abs() <= expected * 0.03, "{text}: {mean}");
            let said = text.parse::<Delay>().unwrap().mean().as_secs_f64() * 1e3;
            assert!((said - expected).abs() < 1e-3, "{text}: {said}");
        }
    }

    #[test]
    fn no_sample_is_above_the_upper_bound() {
        let mut rng = StdRng::seed_from_u64(3);
        for text in [
            "0",
            "5ms",
            "uniform:2ms-8ms",
            "exp:5ms",
            "lognormal:5ms,0.5",
            "exp:50s",
            "pareto:1ms,2",
        ] {
            let delay: Delay = text.parse().unwrap();
            let longest = (0..100_000).map(|_| delay.sample(&mut rng)).max().unwrap();
            assert!(longest <= delay.upper_bound(), "{text}: {longest:?}");
        }
    }

    #[test]
    fn what_is_displayed_can_be_read() {
        for text in ["0", "5ms", "uniform:2ms-8ms", "exp:1s 500ms", "lognormal:5ms,0.5"] {
            let delay: Delay = text.parse().unwrap();
            assert_eq!(delay.to_string().parse(), Ok(delay), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        for text in [
            "",
            "5",
            "-1ms",
            "exp",
            "exp:",
            "exp:5",
            "uniform:8ms-2ms",
            "uniform:5ms",
            "gauss:5ms",
            "lognormal:5ms",
            "lognormal:5ms,-1",
            "lognormal:5ms,NaN",
            "2h",
        ] {
            let error = text.parse::<Delay>().expect_err(text).to_string();
            assert!(error.contains("lognormal:5ms,0.5"), "{error}");
        }
    }

    #[test]
    fn a_monstrous_tail_is_cut_off() {
        let delay: Delay = "lognormal:60s,5".parse().unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        assert!((0..1_000).all(|_| delay.sample(&mut rng) <= LONGEST));
    }
}
