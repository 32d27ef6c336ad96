//! Says that all is well, as long as it is: for a service manager that ends who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Moment, Tell};

/// Tells so in this interval, if every worker has done something since the last time.
pub(super) async fn run(interval: Duration, beats: Vec<Arc<AtomicU64>>, tell: Tell) {
    let mut last: Vec<Option<u64>> = vec![None; beats.len()];
    loop {
        tokio::time::sleep(interval).await;
        let now: Vec<_> = beats.iter().map(|beat| Some(beat.load(Ordering::Relaxed))).collect();
        if now.iter().zip(&last).all(|(now, last)| now != last) {
            tell(Moment::Alive);
        } else {
            tracing::error!("a worker stands still");
        }
        last = now;
    }
}
