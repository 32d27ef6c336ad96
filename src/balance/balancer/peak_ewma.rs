//! Power of two choices over what a request would probably wait: recent latency times requests in
//! flight.
//!
//! Latency sees what in-flight counts do not: a machine that is slower than its weight says, or
//! that has just begun to stumble. The average is peak-sensitive, see
//! [`Latency`](crate::balance::peak_ewma); the rule is that of Finagle (`PeakEwma.scala`) and
//! linkerd, Buoyant 2016 ("Beyond Round Robin: Load Balancing for Latency").

use super::draw::Draw;
use super::{Balancer, Candidates, Ready};
use crate::balance::Rng;

#[derive(Debug)]
pub(super) struct PeakEwma(Draw);

impl PeakEwma {
    pub(super) fn new(ready: &Ready) -> Self {
        PeakEwma(Draw::new(ready))
    }
}

impl Balancer for PeakEwma {
    fn pick(&self, candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        let (one, other) = self.0.two(candidates, rng)?;
        match (cost(candidates, one), cost(candidates, other)) {
            (Some(a), Some(b)) if a < b => Some(one),
            (Some(a), Some(b)) if a > b => Some(other),
            // Whoever has not answered yet is neither fast nor slow.
            _ => Some(candidates.less_loaded(one, other)),
        }
    }
}

/// How long one request more would take, relative to the weight. The request itself counts, or an
/// idle backend would cost nothing however slow it is.
fn cost(candidates: &Candidates<'_>, index: usize) -> Option<f32> {
    let backend = &candidates.ready.backends()[index];
    let latency = backend.latency(candidates.now)?;
    let in_flight = candidates.ready.in_flight(index);
    Some(latency * (in_flight + 1) as f32 / candidates.ready.weights()[index] as f32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::balance::Timestamp;
    use crate::balance::balancer::Balance;
    use crate::balance::balancer::tests::{backends, histogram, occupy, ready};

    #[test]
    fn the_faster_one_is_taken_until_its_queue_is_longer_than_it_is_faster() {
        let backends = backends(&[1, 1]);
        let observe = |index: usize, millis| {
            backends[index].observe_latency(Duration::from_millis(millis), Timestamp::ZERO);
        };
        observe(0, 10);
        observe(1, 40);
        let ready = ready(&backends);
        assert!(histogram(Balance::PeakEwma, &ready, 1_000)[1] < 20);
        let _two = occupy(&backends[0], 2);
        assert!(
            histogram(Balance::PeakEwma, &ready, 1_000)[1] < 20,
            "3 times 10 ms are less than 40"
        );
        let _five = occupy(&backends[0], 3);
        assert!(histogram(Balance::PeakEwma, &ready, 1_000)[0] < 20, "6 times 10 ms are more");
    }

    #[test]
    fn without_samples_it_is_least_loaded_of_two() {
        let backends = backends(&[1, 1]);
        let _busy = occupy(&backends[0], 1);
        assert!(histogram(Balance::PeakEwma, &ready(&backends), 1_000)[0] < 20);
    }
}
