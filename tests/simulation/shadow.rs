//! What must be true of the pool, kept by simple means: maps, and one number for each thing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stickler::balance::affinity::{AffinitySpec, Establish, Mode};
use stickler::balance::{
    BackendId, BackendSpec, BackendState, Binding, Cause, Condition, Grant, Hint, Placement, Pool,
    PoolSpec, Reason, SessionId, Timestamp, Transition, Wish,
};

use crate::drains::{Change, Departure, Drain};
use crate::request::{Facts, Kind};
use crate::sessions::First;

/// Conditions, gravest first, and the state that each of them shows.
const GRAVITY: [(Condition, BackendState); 6] = [
    (Condition::Maintenance, BackendState::Maintenance),
    (Condition::Down, BackendState::Down),
    (Condition::Ejected, BackendState::Ejected),
    (Condition::Drained, BackendState::Drained),
    (Condition::Draining, BackendState::Draining),
    (Condition::AskedToDrain, BackendState::Draining),
];

/// Which line a request stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    Any,
    One(BackendId),
}

/// A backend that is or was a member.
#[derive(Clone, Debug)]
pub struct Known {
    pub spec: BackendSpec,
    pub is_member: bool,
    pub conditions: u8,
    ejected: (Timestamp, Timestamp),
    failures: u32,
    pub in_flight: u32,
    /// Its last drain.
    pub drain: Option<Drain>,
    /// When all its sessions were released, in milliseconds.
    pub released: Option<u64>,
}

impl Known {
    pub fn state(&self) -> BackendState {
        let holds = |condition: Condition| self.conditions & condition as u8 != 0;
        let gravest = GRAVITY.iter().find(|(condition, _)| holds(*condition));
        gravest.map_or(BackendState::Ready, |(_, state)| *state)
    }

    pub fn has_room(&self) -> bool {
        self.spec.max_connections.is_none_or(|limit| self.in_flight < limit)
    }

    /// May a request that is not bound to it go there?
    pub fn takes_new(&self) -> bool {
        self.is_member && self.state() == BackendState::Ready && self.spec.weight > 0
    }
}

/// A session of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    pub home: BackendId,
    /// Since when it lives there.
    since: Timestamp,
    seen: Timestamp,
    /// By a clock that may have been ahead.
    latest: Timestamp,
}

pub struct Shadow {
    pub spec: PoolSpec,
    /// Members, in configured order.
    pub members: Vec<BackendId>,
    pub known: BTreeMap<BackendId, Known>,
    pub stays: BTreeMap<u64, Stay>,
    /// Sessions that an operator has released, and when in milliseconds.
    pub released: BTreeMap<u64, u64>,
    /// First requests of clients.
    pub firsts: BTreeMap<u64, First>,
    pub begun: Timestamp,
    pub clock_has_stepped: bool,
    /// Requests by number, in order of arrival.
    pub lines: BTreeMap<Line, VecDeque<usize>>,
    pub reasons: [u64; Reason::ALL.len()],
    pub unavailable: u64,
    untracked: u64,
}

impl Shadow {
    pub fn new(spec: &PoolSpec, begun: Timestamp) -> Self {
        let mut shadow = Shadow {
            spec: spec.clone(),
            members: Vec::new(),
            known: BTreeMap::new(),
            stays: BTreeMap::new(),
            released: BTreeMap::new(),
            firsts: BTreeMap::new(),
            begun,
            clock_has_stepped: false,
            lines: BTreeMap::new(),
            reasons: Default::default(),
            unavailable: 0,
            untracked: 0,
        };
        shadow.set_backends(&spec.backends);
        shadow
    }

    pub fn affinity(&self) -> &AffinitySpec {
        &self.spec.affinity
    }

    pub fn id(&self, spec: &BackendSpec) -> BackendId {
        BackendId::incarnation(&self.spec.name, &spec.name, spec.incarnation.as_deref())
    }

    pub fn name(&self, id: BackendId) -> String {
        let Some(Known { spec, .. }) = self.known.get(&id) else { return format!("{id:?}") };
        match &spec.incarnation {
            Some(incarnation) => format!("{}@{incarnation}", spec.name),
            None => spec.name.clone(),
        }
    }

    pub fn set_backends(&mut self, specs: &[BackendSpec]) {
        self.members = specs.iter().map(|spec| self.id(spec)).collect();
        for (id, known) in &mut self.known {
            known.is_member &= self.members.contains(id);
        }
        for (spec, id) in specs.iter().zip(self.members.clone()) {
            let new = Known {
                spec: spec.clone(),
                is_member: true,
                conditions: 0,
                ejected: Default::default(),
                failures: 0,
                in_flight: 0,
                drain: None,
                released: None,
            };
            let known = self.known.entry(id).or_insert_with(|| new.clone());
            match known.is_member {
                true => known.spec = spec.clone(),
                // Whoever returns begins anew, but what it has in hand is still there.
                false => *known = Known { in_flight: known.in_flight, ..new },
            }
        }
    }

    pub fn known(&self, id: BackendId) -> &Known {
        &self.known[&id]
    }

    pub fn get_mut(&mut self, id: BackendId) -> &mut Known {
        self.known.get_mut(&id).unwrap()
    }

    pub fn member(&self, id: BackendId) -> Option<&Known> {
        self.known.get(&id).filter(|known| known.is_member)
    }

    pub fn all_members(&self) -> impl Iterator<Item = (BackendId, &Known)> {
        self.members.iter().map(|id| (*id, &self.known[id]))
    }

    // Conditions.

    /// What `Pool::set` must answer.
    pub fn set(
        &mut self,
        id: BackendId,
        condition: Condition,
        holds: bool,
        now: Timestamp,
    ) -> Option<(BackendState, BackendState)> {
        let bit = condition as u8;
        let (begin, end) = if holds { (bit, 0) } else { (0, bit) };
        self.change(id, Change { begin, end, policy: None }, now)
    }

    /// A refused connection: is this the one that ejects?
    pub fn refused(&mut self, id: BackendId, now: Timestamp) -> bool {
        let known = self.get_mut(id);
        known.failures += 1;
        let failures = known.failures;
        let Some(ejection) = self.spec.ejection else { return false };
        let out = self.all_members().filter(|(_, b)| !b.state().accepts_bound()).count();
        let others = self.all_members().any(|(other, b)| other != id && b.takes_new());
        let known = self.known(id);
        let goes = failures >= ejection.failures
            && known.is_member
            && known.state().accepts_bound()
            && 2 * (out + 1) <= self.members.len()
            && others;
        if goes {
            self.set(id, Condition::Ejected, true, now);
            self.get_mut(id).ejected = (now, now + ejection.duration);
        }
        goes
    }

    pub fn connected(&mut self, id: BackendId) {
        self.get_mut(id).failures = 0;
    }

    /// Ejections that end; gives the changes that are to be seen.
    pub fn tick(&mut self, now: Timestamp) -> Vec<(BackendId, BackendState, BackendState)> {
        let mut changes = Vec::new();
        for id in self.members.clone() {
            let known = self.known(id);
            let (since, until) = known.ejected;
            let is_ejected = known.conditions & Condition::Ejected as u8 != 0;
            if is_ejected && (until <= now || now < since) {
                let change = self.set(id, Condition::Ejected, false, now);
                changes.extend(change.map(|(from, to)| (id, from, to)));
            }
        }
        changes
    }

    // Sessions.

    pub fn last(&self, session: SessionId) -> Option<BackendId> {
        self.stays.get(&session.to_bits()).map(|stay| stay.home)
    }

    /// When a session was seen last, and by what clock at the latest.
    pub fn seen(&self, session: SessionId) -> Option<(Timestamp, Timestamp)> {
        self.stays.get(&session.to_bits()).map(|stay| (stay.seen, stay.latest))
    }

    pub fn homes(&self) -> impl Iterator<Item = BackendId> {
        self.stays.values().map(|stay| stay.home)
    }

    fn see(&mut self, session: SessionId, home: BackendId, now: Timestamp, departure: Departure) {
        let is_full = self.stays.len() >= self.affinity().max_sessions;
        let stay = Stay { home, since: now, seen: now, latest: now };
        match self.stays.get_mut(&session.to_bits()) {
            Some(known) if known.home == home => {
                *known = Stay { since: known.since, latest: now.max(known.latest), ..stay };
            }
            Some(known) => {
                let latest = now.max(known.latest);
                let former = std::mem::replace(known, Stay { latest, ..stay });
                self.went(former.home, departure, now);
                self.came(home);
            }
            None if is_full => self.untracked += 1,
            None => {
                self.stays.insert(session.to_bits(), stay);
                self.came(home);
            }
        }
    }

    pub fn end(&mut self, session: SessionId, now: Timestamp) {
        if let Some(stay) = self.stays.remove(&session.to_bits()) {
            self.went(stay.home, Departure::Left, now);
        }
    }

    /// What `Pool::bind` must do. The session of a new one is the pool's choice.
    pub fn bind(
        &mut self,
        hint: &Hint,
        placement: &Placement,
        wish: Option<Wish>,
        now: Timestamp,
        answer: &Binding,
    ) -> Result<(), String> {
        let id = placement.backend.id();
        if let Some(reason) = placement.cause.reason() {
            self.reasons[reason.index()] += 1;
        }
        let is_unbound = matches!(placement.cause, Cause::New | Cause::Free);
        let begins = match placement.cause {
            Cause::New => true,
            Cause::Free => self.affinity().mode == Mode::Cookie && wish == Some(Wish::Pin),
            _ => false,
        };
        let mut former = None;
        if is_unbound && let Hint::Bound(grant) = hint {
            former = Some(grant.session);
            self.reasons[Reason::Expired.index()] += 1;
            self.end(grant.session, now);
        }
        if wish == Some(Wish::Release) {
            return self.log_out(hint, former, now, answer);
        }
        let departure = placement.cause.reason().map_or(Departure::Left, Departure::Moved);
        let mut expected = Binding::Keep;
        match (*hint, placement.cause) {
            (_, Cause::New | Cause::Free) if begins => {
                let Binding::Issue(Grant { session, .. }) = *answer else {
                    return Err("a new one got no token".into());
                };
                let grant = Grant { backend: id, session, issued: now, refreshed: now };
                expected = Binding::Issue(grant);
                if former == Some(session) {
                    return Err("a new session has the number of the old one".into());
                }
                if placement.session.is_some_and(|first| first != session) {
                    return Err("it is not the session of the client's first request".into());
                }
                if !self.affinity().frees(session) {
                    self.see(session, id, now, departure);
                }
            }
            (_, Cause::Unstuck) => expected = self.unstuck(hint, now),
            (Hint::Bound(_), Cause::New | Cause::Free) => expected = Binding::Revoke,
            (Hint::First(_), _) => {}
            (Hint::Free, _) => {}
            (Hint::Key(key), Cause::Keyed | Cause::Moved { .. }) => {
                self.see(SessionId::from_bits(key), id, now, departure);
            }
            (Hint::Key(_), _) => {}
            (Hint::Bound(grant), Cause::Moved { .. }) => {
                self.see(grant.session, id, now, departure);
                expected = Binding::Issue(Grant { backend: id, refreshed: now, ..grant });
            }
            (Hint::Bound(grant), Cause::Bound) if id != grant.backend => {
                self.see(grant.session, id, now, departure);
                expected = Binding::Issue(Grant { backend: id, refreshed: now, ..grant });
            }
            (Hint::Bound(grant), cause) => {
                let stay = self.stays.get(&grant.session.to_bits());
                let is_member = self.member(grant.backend).is_some();
                let elsewhere = stay.filter(|stay| stay.home != grant.backend && is_member);
                let has_left = elsewhere.is_some_and(|stay| {
                    let is_out = !self.known(id).state().accepts_bound();
                    stay.since.as_millis() > grant.refreshed.as_millis()
                        || cause == Cause::Bound && is_out
                });
                if !has_left {
                    if is_member {
                        self.see(grant.session, grant.backend, now, Departure::Left);
                    }
                    if self.affinity().is_refresh_due(&grant, now) || self.is_released(&grant) {
                        let issued = grant.issued.min(now);
                        expected = Binding::Issue(Grant { issued, refreshed: now, ..grant });
                    }
                }
            }
        }
        self.check(answer, expected)
    }

    /// The app says that the session is over.
    fn log_out(
        &mut self,
        hint: &Hint,
        former: Option<SessionId>,
        now: Timestamp,
        answer: &Binding,
    ) -> Result<(), String> {
        match *hint {
            Hint::Bound(_) if former.is_some() => self.check(answer, Binding::Revoke),
            Hint::Bound(grant) => {
                self.reasons[Reason::Released.index()] += 1;
                self.end(grant.session, now);
                self.check(answer, Binding::Revoke)
            }
            Hint::Key(key) => {
                let session = SessionId::from_bits(key);
                self.reasons[Reason::Released.index()] += u64::from(self.last(session).is_some());
                self.end(session, now);
                self.check(answer, Binding::Keep)
            }
            Hint::Free | Hint::First(_) => self.check(answer, Binding::Keep),
        }
    }

    fn check(&self, answer: &Binding, expected: Binding) -> Result<(), String> {
        match *answer == expected {
            true => Ok(()),
            false => Err(format!("bind said {answer:?} instead of {expected:?}")),
        }
    }

    /// Ends the sessions that the ledger has ended, if it was right to: it keeps times to a grain,
    /// so that around the timeout both is right.
    pub fn expire(&mut self, pool: &Pool, now: Timestamp) -> Result<(), String> {
        let idle = self.affinity().idle_timeout;
        let grain = (idle / 64).max(Duration::from_millis(1));
        let mut over = Vec::new();
        for (&session, stay) in &self.stays {
            let is_there = pool.ledger().home(SessionId::from_bits(session)).is_some();
            if !is_there {
                let is_idle = now + grain >= stay.seen + idle;
                let departure = self.departure(stay.home, stay.seen, now, is_idle);
                let departure = departure.map_err(|why| format!("{session:x}: {why}"))?;
                over.push((session, stay.home, departure));
            }
            if is_there && now > stay.latest + idle + 4 * grain {
                return Err(format!("session {session:x} should be over: {stay:?} at {now:?}"));
            }
        }
        for (session, home, departure) in over {
            self.stays.remove(&session);
            self.went(home, departure, now);
        }
        Ok(())
    }

    // Asking.

    /// What a backend should have of the pool's load; `None` while a slow start makes weights what
    /// only the pool knows.
    pub fn share(&self, id: BackendId) -> Option<f32> {
        if self.spec.slow_start.is_some() {
            return None;
        }
        let tier = self.first_tier();
        let takes_part =
            |b: &Known| b.is_member && b.state().accepts_new() && Some(b.spec.priority) == tier;
        let weights = |b: &Known| u64::from(b.spec.weight) * 1_000;
        let all: u64 =
            self.all_members().filter(|(_, b)| takes_part(b)).map(|(_, b)| weights(b)).sum();
        let known = self.known(id);
        let total = if takes_part(known) { all } else { all + weights(known) };
        Some(if total == 0 { 1.0 } else { weights(known) as f32 / total as f32 })
    }

    /// The requests in flight that a backend should have at most, if that is known.
    pub fn bound(&self, id: BackendId, factor: f32) -> Option<u32> {
        let share = self.share(id)?;
        let in_flight: u32 = self.known.values().map(|b| b.in_flight).sum::<u32>() + 1;
        let exact = f64::from(factor) * f64::from(share) * f64::from(in_flight);
        // What is a whole number but for the rounding of a float is that number.
        Some((exact * (1.0 - 1e-6)).ceil().max(1.0) as u32)
    }

    /// The priority of those that take new sessions now.
    pub fn first_tier(&self) -> Option<u32> {
        let open = self.all_members().filter(|(_, b)| b.takes_new());
        open.map(|(_, b)| b.spec.priority).min()
    }

    pub fn is_above(&self, id: BackendId, factor: f32) -> bool {
        self.known(id).in_flight >= self.bound(id, factor).unwrap_or(1)
    }

    /// Why a session that lives at `home` cannot be served there, whatever the load.
    pub fn refusal(&self, home: BackendId, tried: &[BackendId]) -> Option<Reason> {
        match self.member(home) {
            None => Some(Reason::Removed),
            Some(_) if tried.contains(&home) => Some(Reason::Ejected),
            Some(known) => match known.state() {
                BackendState::Ready | BackendState::Draining => None,
                BackendState::Drained => Some(Reason::Drained),
                BackendState::Ejected => Some(Reason::Ejected),
                BackendState::Down | BackendState::Maintenance => Some(Reason::Down),
            },
        }
    }

    pub fn line(&self, line: Line) -> usize {
        self.lines.get(&line).map_or(0, VecDeque::len)
    }

    /// What a request can expect now.
    pub fn facts(&self, hint: &Hint, tried: &[BackendId], is_over: bool, now: Timestamp) -> Facts {
        let begins =
            self.affinity().mode == Mode::Cookie && self.affinity().establish == Establish::Always;
        let unbound = Kind::Free(if begins { Cause::New } else { Cause::Free });
        let frees = |session| self.affinity().frees(session);
        let kind = match *hint {
            Hint::Free | Hint::First(_) => unbound,
            Hint::Bound(_) if is_over => unbound,
            Hint::Bound(Grant { session, .. }) if frees(session) => Kind::Free(Cause::Unstuck),
            Hint::Key(key) if frees(SessionId::from_bits(key)) => Kind::Free(Cause::Unstuck),
            Hint::Bound(grant) => Kind::Bound(self.home(&grant, tried)),
            Hint::Key(key) => Kind::Keyed(key, self.last(SessionId::from_bits(key))),
        };
        let mut facts = Facts { kind, reasons: Vec::new(), must_leave: false };
        let lives_at = match (kind, hint) {
            (Kind::Bound(home), Hint::Bound(grant)) => Some((home, grant.session, grant.refreshed)),
            (Kind::Keyed(key, Some(last)), _) => {
                Some((last, SessionId::from_bits(key), Timestamp::ZERO))
            }
            _ => None,
        };
        if let Some((home, session, refreshed)) = lives_at
            && self.refusal(home, tried).is_none()
            && let Some(drain) = self.known(home).draining()
        {
            let (seen, latest) = self.seen(session).unwrap_or((refreshed, refreshed));
            if drain.may_move(seen, now) {
                facts.reasons.push(Reason::Draining);
            }
            let slack = (self.affinity().idle_timeout / 20).max(Duration::from_millis(10));
            facts.must_leave = drain.must_move(latest, now, slack);
        }
        if let (Kind::Bound(home), Hint::Bound(grant)) = (kind, hint) {
            if home == grant.backend && self.is_released(grant) {
                facts.reasons.push(Reason::Released);
                facts.must_leave = true;
            }
            let refusal = self.refusal(home, tried);
            facts.reasons.extend(refusal);
            if refusal.is_none() && self.may_even_out(grant, home, now) {
                facts.reasons.push(Reason::Rebalanced);
            }
            if refusal.is_none() {
                let known = self.known(home);
                let overload = self.affinity().overload;
                if overload.is_some_and(|overload| self.is_above(home, overload.factor)) {
                    facts.reasons.push(Reason::Overloaded);
                }
                if !known.has_room() || self.line(Line::One(home)) > 0 {
                    facts.reasons.push(Reason::Full);
                }
            }
        }
        facts
    }

    /// Where the session of a token lives: where it has moved to, if the home of the token cannot
    /// keep it and the new one can serve it.
    fn home(&self, grant: &Grant, tried: &[BackendId]) -> BackendId {
        let home = self.member(grant.backend);
        let leaves = home.is_some_and(|home| home.state() == BackendState::Draining)
            || self.is_released(grant)
            || self.refusal(grant.backend, tried).is_some();
        let other = self.last(grant.session).filter(|other| {
            leaves && *other != grant.backend && self.refusal(*other, tried).is_none()
        });
        other.unwrap_or(grant.backend)
    }

    // Comparing.

    pub fn same(&self, pool: &Pool, now: Timestamp) -> Result<(), String> {
        self.same_drains(pool, now)?;
        self.same_pace(pool, now)?;
        self.same_arms(pool)?;
        let backends = pool.backends();
        let ids: Vec<_> = backends.iter().map(|backend| backend.id()).collect();
        equal("members", &ids, &self.members)?;
        let mut sessions: BTreeMap<BackendId, u32> = BTreeMap::new();
        self.stays.values().for_each(|stay| *sessions.entry(stay.home).or_default() += 1);
        for (backend, id) in backends.iter().zip(ids) {
            let (known, name) = (self.known(id), backend.name());
            let sessions = sessions.get(&id).copied().unwrap_or(0);
            equal(&format!("{name}: in flight"), &backend.in_flight(), &known.in_flight)?;
            equal(&format!("{name}: sessions"), &backend.sessions(), &sessions)?;
            equal(&format!("{name}: state"), &backend.state(), &known.state())?;
            equal(&format!("{name}: weight"), &backend.weight(), &known.spec.weight)?;
            let limit = &known.spec.max_connections;
            equal(&format!("{name}: limit"), &backend.max_connections(), limit)?;
            let waiting = self.line(Line::One(id)) as u32;
            equal(&format!("{name}: waiting"), &backend.waiting(), &waiting)?;
            let started = backend.placed().iter().sum::<u64>();
            let finished = backend.outcomes().iter().sum::<u64>();
            let under_way = u64::from(known.in_flight);
            equal(&format!("{name}: started, not finished"), &(started - finished), &under_way)?;
        }
        equal("waiting for any", &pool.waiting(), &(self.line(Line::Any) as u32))?;
        equal("sessions in all", &pool.ledger().len(), &self.stays.len())?;
        equal("untracked", &pool.ledger().untracked(), &self.untracked)?;
        equal("unavailable", &pool.unavailable(), &self.unavailable)?;
        for reason in Reason::ALL {
            let counted = &self.reasons[reason.index()];
            equal(&format!("count of {reason}"), &pool.count_of(*reason), counted)?;
        }
        for (line, waiters) in &self.lines {
            if waiters.len() > self.spec.queue.length as usize {
                return Err(format!("{} wait in {line:?}", waiters.len()));
            }
        }
        Ok(())
    }
}

pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    match is == should {
        true => Ok(()),
        false => Err(format!("{what}: is {is:?}, should be {should:?}")),
    }
}

pub fn same_change(
    is: Option<&Transition>,
    should: Option<(BackendState, BackendState)>,
) -> Result<(), String> {
    equal("transition", &is.map(|transition| (transition.from, transition.to)), &should)
}
