//! The power of two choices: draw two backends, take the less loaded.
//!
//! One more draw than [`random`](super::random) shrinks the longest queue exponentially, a third
//! adds only a constant (Mitzenmacher 2001, "The Power of Two Choices in Randomized Load
//! Balancing"), and unlike [`least_connections`](super::least_connections) many proxies that see
//! only a part of the load do not all run to the same backend. The cost does not depend on the
//! number of backends. Draws follow the weights, and so does what is compared: requests in flight
//! first, then the sessions that will bring more.

use super::draw::Draw;
use super::{Balancer, Candidates, Ready};
use crate::balance::Rng;

#[derive(Debug)]
pub(super) struct TwoChoices(Draw);

impl TwoChoices {
    pub(super) fn new(ready: &Ready) -> Self {
        TwoChoices(Draw::new(ready))
    }
}

impl Balancer for TwoChoices {
    fn pick(&self, candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        let (one, other) = self.0.two(candidates, rng)?;
        Some(candidates.less_loaded(one, other))
    }
}

#[cfg(test)]
mod tests {
    use crate::balance::InFlight;
    use crate::balance::balancer::Balance;
    use crate::balance::balancer::tests::{backends, candidates, histogram, occupy, ready, rng};

    #[test]
    fn of_two_the_less_loaded_is_taken() {
        let backends = backends(&[1, 1]);
        let _busy = occupy(&backends[0], 1);
        let counts = histogram(Balance::TwoChoices, &ready(&backends), 1_000);
        assert!(counts[0] < 20, "only when both draws are the same backend: {counts:?}");
    }

    #[test]
    fn at_equal_load_fewer_sessions_win() {
        let backends = backends(&[1, 1]);
        backends[0].add_session();
        let counts = histogram(Balance::TwoChoices, &ready(&backends), 1_000);
        assert!(counts[0] < 20, "{counts:?}");
    }

    /// The theorem in the small: as many balls as bins, and the fullest bin has few of them.
    #[test]
    fn the_longest_queue_is_far_shorter_than_by_one_choice() {
        let fullest = |balance: Balance| {
            let backends = backends(&[1; 1_000]);
            let ready = ready(&backends);
            let balancer = balance.prepare(&ready, &Default::default());
            let mut rng = rng(11);
            let _placed: Vec<InFlight> = (0..1_000)
                .flat_map(|_| {
                    let index = balancer.pick(&candidates(&ready, &[]), &mut rng).unwrap();
                    occupy(&backends[index], 1)
                })
                .collect();
            backends.iter().map(|backend| backend.in_flight()).max().unwrap()
        };
        assert!(fullest(Balance::TwoChoices) <= 3);
        assert!(fullest(Balance::Random) >= 5);
    }
}
