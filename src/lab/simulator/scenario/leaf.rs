//! Values of a scenario that are written as text.

use crate::config::leaf::{Format, Leaf};
use crate::lab::policy::Policy;
use crate::lab::simulator::distribution::{Counts, Times};

/// The formats of a scenario that the configuration does not have.
pub(super) const FORMATS: &[Format] = &[
    Format::of::<Times>(),
    Format::of::<Counts>(),
    Format::of::<Policy>(),
    Format::of::<Positive>(),
];

impl Leaf for Times {
    const FORMAT: &'static str = "times";
    const EXPECTED: &'static str = "times such as \"20ms\", \"uniform:2ms-8ms\", \"exp:20ms\" \
         (mean), \"lognormal:20ms,0.5\" (median, sigma) or \"pareto:20ms,1.5\" (mean, shape)";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: super::super::distribution::NotADistribution| error.to_string())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for Counts {
    const FORMAT: &'static str = "counts";
    const EXPECTED: &'static str = "a number such as 20, or \"uniform:5-35\", \"geometric:20\" \
         (mean) or \"pareto:20,1.3\" (mean, shape)";
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: super::super::distribution::NotADistribution| error.to_string())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for Policy {
    const FORMAT: &'static str = "policy";
    const EXPECTED: &'static str = "a policy such as \"two_choices\", \"two_choices+cookie\" or \
         \"random+hash:maglev+max_load:1.25\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::lab::policy::NotAPolicy| error.to_string())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::lab) struct Positive(pub(super) f64);

impl Leaf for Positive {
    const FORMAT: &'static str = "positive";
    const EXPECTED: &'static str = "a number above 0 and up to a billion";
    const TYPES: &'static [&'static str] = &["number"];

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| *number > 0.0 && *number <= 1e9);
        number.map(Positive).ok_or_else(|| format!("{text} is not above 0 and up to a billion"))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
