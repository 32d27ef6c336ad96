//! The even world next to the real one, on virtual time.

use std::collections::BinaryHeap;
use std::time::Duration;

use super::super::affinity::{AffinitySpec, Grant, Mode};
use super::super::balancer::Balance;
use super::super::balancer::tests::rng;
use super::super::cost::{Figures, Meter, Window};
use super::super::{BackendId, BackendSpec, Hint, InFlight, PoolSpec, Rng, SessionId, Timestamp};
use super::{Ask, Decision, Pool};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn pool(balance: Balance, mode: Mode) -> Pool {
    let backend = |i| BackendSpec::new(format!("app-{i}"), "127.0.0.1:1".parse().unwrap());
    let affinity = AffinitySpec { mode, ..AffinitySpec::default() };
    let backends = (0..4).map(backend).collect();
    let spec = PoolSpec { balance, affinity, measures_cost: true, ..PoolSpec::new("p", backends) };
    Pool::new(&spec, 1)
}

/// A request that ends at a time, as a heap wants it: the first to end on top.
struct Ending {
    at: Timestamp,
    took: Duration,
    in_flight: InFlight,
}

impl PartialEq for Ending {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Ending {}

impl PartialOrd for Ending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

/// Poisson arrivals at `rate` a second for a minute, each with exponential service of 10 ms.
fn run(pool: &Pool, rate: f64, mut hint: impl FnMut(u64) -> Hint) -> Figures {
    let mut rng = rng(7);
    let mut meter = Meter::default();
    let mut endings = BinaryHeap::<Ending>::new();
    let (mut now, mut read_at) = (START, START);
    // Exponential: the logarithm of a number from 0 to 1.
    let draw = |rng: &mut dyn Rng, mean: f64| {
        let uniform = (rng.next_u64() as f64 + 1.0) / (u64::MAX as f64 + 1.0);
        Duration::from_secs_f64(-mean * uniform.ln())
    };
    for i in 0.. {
        now = now + draw(&mut rng, 1.0 / rate);
        while read_at <= now {
            meter.read(pool.readings(), read_at);
            read_at = read_at + Duration::from_secs(1);
        }
        while endings.peek().is_some_and(|ending| ending.at <= now) {
            let Ending { took, mut in_flight, .. } = endings.pop().unwrap();
            in_flight.took(took);
        }
        if now.since(START) > Duration::from_secs(61) {
            break;
        }
        let ask = Ask { hint: hint(i), tried: &[], since: now, let_go: None };
        match pool.place(&ask, now, &mut rng).unwrap() {
            Decision::Place(_, in_flight) => {
                let took = draw(&mut rng, 0.01);
                endings.push(Ending { at: now + took, took, in_flight });
            }
            Decision::Wait(_) => panic!("there is room"),
        }
        let in_flight = |of: fn(&super::Backend) -> u32| -> u32 {
            pool.backends().iter().map(|backend| of(backend)).sum()
        };
        assert_eq!(
            in_flight(super::Backend::in_flight),
            in_flight(super::Backend::in_flight_evenly)
        );
    }
    drop(endings);
    let is_idle = |b: &super::Backend| (b.in_flight(), b.in_flight_evenly()) == (0, 0);
    assert!(pool.backends().iter().all(|backend| is_idle(backend)));
    meter.figures(Window::Medium).unwrap()
}

#[test]
fn without_affinity_stickiness_costs_nothing() {
    for balance in Balance::ALL {
        let figures = run(&pool(balance, Mode::None), 1_000.0, |_| Hint::Free);
        let cost = figures.headroom_cost().unwrap();
        assert!(cost.abs() < 0.03, "{balance:?}: {cost}");
        assert_eq!(figures.forced_share, Some(0.0), "{balance:?}");
        assert!(figures.is_meaningful());
    }
}

/// Of five sessions that are equally busy two live at one of four backends: it gets 40 %, 1.6 of
/// its fair share, and the others 0.8.
#[test]
fn a_known_skew_has_its_known_cost() {
    let pool = pool(Balance::RoundRobin, Mode::Cookie);
    let session = |i: u64| {
        let home = ["app-0", "app-0", "app-1", "app-2", "app-3"][i as usize];
        let session = SessionId::from_bits(i);
        let backend = BackendId::new("p", home);
        Hint::Bound(Grant { backend, session, issued: START, refreshed: START })
    };
    let figures = run(&pool, 1_000.0, |i| session(i % 5));
    let peak = figures.requests.peak_to_mean.unwrap();
    assert!((peak - 1.6).abs() < 0.005, "{peak}");
    let cost = figures.headroom_cost().unwrap();
    assert!((cost - 0.6).abs() < 0.05, "{cost}");
    assert!((figures.even_requests.peak_to_mean.unwrap() - 1.0).abs() < 0.001);
    assert_eq!(figures.requests.peak, Some(BackendId::new("p", "app-0")));
    // Round robin goes elsewhere three times of four.
    let forced = figures.forced_share.unwrap();
    assert!((forced - 0.75).abs() < 0.02, "{forced}");
}

#[test]
fn nothing_is_cast_where_the_cost_is_not_measured() {
    let backends = vec![BackendSpec::new("a", "127.0.0.1:1".parse().unwrap())];
    let pool = Pool::new(&PoolSpec::new("p", backends), 1);
    let ask = Ask { hint: Hint::Free, tried: &[], since: START, let_go: None };
    let _placed = pool.place(&ask, START, &mut rng(1)).unwrap();
    let backend = &pool.backends()[0];
    assert_eq!((backend.in_flight(), backend.in_flight_evenly()), (1, 0));
}
