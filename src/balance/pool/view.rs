//! What a pool's members were when somebody looked last.
//!
//! [`Pool::place`] borrows the members from all who share the pool, which takes two atomic writes.
//! Who asks often can keep them instead, and looks each time whether they are still the latest,
//! which takes a read. The answers are the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Ask, Decision, Placement, Pool};
use crate::balance::affinity::{Binding, Hint, Wish};
use crate::balance::members::Members;
use crate::balance::{Rng, Timestamp, Unavailable};

/// The members of a pool as one caller has seen them last. While it is kept and not used, so are
/// they.
#[derive(Debug)]
pub struct View {
    members: Arc<Members>,
    edition: u64,
}

impl Pool {
    /// Its members as they are now.
    pub fn view(&self) -> View {
        // In this order: members may be newer than their edition, and are looked at again then.
        let edition = self.edition.load(Ordering::Acquire);
        View { members: self.members.load_full(), edition }
    }

    /// As [`Pool::place`].
    #[inline]
    pub fn place_by(
        &self,
        view: &mut View,
        ask: &Ask<'_>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Result<Decision, Unavailable> {
        self.place_among(view.latest(self), ask, now, rng)
    }

    /// As [`Pool::bind`].
    #[inline]
    pub fn bind_by(
        &self,
        view: &mut View,
        hint: &Hint,
        placement: &Placement,
        wish: Option<Wish>,
        now: Timestamp,
        rng: &mut dyn Rng,
    ) -> Binding {
        self.bind_among(|| view.latest(self), hint, placement, wish, now, rng)
    }
}

impl View {
    /// The members of `pool`, which it is a view of, as they are now.
    #[inline]
    fn latest(&mut self, pool: &Pool) -> &Arc<Members> {
        if pool.edition.load(Ordering::Acquire) != self.edition {
            *self = pool.view();
        }
        &self.members
    }
}

#[cfg(test)]
mod tests {
    use crate::balance::affinity::Hint;
    use crate::balance::balancer::tests::rng;
    use crate::balance::{Ask, BackendSpec, Decision, Pool, PoolSpec, Timestamp, Unavailable};

    #[test]
    fn a_view_never_grows_old() {
        let spec = |name: &str| BackendSpec::new(name, "127.0.0.1:1".parse().unwrap());
        let pool = Pool::new(&PoolSpec::new("shop", vec![spec("app-1")]), 1);
        let mut view = pool.view();
        let mut dice = rng(1);
        let mut place = || {
            let now = Timestamp::ZERO;
            let ask = Ask { hint: Hint::Free, tried: &[], since: now, let_go: None };
            match pool.place_by(&mut view, &ask, now, &mut dice) {
                Ok(Decision::Place(placement, _)) => Ok(placement.backend.name().to_owned()),
                Ok(Decision::Wait(_)) => panic!("there is room"),
                Err(unavailable) => Err(unavailable),
            }
        };
        assert_eq!(place(), Ok("app-1".into()));
        pool.set_backends(&[spec("app-2")], Timestamp::ZERO);
        assert_eq!(place(), Ok("app-2".into()));
        pool.set_backends(&[], Timestamp::ZERO);
        assert_eq!(place(), Err(Unavailable::NoBackend));
    }
}
