//! How much may be asked twice. A pool that fails asks for retries of everything, which is more
//! than it was asked in the first place: so retries are bounded by a share of what went well to
//! begin with. A token bucket, as in Finagle's `RetryBudget`.

use std::sync::atomic::{AtomicU32, Ordering};

/// One retry, in the bucket's units.
const RETRY: u32 = 1000;

/// Retries that may be made at first, so that pools with few requests have some.
const RESERVE: u32 = 10 * RETRY;

/// Retries that can be saved up.
const MOST: u32 = 100 * RETRY;

/// How much may be asked twice.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: AtomicU32,
    /// What each request brings in.
    deposit: u32,
}

impl RetryBudget {
    /// Retries for this share (0 to 1) of the requests.
    pub fn new(share: f64) -> Self {
        let deposit = (share.clamp(0.0, 1.0) * f64::from(RETRY)) as u32;
        RetryBudget { tokens: AtomicU32::new(RESERVE), deposit }
    }

    /// A request has come.
    pub fn deposit(&self) {
        let add = |tokens: u32| (tokens < MOST).then(|| (tokens + self.deposit).min(MOST));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// May one be repeated? Takes it from the budget.
    pub fn withdraw(&self) -> bool {
        let take = |tokens: u32| tokens.checked_sub(RETRY);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_requests() {
        let budget = RetryBudget::new(0.2);
        let spent = (0..).take_while(|_| budget.withdraw()).count();
        assert_eq!(spent, 10, "the reserve");
        (0..50).for_each(|_| budget.deposit());
        assert_eq!((0..).take_while(|_| budget.withdraw()).count(), 10);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!((0..).take_while(|_| budget.withdraw()).count(), 100, "no more is saved up");
    }
}
