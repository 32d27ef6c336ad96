//! Random lengths of time: how long a server works on a request, how long a user thinks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution, Exp1, StandardNormal};

use crate::balance::Rng;

/// Whatever a distribution says, nobody sleeps longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// A distribution of lengths of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Evenly between two bounds.
    Uniform {
        /// The shortest.
        from: Duration,
        /// The longest.
        to: Duration,
    },
    /// Exponential: mostly short, now and then several times the mean.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// Log-normal: what the service times of real servers look like, with a long tail.
    LogNormal {
        /// Half are shorter.
        median: Duration,
        /// Standard deviation of the logarithm: 0.5 is moderate, 1.5 a very long tail.
        sigma: f64,
    },
}

impl Delay {
    /// The forms that [`FromStr`] reads, for messages and help.
    pub const FORMS: &str = "0, 5ms, uniform:2ms-8ms, exp:5ms (mean) or lognormal:5ms,0.5 \
                             (median, sigma)";

    /// One length of time, a minute at most.
    pub fn sample(&self, rng: &mut dyn Rng) -> Duration {
        let time = match *self {
            Delay::Fixed(time) => time,
            Delay::Uniform { from, to } => {
                let position = rng.next_u32() as f64 / f64::from(u32::MAX);
                from + stretched(to.saturating_sub(from), position)
            }
            Delay::Exponential { mean } => stretched(mean, Exp1.sample(rng)),
            Delay::LogNormal { median, sigma } => {
                let normal: f64 = StandardNormal.sample(rng);
                stretched(median, (sigma * normal).exp())
            }
        };
        time.min(LONGEST)
    }

    /// A time that hardly one sample in a billion exceeds.
    pub fn upper_bound(&self) -> Duration {
        let time = match *self {
            Delay::Fixed(time) => time,
            Delay::Uniform { to, .. } => to,
            Delay::Exponential { mean } => stretched(mean, 1e9f64.ln()),
            Delay::LogNormal { median, sigma } => stretched(median, (6.0 * sigma).exp()),
        };
        time.min(LONGEST)
    }
}

/// `time` times `by`, which may be any positive number.
fn stretched(time: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * by).unwrap_or(LONGEST)
}

/// The text is none of [`Delay::FORMS`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a distribution of times; write {}", Delay::FORMS)]
pub struct NotADelay {
    found: String,
}

impl FromStr for Delay {
    type Err = NotADelay;

    fn from_str(text: &str) -> Result<Self, NotADelay> {
        parse(text).ok_or_else(|| NotADelay { found: text.into() })
    }
}

fn parse(text: &str) -> Option<Delay> {
    match text.split_once(':') {
        None => Some(Delay::Fixed(time(text)?)),
        Some(("exp", mean)) => Some(Delay::Exponential { mean: time(mean)? }),
        Some(("uniform", bounds)) => {
            let (from, to) = bounds.split_once('-')?;
            let (from, to) = (time(from)?, time(to)?);
            (from <= to).then_some(Delay::Uniform { from, to })
        }
        Some(("lognormal", parameters)) => {
            let (median, sigma) = parameters.split_once(',')?;
            let (median, sigma) = (time(median)?, sigma.trim().parse::<f64>().ok()?);
            (0.0..=10.0).contains(&sigma).then_some(Delay::LogNormal { median, sigma })
        }
        Some(_) => None,
    }
}

/// A time up to [`LONGEST`], with a unit unless it is zero.
fn time(text: &str) -> Option<Duration> {
    let time = match text.trim() {
        "0" => Duration::ZERO,
        text => humantime::parse_duration(text).ok()?,
    };
    (time <= LONGEST).then_some(time)
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = humantime::format_duration;
        match *self {
            Delay::Fixed(time) => show(time).fmt(f),
            Delay::Uniform { from, to } => write!(f, "uniform:{}-{}", show(from), show(to)),
            Delay::Exponential { mean } => write!(f, "exp:{}", show(mean)),
            Delay::LogNormal { median, sigma } => write!(f, "lognormal:{},{sigma}", show(median)),
        }
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
        }
    }

    #[test]
    fn no_sample_is_above_the_upper_bound() {
        let mut rng = StdRng::seed_from_u64(3);
        for text in ["0", "5ms", "uniform:2ms-8ms", "exp:5ms", "lognormal:5ms,0.5", "exp:50s"] {
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
        let delay: Delay = "lognormal:60s,10".parse().unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        assert!((0..1_000).all(|_| delay.sample(&mut rng) <= LONGEST));
    }
}
