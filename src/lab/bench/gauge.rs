//! Counts requests where they arrive: at the app servers, by asking them again and again.

use std::time::Duration;

use super::BenchError;
use super::fleet::{Fleet, Inspector};
use crate::lab::app::answer::Stats;
use crate::lab::report::figures::Imbalance;
use crate::lab::report::{BackendLoad, Load};

/// Between two looks.
pub(super) const STEP: Duration = Duration::from_millis(250);

/// Requests by server, step by step.
#[derive(Debug)]
pub(super) struct Gauge {
    inspector: Inspector,
    names: Vec<String>,
    tally: Tally,
}

impl Gauge {
    pub(super) fn new(fleet: &Fleet) -> Result<Self, BenchError> {
        let names: Vec<_> = fleet.addresses().into_iter().map(|(name, _)| name).collect();
        let tally = Tally::new(names.len());
        Ok(Gauge { inspector: Inspector::new(fleet)?, names, tally })
    }

    /// Counting begins here.
    pub(super) async fn begin(&mut self) {
        let stats = self.inspector.look().await;
        self.tally.begin(&stats);
    }

    /// Another step has passed, which was so long.
    pub(super) async fn step(&mut self, length: Duration) {
        let stats = self.inspector.look().await;
        self.tally.step(&stats, length);
    }

    /// How uneven it was, by the requests of each server over the time that it was there.
    pub(super) fn imbalance(&self) -> Imbalance {
        let totals = self.tally.totals.iter().map(|total| *total as f64);
        Imbalance::of_weighted(totals.zip(self.tally.present.iter().copied()))
    }

    pub(super) fn load(&self) -> Load {
        let backends = self.names.iter().zip(&self.tally.rates);
        Load {
            step: STEP.as_secs_f64(),
            backends: backends
                .map(|(name, rates)| BackendLoad { name: name.clone(), rates: rates.clone() })
                .collect(),
        }
    }
}

/// Adds up what servers say, some of which were started again meanwhile.
#[derive(Debug)]
struct Tally {
    last: Vec<u64>,
    totals: Vec<u64>,
    /// Seconds during which it answered.
    present: Vec<f64>,
    rates: Vec<Vec<f64>>,
}

impl Tally {
    fn new(servers: usize) -> Self {
        Tally {
            last: vec![0; servers],
            totals: vec![0; servers],
            present: vec![0.0; servers],
            rates: vec![Vec::new(); servers],
        }
    }

    fn begin(&mut self, stats: &[Option<Stats>]) {
        for (last, stats) in self.last.iter_mut().zip(stats) {
            *last = stats.as_ref().map_or(0, |stats| stats.requests);
        }
    }

    fn step(&mut self, stats: &[Option<Stats>], length: Duration) {
        let seconds = length.as_secs_f64().max(1e-3);
        for (i, stats) in stats.iter().enumerate() {
            if stats.is_some() {
                self.present[i] += seconds;
            }
            // A server that does not answer has done what it has done until the last look; when
            // it is back it begins at zero.
            let now = stats.as_ref().map_or(0, |stats| stats.requests);
            let done = if now >= self.last[i] { now - self.last[i] } else { now };
            self.last[i] = now;
            self.totals[i] += done;
            self.rates[i].push(done as f64 / seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_started_again_goes_on_counting() {
        let stats =
            |requests| Some(Stats { server: "app-1".into(), requests, sessions: 0, channels: 0 });
        let mut tally = Tally::new(1);
        tally.begin(&[stats(100)]);
        for seen in [stats(150), None, None, stats(20), stats(50)] {
            tally.step(&[seen], Duration::from_millis(500));
        }
        assert_eq!(tally.totals, [100], "50 before, 50 after");
        assert_eq!(tally.rates[0], [100.0, 0.0, 0.0, 40.0, 60.0]);
        assert_eq!(tally.present, [1.5], "three of five steps");
    }
}
