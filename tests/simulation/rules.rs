//! What may be decided. Every rule looks at the shadow as it was before the decision.

use stickler::balance::affinity::{Afterwards, Mode, OverloadAction, WhenUnavailable};
use stickler::balance::{
    BackendId, BackendState, Cause, Placement, Reason, Timestamp, Unavailable,
};

use crate::request::{Facts, Kind, Request};
use crate::shadow::{Known, Line, Shadow};

/// When a home that was tried in vain is looked at again, at the latest.
const TRY_AGAIN: std::time::Duration = std::time::Duration::from_millis(250);

pub struct Rules<'a> {
    pub shadow: &'a Shadow,
    pub request: &'a Request,
    pub now: Timestamp,
}

macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

impl Rules<'_> {
    fn facts(&self) -> &Facts {
        &self.request.facts
    }

    fn tried(&self, id: BackendId) -> bool {
        self.request.tried.contains(&id)
    }

    /// Members that may take a request that is not bound to them.
    fn open(&self) -> impl Iterator<Item = (BackendId, &Known)> {
        self.shadow.all_members().filter(|(id, b)| b.takes_new() && !self.tried(*id))
    }

    /// Of those, whoever could take it at once. Its home has sent it away.
    fn free(&self) -> impl Iterator<Item = (BackendId, &Known)> {
        let is_home = |id: BackendId| self.facts().kind == Kind::Bound(id);
        self.open().filter(move |(id, b)| b.has_room() && !is_home(*id))
    }

    fn is_late(&self) -> bool {
        self.now >= self.request.since + self.shadow.spec.queue.timeout
    }

    fn is_crowded(&self, line: Line) -> bool {
        self.shadow.line(line) >= self.shadow.spec.queue.length as usize
    }

    fn then(&self) -> Afterwards {
        self.shadow.affinity().when_unavailable.without_waiting()
    }

    /// Must a request that cannot go home wait for its return?
    fn waits_for(&self, home: BackendId) -> bool {
        match self.shadow.affinity().when_unavailable {
            WhenUnavailable::Wait { up_to, .. } => {
                self.is_expected_back(home)
                    && self.now < self.request.since + up_to
                    && !self.is_crowded(Line::One(home))
            }
            _ => false,
        }
    }

    /// Will it ever serve those that are bound to it?
    fn is_expected_back(&self, home: BackendId) -> bool {
        let refusal = self.shadow.refusal(home, &self.request.tried);
        !matches!(refusal, Some(Reason::Removed | Reason::Drained))
    }

    fn overload(&self) -> Option<OverloadAction> {
        self.shadow.affinity().overload.map(|overload| overload.action)
    }

    /// At once, or out of a queue: true of every placement.
    pub fn placed(&self, placement: &Placement) -> Result<(), String> {
        let (id, cause) = (placement.backend.id(), placement.cause);
        let Some(known) = self.shadow.member(id) else {
            return Err("placed on a backend that is not a member".into());
        };
        let state = known.state();
        ensure!(!self.tried(id), "placed where it has failed already");
        ensure!(state.accepts_bound(), "placed on a backend that is {state}");
        match self.facts().kind {
            Kind::Free(expected) => {
                ensure!(cause == expected, "nothing binds it, but the cause is {cause:?}");
                ensure!(known.takes_new(), "new on a backend that is {state}, {:?}", known.spec);
            }
            Kind::Bound(home) if home == id => {
                ensure!(cause == Cause::Bound, "at home, but the cause is {cause:?}");
            }
            Kind::Bound(home) => {
                ensure!(
                    known.takes_new(),
                    "away from home at one that is {state}, {:?}",
                    known.spec
                );
                self.away(home, cause)?;
            }
            Kind::Keyed(_, last) => {
                let may = known.takes_new() || last == Some(id);
                ensure!(may, "a key that is new there at a backend that is {state}");
                ensure!(known.spec.weight > 0, "a key at a backend without weight");
                match cause {
                    Cause::Keyed => {
                        let same = last.is_none_or(|last| last == id);
                        ensure!(same, "the key moved from {last:?} without a word");
                    }
                    Cause::Moved { from, .. } => {
                        ensure!(
                            Some(from) == last && from != id,
                            "it moved from {last:?}: {cause:?}"
                        );
                    }
                    Cause::Detoured(_) => {}
                    _ => return Err(format!("a key, but the cause is {cause:?}")),
                }
            }
        }
        Ok(())
    }

    /// A bound session is not at home: with a reason that is true, as the policy says.
    fn away(&self, home: BackendId, cause: Cause) -> Result<(), String> {
        let Facts { reasons, .. } = self.facts();
        let Some(reason) = cause.reason() else {
            return Err(format!("away from home without a reason: {cause:?}"));
        };
        ensure!(
            reasons.contains(&reason),
            "{cause:?}, but what is true of its home is {reasons:?}"
        );
        if let Cause::Moved { from, .. } = cause {
            ensure!(from == home, "it moved from {home:?}, not {from:?}");
        }
        let moves = matches!(cause, Cause::Moved { .. });
        let may = match (reason, self.overload(), self.then()) {
            (Reason::Overloaded, action, _) => match moves {
                true => action == Some(OverloadAction::Rebalance),
                false => action == Some(OverloadAction::Detour),
            },
            (Reason::Removed | Reason::Draining | Reason::Drained, ..) => moves,
            (Reason::Released | Reason::Rebalanced, ..) => moves,
            (_, _, Afterwards::Rebalance) => moves,
            (_, _, Afterwards::Detour) => !moves,
            (_, _, Afterwards::Reject) => false,
        };
        ensure!(may, "that is not the policy: {cause:?}");
        Ok(())
    }

    /// True of a placement without waiting.
    pub fn placed_at_once(&self, placement: &Placement) -> Result<(), String> {
        self.placed(placement)?;
        let (id, cause) = (placement.backend.id(), placement.cause);
        let known = self.shadow.known(id);
        ensure!(known.has_room(), "placed on a full backend");
        match self.facts().kind {
            Kind::Free(_) if self.shadow.follows(&self.request.hint, placement) => {}
            Kind::Free(_) => self.best_tier(known)?,
            Kind::Bound(home) if home == id => {
                let is_taken = self.free().next().is_none() || self.shadow.line(Line::Any) > 0;
                ensure!(!self.facts().must_leave || is_taken, "it should leave its home");
            }
            Kind::Bound(home) => {
                let reason = cause.reason();
                if matches!(cause, Cause::Moved { .. }) {
                    self.best_tier(known)?;
                }
                match reason {
                    Some(Reason::Overloaded | Reason::Removed | Reason::Draining) => {}
                    Some(Reason::Released) => {}
                    Some(Reason::Rebalanced) => {
                        ensure!(self.shadow.has_few(id), "it has its share of sessions already");
                    }
                    Some(Reason::Full) => ensure!(
                        self.is_late() || self.is_crowded(Line::One(home)),
                        "there was room in its home's queue"
                    ),
                    _ => ensure!(!self.waits_for(home), "it should have waited for its home"),
                }
            }
            Kind::Keyed(key, last) => {
                if let Cause::Moved { from, reason } = cause {
                    let truth = self.shadow.refusal(from, &self.request.tried);
                    let truth = truth.unwrap_or(Reason::Rebalanced);
                    let leaves =
                        reason == Reason::Draining && self.facts().reasons.contains(&reason);
                    ensure!(leaves || reason == truth, "moved because {reason}, but it is {truth}");
                }
                self.owner(key, last, id, cause)?;
            }
        }
        Ok(())
    }

    fn best_tier(&self, known: &Known) -> Result<(), String> {
        let better = |b: &Known| b.spec.priority < known.spec.priority && b.has_room();
        ensure!(!self.free().any(|(_, b)| better(b)), "a backup, though others have room");
        Ok(())
    }

    /// Priorities in which a key may have its home, the first that has an owner.
    fn tiers(&self, last: Option<BackendId>) -> Vec<u32> {
        let first = self.shadow.first_tier();
        let last = last.and_then(|last| self.shadow.member(last).map(|known| (last, known)));
        let kept = last.filter(|(id, known)| {
            known.state() == BackendState::Draining
                && known.spec.weight > 0
                && self.shadow.refusal(*id, &self.request.tried).is_none()
        });
        let kept = kept.map(|(_, known)| known.spec.priority);
        match first.into_iter().chain(kept).min() {
            Some(tier) => vec![tier],
            None => {
                let all = self.shadow.all_members().map(|(_, known)| known.spec.priority);
                all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
            }
        }
    }

    /// Hashing anew, where that is cheap and weights are known: is the key where it belongs?
    fn owner(
        &self,
        key: u64,
        last: Option<BackendId>,
        id: BackendId,
        cause: Cause,
    ) -> Result<(), String> {
        use stickler::balance::hashing::{Algorithm, Member};
        let Mode::Hash(algorithm) = self.shadow.affinity().mode else { return Ok(()) };
        let shadow = self.shadow;
        let is_dear = algorithm == Algorithm::Maglev || shadow.members.len() > 30;
        if is_dear || shadow.spec.slow_start.is_some() {
            return Ok(());
        }
        let members: Vec<_> = shadow.all_members().collect();
        let member = |(_, b): &(BackendId, &Known)| Member {
            name: BackendId::new(&shadow.spec.name, &b.spec.name).to_bits(),
            weight: b.spec.weight * 1_000,
        };
        let hashing = algorithm.prepare(&members.iter().map(member).collect::<Vec<_>>());
        let owner = self
            .tiers(last)
            .into_iter()
            .find_map(|tier| hashing.owner(key, &|i| members[i].1.spec.priority == tier));
        let Some((home, known)) = owner.map(|i| members[i]) else {
            return Err("nobody owns the key, and it was placed".into());
        };
        let refusal = shadow.refusal(home, &self.request.tried);
        let is_open = known.takes_new() || last == Some(home);
        let is_above = shadow.affinity().max_load.is_some_and(|max| shadow.is_above(home, max));
        let is_free = known.has_room() && shadow.line(Line::One(home)) == 0;
        let leaves = matches!(cause, Cause::Moved { reason: Reason::Draining, .. });
        if refusal.is_none() && is_open && is_free && !is_above && !leaves {
            let stays = last != Some(home) || self.free().next().is_none();
            let is_taken = stays || self.shadow.line(Line::Any) > 0;
            ensure!(!self.facts().must_leave || is_taken, "the key should leave");
            ensure!(id == home, "the key belongs to {}", shadow.name(home));
        }
        match cause {
            Cause::Detoured(Reason::Overloaded) => {
                ensure!(shadow.affinity().max_load.is_some(), "there is no bound");
            }
            Cause::Detoured(Reason::Full) => {}
            Cause::Detoured(reason) => {
                ensure!(refusal == Some(reason), "the owner is {refusal:?}, not {reason}");
                ensure!(self.then() == Afterwards::Detour, "that is not the policy: {cause:?}");
            }
            _ if refusal.is_some_and(|refusal| refusal != Reason::Drained) => {
                ensure!(self.then() == Afterwards::Rebalance, "that is not the policy: {cause:?}");
            }
            _ => {}
        }
        if refusal.is_some() {
            ensure!(!self.waits_for(home), "it should have waited for the owner");
        }
        Ok(())
    }

    /// True of a wait that has not ended at once.
    pub fn waits(&self, line: Line, deadline: Timestamp) -> Result<(), String> {
        ensure!(deadline > self.now, "a wait that is over already");
        let spec = &self.shadow.spec;
        let up_to = match spec.affinity.when_unavailable {
            WhenUnavailable::Wait { up_to, .. } => up_to,
            _ => spec.queue.timeout,
        };
        let latest = self.request.since + spec.queue.timeout.max(up_to);
        ensure!(deadline <= latest.max(self.now + TRY_AGAIN), "a wait until {deadline:?}");
        let home = match (line, self.facts().kind) {
            (Line::Any, Kind::Keyed(..)) => return Err("a key waits for anybody".into()),
            (Line::Any, _) => {
                ensure!(self.open().next().is_some(), "waits for anybody, and there is nobody");
                ensure!(self.free().next().is_none(), "waits, though somebody has room");
                return Ok(());
            }
            (Line::One(_), Kind::Free(_)) => {
                return Err("a free request waits for one backend".into());
            }
            (Line::One(id), Kind::Bound(home)) => {
                ensure!(id == home, "waits for one that is not its home");
                home
            }
            (Line::One(id), Kind::Keyed(..)) => id,
        };
        let Some(known) = self.shadow.member(home) else {
            return Err("waits for one that is not a member".into());
        };
        if self.shadow.refusal(home, &self.request.tried).is_some() {
            let may = matches!(spec.affinity.when_unavailable, WhenUnavailable::Wait { .. })
                && self.is_expected_back(home);
            ensure!(may, "waits for a home that is {}", known.state());
        } else {
            let may = !known.has_room()
                || self.shadow.line(line) > 0
                || self.overload() == Some(OverloadAction::Queue);
            ensure!(may, "waits at home, though there is room");
        }
        Ok(())
    }

    /// True of a refusal.
    pub fn refused(&self, unavailable: Unavailable) -> Result<(), String> {
        let full = |b: &Known| !b.has_room();
        match (unavailable, self.facts().kind) {
            (Unavailable::NoBackend, Kind::Free(_) | Kind::Bound(_)) => {
                let open = self.open().next().map(|(id, _)| self.shadow.name(id));
                ensure!(open.is_none(), "no backend, and yet there is {open:?}");
            }
            (Unavailable::NoBackend, Kind::Keyed(..)) => {
                let open = self.open().next().map(|(id, _)| self.shadow.name(id));
                ensure!(open.is_none(), "no backend, and yet there is {open:?}");
            }
            (Unavailable::Full, Kind::Free(_) | Kind::Bound(_)) => {
                let free = self.free().next();
                let free = free.map(|(id, _)| self.shadow.name(id));
                ensure!(free.is_none(), "all are full, and yet there is room at {free:?}");
                let may = self.is_late() || self.is_crowded(Line::Any);
                ensure!(may, "there was room in the queue");
            }
            (Unavailable::Full, Kind::Keyed(..)) => {}
            (Unavailable::Home { backend, reason }, Kind::Bound(home)) => {
                ensure!(backend == home, "refused because of {backend:?}, which is not its home");
                let Facts { reasons, .. } = self.facts();
                ensure!(
                    reasons.contains(&reason),
                    "home is {reason}, but the truth is {reasons:?}"
                );
                let is_hard = !matches!(reason, Reason::Overloaded | Reason::Full);
                ensure!(!is_hard || !self.waits_for(home), "it should have waited for its home");
                let was_overloaded = reasons.contains(&Reason::Overloaded);
                ensure!(self.then() == Afterwards::Reject || was_overloaded, "not the policy");
                ensure!(reason != Reason::Drained, "a drained home refuses nobody, they move");
            }
            (Unavailable::Home { backend, reason }, Kind::Keyed(..)) => {
                ensure!(self.then() == Afterwards::Reject, "that is not the policy");
                ensure!(reason != Reason::Drained, "a drained home refuses nobody, they move");
                let Some(known) = self.shadow.member(backend) else {
                    return Err("refused because of one that is not a member".into());
                };
                let truth = self.shadow.refusal(backend, &self.request.tried);
                let is_true = match reason {
                    Reason::Full => {
                        truth.is_none() && (full(known) || self.shadow.line(Line::One(backend)) > 0)
                    }
                    reason => truth == Some(reason),
                };
                ensure!(is_true, "home is {reason}, but the truth is {truth:?}");
            }
            (Unavailable::Home { .. }, Kind::Free(_)) => {
                return Err("a free request has no home".into());
            }
        }
        Ok(())
    }
}

/// Do sessions wait while their home has too much to do?
fn queues(shadow: &Shadow) -> bool {
    shadow.affinity().overload.is_some_and(|overload| overload.action == OverloadAction::Queue)
}

/// Nobody waits for what is there. Where bounds depend on the whole pool's load, a place can
/// come free without anybody's doing; it is handed over with the next request that ends.
pub fn nobody_waits_in_vain(shadow: &Shadow, requests: &[Request]) -> Result<(), String> {
    let queues = queues(shadow);
    let has_time = |b: &Known| if queues { b.in_flight == 0 } else { b.has_room() };
    let waits = |line: Line, id: BackendId| {
        let mut waiters = shadow.lines.get(&line).into_iter().flatten();
        waiters.find(|&&number| !requests[number].tried.contains(&id)).copied()
    };
    for (id, known) in shadow.all_members() {
        let name = shadow.name(id);
        if known.takes_new()
            && known.has_room()
            && let Some(number) = waits(Line::Any, id)
        {
            return Err(format!("request {number} waits for anybody, and {name} has room"));
        }
        let open = known.state().accepts_bound() && has_time(known);
        if open && let Some(number) = waits(Line::One(id), id) {
            return Err(format!("request {number} waits for {name}, and it has room"));
        }
    }
    for (line, waiters) in &shadow.lines {
        let is_there = match line {
            Line::Any => shadow.all_members().any(|(_, b)| b.takes_new()),
            Line::One(id) => shadow.member(*id).is_some(),
        };
        if !is_there && !waiters.is_empty() {
            return Err(format!("{waiters:?} wait in {line:?}, and there is nobody"));
        }
    }
    Ok(())
}

/// Whoever was placed at once did not overtake those who wait for that and asked before it.
pub fn nobody_was_first(
    shadow: &Shadow,
    requests: &[Request],
    since: Timestamp,
    placement: &Placement,
) -> Result<(), String> {
    let id = placement.backend.id();
    let line = match placement.cause {
        Cause::Bound | Cause::Keyed => Line::One(id),
        Cause::Free | Cause::New | Cause::Unstuck => Line::Any,
        Cause::Moved { .. } | Cause::Detoured(_) => return Ok(()),
    };
    let mut waiters = shadow.lines.get(&line).into_iter().flatten();
    let is_first = |other: &Request| other.waits_for(id) && other.since < since;
    match waiters.find(|&&number| is_first(&requests[number])) {
        Some(other) => Err(format!("it overtook request {other} in {line:?}")),
        None => Ok(()),
    }
}

/// Whoever was called from a line stood first among those who could go there.
pub fn in_turn(
    shadow: &Shadow,
    requests: &[Request],
    number: usize,
    line: Line,
    placement: &Placement,
) -> Result<(), String> {
    let id = placement.backend.id();
    let mut ahead = shadow.lines[&line].iter().take_while(|&&other| other != number);
    if let Some(other) = ahead.find(|&&other| requests[other].waits_for(id)) {
        return Err(format!("request {number} overtook request {other} in {line:?}"));
    }
    let known = shadow.known(id);
    let other_line = match line {
        // Who waits for home may be held to a bound, and those who wait for any are not.
        Line::Any if queues(shadow) => return Ok(()),
        Line::Any => Line::One(id),
        Line::One(_) if known.takes_new() => Line::Any,
        Line::One(_) => return Ok(()),
    };
    // Lines are compared by their heads: whoever stands behind a younger one waits with it.
    let others = shadow.lines.get(&other_line).into_iter().flatten();
    let mut older = others.take_while(|&&other| requests[other].since < requests[number].since);
    match older.find(|&&other| requests[other].waits_for(id)) {
        Some(other) => {
            Err(format!("request {number} of {line:?} came before request {other}, which is older"))
        }
        None => Ok(()),
    }
}
