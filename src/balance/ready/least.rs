//! The least loaded of the ready backends, found by a look at all of them.
//!
//! That takes about a cycle for each of them: counts stand next to each other, and which of them
//! is the least depends on chance, so nothing in here branches on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{FULL, Ready, exact, rounded};
use crate::balance::balancer::below;
use crate::balance::load::{BLOCK, Block};
use crate::balance::{Backend, Rng};

/// Runs whose least load is noted: enough for two thousand backends of which all are ready. Of
/// further ones the least load counts, and if only they have it nobody is drawn.
const NOTED_RUNS: usize = 32;

/// Places in a run are bytes.
const _: () = assert!(BLOCK <= 256);

/// Consecutive backends whose counts are next to each other.
pub(super) struct Run {
    /// The index of the first of them.
    start: usize,
    block: Arc<Block>,
    /// Where in the block its count is.
    first: usize,
    len: usize,
    /// The weight of all of them.
    weight: u64,
}

impl Run {
    /// The runs of these backends, in their order.
    pub(super) fn all(backends: &[Arc<Backend>], weights: &[u32]) -> Box<[Run]> {
        let mut runs: Vec<Run> = Vec::new();
        for (start, (backend, &weight)) in backends.iter().zip(weights).enumerate() {
            let weight = u64::from(weight);
            let slot = backend.load().slot();
            match runs.last_mut() {
                Some(run)
                    if Arc::ptr_eq(&run.block, &slot.block)
                        && run.first + run.len == slot.index =>
                {
                    run.len += 1;
                    run.weight += weight;
                }
                _ => runs.push(Run {
                    start,
                    block: slot.block.clone(),
                    first: slot.index,
                    len: 1,
                    weight,
                }),
            }
        }
        runs.into()
    }
}

/// Those of a run that share the least load.
struct Ties<'a> {
    /// The index of the run's first.
    start: usize,
    /// Where they are, from there on.
    places: &'a [u8],
    /// The weight of all of them; how many they are, among equal weights.
    weight: u64,
}

/// How much load a count of requests in flight is.
trait Measure {
    /// Before it is rounded, so that the least of many need be rounded only once.
    fn exact(count: &AtomicU32, step: u64, limit: u32) -> u64;

    fn rounded(exact: u64) -> u64 {
        rounded(exact)
    }
}

/// The count alone, which will do among equal weights.
struct Alone;

impl Measure for Alone {
    fn exact(count: &AtomicU32, _step: u64, _limit: u32) -> u64 {
        count.load(Ordering::Relaxed).into()
    }

    fn rounded(exact: u64) -> u64 {
        exact
    }
}

/// For the weight.
struct ForWeight;

impl Measure for ForWeight {
    fn exact(count: &AtomicU32, step: u64, _limit: u32) -> u64 {
        u64::from(count.load(Ordering::Relaxed)) * step
    }
}

/// For the weight, where there are limits.
struct ForWeightUnlessFull;

impl Measure for ForWeightUnlessFull {
    fn exact(count: &AtomicU32, step: u64, limit: u32) -> u64 {
        exact(count.load(Ordering::Relaxed), step, limit)
    }
}

impl Ready {
    /// Two of those with the least load, drawn one after the other, each as often as its weight
    /// says. Of many backends, a run of those that have one is drawn first, by the weight of all in
    /// it: exact if there is only one run or all loads are equal, and near enough else. `None` if
    /// all are full, or nobody that is noted has that load, or has it any more.
    pub(in crate::balance) fn two_least(&self, rng: &mut dyn Rng) -> Option<(usize, usize)> {
        match (self.has_limits, self.has_equal_weights) {
            (true, _) => self.two_least_by::<ForWeightUnlessFull>(rng),
            (false, true) => self.two_least_by::<Alone>(rng),
            (false, false) => self.two_least_by::<ForWeight>(rng),
        }
    }

    fn two_least_by<M: Measure>(&self, rng: &mut dyn Rng) -> Option<(usize, usize)> {
        let mut places = [0; BLOCK];
        if let [run] = &*self.runs {
            let ties = self.ties::<M>(run, self.least_of::<M>(run), &mut places);
            return Some((self.draw(&ties, rng)?, self.draw(&ties, rng)?));
        }
        let mut noted = [u64::MAX; NOTED_RUNS];
        let mut least = u64::MAX;
        for (i, run) in self.runs.iter().enumerate() {
            let load = self.least_of::<M>(run);
            least = least.min(load);
            if let Some(noted) = noted.get_mut(i) {
                *noted = load;
            }
        }
        let mut draw = || {
            let run = self.draw_run(&noted, least, rng)?;
            self.draw(&self.ties::<M>(run, least, &mut places), rng)
        };
        Some((draw()?, draw()?))
    }

    /// One of the runs with the least load, as often as its weight says.
    fn draw_run(&self, noted: &[u64], least: u64, rng: &mut dyn Rng) -> Option<&Run> {
        let with_least = || self.runs.iter().zip(noted).filter(|(_, load)| **load == least);
        let ticket = below(rng, with_least().map(|(run, _)| run.weight).sum());
        let mut sum = 0;
        let hit = with_least().find(|(run, _)| {
            sum += run.weight;
            ticket < sum
        });
        hit.map(|(run, _)| run)
    }

    fn counts<'a>(&self, run: &'a Run) -> &'a [AtomicU32] {
        &run.block.counts(self.world)[run.first..run.first + run.len]
    }

    /// The least load of a run. Four at a time, since a comparison waits for the one before it.
    fn least_of<M: Measure>(&self, run: &Run) -> u64 {
        let range = run.start..run.start + run.len;
        let (counts, last_counts) = self.counts(run).as_chunks::<4>();
        let (steps, last_steps) = self.steps[range.clone()].as_chunks::<4>();
        let (limits, last_limits) = self.limits[range].as_chunks::<4>();
        let mut least = [FULL; 4];
        for ((counts, steps), limits) in counts.iter().zip(steps).zip(limits) {
            for (i, least) in least.iter_mut().enumerate() {
                *least = M::exact(&counts[i], steps[i], limits[i]).min(*least);
            }
        }
        let last = last_counts.iter().zip(last_steps).zip(last_limits);
        let last = last.map(|((count, &step), &limit)| M::exact(count, step, limit));
        M::rounded(last.chain(least).fold(FULL, u64::min))
    }

    /// Who of a run has that load, or less by now. Nobody if that is the load of the full.
    fn ties<'a, M: Measure>(&self, run: &Run, least: u64, places: &'a mut [u8; BLOCK]) -> Ties<'a> {
        let start = run.start;
        if least >= rounded(FULL) {
            return Ties { start, places: &[], weight: 0 };
        }
        let range = start..start + run.len;
        let loads =
            self.counts(run).iter().zip(&self.steps[range.clone()]).zip(&self.limits[range]);
        let mut found = 0;
        for (place, ((count, &step), &limit)) in loads.enumerate() {
            // Written always and kept sometimes: a branch that depends on chance would cost more.
            places[found % BLOCK] = place as u8;
            found += usize::from(M::rounded(M::exact(count, step, limit)) <= least);
        }
        let places = &places[..found];
        let weight = match self.has_equal_weights {
            true => found as u64,
            false => places.iter().map(|&place| self.weight(start, place)).sum(),
        };
        Ties { start, places, weight }
    }

    fn weight(&self, start: usize, place: u8) -> u64 {
        self.weights[start + usize::from(place)].into()
    }

    /// One of them, as often as its weight says.
    fn draw(&self, ties: &Ties<'_>, rng: &mut dyn Rng) -> Option<usize> {
        let ticket = below(rng, ties.weight);
        let drawn = if self.has_equal_weights {
            ticket as usize
        } else {
            // To the end, for the same reason.
            let mut sum = 0;
            let is_before = |&&place: &&u8| {
                sum += self.weight(ties.start, place);
                sum <= ticket
            };
            ties.places.iter().filter(is_before).count()
        };
        ties.places.get(drawn).map(|&place| ties.start + usize::from(place))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use crate::balance::balancer::tests::{limited, occupy, ready, rng};

    #[test]
    fn what_is_drawn_has_the_least_load_of_all() {
        let mut dice = rng(21);
        for size in [1, 3, 4, 5, 11, 63, 64, 65, 129, 200] {
            for (heaviest, fullest) in [(1, None), (7, None), (1, Some(3)), (7, Some(9))] {
                let mut spec = || {
                    let limit = fullest.map(|most| dice.random_range(1..=most));
                    (dice.random_range(1..=heaviest), limit)
                };
                let specs: Vec<_> = (0..size).map(|_| spec()).collect();
                let backends = limited(&specs);
                let ready = ready(&backends);
                let mut held = Vec::new();
                for backend in &backends {
                    let room = backend.max_connections().unwrap_or(4);
                    held.extend(occupy(backend, dice.random_range(0..=room) as usize));
                }
                let loads = || (0..size).map(|index| ready.relative_load(index));
                if backends.iter().all(|backend| !backend.has_room()) {
                    assert_eq!(ready.two_least(&mut dice), None);
                    continue;
                }
                for _ in 0..20 {
                    let (one, other) = ready.two_least(&mut dice).unwrap();
                    let drawn = [one, other].map(|index| ready.relative_load(index));
                    assert_eq!(
                        drawn.map(Some),
                        [loads().min(); 2],
                        "{size} {heaviest} {fullest:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_is_drawn_when_all_are_full() {
        for size in [3, 100] {
            let backends = limited(&vec![(2, Some(1)); size]);
            let _held: Vec<_> = backends.iter().flat_map(|b| occupy(b, 1)).collect();
            assert_eq!(ready(&backends).two_least(&mut rng(1)), None);
        }
    }
}
