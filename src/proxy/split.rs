//! A route with several pools: which of them has this request?

use std::sync::Arc;

use http::Uri;

use super::affinity::Known;
use super::client::Client;
use super::destination::{Affinity, Destination};
use crate::balance::affinity::Grant;
use crate::balance::{hashing, split};
use crate::http::field_lines::FieldLines;
use crate::http::fields::Found;

/// Several pools, compiled.
#[derive(Debug)]
pub(crate) struct Split {
    /// Never empty.
    arms: Box<[Arc<Destination>]>,
    steering: Arc<split::Split>,
}

impl Split {
    pub(crate) fn new(arms: Box<[Arc<Destination>]>, steering: Arc<split::Split>) -> Self {
        Split { arms, steering }
    }

    /// The pool for a request, and what is known of its session by then.
    pub(crate) fn choose(
        &self,
        client: &Client,
        fields: &FieldLines,
        uri: &Uri,
    ) -> (&Arc<Destination>, Known) {
        let (arm, known) = match &self.arms[0].affinity {
            Affinity::None => (self.steer(client, None), Known::Nothing),
            Affinity::Key(finder) => {
                let key = finder.with_key(client, fields, uri, hashing::key);
                let is_open = |arm: usize| self.arms[arm].pool.takes_new();
                let arm = key.and_then(|key| self.steering.of_key(key, is_open));
                (arm.unwrap_or_else(|| self.steer(client, None)), Known::Nothing)
            }
            Affinity::Cookie(_) => self.of_session(client, fields),
        };
        self.steering.note(arm);
        (&self.arms[arm], known)
    }

    /// A session keeps its pool while that keeps it.
    fn of_session(&self, client: &Client, fields: &FieldLines) -> (usize, Known) {
        let (opened, is_forged) = self.open(client, fields);
        let Some((arm, grant)) = opened else {
            let known = Known::Token { grant: None, is_forged, let_go: None };
            return (self.steer(client, None), known);
        };
        let (pool, now) = (&self.arms[arm].pool, client.worker.now());
        if pool.is_over(&grant, now) {
            let chosen = self.steer(client, None);
            // Where it was, its end is noted.
            let grant = (chosen == arm).then_some(grant);
            return (chosen, Known::Token { grant, is_forged: false, let_go: None });
        }
        let known = |let_go| Known::Token { grant: Some(grant), is_forged: false, let_go };
        if pool.takes_new() {
            return (arm, known(None));
        }
        // Another of its requests may have been the first to learn that it moves.
        let mut others = (0..self.arms.len()).filter(|&other| other != arm);
        let lives_there = |&other: &usize| self.arms[other].pool.knows(grant.session);
        if !pool.knows(grant.session)
            && let Some(other) = others.clone().find(lives_there)
        {
            return (other, known(None));
        }
        let is_welcome = others.any(|other| self.arms[other].pool.takes_new());
        let let_go = is_welcome.then(|| pool.lets_go(&grant, now)).flatten();
        let chosen = let_go.map_or(arm, |_| self.steer(client, Some(arm)));
        (chosen, known(let_go))
    }

    /// The first token that one of the pools has sealed; and were there any that none has?
    fn open(&self, client: &Client, fields: &FieldLines) -> (Option<(usize, Grant)>, bool) {
        let Affinity::Cookie(cookie) = &self.arms[0].affinity else { return (None, false) };
        let site = client.worker.site();
        let mut is_forged = false;
        for token in cookie.name().values(fields.of_kind(Found::COOKIE)) {
            let mut memo = client.memo().borrow_mut();
            let mut arms = self.arms.iter().enumerate();
            let opened = arms
                .find_map(|(i, arm)| Some((i, memo.open(&site.keyring, arm.pool.name(), token)?)));
            if opened.is_some() {
                return (opened, is_forged);
            }
            is_forged = true;
        }
        (None, is_forged)
    }

    /// The pool for who has none yet, or has to leave the one that it has. If none of them takes
    /// anybody, one with a weight says so.
    fn steer(&self, client: &Client, leaves: Option<usize>) -> usize {
        let is_open = |arm: usize| Some(arm) != leaves && self.arms[arm].pool.takes_new();
        let now = client.worker.now();
        let chosen = self.steering.choose(now, is_open);
        // One without weight is better than none for a session that has to leave.
        let any = || leaves.and_then(|_| (0..self.arms.len()).find(|&arm| is_open(arm)));
        let closed = || self.steering.choose(now, |_| true);
        chosen.or_else(any).or_else(closed).unwrap_or(0)
    }
}
