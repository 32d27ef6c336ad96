//! The unstick experiment: could this app do without stickiness today?
//!
//! A share of the sessions, always the same ones, is routed [freely](Arm::Free): wherever the
//! balancer says, as if the app kept nothing in its memory. They keep their tokens, so that they
//! stay in their arm and can be told apart, but the bindings are not honoured. All other sessions
//! are [bound](Arm::Bound) as ever. What the app answers to either is counted, and [`Comparison`]
//! says whether the free ones fare worse.
//!
//! Only requests of sessions that exist count, in both arms: the first one of a session, which no
//! server can know, says nothing.
//!
//! What it does not claim: that requests are independent of each other. One session that fails
//! fails often, so the true uncertainty is larger than the computed one. And an operator looks
//! more than once. The level of significance is therefore a strict one, 0.001.

mod statistics;

use std::fmt::Write as _;

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::statistics::{Ranks, Sample};
use super::{Cause, SessionId};

/// Differences that chance makes less often than this are taken to be real.
pub const LEVEL: f64 = 0.001;

/// Free requests may fare so much worse at most, as a share of them, with 95 % confidence, before
/// they are called safe.
pub const TOLERANCE: f64 = 0.01;

/// Slower requests are worth a word if they lose so much more often than every second comparison.
const NOTABLE: f64 = 0.05;

/// Classes of statuses: none, 1xx, ... 5xx.
pub const CLASSES: usize = 6;

/// Which sessions are free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unstick {
    percent: f64,
    /// Of the hash: two pools do not free the same sessions.
    key: u64,
    /// Sessions whose hash is not above it are free.
    threshold: u64,
}

impl Unstick {
    /// So many percent of the sessions of this pool. With more of them those that were free stay
    /// so; the choice is the same in every process.
    pub fn new(percent: f64, pool: &str) -> Self {
        let percent = percent.clamp(0.0, 100.0);
        let threshold = (percent / 100.0 * u64::MAX as f64) as u64;
        Unstick { percent, key: super::hashing::key(pool.as_bytes()), threshold }
    }

    /// How many percent of the sessions are free.
    pub fn percent(&self) -> f64 {
        self.percent
    }

    /// Which arm a session is in.
    pub fn arm(&self, session: SessionId) -> Arm {
        let hash = xxh3_64_with_seed(&session.to_bits().to_le_bytes(), self.key);
        if hash <= self.threshold { Arm::Free } else { Arm::Bound }
    }
}

/// A part of the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// Those that go home.
    Bound,
    /// Those that go anywhere.
    Free,
}

impl Arm {
    /// Both, in the order of [`Arm::index`].
    pub const ALL: [Arm; 2] = [Arm::Bound, Arm::Free];

    /// Position in [`Arm::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Arm::Bound => "bound",
            Arm::Free => "free",
        }
    }

    /// Does a request that went somewhere for this cause say anything? Not if it was a first one.
    pub const fn counts(cause: Option<Cause>) -> bool {
        !matches!(cause, Some(Cause::New | Cause::Free))
    }
}

/// What was counted in one arm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Requests that have ended, by class of status; 0 is for those without one.
    pub classes: [u64; CLASSES],
    /// Requests whose session the app did not know, as it said.
    pub unknown: u64,
    /// How long they took: counts by bucket, the same ones in both arms, the shortest first.
    pub durations: Vec<u64>,
}

impl Tallied {
    /// Requests that have ended.
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    fn sample(&self, kind: Kind) -> Sample {
        let count = match kind {
            Kind::Unknown => self.unknown,
            Kind::Failed => self.classes[5] + self.classes[0],
            Kind::Refused => self.classes[4],
            Kind::Redirected => self.classes[3],
        };
        Sample { count, of: self.requests() }
    }
}

/// What may be worse for a free request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The app did not know the session, and said so.
    Unknown,
    /// 5xx, or no answer.
    Failed,
    /// 4xx: "who are you?"
    Refused,
    /// 3xx: "log in first".
    Redirected,
}

impl Kind {
    /// All of them, the clearest sign first.
    pub const ALL: [Kind; 4] = [Kind::Unknown, Kind::Failed, Kind::Refused, Kind::Redirected];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            Kind::Failed => "failed",
            Kind::Refused => "refused",
            Kind::Redirected => "redirected",
        }
    }

    /// What happened to a request.
    const fn in_words(self) -> &'static str {
        match self {
            Kind::Unknown => "met an app that did not know their session",
            Kind::Failed => "failed (5xx or no answer)",
            Kind::Refused => "were refused (4xx)",
            Kind::Redirected => "were sent elsewhere (3xx)",
        }
    }
}

/// How often something happened in either arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// What.
    pub kind: Kind,
    /// Of the bound requests.
    pub bound: Sample,
    /// Of the free requests.
    pub free: Sample,
    /// The probability of a difference like this, or a greater one, by chance alone.
    pub p: f64,
    /// The share of free requests that fare worse than bound ones would: between these two, with
    /// 95 % confidence.
    pub interval: [f64; 2],
}

impl Difference {
    fn of(kind: Kind, [bound, free]: [&Tallied; 2]) -> Self {
        let (bound, free) = (bound.sample(kind), free.sample(kind));
        let p = statistics::proportions_differ(bound, free);
        Difference { kind, bound, free, p, interval: statistics::interval(free, bound) }
    }

    /// Do free requests fare worse, and not by chance?
    pub fn is_worse(&self) -> bool {
        self.p < LEVEL && self.free.share() > self.bound.share()
    }
}

/// May stickiness be turned off?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody can say yet.
    TooEarly,
    /// Free requests have fared no worse.
    Safe,
    /// They have.
    Unsafe,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 3] = [Verdict::TooEarly, Verdict::Safe, Verdict::Unsafe];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::TooEarly => "too_early",
            Verdict::Safe => "safe",
            Verdict::Unsafe => "unsafe",
        }
    }
}

/// The two arms next to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Requests, bound and free.
    pub requests: [u64; 2],
    /// In the order of [`Kind::ALL`].
    pub differences: [Difference; Kind::ALL.len()],
    /// Free requests' durations against bound ones'; `None` without any of either.
    pub durations: Option<Ranks>,
    /// What follows.
    pub verdict: Verdict,
}

impl Comparison {
    /// Compares what was counted.
    pub fn of(bound: &Tallied, free: &Tallied) -> Self {
        let arms = [bound, free];
        let differences = Kind::ALL.map(|kind| Difference::of(kind, arms));
        let requests = arms.map(Tallied::requests);
        let is_close = |difference: &Difference| difference.interval[1] < TOLERANCE;
        let verdict = if differences.iter().any(Difference::is_worse) {
            Verdict::Unsafe
        } else if requests.contains(&0) || !differences[..2].iter().all(is_close) {
            Verdict::TooEarly
        } else {
            Verdict::Safe
        };
        let durations = statistics::rank_sum(&bound.durations, &free.durations);
        Comparison { requests, differences, durations, verdict }
    }

    /// The verdict in plain words.
    pub fn in_words(&self) -> String {
        let [bound, free] = self.requests;
        let worst = self.differences.iter().find(|difference| difference.is_worse());
        let mut text = match (self.verdict, worst) {
            (Verdict::Unsafe, Some(worst)) => format!(
                "Not safe: {} of the {free} free requests {}, and {} of the {bound} bound ones. \
                 Leave stickiness on.",
                percent(worst.free.share()),
                worst.kind.in_words(),
                percent(worst.bound.share()),
            ),
            (Verdict::TooEarly, _) if bound == 0 && free > 0 => {
                format!("No bound request to compare {free} free ones with.")
            }
            (Verdict::Safe, _) => {
                let [unknown, failed] = [0, 1].map(|i| percent(self.differences[i].interval[1]));
                format!(
                    "Safe so far: {free} free requests have fared no worse than {bound} bound ones. \
                     With 95 % confidence at most {unknown} more of them meet an app that does not \
                     know their session, and at most {failed} more fail."
                )
            }
            _ => format!(
                "Too early to say: {free} free and {bound} bound requests. Without any trouble some \
                 400 of each will do."
            ),
        };
        if self.verdict == Verdict::Safe && self.differences[0].is_silent() {
            text.push_str(
                " The app has never said that it did not know a session (Stickler-Affinity: \
                 unknown); if it does not say so, this rests on statuses alone.",
            );
        }
        if let Some(ranks) = self.durations.filter(Ranks::is_slower) {
            let _ = write!(
                text,
                " Free requests are slower: in {} of the pairs of a free and a bound request the \
                 free one takes longer.",
                percent(ranks.superiority)
            );
        }
        text
    }
}

impl Difference {
    fn is_silent(&self) -> bool {
        self.bound.count + self.free.count == 0
    }
}

impl Ranks {
    /// Do free requests take longer, not by chance, and by enough to be worth a word?
    fn is_slower(&self) -> bool {
        self.p < LEVEL && self.superiority > 0.5 + NOTABLE
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many requests with status 200, so many with 500, and so many that were not known.
    fn arm(fine: u64, failed: u64, unknown: u64) -> Tallied {
        let classes = [0, 0, fine, 0, 0, failed];
        Tallied { classes, unknown, durations: vec![0, fine + failed, 0] }
    }

    #[test]
    fn a_session_stays_in_its_arm_and_so_it_does_when_more_are_freed() {
        let sessions = || (0..10_000u64).map(SessionId::from_bits);
        let (five, ten) = (Unstick::new(5.0, "shop"), Unstick::new(10.0, "shop"));
        let free = |unstick: &Unstick| {
            sessions().filter(|session| unstick.arm(*session) == Arm::Free).count()
        };
        // Binomial: five standard deviations are 109 and 150.
        assert!(free(&five).abs_diff(500) < 110, "{}", free(&five));
        assert!(free(&ten).abs_diff(1_000) < 150, "{}", free(&ten));
        for session in sessions().filter(|session| five.arm(*session) == Arm::Free) {
            assert_eq!(ten.arm(session), Arm::Free);
        }
        assert_eq!(free(&Unstick::new(0.0, "shop")), 0);
        assert_eq!(free(&Unstick::new(100.0, "shop")), 10_000);
        let other = Unstick::new(50.0, "api");
        let both = sessions()
            .filter(|session| Unstick::new(50.0, "shop").arm(*session) == other.arm(*session));
        assert!(both.count().abs_diff(5_000) < 250, "another pool frees others");
        // The same in every process: this must never change.
        let arms = (0..8).map(|i| Unstick::new(50.0, "shop").arm(SessionId::from_bits(i)));
        assert_eq!(
            arms.map(Arm::as_str).collect::<Vec<_>>().join(" "),
            "free free bound bound bound free free free"
        );
    }

    #[test]
    fn an_app_that_loses_sessions_is_not_safe_and_one_that_does_not_is() {
        let verdict = |bound: &Tallied, free: &Tallied| Comparison::of(bound, free).verdict;
        let nobody = Tallied::default();
        assert_eq!(verdict(&nobody, &nobody), Verdict::TooEarly);
        assert_eq!(verdict(&arm(1_000, 0, 0), &arm(50, 0, 0)), Verdict::TooEarly);
        assert_eq!(verdict(&nobody, &arm(5_000, 0, 0)), Verdict::TooEarly, "nothing to compare");
        assert_eq!(verdict(&arm(5_000, 0, 0), &arm(400, 0, 0)), Verdict::Safe);
        assert_eq!(verdict(&arm(5_000, 50, 0), &arm(5_000, 50, 0)), Verdict::Safe);
        // Two of three free requests meet another server.
        assert_eq!(verdict(&arm(300, 0, 0), &arm(30, 0, 20)), Verdict::Unsafe);
        assert_eq!(verdict(&arm(5_000, 50, 0), &arm(1_000, 40, 0)), Verdict::Unsafe);
        // One in a thousand is too few to be sure of, and too many to be safe.
        assert_eq!(verdict(&arm(1_000, 0, 0), &arm(200, 1, 1)), Verdict::TooEarly);
        let mut redirected = arm(0, 0, 0);
        redirected.classes[3] = 1_000;
        assert_eq!(verdict(&arm(1_000, 0, 0), &redirected), Verdict::Unsafe);
    }

    #[test]
    fn the_words_say_what_was_found() {
        let words = |bound: &Tallied, free: &Tallied| Comparison::of(bound, free).in_words();
        assert_eq!(
            words(&arm(300, 0, 0), &arm(30, 0, 20)),
            "Not safe: 66.7 % of the 30 free requests met an app that did not know their session, \
             and 0.0 % of the 300 bound ones. Leave stickiness on."
        );
        let safe = words(&arm(4_000, 0, 4), &arm(4_000, 0, 4));
        assert!(safe.starts_with("Safe so far: 4000 free requests"), "{safe}");
        assert!(!safe.contains("never said"), "{safe}");
        assert!(words(&arm(4_000, 0, 0), &arm(4_000, 0, 0)).contains("never said"));
        assert!(words(&arm(10, 0, 0), &arm(1, 0, 0)).starts_with("Too early to say: 1 free"));
        assert!(words(&arm(0, 0, 0), &arm(9, 0, 0)).starts_with("No bound request"));
        let slow = Tallied { durations: vec![0, 0, 4_000], ..arm(4_000, 0, 0) };
        assert!(words(&arm(4_000, 0, 0), &slow).contains("in 100.0 % of the pairs"));
    }
}
