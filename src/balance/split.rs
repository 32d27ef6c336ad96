//! Canaries: several pools behind one route, each with its share of the requests.
//!
//! A session keeps its *arm*, the pool that it began in. So a share of new sessions is not a share
//! of requests: an arm whose sessions are longer, or busier, gets more than its share, and what a
//! change of weights does shows only when sessions have come and gone. Therefore the shares of
//! requests are measured over a sliding window, and new sessions are steered so that those become
//! what they should be: with a proportional part, which leans against what is off now, and an
//! integral one, which learns what sessions of each arm are worth. Within these targets arms take
//! turns, smoothly weighted, since drawing lots would add noise of its own.
//!
//! Pure: it is told the time, and draws nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Timestamp;
use super::hashing::{self, Algorithm, Hashing, Member};

/// The targets are computed anew so often.
const SLOT: Duration = Duration::from_secs(1);

/// Slots in the window that shares are measured over.
const SLOTS: usize = 60;

/// Requests in the window below which a share says nothing yet.
const ENOUGH: u64 = 100;

/// How hard what is off now is leaned against.
const PROPORTIONAL: f64 = 2.0;

/// How much is learned from it, a second.
const INTEGRAL: f64 = 0.02;

/// How far what was learned may lead from the weights.
const MOST_LEARNED: f64 = 0.5;

/// Steers new sessions to the arms of a route. All workers share it.
#[derive(Debug)]
pub struct Split {
    arms: Box<[Arm]>,
    control: Mutex<Control>,
    /// From a key to an arm.
    keys: Arc<dyn Hashing>,
}

#[derive(Debug)]
struct Arm {
    weight: u32,
    /// Requests so far.
    requests: CachePadded<AtomicU64>,
}

#[derive(Debug)]
struct Control {
    /// How many requests each arm had had when a slot began, the oldest first.
    slots: VecDeque<(Timestamp, Box<[u64]>)>,
    /// When the targets were computed.
    computed: Option<Timestamp>,
    /// What was learned about each arm.
    learned: Box<[f64]>,
    /// The share of new sessions that each arm should get.
    targets: Box<[f64]>,
    /// What each arm is owed.
    credits: Box<[f64]>,
}

impl Split {
    /// Of arms with these names and weights. Weight 0: no new sessions.
    pub fn new<'a>(arms: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let (members, arms): (Vec<Member>, Vec<Arm>) = arms
            .into_iter()
            .map(|(name, weight)| {
                let member = Member { name: hashing::key(name.as_bytes()), weight };
                (member, Arm { weight, requests: CachePadded::default() })
            })
            .unzip();
        let zeros = vec![0.0; arms.len()];
        let control = Control {
            slots: VecDeque::new(),
            computed: None,
            learned: zeros.clone().into(),
            targets: zeros.clone().into(),
            credits: zeros.into(),
        };
        let keys = Algorithm::Rendezvous.prepare(&members);
        let split = Split { arms: arms.into(), control: Mutex::new(control), keys };
        if let Ok(mut control) = split.control.lock() {
            control.targets = split.weights();
        }
        split
    }

    /// The shares of requests that the arms should have.
    pub fn weights(&self) -> Box<[f64]> {
        let sum: f64 = self.arms.iter().map(|arm| f64::from(arm.weight)).sum();
        self.arms.iter().map(|arm| f64::from(arm.weight) / sum.max(1.0)).collect()
    }

    /// A request goes to this arm, whatever led it there.
    pub fn note(&self, arm: usize) {
        if let Some(arm) = self.arms.get(arm) {
            arm.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The arm for a new session, among those with a weight that are open: that can take one.
    /// `None` if there is none.
    pub fn choose(&self, now: Timestamp, is_open: impl Fn(usize) -> bool) -> Option<usize> {
        let mut control = self.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let control = &mut *control;
        self.advance(control, now);
        let open: Vec<usize> =
            (0..self.arms.len()).filter(|&i| self.arms[i].weight > 0 && is_open(i)).collect();
        let sum: f64 = open.iter().map(|&i| control.targets[i]).sum();
        for &i in &open {
            // Those that are closed are owed nothing: the others have their shares for now.
            let even = 1.0 / open.len() as f64;
            control.credits[i] += if sum > 0.0 { control.targets[i] / sum } else { even };
        }
        let most = |a: &usize, b: &usize| {
            control.credits[*a].total_cmp(&control.credits[*b]).then(b.cmp(a))
        };
        let chosen = open.into_iter().max_by(most)?;
        control.credits[chosen] -= 1.0;
        Some(chosen)
    }

    /// The arm for everybody who has this key: the same for as long as the weights stay and the arm
    /// is open, and few move when they change (weighted rendezvous).
    pub fn of_key(&self, key: u64, is_open: impl Fn(usize) -> bool) -> Option<usize> {
        self.keys.owner(key, &is_open)
    }

    /// Time passes, also where no session begins: every second of it is a slot of the window.
    pub fn tick(&self, now: Timestamp) {
        let mut control = self.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.move_window(&mut control, now);
    }

    fn move_window(&self, control: &mut Control, now: Timestamp) {
        let latest = control.slots.back().map(|(at, _)| *at);
        if latest.is_some_and(|at| now.since(at) < SLOT) {
            return;
        }
        let counts = self.arms.iter().map(|arm| arm.requests.load(Ordering::Relaxed)).collect();
        control.slots.push_back((now, counts));
        let is_old = |at: Timestamp| now.since(at) > SLOT * SLOTS as u32;
        while control.slots.len() > 1 && control.slots.front().is_some_and(|(at, _)| is_old(*at)) {
            control.slots.pop_front();
        }
    }

    /// The shares of requests that the arms have had in the window; `None` if those are too few.
    pub fn shares(&self) -> Option<Box<[f64]>> {
        let control = self.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.measured(&control)
    }

    fn measured(&self, control: &Control) -> Option<Box<[f64]>> {
        let (_, before) = control.slots.front()?;
        let since = |(arm, before): (&Arm, &u64)| arm.requests.load(Ordering::Relaxed) - before;
        let requests: Vec<u64> = self.arms.iter().zip(before).map(since).collect();
        let all: u64 = requests.iter().sum();
        (all >= ENOUGH).then(|| requests.iter().map(|&n| n as f64 / all as f64).collect())
    }

    /// Computes the targets anew if it is time for it: nothing is learned while nobody asks.
    fn advance(&self, control: &mut Control, now: Timestamp) {
        let passed = control.computed.map_or(SLOT, |at| now.since(at));
        if passed < SLOT {
            return;
        }
        control.computed = Some(now);
        let shares = self.measured(control);
        self.move_window(control, now);
        let weights = self.weights();
        let Some(shares) = shares else {
            control.targets = weights;
            return;
        };
        // Whoever has been quiet for long has learned nothing meanwhile.
        let seconds = passed.min(SLOT * 5).as_secs_f64();
        for (i, weight) in weights.iter().enumerate() {
            let lacking = weight - shares[i];
            let learned = control.learned[i] + INTEGRAL * lacking * seconds;
            control.learned[i] = learned.clamp(-MOST_LEARNED, MOST_LEARNED);
            let target = weight + PROPORTIONAL * lacking + control.learned[i];
            control.targets[i] = if self.arms[i].weight > 0 { target.clamp(0.0, 1.0) } else { 0.0 };
        }
        let sum: f64 = control.targets.iter().sum();
        if sum > 0.0 {
            control.targets.iter_mut().for_each(|target| *target /= sum);
        } else {
            control.targets = weights;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// What sessions of one arm are like.
    #[derive(Clone, Copy)]
    struct Kind {
        /// Seconds that one lasts, on average.
        lasts: f64,
        /// Requests that it sends a second.
        sends: f64,
    }

    /// Sessions that come and go; time goes by in steps of a tenth of a second.
    struct Crowd {
        split: Split,
        rng: StdRng,
        kinds: Vec<Kind>,
        sessions: Vec<u64>,
        /// Requests by second and arm.
        requests: Vec<Vec<u64>>,
        now: f64,
    }

    impl Crowd {
        const STEP: f64 = 0.1;

        fn new(seed: u64, weights: &[u32], kinds: &[Kind]) -> Self {
            let names = ["stable", "canary", "third"];
            Crowd {
                split: Split::new(names.into_iter().zip(weights.iter().copied())),
                rng: StdRng::seed_from_u64(seed),
                kinds: kinds.to_vec(),
                sessions: vec![0; weights.len()],
                requests: Vec::new(),
                now: 0.0,
            }
        }

        /// So many of `n` when each is one with this probability.
        fn some_of(&mut self, n: u64, probability: f64) -> u64 {
            (0..n).filter(|_| self.rng.random::<f64>() < probability).count() as u64
        }

        fn run(&mut self, seconds: usize, new_a_second: f64) {
            for step in 0..seconds * 10 {
                if step % 10 == 0 {
                    self.requests.push(vec![0; self.sessions.len()]);
                }
                self.now += Self::STEP;
                let now = Timestamp::from_millis((self.now * 1000.0) as u64);
                self.split.tick(now);
                for _ in 0..self.some_of(100, new_a_second * Self::STEP / 100.0) {
                    if let Some(arm) = self.split.choose(now, |_| true) {
                        self.sessions[arm] += 1;
                        self.count(arm, 1);
                    }
                }
                for arm in 0..self.sessions.len() {
                    let Kind { lasts, sends } = self.kinds[arm];
                    self.sessions[arm] -= self.some_of(self.sessions[arm], Self::STEP / lasts);
                    let sent = self.some_of(self.sessions[arm], sends * Self::STEP);
                    self.count(arm, sent);
                }
            }
        }

        fn count(&mut self, arm: usize, requests: u64) {
            (0..requests).for_each(|_| self.split.note(arm));
            self.requests.last_mut().unwrap()[arm] += requests;
        }

        /// By how much the share of an arm was off at most in any minute from `second` on, and in
        /// all of that time.
        fn off(&self, arm: usize, second: usize) -> (f64, f64) {
            let wanted = self.split.weights()[arm];
            let share = |seconds: &[Vec<u64>]| {
                let all: u64 = seconds.iter().flatten().sum();
                seconds.iter().map(|requests| requests[arm]).sum::<u64>() as f64 / all as f64
            };
            let late = &self.requests[second..];
            let minutes = late.windows(60).map(|minute| (share(minute) - wanted).abs());
            (minutes.fold(0.0, f64::max), (share(late) - wanted).abs())
        }
    }

    const USUAL: Kind = Kind { lasts: 30.0, sends: 0.3 };

    #[test]
    fn the_share_of_requests_stays_at_the_weight_whatever_sessions_are_like() {
        let kinds = [
            Kind { lasts: 10.0, ..USUAL },
            Kind { lasts: 90.0, ..USUAL },
            Kind { sends: 0.9, ..USUAL },
        ];
        for (seed, kind) in (1..).zip(kinds) {
            for weights in [[95, 5], [50, 50]] {
                let mut crowd = Crowd::new(seed, &weights, &[USUAL, kind]);
                crowd.run(1000, 100.0);
                let (worst, overall) = crowd.off(1, 600);
                assert!(worst <= 0.02, "seed {seed}, {weights:?}: off by {worst:.4} in a minute");
                assert!(overall <= 0.005, "seed {seed}, {weights:?}: off by {overall:.4} in all");
            }
        }
    }

    #[test]
    fn a_canary_beside_a_crowd_gets_its_share_and_keeps_it() {
        let mut crowd = Crowd::new(7, &[90, 10], &[USUAL, USUAL]);
        crowd.sessions[0] = 900; // as if it had been alone so far
        crowd.run(900, 30.0);
        let (worst, overall) = crowd.off(1, 300);
        assert!(worst <= 0.02 && overall <= 0.005, "off by {worst:.4}, {overall:.4} in all");
    }

    #[test]
    fn three_arms_share_as_well() {
        let kinds = [USUAL, Kind { lasts: 60.0, ..USUAL }, Kind { sends: 0.6, ..USUAL }];
        let mut crowd = Crowd::new(3, &[70, 20, 10], &kinds);
        crowd.run(1000, 100.0);
        for arm in 0..3 {
            assert!(crowd.off(arm, 600).0 <= 0.02, "arm {arm}: {:?}", crowd.off(arm, 600));
        }
    }

    #[test]
    fn shares_are_measured_where_no_session_begins_and_are_those_of_the_last_minute() {
        let split = Split::new([("a", 1), ("b", 0)]);
        let second = |seconds: u64, of_a: u64, of_b: u64| {
            split.tick(Timestamp::from_millis(seconds * 1000));
            (0..of_a).for_each(|_| split.note(0));
            (0..of_b).for_each(|_| split.note(1));
            split.shares()
        };
        assert_eq!(second(1, 20, 60), None, "too few");
        assert_eq!(second(2, 10, 10).as_deref(), Some(&[0.3, 0.7][..]));
        (3..=62).for_each(|seconds| drop(second(seconds, 2, 0)));
        assert_eq!(second(63, 0, 0).as_deref(), Some(&[1.0, 0.0][..]), "b had some before that");
        assert_eq!(second(200, 0, 0), None, "nobody came for long");
    }

    #[test]
    fn no_weight_no_new_sessions_and_closed_arms_get_none() {
        let split = Split::new([("a", 0), ("b", 3), ("c", 1)]);
        let choose = |open: &[usize]| split.choose(Timestamp::ZERO, |arm| open.contains(&arm));
        let mut counts = [0; 3];
        (0..400).for_each(|_| counts[choose(&[0, 1, 2]).unwrap()] += 1);
        assert_eq!(counts, [0, 300, 100]);
        assert!((0..100).all(|_| choose(&[0, 2]) == Some(2)));
        assert_eq!((choose(&[0]), choose(&[])), (None, None));
        (0..400).for_each(|_| counts[choose(&[0, 1, 2]).unwrap()] += 1);
        assert!(counts[1] <= 601, "nobody makes up for what it missed: {counts:?}");
    }

    #[test]
    fn requests_without_sessions_are_split_exactly() {
        let split = Split::new([("a", 95), ("b", 5)]);
        let mut counts = [0_u32; 2];
        for millis in 0..100_000 {
            let arm = split.choose(Timestamp::from_millis(millis), |_| true).unwrap();
            split.note(arm);
            counts[arm] += 1;
        }
        assert!((4_900..5_100).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn keys_stay_and_few_of_them_move() {
        let (before, after) =
            (Split::new([("a", 90), ("b", 10)]), Split::new([("b", 20), ("a", 80)]));
        let mut moved = 0;
        let mut of_b = 0;
        for key in 0..100_000_u64 {
            let (old, new) = (before.of_key(key, |_| true), after.of_key(key, |_| true));
            assert_eq!(old, before.of_key(key, |_| true));
            of_b += u32::from(old == Some(1));
            // Their order is another one now.
            let is_same = (old == Some(0)) == (new == Some(1));
            assert!(is_same || old == Some(0), "nobody leaves an arm that gets more");
            moved += u32::from(!is_same);
        }
        assert!((9_500..10_500).contains(&of_b), "{of_b}");
        assert!((9_000..13_000).contains(&moved), "{moved}");
        assert_eq!(before.of_key(1, |arm| arm == 1), Some(1));
    }
}
