//! Who comes when and does what: fixed before the first request is sent, so that slow answers
//! cannot slow down those who ask (the load is *open*; a closed one would hide its own trouble).
//!
//! Pure: the same [`Workload`] gives the same [`Session`]s.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp, StandardNormal};

use crate::lab::delay::Delay;

const GOODS: [&str; 8] = ["tea", "cup", "lamp", "chair", "book", "pen", "clock", "kite"];

/// Standard deviation of the logarithm of the number of requests: most sessions are short.
const LENGTH_SIGMA: f64 = 0.6;
/// No session has more than this times the usual number of requests, unless its user is a heavy
/// one.
const LONGEST: f64 = 2.5;
/// Log-in, one look, check-out, log-out.
const FEWEST: usize = 4;
/// How often a user looks at the cart instead of putting something in.
const LOOKS: f64 = 0.4;
/// Items that fit into any cart and any cookie.
const MOST_ITEMS: usize = 40;
/// So many sessions tell the mean number of requests before the arrivals are drawn.
const TRIALS: u64 = 20_000;

/// What a load consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Requests a second, on average.
    pub rate: f64,
    /// Requests of a usual session, on average.
    pub requests: f64,
    /// Time between two requests of a usual session.
    pub think: Delay,
    /// Users to draw from; each session is one user's.
    pub users: usize,
    /// How heavy the heaviest users are.
    pub weights: Weights,
    /// One window of a browser sends its requests one after the other, and so at most this many
    /// times as often as a usual session. Heavier users have more windows open.
    pub densest: f64,
    /// A session that sends this share of all requests, if any.
    pub hot: Option<f64>,
    /// For how long sessions arrive.
    pub length: Duration,
    /// Everything follows from it.
    pub seed: u64,
}

/// How many more requests some users send than others, in the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights {
    /// All the same.
    Equal,
    /// By Zipf's law: the user of rank r weighs 1/r^exponent; none more than `heaviest` times the
    /// mean.
    Zipf {
        /// 1 is what is often found.
        exponent: f64,
        /// The limit.
        heaviest: f64,
    },
}

/// One session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// From 1 on, in the order of arrival.
    pub number: u64,
    /// Whose it is, from 1 on. User 0 is the hot one.
    pub user: usize,
    /// What it does, in order of time.
    pub steps: Vec<Step>,
    /// When further windows of the same browser look at the cart, side by side with the steps: from
    /// the log-in to the check-out. Only heavy users have some.
    pub windows: Vec<Vec<Duration>>,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When it is due, since the start.
    pub due: Duration,
    /// What it is.
    pub act: Act,
}

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Begins the session.
    LogIn,
    /// Puts this into the cart.
    Add(&'static str),
    /// Looks at the cart.
    Look,
    /// Buys what is in the cart.
    CheckOut,
    /// Ends the session.
    LogOut,
}

impl Session {
    /// What there is of it from `start` on, with times that count from there. If that is less than
    /// any session it is nothing.
    fn rest(mut self, start: Duration) -> Option<Session> {
        self.steps.retain(|step| step.due >= start);
        if self.steps.len() < FEWEST {
            return None;
        }
        self.steps[0].act = Act::LogIn;
        let begin = self.steps[0].due;
        self.steps.iter_mut().for_each(|step| step.due -= start);
        for window in &mut self.windows {
            window.retain(|due| *due >= begin);
            window.iter_mut().for_each(|due| *due -= start);
        }
        Some(self)
    }
}

impl Weights {
    /// The weight of each of so many users, the heaviest first; 1 on average.
    pub fn of(self, users: usize) -> Vec<f64> {
        let Weights::Zipf { exponent, heaviest } = self else { return vec![1.0; users] };
        let mut weights: Vec<f64> = (1..=users).map(|r| (r as f64).powf(-exponent)).collect();
        // What the heaviest must not send is for the others, whose weights it may push over the
        // limit in turn.
        for _ in 0..users {
            let mean = weights.iter().sum::<f64>() / users as f64;
            weights.iter_mut().for_each(|weight| *weight /= mean);
            let limit = heaviest.max(1.0);
            if weights.iter().all(|weight| *weight <= limit * 1.001) {
                break;
            }
            weights.iter_mut().for_each(|weight| *weight = weight.min(limit));
        }
        weights
    }
}

impl Workload {
    /// All sessions, in the order of their arrival. The load is there at once: some sessions are
    /// under way at the start, and of these there is the rest.
    pub fn sessions(&self) -> Vec<Session> {
        let weights = self.weights.of(self.users.max(1));
        let mut rng = StdRng::seed_from_u64(self.seed);
        let usual = self.rate * (1.0 - self.hot.unwrap_or_default());
        let Ok(gaps) = Exp::new(usual / self.mean_requests(&weights)) else { return Vec::new() };
        let mut sessions = Vec::new();
        // Who came any earlier has left.
        let start = self.think.mean().mul_f64(self.requests * LONGEST);
        let end = (start + self.length).as_secs_f64();
        let mut arrival = gaps.sample(&mut rng);
        while arrival < end {
            let user = rng.random_range(0..weights.len());
            let at = Duration::from_secs_f64(arrival);
            sessions.extend(self.session(user, weights[user], at, &mut rng).rest(start));
            arrival += gaps.sample(&mut rng);
        }
        sessions.sort_by_key(|session| session.steps[0].due);
        (1..).zip(&mut sessions).for_each(|(number, session)| session.number = number);
        sessions.extend(self.hot.map(|share| self.hot_session(share * self.rate, &mut rng)));
        sessions
    }

    /// How many requests a session has on average, users of all weights taken together.
    fn mean_requests(&self, weights: &[f64]) -> f64 {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let draw = |_| {
            let weight = weights.choose(&mut rng).copied().unwrap_or(1.0);
            self.length_of(weight, &mut rng)
        };
        let total: usize = (0..TRIALS).map(draw).sum();
        total as f64 / TRIALS as f64
    }

    /// Log-normal, with the mean that was asked for.
    fn length_of(&self, weight: f64, rng: &mut StdRng) -> usize {
        let normal: f64 = StandardNormal.sample(rng);
        let factor = (LENGTH_SIGMA * normal - LENGTH_SIGMA * LENGTH_SIGMA / 2.0).exp();
        let requests = self.requests * factor.min(LONGEST) * weight;
        (requests.round() as usize).max(FEWEST)
    }

    fn session(&self, user: usize, weight: f64, arrival: Duration, rng: &mut StdRng) -> Session {
        let all = self.length_of(weight, rng);
        let density = weight.clamp(1.0, self.densest.max(1.0));
        let requests = ((all as f64 * density / weight.max(1.0)).round() as usize).max(FEWEST);
        let windows = self.windows(weight / density, arrival, all.saturating_sub(requests), rng);
        let mut due = arrival;
        let mut items = 0;
        let mut steps = Vec::with_capacity(requests);
        for i in 0..requests {
            if i > 0 {
                // A heavy user's session takes as long as another's, and is denser.
                due += self.think.sample(rng).div_f64(density);
            }
            let act = match requests - i {
                _ if i == 0 => Act::LogIn,
                1 => Act::LogOut,
                2 => Act::CheckOut,
                _ if items >= MOST_ITEMS || rng.random_bool(LOOKS) => Act::Look,
                _ => {
                    items += 1;
                    Act::Add(GOODS.choose(rng).copied().unwrap_or_default())
                }
            };
            steps.push(Step { due, act });
        }
        Session { number: 0, user: user + 1, steps, windows }
    }

    /// So many requests, in so many windows less the first.
    fn windows(
        &self,
        count: f64,
        arrival: Duration,
        requests: usize,
        rng: &mut StdRng,
    ) -> Vec<Vec<Duration>> {
        // A weight is limited to within a thousandth; that is no reason for another window.
        let count = ((count - 0.01).ceil() as usize).saturating_sub(1);
        let each = requests.checked_div(count).unwrap_or_default();
        let window = |_| {
            let mut due = arrival;
            let looks = (0..each).map(|_| {
                due += self.think.sample(rng).div_f64(self.densest.max(1.0));
                due
            });
            looks.collect()
        };
        (0..count).map(window).collect()
    }

    /// A session that is there from the beginning to the end, with as many windows as it needs.
    fn hot_session(&self, rate: f64, rng: &mut StdRng) -> Session {
        /// Requests a second in one window, which are sent one after the other.
        const PER_WINDOW: f64 = 15.0;
        let windows = (rate / PER_WINDOW).ceil().max(1.0);
        let gap = Delay::exponential(Duration::from_secs_f64(windows / rate.max(0.1)));
        let window = |_| {
            let mut due = Duration::ZERO;
            let mut all = Vec::new();
            loop {
                due += gap.sample(rng);
                if due >= self.length {
                    return all;
                }
                all.push(due);
            }
        };
        let windows = (0..windows as usize).map(window).collect();
        let steps = vec![Step { due: Duration::ZERO, act: Act::LogIn }];
        Session { number: 0, user: 0, steps, windows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        Workload {
            rate: 500.0,
            requests: 12.0,
            think: "exp:300ms".parse().unwrap(),
            users: 200,
            weights: Weights::Equal,
            densest: 3.0,
            hot: None,
            length: Duration::from_secs(100),
            seed: 7,
        }
    }

    fn all_requests(sessions: &[Session]) -> usize {
        dues(sessions).count()
    }

    fn dues(sessions: &[Session]) -> impl Iterator<Item = Duration> {
        let windows = |s: &Session| s.windows.concat();
        sessions.iter().flat_map(move |s| s.steps.iter().map(|step| step.due).chain(windows(s)))
    }

    #[test]
    fn the_load_is_there_at_once() {
        for seed in 0..5 {
            let sessions = Workload { seed, ..workload() }.sessions();
            for second in [0, 1, 2, 50, 99] {
                let (from, to) = (Duration::from_secs(second), Duration::from_secs(second + 1));
                let count = dues(&sessions).filter(|due| (from..to).contains(due)).count();
                assert!((350..=650).contains(&count), "{count} in second {second}, seed {seed}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        assert_eq!(workload().sessions(), workload().sessions());
        assert_ne!(workload().sessions(), Workload { seed: 8, ..workload() }.sessions());
    }

    #[test]
    fn arrivals_are_poisson_with_the_rate_that_was_asked_for() {
        let sessions = workload().sessions();
        let in_time = |due: &Duration| *due < workload().length;
        let requests = dues(&sessions).filter(in_time).count() as f64;
        assert!((requests / 50_000.0 - 1.0).abs() < 0.05, "{requests}");
        let arrivals: Vec<f64> = sessions.iter().map(|s| s.steps[0].due.as_secs_f64()).collect();
        let gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The exponential distribution has a standard deviation that is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.08, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn sessions_have_the_length_that_was_asked_for_and_are_whole() {
        let sessions = workload().sessions();
        let mean = all_requests(&sessions) as f64 / sessions.len() as f64;
        assert!((mean / 12.0 - 1.0).abs() < 0.1, "{mean}");
        for session in &sessions {
            assert_eq!(session.steps[0].act, Act::LogIn);
            let last: Vec<_> = session.steps.iter().rev().take(2).map(|step| step.act).collect();
            assert_eq!(last, [Act::LogOut, Act::CheckOut]);
            assert!(session.steps.is_sorted_by_key(|step| step.due));
        }
    }

    #[test]
    fn heavy_users_send_more_by_zipfs_law_and_the_load_is_the_same() {
        let weights = Weights::Zipf { exponent: 1.0, heaviest: 100.0 }.of(200);
        assert!((weights[0] / weights[9] - 10.0).abs() < 1e-6, "rank 10 weighs a tenth");
        let mean = weights.iter().sum::<f64>() / 200.0;
        assert!((mean - 1.0).abs() < 1e-9);
        let limited = Weights::Zipf { exponent: 1.0, heaviest: 12.0 };
        let weights = limited.of(200);
        assert!(weights.iter().all(|weight| *weight <= 12.02), "{:?}", &weights[..5]);
        assert!((weights.iter().sum::<f64>() / 200.0 - 1.0).abs() < 0.01);

        let sessions = Workload { weights: limited, ..workload() }.sessions();
        let requests = all_requests(&sessions) as f64;
        assert!((requests / 50_000.0 - 1.0).abs() < 0.08, "{requests}");
        let heavy: Vec<_> = sessions.into_iter().filter(|session| session.user <= 20).collect();
        let of_heaviest = all_requests(&heavy);
        assert!(of_heaviest as f64 / requests > 0.4, "a tenth of the users, {of_heaviest}");
        let heaviest = heavy.iter().find(|session| session.user == 1).unwrap();
        assert!((3..=4).contains(&heaviest.windows.len()), "four times what a window can");
    }

    #[test]
    fn the_hot_session_sends_its_share_side_by_side() {
        let sessions = Workload { hot: Some(0.2), ..workload() }.sessions();
        let all = all_requests(&sessions) as f64;
        assert!((all / 50_000.0 - 1.0).abs() < 0.05, "{all}");
        let hot = sessions.last().unwrap();
        let share = all_requests(std::slice::from_ref(hot)) as f64 / all;
        assert!((share - 0.2).abs() < 0.02, "{share}");
        assert!(hot.windows.len() >= 5, "{}", hot.windows.len());
    }
}
