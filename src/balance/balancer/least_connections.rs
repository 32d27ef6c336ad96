//! Fewest requests in flight for its weight; of equals, fewer sessions for its weight.
//!
//! Of those that share the least load two are drawn by weight, and the one with fewer sessions is
//! taken: without the draw an idle pool would send every new session to the same backend, and
//! without the look at sessions an idle one would be no better than chance. What is compared does
//! not count the request itself, or an idle backend of weight 2 would always be preferred to an
//! idle one of weight 1. HAProxy and nginx have the rule as `leastconn` and `least_conn`.
//!
//! Every backend is looked at, since any structure that keeps them sorted would be written by
//! every request of every thread. The counts stand next to each other, so a thousand of them are
//! read in well under a microsecond.

use super::{Balancer, Candidates, below};
use crate::balance::Rng;

#[derive(Debug)]
pub(super) struct LeastConnections;

impl Balancer for LeastConnections {
    fn pick(&self, candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
        if !candidates.tried.is_empty() {
            return least_of_allowed(candidates, rng);
        }
        match candidates.ready.two_least(rng) {
            Some((one, other)) => Some(candidates.fewer_sessions(one, other)),
            None => least_of_allowed(candidates, rng),
        }
    }
}

/// The slow way, for the rare request that has failed somewhere already.
fn least_of_allowed(candidates: &Candidates<'_>, rng: &mut dyn Rng) -> Option<usize> {
    let len = candidates.ready.len();
    // From anywhere on, since of equals the first is taken.
    let start = below(rng, len as u64) as usize;
    let indices = (start..len).chain(0..start);
    let allowed = indices.filter(|&index| candidates.allows(index));
    allowed.reduce(|best, index| candidates.less_loaded(best, index))
}

#[cfg(test)]
mod tests {
    use crate::balance::balancer::Balance;
    use crate::balance::balancer::tests::{backends, histogram, occupy, ready};

    #[test]
    fn the_least_loaded_for_its_weight_wins() {
        let backends = backends(&[1, 1, 4]);
        let _busy: Vec<_> =
            [(0, 2), (1, 1), (2, 5)].iter().flat_map(|&(i, n)| occupy(&backends[i], n)).collect();
        let counts = histogram(Balance::LeastConnections, &ready(&backends), 100);
        assert_eq!(counts, [0, 100, 0], "1/1 is less than 2/1 and 5/4");
    }

    #[test]
    fn an_idle_pool_is_shared_by_weight() {
        let counts = histogram(Balance::LeastConnections, &ready(&backends(&[1, 2, 5])), 80_000);
        let near = |count: usize, share: usize| count.abs_diff(share) < 700;
        assert!(near(counts[0], 10_000) && near(counts[1], 20_000) && near(counts[2], 50_000));
    }

    #[test]
    fn ties_are_found_across_weights() {
        let backends = backends(&[1, 3, 7]);
        let _busy: Vec<_> =
            [(0, 1), (1, 3), (2, 7)].iter().flat_map(|&(i, n)| occupy(&backends[i], n)).collect();
        let counts = histogram(Balance::LeastConnections, &ready(&backends), 30_000);
        // 1/1, 3/3 and 7/7 are equal, and equals are drawn by weight.
        assert!(counts.iter().zip([1, 3, 7]).all(|(&n, w)| n.abs_diff(30_000 * w / 11) < 600));
    }

    #[test]
    fn ties_are_spread_evenly() {
        for idle in [1, 6, 600] {
            let backends = backends(&vec![1; 400 + idle]);
            let _busy: Vec<_> = backends[..400].iter().flat_map(|b| occupy(b, 1)).collect();
            let picks = 2_000 * idle;
            let counts = histogram(Balance::LeastConnections, &ready(&backends), picks);
            assert!(counts[..400].iter().all(|&count| count == 0));
            // Of many, those whose neighbours are busy are drawn more often, by a third here.
            let most = if idle > 64 { 3_000 } else { 2_250 };
            assert!(counts[400..].iter().all(|c| (1_700..most).contains(c)), "{idle}: {counts:?}");
        }
    }

    #[test]
    fn one_of_thousands_is_found_wherever_it_is() {
        let backends = backends(&[1; 2_500]);
        let mut busy: Vec<_> = backends.iter().map(|b| occupy(b, 1)).collect();
        for idle in [0, 1_000, 2_499] {
            busy[idle].clear();
            let counts = histogram(Balance::LeastConnections, &ready(&backends), 10);
            assert_eq!(counts[idle], 10);
            busy[idle] = occupy(&backends[idle], 1);
        }
    }

    #[test]
    fn of_equals_those_with_fewer_sessions_get_more() {
        let backends = backends(&[1; 4]);
        backends[0].add_session();
        let counts = histogram(Balance::LeastConnections, &ready(&backends), 16_000);
        assert!(counts[0] < 1_300, "only if drawn twice: {counts:?}");
    }
}
