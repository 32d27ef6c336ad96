//! Many sessions at once: when one ends, a new one takes its place.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::browser::Browser;
use super::journal::Journal;
use super::shopper::{Habits, Shopper};

/// What a crowd does.
#[derive(Debug)]
pub struct Plan {
    /// Every session has another browser like this one.
    pub browser: Browser,
    /// How many sessions at once.
    pub sessions: NonZeroUsize,
    /// How they behave.
    pub habits: Habits,
    /// What everybody wants, and how long everybody thinks, follows from it.
    pub seed: u64,
}

/// A crowd at work. Dropping it cuts its requests off; [`Crowd::stop`] does not.
#[derive(Debug)]
pub struct Crowd {
    seats: JoinSet<()>,
    stop: watch::Sender<bool>,
    journal: Arc<Mutex<Journal>>,
}

impl Crowd {
    /// Sends the crowd in, on the tokio runtime of the caller.
    pub fn start(plan: Plan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let journal = Arc::new(Mutex::new(Journal::default()));
        let (plan, next) = (Arc::new(plan), Arc::new(AtomicU64::new(1)));
        let mut seats = JoinSet::new();
        for _ in 0..plan.sessions.get() {
            seats.spawn(seat(plan.clone(), next.clone(), stopped.clone(), journal.clone()));
        }
        Crowd { seats, stop, journal }
    }

    /// What it has seen so far.
    pub fn journal(&self) -> Journal {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets everybody finish the request that they wait for, and gives what they saw.
    pub async fn stop(mut self) -> Journal {
        self.stop.send_replace(true);
        while self.seats.join_next().await.is_some() {}
        self.journal()
    }
}

/// One session after the other.
async fn seat(
    plan: Arc<Plan>,
    next: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
    journal: Arc<Mutex<Journal>>,
) {
    while !*stop.borrow() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let browser = plan.browser.another();
        let (habits, journal) = (&plan.habits, journal.clone());
        Shopper::new(number, plan.seed, browser, habits, stop.clone(), journal).visit().await;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::lab::app::{self, Kind, Settings};
    use crate::lab::delay::Delay;
    use crate::lab::journal::Ending;

    fn settings() -> Settings {
        Settings {
            name: "app-1".into(),
            kind: Kind::Memory,
            service_time: Delay::NONE,
            concurrency: NonZeroU32::new(10).unwrap(),
            max_sessions: 100,
            session_timeout: Duration::from_secs(60),
            drain_for: Duration::ZERO,
            seed: 1,
        }
    }

    async fn watch(settings: Settings, until: impl Fn(&Journal) -> bool) -> Journal {
        let think = Delay::fixed(Duration::from_millis(1));
        let address = app::spawn(settings).await;
        let crowd = Crowd::start(Plan {
            browser: Browser::new(address, "shop.test").unwrap(),
            sessions: NonZeroUsize::new(4).unwrap(),
            habits: Habits { think, name_in: None },
            seed: 7,
        });
        while !until(&crowd.journal()) {
            sleep(Duration::from_millis(5)).await;
        }
        let journal = crowd.stop().await;
        assert_eq!(journal.going_on(), 0);
        journal
    }

    #[tokio::test]
    async fn sessions_follow_each_other_and_find_their_carts() {
        let journal = watch(settings(), |journal| journal.ended(Ending::Completed) >= 8).await;
        assert_eq!((journal.error_count(), journal.ended(Ending::Lost)), (0, 0), "{journal:?}");
        assert_eq!(journal.ended(Ending::Failed), 0);
        assert!(journal.served_by("app-1") >= 8);
        assert!(journal.latencies().count() > journal.begun() * 4);
        assert!(journal.journeys().all(|journey| journey.stops.len() == 1));
    }

    #[tokio::test]
    async fn a_server_that_forgets_is_found_out() {
        let forgetful = Settings { max_sessions: 2, ..settings() };
        let journal = watch(forgetful, |journal| journal.ended(Ending::Lost) >= 3).await;
        assert_eq!(journal.error_count(), 0, "a lost session is no error: {journal:?}");
    }
}
