//! What must be true of the pool, kept by simple means: maps, and one number for each thing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stickler::balance::affinity::AffinitySpec;
use stickler::balance::{
    BackendId, BackendSpec, BackendState, Binding, Cause, Condition, Grant, Hint, Placement, Pool,
    PoolSpec, Reason, SessionId, Timestamp, Transition,
};

use crate::request::{Facts, Kind};

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
struct Stay {
    home: BackendId,
    seen: Timestamp,
    /// By a clock that may have been ahead.
    latest: Timestamp,
}

pub struct Shadow {
    pub spec: PoolSpec,
    /// Members, in configured order.
    pub members: Vec<BackendId>,
    pub known: BTreeMap<BackendId, Known>,
    stays: BTreeMap<u64, Stay>,
    /// Requests by number, in order of arrival.
    pub lines: BTreeMap<Line, VecDeque<usize>>,
    pub reasons: [u64; Reason::ALL.len()],
    pub unavailable: u64,
    untracked: u64,
}

impl Shadow {
    pub fn new(spec: &PoolSpec) -> Self {
        let mut shadow = Shadow {
            spec: spec.clone(),
            members: Vec::new(),
            known: BTreeMap::new(),
            stays: BTreeMap::new(),
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
    ) -> Option<(BackendState, BackendState)> {
        let known = self.known.get_mut(&id).filter(|known| known.is_member)?;
        let from = known.state();
        match holds {
            true => known.conditions |= condition as u8,
            false => known.conditions &= !(condition as u8),
        }
        let to = known.state();
        (from != to).then_some((from, to))
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
            self.set(id, Condition::Ejected, true);
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
                let change = self.set(id, Condition::Ejected, false);
                changes.extend(change.map(|(from, to)| (id, from, to)));
            }
        }
        changes
    }

    // Sessions.

    pub fn last(&self, session: SessionId) -> Option<BackendId> {
        self.stays.get(&session.to_bits()).map(|stay| stay.home)
    }

    fn see(&mut self, session: SessionId, home: BackendId, seen: Timestamp) {
        let is_full = self.stays.len() >= self.affinity().max_sessions;
        match self.stays.get_mut(&session.to_bits()) {
            Some(stay) => *stay = Stay { home, seen, latest: seen.max(stay.latest) },
            None if is_full => self.untracked += 1,
            None => drop(self.stays.insert(session.to_bits(), Stay { home, seen, latest: seen })),
        }
    }

    /// What `Pool::bind` must do. The session of a new one is the pool's choice.
    pub fn bind(
        &mut self,
        hint: &Hint,
        placement: &Placement,
        now: Timestamp,
        answer: &Binding,
    ) -> Result<(), String> {
        let id = placement.backend.id();
        if let Some(reason) = placement.cause.reason() {
            self.reasons[reason.index()] += 1;
        }
        let mut expected = Binding::Keep;
        match (*hint, placement.cause) {
            (hint, Cause::New) => {
                let Binding::Issue(new) = *answer else {
                    return Err("a new one got no token".into());
                };
                let session = new.session;
                expected =
                    Binding::Issue(Grant { backend: id, session, issued: now, refreshed: now });
                if let Hint::Bound(former) = hint {
                    self.reasons[Reason::Expired.index()] += 1;
                    self.stays.remove(&former.session.to_bits());
                    if former.session == new.session {
                        return Err("a new session has the number of the old one".into());
                    }
                }
                self.see(session, id, now);
            }
            (Hint::Free, _) => {}
            (Hint::Key(key), Cause::Keyed | Cause::Moved { .. }) => {
                self.see(SessionId::from_bits(key), id, now);
            }
            (Hint::Key(_), _) => {}
            (Hint::Bound(grant), Cause::Moved { .. }) => {
                self.see(grant.session, id, now);
                expected = Binding::Issue(Grant { backend: id, refreshed: now, ..grant });
            }
            (Hint::Bound(grant), cause) => {
                let has_left = cause == Cause::Bound
                    && !self.known(id).state().accepts_bound()
                    && self.last(grant.session).is_some_and(|home| home != id);
                if !has_left {
                    if self.member(grant.backend).is_some() {
                        self.see(grant.session, grant.backend, now);
                    }
                    if self.affinity().is_refresh_due(&grant, now) {
                        let issued = grant.issued.min(now);
                        expected = Binding::Issue(Grant { issued, refreshed: now, ..grant });
                    }
                }
            }
        }
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
            if !is_there && now + grain < stay.seen + idle {
                return Err(format!("session {session:x} ended too early: {stay:?}"));
            }
            if is_there && now > stay.latest + idle + 4 * grain {
                return Err(format!("session {session:x} should be over: {stay:?} at {now:?}"));
            }
            over.extend((!is_there).then_some(session));
        }
        self.stays.retain(|session, _| !over.contains(session));
        Ok(())
    }

    // Asking.

    /// The requests in flight that a backend should have at most; `None` while a slow start makes
    /// weights what only the pool knows.
    pub fn bound(&self, id: BackendId, factor: f32) -> Option<u32> {
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
        let share = if total == 0 { 1.0 } else { weights(known) as f32 / total as f32 };
        let in_flight: u32 = self.known.values().map(|b| b.in_flight).sum::<u32>() + 1;
        Some((factor * share * in_flight as f32).ceil().max(1.0) as u32)
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
    pub fn facts(&self, hint: &Hint, tried: &[BackendId], is_over: bool) -> Facts {
        let is_cookie = self.affinity().mode == stickler::balance::affinity::Mode::Cookie;
        let kind = match *hint {
            Hint::Free if is_cookie => Kind::Free(Cause::New),
            Hint::Free => Kind::Free(Cause::Free),
            Hint::Bound(_) if is_over => Kind::Free(Cause::New),
            Hint::Bound(grant) => Kind::Bound(grant.backend),
            Hint::Key(key) => Kind::Keyed(key, self.last(SessionId::from_bits(key))),
        };
        let mut reasons = Vec::new();
        if let Kind::Bound(home) = kind {
            reasons.extend(self.refusal(home, tried));
            if reasons.is_empty() {
                let known = self.known(home);
                let overload = self.affinity().overload;
                if overload.is_some_and(|overload| self.is_above(home, overload.factor)) {
                    reasons.push(Reason::Overloaded);
                }
                if !known.has_room() || self.line(Line::One(home)) > 0 {
                    reasons.push(Reason::Full);
                }
            }
        }
        let tier = self.first_tier();
        let serves = |id: BackendId, b: &Known| {
            b.takes_new() && Some(b.spec.priority) == tier && !tried.contains(&id)
        };
        let has_no_choice = !self.all_members().any(|(id, b)| serves(id, b));
        Facts { kind, reasons, has_no_choice }
    }

    // Comparing.

    pub fn same(&self, pool: &Pool) -> Result<(), String> {
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
