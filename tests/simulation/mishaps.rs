//! What befalls backends, the configuration and the clock.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use stickler::balance::{BackendId, BackendSpec, Condition};

use crate::drains::Change;
use crate::journal::Journal;
use crate::scenario;
use crate::shadow::{equal, same_change};
use crate::world::World;

/// What an operator and health checks play with.
const CONDITIONS: [Condition; 5] = [
    Condition::Down,
    Condition::Maintenance,
    Condition::Draining,
    Condition::Drained,
    Condition::AskedToDrain,
];

impl World {
    /// One of them.
    pub fn mishap(&mut self, journal: &mut Journal) -> Result<(), String> {
        let Some(&id) = self.shadow.members.choose(&mut self.rng) else { return Ok(()) };
        match self.rng.random_range(0..20) {
            0..5 => self.change_condition(id, journal),
            5..9 => self.operate(id, journal),
            9 => self.release(id, journal),
            10..12 => {
                if !self.sick.remove(&id) {
                    self.sick.insert(id);
                }
                Ok(())
            }
            12..14 => {
                let weight = *[0, 1, 1, 2, 5].choose(&mut self.rng).unwrap();
                let (now, force) = (self.now(), self.rng.random_bool(0.3));
                journal.write(format_args!("        {} weighs {weight}", self.shadow.name(id)));
                let should = self.shadow.set_weight(id, weight, force);
                let is = self.pool.set_weight(id, weight, force, now);
                equal("what became of the weight", &is, &should)
            }
            14..19 => {
                let specs = self.other_specs();
                self.set_backends(specs, journal)
            }
            _ => self.step_clock(journal),
        }
    }

    fn change_condition(&mut self, id: BackendId, journal: &mut Journal) -> Result<(), String> {
        let holds = |c: &&Condition| self.shadow.known(id).conditions & **c as u8 != 0;
        let (condition, becomes) = match CONDITIONS.iter().find(holds) {
            Some(&condition) if self.rng.random_bool(0.7) => (condition, false),
            _ => (*CONDITIONS.choose(&mut self.rng).unwrap(), true),
        };
        self.set(id, condition, becomes, journal)
    }

    /// What an operator does.
    fn operate(&mut self, id: BackendId, journal: &mut Journal) -> Result<(), String> {
        let (now, name, force) = (self.now(), self.shadow.name(id), self.rng.random_bool(0.3));
        let bit = |condition: Condition| condition as u8;
        let what = self.rng.random_range(0..4);
        let (is, should) = match what {
            0 | 1 => {
                let policy = scenario::drain(&mut self.rng);
                journal.write(format_args!("        {name}: drain, {policy:?}, force: {force}"));
                let begin = bit(Condition::Draining);
                let change = Change { begin, policy: Some(policy), ..Change::default() };
                let should = self.shadow.take_out(id, change, force, now);
                (self.pool.drain(id, policy, force, now), should)
            }
            2 => {
                journal.write(format_args!("        {name}: maintenance, force: {force}"));
                let begin = bit(Condition::Maintenance);
                let change = Change { begin, ..Change::default() };
                let should = self.shadow.take_out(id, change, force, now);
                (self.pool.maintenance(id, force, now), should)
            }
            _ => {
                journal.write(format_args!("        {name}: ready"));
                let operators = [Condition::Maintenance, Condition::Draining, Condition::Drained];
                let end = operators.into_iter().map(bit).sum();
                let change = Change { end, ..Change::default() };
                let should = self.shadow.change(id, change, now);
                (Ok(self.pool.make_ready(id, now)), Ok(should))
            }
        };
        if is.is_err() {
            journal.saw("refused");
        }
        let is = is.map(|change| change.map(|change| (change.from, change.to)));
        equal("what the operator did", &is, &should)
    }

    /// An operator lets a session go, or all of a backend.
    fn release(&mut self, id: BackendId, journal: &mut Journal) -> Result<(), String> {
        let now = self.now();
        journal.saw("let go");
        if self.rng.random_bool(0.3) {
            journal.write(format_args!("        all of {} are let go", self.shadow.name(id)));
            let should = self.shadow.release_all(id, now);
            return equal("let go", &self.pool.release_all(id, now), &should);
        }
        let number = self.rng.random_range(0..1_000);
        let Some(session) = self.shadow.any_session(number) else { return Ok(()) };
        journal.write(format_args!("        {session} is let go"));
        let should = self.shadow.release(session, now);
        equal("where it was", &self.pool.release(session, now), &should)
    }

    fn set(
        &mut self,
        id: BackendId,
        condition: Condition,
        holds: bool,
        journal: &mut Journal,
    ) -> Result<(), String> {
        let what = if holds { "is" } else { "is no longer" };
        journal.write(format_args!("        {} {what} {condition:?}", self.shadow.name(id)));
        let expected = self.shadow.set(id, condition, holds, self.now());
        let change = self.pool.set(id, condition, holds, self.now());
        same_change(change.as_ref(), expected)
    }

    fn set_backends(
        &mut self,
        specs: Vec<BackendSpec>,
        journal: &mut Journal,
    ) -> Result<(), String> {
        self.shadow.set_backends(&specs);
        let names: Vec<_> = self.shadow.members.iter().map(|id| self.shadow.name(*id)).collect();
        journal.write(format_args!("        members: {}", names.join(" ")));
        let now = self.now();
        self.pool.set_backends(&specs, now);
        Ok(())
    }

    /// The members, a little different.
    fn other_specs(&mut self) -> Vec<BackendSpec> {
        let spec = |id: &BackendId| self.shadow.known(*id).spec.clone();
        let mut specs: Vec<_> = self.shadow.members.iter().map(spec).collect();
        let at = self.rng.random_range(0..specs.len());
        match self.rng.random_range(0..12) {
            0..4 if specs.len() > 1 => drop(specs.remove(at)),
            0..8 => {
                // Somebody new, or somebody who has been here before.
                let number = self.rng.random_range(0..specs.len() + 4);
                let new = scenario::backend(number, 0.3, &mut self.rng);
                if specs.iter().all(|spec| spec.name != new.name) {
                    specs.push(new);
                }
            }
            8 => {
                let incarnation = self.rng.random_range(0..3u8);
                specs[at].incarnation = (incarnation > 0).then(|| incarnation.to_string());
            }
            9 | 10 => {
                let limit = self.rng.random_range(0..6);
                specs[at].max_connections = (limit > 0).then_some(limit);
                specs[at].priority = u32::from(self.rng.random_bool(0.2));
            }
            _ => specs.shuffle(&mut self.rng),
        }
        specs
    }

    fn step_clock(&mut self, journal: &mut Journal) -> Result<(), String> {
        let by = self.rng.random_range(1..20_000) * if self.rng.random_bool(0.6) { -1 } else { 1 };
        journal.write(format_args!("        the clock steps by {by}"));
        journal.saw(if by < 0 { "clock back" } else { "clock ahead" });
        self.ahead += by;
        self.shadow.clock_stepped();
        self.tick(journal)
    }

    /// Everybody is ready, and nobody sick.
    pub fn heal(&mut self, journal: &mut Journal) -> Result<(), String> {
        self.sick.clear();
        for id in self.shadow.members.clone() {
            for condition in CONDITIONS {
                if self.shadow.known(id).conditions & condition as u8 != 0 {
                    self.set(id, condition, false, journal)?;
                    self.settle(journal)?;
                    self.compare()?;
                }
            }
        }
        Ok(())
    }
}
