//! The simulator: the same [`Pool`](crate::balance::Pool) as the live proxy's, on virtual time.
//!
//! A discrete-event simulation: nothing happens between two events, so a virtual hour takes as
//! long as its events do. What decides (placing, binding, counting, queues, ejection, slow start,
//! draining) is not modelled but *is* the core; what surrounds it is: app servers that work on so
//! many requests at once and keep the others in line, users who think, and what befalls a fleet.
//! It reads no clock, and the same seed gives the same figures to the last byte.
//!
//! What it does not model: the network, the proxy's own time, garbage collection and whatever else
//! makes servers slow together.
//!
//! Reading order: [`plan`] (what is simulated), [`site`] (the proxied site), [`server`], `crowd`
//! (who comes), `happening` (crashes, deploys), `autoscaler`, [`figures`] (what it comes to); [`agenda`] is the
//! event queue.

pub(in crate::lab) mod agenda;
mod autoscaler;
mod bell;
pub(in crate::lab) mod crowd;
pub mod distribution;
pub mod figures;
mod happening;
pub(in crate::lab) mod meter;
pub mod plan;
pub mod report;
pub mod scenario;
pub(in crate::lab) mod server;
pub(in crate::lab) mod site;
pub mod sweep;
pub mod table;

use std::sync::atomic::{AtomicU64, Ordering};

use self::crowd::Crowd;
use self::figures::Figures;
use self::plan::{Clients, Plan};
use self::site::{Event, Site};
use super::policy::Policy;

/// Events between two reports of progress.
const REPORT: u64 = 1 << 16;

/// Runs a plan under a policy. `progress` is increased by the virtual nanoseconds that pass.
pub fn simulate(plan: &Plan, policy: &Policy, seed: u64, progress: &AtomicU64) -> Figures {
    let mut site = Site::new(plan, policy, seed);
    let mut crowd = Crowd::new(plan, policy, seed);
    crowd.begin(&mut site);
    let end = site.meter.to();
    let (mut events, mut reported) = (0u64, 0);
    while let Some((time, event)) = site.agenda.next() {
        if time > end {
            break;
        }
        site.now = time;
        match event {
            Event::Client(client) => crowd.act(client, &mut site),
            event => {
                if let Some(ended) = site.happen(event) {
                    crowd.hear(ended, &mut site);
                }
            }
        }
        while let Some(ended) = site.next_ended() {
            crowd.hear(ended, &mut site);
        }
        events += 1;
        if events.is_multiple_of(REPORT) {
            progress.fetch_add(time - reported, Ordering::Relaxed);
            reported = time;
        }
    }
    progress.fetch_add(end.saturating_sub(reported), Ordering::Relaxed);
    let counts = matches!(plan.clients, Clients::Sessions(_)).then_some(crowd.counts);
    Figures::new(&site, policy, seed, counts)
}
