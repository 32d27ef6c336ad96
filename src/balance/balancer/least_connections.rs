//! Fewest requests in flight for its weight; ties are broken by chance.
//!
//! What is compared is `(in_flight + 1) / weight`, the load *after* the request would have gone
//! there, so that an idle backend of weight 3 is preferred to an idle one of weight 1. Without
//! the random choice among ties an idle pool would send every new session to its first backend.
//! HAProxy and nginx call the same rule `leastconn` and `least_conn`.

use super::{Balancer, Candidates, below};
use crate::balance::Rng;

#[derive(Debug)]
pub(super) struct LeastConnections;

impl Balancer for LeastConnections {
    fn pick(&self, ready: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        let mut best: Option<(usize, u64, u64)> = None;
        let mut ties = 1;
        for (index, backend) in ready.backends.iter().enumerate() {
            if !ready.allows(index) {
                continue;
            }
            let load = u64::from(backend.in_flight()) + 1;
            let weight = u64::from(backend.weight());
            let order = match best {
                None => std::cmp::Ordering::Less,
                // load / weight < best_load / best_weight, without dividing.
                Some((_, best_load, best_weight)) => {
                    (load * best_weight).cmp(&(best_load * weight))
                }
            };
            match order {
                std::cmp::Ordering::Less => {
                    best = Some((index, load, weight));
                    ties = 1;
                }
                std::cmp::Ordering::Equal => {
                    // The n-th of equals replaces the choice with probability 1/n: all n are as
                    // likely in the end (reservoir sampling).
                    ties += 1;
                    if below(rng, ties) == 0 {
                        best = Some((index, load, weight));
                    }
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        best.map(|(index, ..)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::balancer::tests::{backends, histogram, occupy, rng};

    #[test]
    fn the_least_loaded_for_its_weight_wins() {
        let backends = backends(&[1, 1, 4]);
        let ready = Candidates { backends: &backends, tried: &[] };
        let mut rng = rng(1);
        let mut guards = occupy(&backends[2], 3);
        // (0+1)/1, (0+1)/1, (3+1)/4: all equal, so take the heavy one one further.
        guards.extend(occupy(&backends[2], 1));
        guards.extend(occupy(&backends[0], 1));
        for _ in 0..20 {
            assert_eq!(LeastConnections.pick(&ready, &mut rng), Some(1));
        }
        drop(guards);
        assert_eq!(LeastConnections.pick(&ready, &mut rng), Some(2), "idle: the weight decides");
    }

    #[test]
    fn ties_are_spread_evenly() {
        let backends = backends(&[1; 10]);
        let _busy: Vec<_> = backends[..4].iter().flat_map(|b| occupy(b, 1)).collect();
        let counts = histogram(&LeastConnections, &backends, 60_000);
        assert!(counts[..4].iter().all(|&c| c == 0), "{counts:?}");
        assert!(counts[4..].iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
    }
}
