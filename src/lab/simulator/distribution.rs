//! Random lengths of time and random numbers of requests, with their means: a scenario that asks
//! for a utilization needs to know what a session comes to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution as _, Exp1, StandardNormal};

use crate::balance::Rng;

/// A distribution of lengths of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Times {
    /// Always the same.
    Constant(Duration),
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
    /// Pareto: a tail so heavy that a few are most of the work.
    Pareto {
        /// The mean.
        mean: Duration,
        /// Above 1; the nearer to it, the heavier the tail. Below 2 the variance is infinite.
        shape: f64,
    },
}

impl Times {
    /// The forms that [`FromStr`] reads, for messages and help.
    pub const FORMS: &str = "0s, 5ms, uniform:2ms-8ms, exp:5ms (mean), lognormal:5ms,0.5 \
                             (median, sigma) or pareto:5ms,1.5 (mean, shape)";

    /// One length of time, in nanoseconds.
    pub fn sample(&self, rng: &mut impl Rng) -> u64 {
        self.sampler().sample(rng)
    }

    /// What to draw from that is drawn from often.
    pub fn sampler(&self) -> Sampler {
        match *self {
            Times::Constant(time) => Sampler::Constant(nanos(time) as u64),
            Times::Uniform { from, to } => {
                Sampler::Uniform { from: nanos(from), width: nanos(to) - nanos(from) }
            }
            Times::Exponential { mean } => Sampler::Exponential { mean: nanos(mean) },
            Times::LogNormal { median, sigma } => {
                Sampler::LogNormal { median: nanos(median), sigma }
            }
            Times::Pareto { mean, shape } => {
                Sampler::Pareto { least: nanos(mean) * (1.0 - 1.0 / shape), shape }
            }
        }
    }

    /// The mean, in seconds.
    pub fn mean(&self) -> f64 {
        match *self {
            Times::Constant(time) => time.as_secs_f64(),
            Times::Uniform { from, to } => (from.as_secs_f64() + to.as_secs_f64()) / 2.0,
            Times::Exponential { mean } | Times::Pareto { mean, .. } => mean.as_secs_f64(),
            Times::LogNormal { median, sigma } => {
                median.as_secs_f64() * (sigma * sigma / 2.0).exp()
            }
        }
    }
}

/// [`Times`] in nanoseconds, with everything worked out that is the same for every sample.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants of Times, in nanoseconds")]
pub enum Sampler {
    Constant(u64),
    Uniform { from: f64, width: f64 },
    Exponential { mean: f64 },
    LogNormal { median: f64, sigma: f64 },
    Pareto { least: f64, shape: f64 },
}

impl Sampler {
    /// One length of time, in nanoseconds.
    #[inline]
    pub fn sample(&self, rng: &mut impl Rng) -> u64 {
        match *self {
            Sampler::Exponential { mean } => {
                let factor: f64 = Exp1.sample(rng);
                (mean * factor) as u64
            }
            other => other.sample_other(rng),
        }
    }

    /// One of another distribution: their mathematics are not inlined wherever one is drawn.
    #[inline(never)]
    fn sample_other(self, rng: &mut impl Rng) -> u64 {
        match self {
            Sampler::Exponential { .. } => self.sample(rng),
            Sampler::Constant(time) => time,
            Sampler::Uniform { from, width } => (from + width * unit(rng)) as u64,
            Sampler::LogNormal { median, sigma } => {
                let normal: f64 = StandardNormal.sample(rng);
                (median * (sigma * normal).exp()) as u64
            }
            Sampler::Pareto { least, shape } => (least * pareto(shape, rng)) as u64,
        }
    }
}

/// A distribution of numbers of requests, each at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Counts {
    /// Always the same.
    Constant(u32),
    /// Evenly between two bounds, both included.
    Uniform {
        /// The least.
        from: u32,
        /// The most.
        to: u32,
    },
    /// Geometric: after each request the session ends with the same probability.
    Geometric {
        /// The mean.
        mean: f64,
    },
    /// Pareto, rounded up: a few sessions have most of the requests.
    Pareto {
        /// The mean, nearly: rounding adds up to a half.
        mean: f64,
        /// Above 1; the nearer to it, the heavier the tail.
        shape: f64,
    },
}

impl Counts {
    /// The forms that [`FromStr`] reads, for messages and help.
    pub const FORMS: &str = "20, uniform:5-35, geometric:20 (mean) or pareto:20,1.3 (mean, shape)";

    /// A number of requests.
    pub fn sample(&self, rng: &mut impl Rng) -> u32 {
        match *self {
            Counts::Constant(count) => count,
            Counts::Uniform { from, to } => from + (f64::from(to - from + 1) * unit(rng)) as u32,
            Counts::Geometric { mean } if mean <= 1.0 => 1,
            Counts::Geometric { mean } => {
                1 + ((1.0 - unit(rng)).ln() / (1.0 - 1.0 / mean).ln()) as u32
            }
            Counts::Pareto { mean, shape } => {
                ((mean * (1.0 - 1.0 / shape) * pareto(shape, rng)).ceil() as u32).max(1)
            }
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        match *self {
            Counts::Constant(count) => count.into(),
            Counts::Uniform { from, to } => (f64::from(from) + f64::from(to)) / 2.0,
            Counts::Geometric { mean } => mean,
            Counts::Pareto { mean, shape } => {
                // The sum of P(ceil(X) > k): exact to where the tail begins to be smooth.
                let least = mean * (1.0 - 1.0 / shape);
                let above = |k: f64| if k < least { 1.0 } else { (least / k).powf(shape) };
                let head: f64 = (0..10_000u32).map(|k| above(f64::from(k))).sum();
                head + above(10_000.0) * 10_000.0 / (shape - 1.0)
            }
        }
    }
}

/// Without the detour over 128 bits.
fn nanos(time: Duration) -> f64 {
    time.as_secs() as f64 * 1e9 + f64::from(time.subsec_nanos())
}

/// A number from 0 up to, and without, 1.
pub(super) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// At least 1.
fn pareto(shape: f64, rng: &mut impl Rng) -> f64 {
    (1.0 - unit(rng)).powf(-1.0 / shape)
}

/// The text is none of the forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {wanted}")]
pub struct NotADistribution {
    found: String,
    wanted: &'static str,
}

impl FromStr for Times {
    type Err = NotADistribution;

    fn from_str(text: &str) -> Result<Self, NotADistribution> {
        let wanted = "a distribution of times";
        parse_times(text).ok_or_else(|| NotADistribution { found: text.into(), wanted })
    }
}

fn parse_times(text: &str) -> Option<Times> {
    let Some((name, parameters)) = text.split_once(':') else {
        return Some(Times::Constant(time(text)?));
    };
    match name {
        "exp" => Some(Times::Exponential { mean: time(parameters)? }),
        "uniform" => {
            let (from, to) = parameters.split_once('-')?;
            let (from, to) = (time(from)?, time(to)?);
            (from <= to).then_some(Times::Uniform { from, to })
        }
        "lognormal" => {
            let (median, sigma) = parameters.split_once(',')?;
            let (median, sigma) = (time(median)?, number(sigma)?);
            (sigma <= 5.0).then_some(Times::LogNormal { median, sigma })
        }
        "pareto" => {
            let (mean, shape) = parameters.split_once(',')?;
            let (mean, shape) = (time(mean)?, number(shape)?);
            (shape > 1.0).then_some(Times::Pareto { mean, shape })
        }
        _ => None,
    }
}

impl FromStr for Counts {
    type Err = NotADistribution;

    fn from_str(text: &str) -> Result<Self, NotADistribution> {
        let wanted = "a distribution of numbers of requests";
        parse_counts(text).ok_or_else(|| NotADistribution { found: text.into(), wanted })
    }
}

/// The most requests that a distribution may be asked for.
const MOST: u32 = 1_000_000;

fn parse_counts(text: &str) -> Option<Counts> {
    let count = |text: &str| text.trim().parse().ok().filter(|n| (1..=MOST).contains(n));
    let mean = |text: &str| number(text).filter(|mean| (1.0..=f64::from(MOST)).contains(mean));
    let Some((name, parameters)) = text.split_once(':') else {
        return Some(Counts::Constant(count(text)?));
    };
    match name {
        "geometric" => Some(Counts::Geometric { mean: mean(parameters)? }),
        "uniform" => {
            let (from, to) = parameters.split_once('-')?;
            let (from, to) = (count(from)?, count(to)?);
            (from <= to).then_some(Counts::Uniform { from, to })
        }
        "pareto" => {
            let (m, shape) = parameters.split_once(',')?;
            let (mean, shape) = (mean(m)?, number(shape)?);
            (shape > 1.0).then_some(Counts::Pareto { mean, shape })
        }
        _ => None,
    }
}

/// A time up to a year.
fn time(text: &str) -> Option<Duration> {
    let time = match text.trim() {
        "0" => Duration::ZERO,
        text => humantime::parse_duration(text).ok()?,
    };
    (time <= Duration::from_secs(366 * 24 * 60 * 60)).then_some(time)
}

/// A number that is not negative.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = humantime::format_duration;
        match *self {
            Times::Constant(time) => show(time).fmt(f),
            Times::Uniform { from, to } => write!(f, "uniform:{}-{}", show(from), show(to)),
            Times::Exponential { mean } => write!(f, "exp:{}", show(mean)),
            Times::LogNormal { median, sigma } => write!(f, "lognormal:{},{sigma}", show(median)),
            Times::Pareto { mean, shape } => write!(f, "pareto:{},{shape}", show(mean)),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Counts::Constant(count) => count.fmt(f),
            Counts::Uniform { from, to } => write!(f, "uniform:{from}-{to}"),
            Counts::Geometric { mean } => write!(f, "geometric:{mean}"),
            Counts::Pareto { mean, shape } => write!(f, "pareto:{mean},{shape}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_xoshiro::SplitMix64;

    use super::*;

    #[test]
    fn samples_have_the_mean_that_is_promised() {
        let mut rng = SplitMix64::seed_from_u64(1);
        for text in ["5ms", "uniform:2ms-8ms", "exp:5ms", "lognormal:5ms,0.5", "pareto:5ms,3"] {
            let times: Times = text.parse().unwrap();
            let total: u64 = (0..200_000).map(|_| times.sample(&mut rng)).sum();
            let mean = total as f64 / 200_000.0 / 1e9;
            assert!((mean / times.mean() - 1.0).abs() < 0.02, "{text}: {mean}");
        }
        for text in ["20", "uniform:5-35", "geometric:20", "geometric:1", "pareto:20,3"] {
            let counts: Counts = text.parse().unwrap();
            let total: u64 = (0..200_000).map(|_| u64::from(counts.sample(&mut rng))).sum();
            let mean = total as f64 / 200_000.0;
            assert!((mean / counts.mean() - 1.0).abs() < 0.02, "{text}: {mean}, {}", counts.mean());
        }
    }

    #[test]
    fn what_is_displayed_can_be_read() {
        for text in
            ["0s", "5ms", "uniform:2ms-8ms", "exp:2m", "lognormal:5ms,0.5", "pareto:5ms,1.5"]
        {
            let times: Times = text.parse().unwrap();
            assert_eq!(times.to_string().parse(), Ok(times), "{text}");
        }
        for text in ["20", "uniform:5-35", "geometric:2.5", "pareto:20,1.3"] {
            let counts: Counts = text.parse().unwrap();
            assert_eq!(counts.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "-1ms",
            "exp:",
            "uniform:8ms-2ms",
            "lognormal:5ms,NaN",
            "pareto:5ms,1",
            "2years",
        ] {
            assert!(text.parse::<Times>().is_err(), "{text:?}");
        }
        for text in ["", "0", "1.5", "geometric:0.5", "uniform:9-3", "pareto:20,1", "zipf:3"] {
            assert!(text.parse::<Counts>().is_err(), "{text:?}");
        }
    }
}
