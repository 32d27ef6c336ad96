//! How many requests a client may send: GCRA, by the `governor` crate, over a store of ours.
//!
//! What is remembered of a client is a number: when its quota will be full again. The store holds
//! so many of them and no more. Those whose quota is full are as good as forgotten, and make room
//! for others; if there is none, all further clients count as one until there is.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use http::Uri;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::client::Client;
use super::destination::KeyFinder;
use crate::clock::{self, Moment};
use crate::config;
use crate::http::field_lines::FieldLines;

/// Not more often than this is looked for clients to forget, in nanoseconds.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

/// Counts the requests of a route's clients.
#[derive(Debug)]
pub(crate) struct Limiter {
    limiter: RateLimiter<u64, Keys, Elapsed, NoOpMiddleware<Nanos>>,
    finder: KeyFinder,
    /// So that nobody can find keys that count as another's.
    seed: u64,
}

impl Limiter {
    /// Nobody has asked for anything yet. The seed is drawn by chance.
    pub(crate) fn new(config: &config::RateLimit, seed: u64) -> Self {
        let count = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let interval = config.per / config.requests.max(1);
        // An interval of no length at all is one of a nanosecond.
        let quota = Quota::with_period(interval.max(Duration::from_nanos(1)));
        let quota = quota.unwrap_or(Quota::per_second(count(config.requests)));
        let clock = Elapsed(clock::moment());
        let quota = quota.allow_burst(count(config.burst));
        Limiter {
            limiter: RateLimiter::new(quota, Keys::new(config.max_keys, clock.clone()), clock),
            finder: KeyFinder::of(&config.key),
            seed,
        }
    }

    /// May this request go on? Otherwise, in how long may one?
    pub(crate) fn check(
        &self,
        client: &Client,
        fields: &FieldLines,
        uri: &Uri,
    ) -> Result<(), Duration> {
        let hash = |bytes: &[u8]| xxh3_64_with_seed(bytes, self.seed);
        let key = match self.finder {
            KeyFinder::SourceAddress => None,
            // Its length is bounded by that of a request head.
            _ => self.finder.with_key(client, fields, uri, hash),
        };
        // An address may not count as a value that looks like it.
        let address = || hash(&network(client.source(fields))).wrapping_add(1);
        let key = key.unwrap_or_else(address);
        let refused = self.limiter.check_key(&key).err();
        refused.map_or(Ok(()), |until| Err(until.wait_time_from(self.limiter.clock().now())))
    }
}

/// Who is one client by its address. Whoever has an IPv6 address has a /64 of them.
fn network(address: IpAddr) -> [u8; 9] {
    let mut network = [0; 9];
    match address {
        IpAddr::V4(v4) => {
            network[0] = 4;
            network[1..5].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            network[0] = 6;
            network[1..].copy_from_slice(&v6.octets()[..8]);
        }
    }
    network
}

/// The clock that a limiter counts on: nanoseconds since it was made.
#[derive(Clone, Debug)]
struct Elapsed(Moment);

impl Clock for Elapsed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(clock::moment().since(self.0))
    }
}

/// When the quota of each client will be full again.
#[derive(Debug)]
struct Keys {
    map: DashMap<u64, Nanos, FixedState>,
    /// How many are in it.
    count: AtomicUsize,
    most: usize,
    /// That of everybody for whom there was no room.
    others: Mutex<Option<Nanos>>,
    clock: Elapsed,
    swept_at: AtomicU64,
}

impl Keys {
    fn new(most: usize, clock: Elapsed) -> Self {
        Keys {
            map: DashMap::default(),
            count: AtomicUsize::new(0),
            most,
            others: Mutex::default(),
            clock,
            swept_at: AtomicU64::new(0),
        }
    }

    /// Forgets who is as good as new, if somebody needs the room.
    fn make_room(&self) {
        let now = self.clock.now();
        let swept_at = self.swept_at.load(Ordering::Relaxed);
        let is_first = swept_at == 0;
        if (!is_first && now.as_u64() < swept_at.saturating_add(SWEEP_INTERVAL))
            || self
                .swept_at
                .compare_exchange(swept_at, now.as_u64(), Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let mut forgotten = 0;
        self.map.retain(|_, full_at| {
            let is_kept = *full_at > now;
            forgotten += usize::from(!is_kept);
            is_kept
        });
        self.count.fetch_sub(forgotten, Ordering::Relaxed);
    }
}

impl StateStore for Keys {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if self.count.load(Ordering::Relaxed) >= self.most && !self.map.contains_key(key) {
            self.make_room();
        }
        match self.map.entry(*key) {
            Entry::Occupied(mut known) => {
                let (outcome, full_at) = measure(Some(*known.get()))?;
                *known.get_mut() = full_at;
                Ok(outcome)
            }
            Entry::Vacant(new) if self.count.load(Ordering::Relaxed) < self.most => {
                let (outcome, full_at) = measure(None)?;
                self.count.fetch_add(1, Ordering::Relaxed);
                new.insert(full_at);
                Ok(outcome)
            }
            Entry::Vacant(new) => {
                drop(new);
                let mut others =
                    self.others.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let (outcome, full_at) = measure(*others)?;
                *others = Some(full_at);
                Ok(outcome)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Store = Keys;

    fn store(most: usize) -> Store {
        Keys::new(most, Elapsed(clock::moment()))
    }

    /// Lets a client through until its quota is full again at `full_at`.
    fn note(store: &Store, key: u64, full_at: u64) -> Option<Nanos> {
        let seen = std::cell::Cell::new(None);
        let noted: Result<(), ()> = store.measure_and_replace(&key, |before| {
            seen.set(before);
            Ok(((), Nanos::new(full_at)))
        });
        noted.unwrap();
        seen.get()
    }

    #[test]
    fn clients_are_told_apart_while_there_is_room() {
        let store = store(2);
        let late = u64::MAX;
        assert_eq!(note(&store, 1, late), None);
        assert_eq!(note(&store, 2, late), None);
        assert_eq!(note(&store, 1, late), Some(Nanos::new(late)));
        assert_eq!(note(&store, 3, 7), None);
        assert_eq!(note(&store, 4, 8), Some(Nanos::new(7)), "the two that are left count as one");
        assert_eq!(store.map.len(), 2);
    }

    #[test]
    fn who_is_as_good_as_new_makes_room() {
        let store = store(100);
        for key in 0..1000 {
            note(&store, key, 1);
        }
        assert!(store.map.len() <= 100 && store.count.load(Ordering::Relaxed) == store.map.len());
        assert_eq!(note(&store, 0, 1).map(Nanos::as_u64).unwrap_or(1), 1);
        store.swept_at.store(0, Ordering::Relaxed);
        assert_eq!(note(&store, 5000, u64::MAX), None);
        assert_eq!(store.map.len(), 1, "all others have been forgotten");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_ne!(network("0.0.0.1"), network("::1"));
    }
}
