//! What must be true of drains: who may be moved, who must be, and that the books add up.

use std::time::Duration;

use stickler::balance::drain::GRACE;
use stickler::balance::{
    BackendId, BackendState, Condition, DrainPolicy, DrainProgress, Pool, Reason, Refused,
    Timestamp,
};

use crate::shadow::{Known, Shadow, equal};

pub const LEAVING: u8 = Condition::Draining as u8 | Condition::AskedToDrain as u8;
const DRAINED: u8 = Condition::Drained as u8;
const BY_OPERATOR: u8 = Condition::Maintenance as u8 | Condition::Draining as u8 | DRAINED;

/// A drain, as it should be counted.
#[derive(Clone, Debug)]
pub struct Drain {
    pub policy: DrainPolicy,
    pub since: Timestamp,
    pub deadline: Option<Timestamp>,
    patience: Timestamp,
    at_start: u64,
    joined: u64,
    /// Left, and that was seen to happen.
    left: u64,
    /// Ended by time: idle, or no longer waited for.
    vanished: u64,
    /// Of those, how many cannot have been idle.
    pub cut: u64,
    moved: [u64; Reason::ALL.len()],
    /// Forced to leave since the deadline.
    forced: u64,
    /// The clock has stepped: paces cannot be checked.
    has_stepped: bool,
    pub end: Option<(Timestamp, bool)>,
}

/// How a session went.
#[derive(Clone, Copy, Debug)]
pub enum Departure {
    Left,
    Moved(Reason),
    Idle,
    Cut,
}

/// What an operator does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    pub begin: u8,
    pub end: u8,
    pub policy: Option<DrainPolicy>,
}

impl Drain {
    fn new(policy: DrainPolicy, since: Timestamp, at_start: u64) -> Self {
        Drain {
            policy,
            since,
            deadline: policy.deadline.map(|deadline| since + deadline),
            patience: since,
            at_start,
            joined: 0,
            left: 0,
            vanished: 0,
            cut: 0,
            moved: Default::default(),
            forced: 0,
            has_stepped: false,
            end: None,
        }
    }

    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// May a session that was seen then be moved?
    pub fn may_move(&self, seen: Timestamp, now: Timestamp) -> bool {
        let pause = self.policy.move_idle_after;
        self.is_overdue(now) || pause.is_some_and(|pause| now.since(seen) >= pause)
    }

    /// Must it be? `slack` is what the pool may be wrong by.
    pub fn must_move(&self, seen: Timestamp, now: Timestamp, slack: Duration) -> bool {
        let pause = self.policy.move_idle_after;
        self.is_overdue(now) && self.policy.moves_per_second.is_none()
            || pause.is_some_and(|pause| now.since(seen) >= pause + slack) && !self.is_overdue(now)
    }

    fn count(&mut self, departure: Departure, now: Timestamp) {
        match departure {
            Departure::Left => self.left += 1,
            Departure::Moved(reason) => self.moved[reason.index()] += 1,
            Departure::Idle => self.vanished += 1,
            Departure::Cut => (self.vanished, self.cut) = (self.vanished + 1, self.cut + 1),
        }
        let is_forced = matches!(departure, Departure::Cut | Departure::Moved(Reason::Draining));
        self.forced += u64::from(is_forced && self.is_overdue(now));
    }

    fn same(&self, is: &DrainProgress, sessions: u64, now: Timestamp) -> Result<(), String> {
        let moved = self.moved.iter().sum::<u64>();
        equal("drain: since", &is.since, &self.since)?;
        equal("drain: deadline", &is.deadline, &self.deadline)?;
        equal("drain: end", &is.ended, &self.end.map(|(time, _)| time))?;
        equal("drain: joined", &is.joined, &self.joined)?;
        equal("drain: moved", &is.moved_by_reason, &self.moved)?;
        equal("drain: moved in all", &is.moved, &moved)?;
        equal("drain: at the start", &is.sessions_at_start, &self.at_start)?;
        equal("drain: gone by themselves", &(is.left + is.cut), &(self.left + self.vanished))?;
        if is.cut < self.cut || is.cut > self.vanished {
            return Err(format!("drain: {} were cut, should be {}", is.cut, self.cut));
        }
        let all = is.left + is.moved + is.cut;
        let left = u64::from(is.sessions);
        equal("drain: the books", &(left + all), &(is.sessions_at_start + is.joined))?;
        match self.end {
            None => equal("drain: sessions", &left, &sessions)?,
            Some((_, was_cancelled)) => {
                equal("drain: cancelled", &is.was_cancelled, &was_cancelled)?;
                equal("drain: an end in sight after it", &is.estimated_end, &None)?;
                if !was_cancelled && !self.was_cut_short() {
                    equal("drain: left over", &(is.sessions, is.in_flight), &(0, 0))?;
                }
            }
        }
        if is.estimated_end.is_some_and(|end| end < now) && !self.has_stepped {
            return Err(format!("drain: it should have ended at {:?}", is.estimated_end));
        }
        if let (Some(deadline), Some(rate), false) =
            (self.deadline, self.policy.moves_per_second, self.has_stepped)
        {
            let time = now.since(deadline).as_secs_f64() + 0.5;
            let most = (time * f64::from(rate.get())).ceil() as u64 + 2;
            if self.forced > most {
                return Err(format!("drain: {} were made to leave, {most} may be", self.forced));
            }
        }
        Ok(())
    }

    /// Somebody has said that it is drained.
    fn was_cut_short(&self) -> bool {
        self.end.is_some_and(|(time, _)| time < self.patience)
    }
}

impl Shadow {
    fn sessions_at(&self, id: BackendId) -> u64 {
        self.homes().filter(|home| *home == id).count() as u64
    }

    /// What a change must show, and what it does to the drain.
    pub fn change(
        &mut self,
        id: BackendId,
        change: Change,
        now: Timestamp,
    ) -> Option<(BackendState, BackendState)> {
        let sessions = self.sessions_at(id);
        let default = self.spec.drain;
        let known = self.known.get_mut(&id).filter(|known| known.is_member)?;
        let (from, before) = (known.state(), known.conditions);
        let mut after = before & !change.end | change.begin;
        let ends = before & LEAVING != 0 && after & LEAVING == 0;
        if ends && change.begin & DRAINED == 0 {
            after &= !DRAINED;
        }
        let goes_on = after & LEAVING != 0 && after & DRAINED == 0;
        let is_open =
            before & LEAVING != 0 && known.drain.as_ref().is_some_and(|drain| drain.end.is_none());
        known.conditions = after;
        let policy = change.policy.unwrap_or(default);
        match &mut known.drain {
            Some(drain) if is_open && !goes_on => {
                drain.end = Some((now, after & DRAINED == 0));
                // An operator says so, whoever is left.
                drain.patience = now + Duration::from_nanos(u64::from(after & DRAINED != 0));
            }
            Some(drain) if is_open && change.policy.is_some() => {
                (drain.policy, drain.forced) = (policy, 0);
                drain.deadline = policy.deadline.map(|deadline| now + deadline);
            }
            Some(_) if is_open => {}
            drain if goes_on => *drain = Some(Drain::new(policy, now, sessions)),
            _ => {}
        }
        let to = known.state();
        (from != to).then_some((from, to))
    }

    pub fn take_out(
        &mut self,
        id: BackendId,
        change: Change,
        force: bool,
        now: Timestamp,
    ) -> Result<Option<(BackendState, BackendState)>, Refused> {
        let Some(known) = self.member(id) else { return Err(Refused::UnknownBackend) };
        let is_out = known.conditions & BY_OPERATOR != 0;
        let others = self.all_members().any(|(other, b)| other != id && b.takes_new());
        match force || is_out || others {
            true => Ok(self.change(id, change, now)),
            false => Err(Refused::LastReady),
        }
    }

    /// What `Pool::set_weight` must answer.
    pub fn set_weight(&mut self, id: BackendId, weight: u32, force: bool) -> Result<(), Refused> {
        let Some(known) = self.member(id) else { return Err(Refused::UnknownBackend) };
        let takes_none = known.spec.weight == 0 || known.conditions & BY_OPERATOR != 0;
        let others = self.all_members().any(|(other, b)| other != id && b.takes_new());
        if weight == 0 && !takes_none && !others && !force {
            return Err(Refused::LastReady);
        }
        self.get_mut(id).spec.weight = weight;
        Ok(())
    }

    /// A session came to a backend, or went from it.
    pub fn came(&mut self, id: BackendId) {
        if let Some(drain) = self.leaving(id) {
            drain.joined += 1;
        }
    }

    pub fn went(&mut self, id: BackendId, departure: Departure, now: Timestamp) {
        if let Some(drain) = self.leaving(id) {
            drain.count(departure, now);
        }
    }

    fn leaving(&mut self, id: BackendId) -> Option<&mut Drain> {
        let known = self.known.get_mut(&id).filter(|known| known.conditions & LEAVING != 0)?;
        known.drain.as_mut().filter(|drain| drain.end.is_none())
    }

    pub fn clock_stepped(&mut self) {
        self.clock_has_stepped = true;
        for drain in self.known.values_mut().filter_map(|known| known.drain.as_mut()) {
            drain.has_stepped = true;
        }
    }

    /// Drains that are over; gives the changes that are to be seen. In flight is what the pool
    /// says: places may just have been handed over, and that is compared later.
    pub fn end_drains(
        &mut self,
        pool: &Pool,
        now: Timestamp,
    ) -> Vec<(BackendId, BackendState, BackendState)> {
        let mut changes = Vec::new();
        for id in self.members.clone() {
            let in_flight = pool.backend(id).map_or(0, |backend| backend.in_flight());
            let is_empty = self.sessions_at(id) == 0 && in_flight == 0;
            let is_patient = self.leaving(id).is_none();
            if is_empty && !is_patient {
                let change = Change { begin: DRAINED, ..Change::default() };
                let change = self.change(id, change, now);
                self.get_mut(id).drain.as_mut().unwrap().patience = now;
                changes.extend(change.map(|(from, to)| (id, from, to)));
            }
        }
        changes
    }

    /// Was this session no longer waited for, rather than idle?
    pub fn departure(
        &self,
        home: BackendId,
        seen: Timestamp,
        now: Timestamp,
        is_idle: bool,
    ) -> Result<Departure, String> {
        let known = self.known(home);
        let drain = known.drain.as_ref().filter(|drain| drain.end.is_none());
        let is_late = drain.and_then(|drain| drain.deadline).is_some_and(|d| now >= d + GRACE);
        let may = known.conditions & LEAVING != 0 && is_late && now >= seen + GRACE;
        match (is_idle, may) {
            (true, _) => Ok(Departure::Idle),
            (false, true) => Ok(Departure::Cut),
            (false, false) => Err(format!("a session ended too early, seen {seen:?}")),
        }
    }

    pub fn same_drains(&self, pool: &Pool, now: Timestamp) -> Result<(), String> {
        for (id, known) in self.all_members() {
            let is = pool.drain_progress(id, now);
            match (&known.drain, is) {
                (None, None) => {}
                (Some(drain), Some(is)) => drain
                    .same(&is, self.sessions_at(id), now)
                    .map_err(|why| format!("{}: {why}\n{drain:?}\n{is:?}", self.name(id)))?,
                (should, is) => {
                    return Err(format!("{}: {is:?}, should be {should:?}", self.name(id)));
                }
            }
        }
        Ok(())
    }
}

impl Known {
    /// Its drain, while sessions may still leave by it.
    pub fn draining(&self) -> Option<&Drain> {
        self.drain.as_ref().filter(|_| self.state() == BackendState::Draining)
    }
}
