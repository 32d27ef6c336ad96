//! Clients, requests, backends and the clock: everything that acts on a pool.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stickler::balance::affinity::Mode;
use stickler::balance::queue::Woken;
use stickler::balance::{
    Ask, BackendId, Binding, Decision, Grant, Hint, InFlight, Outcome, Placement, Pool, Timestamp,
    Wish,
};

use crate::events::{Event, Events};
use crate::journal::Journal;
use crate::request::{Bell, Facts, Kind, Phase, Request};
use crate::rules::{self, Rules};
use crate::scenario::Scenario;
use crate::shadow::{Line, Shadow, equal, same_change};

/// When every world begins.
const BEGINNING: u64 = 1_790_000_000_000;

/// The quiet at the end is long enough for everything that waits; a run that has more to do is
/// stuck.
const MOST_EVENTS: usize = 50_000;

/// A client of the pool.
#[derive(Clone, Copy, Default)]
struct Client {
    token: Option<Grant>,
}

pub struct World {
    pub scenario: Scenario,
    pub pool: Pool,
    pub shadow: Shadow,
    pub rng: StdRng,
    /// The pool's own dice: what the world does must not depend on them.
    dice: StdRng,
    events: Events,
    /// Milliseconds since the beginning, as they pass.
    pub elapsed: u64,
    /// How far the operator's clock is ahead.
    pub ahead: i64,
    clients: Vec<Client>,
    requests: Vec<Request>,
    /// Backends that refuse connections.
    pub sick: BTreeSet<BackendId>,
    is_quiet: bool,
}

type Checked<T = ()> = Result<T, String>;

impl World {
    pub fn new(seed: u64, journal: &mut Journal) -> Self {
        let (scenario, mut rng) = Scenario::new(seed);
        journal.write(format_args!("{scenario:?}"));
        let mut events = Events::default();
        for event in [Event::Arrive(0), Event::Tick, Event::Mishap] {
            events.at(rng.random_range(0..50), event);
        }
        World {
            pool: Pool::new(&scenario.spec, seed),
            shadow: Shadow::new(&scenario.spec, Timestamp::from_millis(BEGINNING)),
            dice: StdRng::seed_from_u64(rng.random()),
            clients: vec![Client::default(); scenario.clients],
            scenario,
            rng,
            events,
            elapsed: 0,
            ahead: 0,
            requests: Vec::new(),
            sick: BTreeSet::new(),
            is_quiet: false,
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis((BEGINNING + self.elapsed).saturating_add_signed(self.ahead))
    }

    /// `steps` events, ticks not counted, and then until everybody is gone.
    pub fn run(mut self, steps: usize, journal: &mut Journal) -> Checked {
        let mut done = 0;
        while done < steps {
            let Some((time, event)) = self.events.next() else { break };
            done += usize::from(event != Event::Tick);
            self.step(time, event, journal)?;
        }
        self.is_quiet = true;
        if self.rng.random() {
            journal.write(format_args!("everything is well again"));
            self.heal(journal)?;
        }
        for left in (0..MOST_EVENTS).rev() {
            let Some((time, event)) = self.events.next() else { break };
            self.step(time, event, journal)?;
            if left == 0 {
                return Err("it does not come to rest".into());
            }
        }
        self.rest(journal)
    }

    /// Nothing is left of all of it.
    fn rest(&mut self, journal: &mut Journal) -> Checked {
        let is_over = |request: &Request| matches!(request.phase, Phase::Over);
        if let Some(number) = self.requests.iter().position(|request| !is_over(request)) {
            return Err(format!("request {number} is neither answered nor refused"));
        }
        self.elapsed += 60 * 60 * 1_000; // beyond whatever the clock has stepped
        self.tick(journal)?;
        self.compare()?;
        let in_flight = self.pool.backends().iter().map(|b| b.in_flight()).sum::<u32>();
        let sessions = self.pool.backends().iter().map(|b| b.sessions()).sum::<u32>();
        let waiting = self.pool.backends().iter().map(|b| b.waiting()).sum::<u32>();
        equal(
            "in flight, sessions and waiting in the end",
            &[in_flight, sessions, waiting],
            &[0; 3],
        )?;
        equal("the ledger in the end", &self.pool.ledger().len(), &0)
    }

    fn step(&mut self, time: u64, event: Event, journal: &mut Journal) -> Checked {
        self.elapsed = self.elapsed.max(time);
        if event != Event::Tick {
            journal.write(format_args!("{:>7} {event:?}", self.elapsed));
        }
        match event {
            Event::Arrive(_) if self.is_quiet => {}
            Event::Arrive(client) => self.arrive(client, journal)?,
            Event::Ask(number) => self.ask(number, journal)?,
            Event::Deadline(number, wait) => self.deadline(number, wait, journal)?,
            Event::Refuse(number) => self.refuse(number, journal)?,
            Event::Answer(number) => self.answer(number, journal)?,
            Event::End(number) => self.end(number, Outcome::Success),
            Event::Leave(number) => self.leave(number, journal),
            Event::Mishap if self.is_quiet => {}
            Event::Mishap => {
                self.mishap(journal)?;
                self.later(self.scenario.mishaps * 2, Event::Mishap);
            }
            Event::Tick => {
                self.tick(journal)?;
                if !self.is_quiet {
                    self.later(400, Event::Tick);
                }
            }
        }
        self.settle(journal)?;
        self.compare()
    }

    fn later(&mut self, at_most: u64, event: Event) {
        let delay = self.rng.random_range(0..=at_most);
        self.events.at(self.elapsed + delay, event);
    }

    pub fn compare(&self) -> Checked {
        self.shadow.same(&self.pool, self.now())?;
        rules::nobody_waits_in_vain(&self.shadow, &self.requests)
    }

    // Clients.

    fn arrive(&mut self, client: usize, journal: &mut Journal) -> Checked {
        let many = if self.rng.random_bool(0.1) { self.rng.random_range(2..5) } else { 1 };
        for _ in 0..many {
            let hint = self.hint(client);
            let since = self.now();
            let kind = Kind::Free(stickler::balance::Cause::Free);
            self.requests.push(Request {
                client,
                hint,
                tried: Vec::new(),
                since,
                facts: Facts { kind, reasons: Vec::new(), must_leave: false },
                phase: Phase::Asking,
                waits: 0,
            });
            let number = self.requests.len() - 1;
            if self.rng.random_bool(self.scenario.leavers) {
                self.later(self.scenario.service * 2, Event::Leave(number));
            }
            self.ask(number, journal)?;
            self.settle(journal)?;
            self.compare()?;
        }
        // Some come often, some hardly ever.
        let luck: f64 = self.rng.random();
        let next = (luck * luck * self.clients.len() as f64) as usize;
        let mut pause = self.scenario.arrivals * 2;
        if self.rng.random_bool(0.004) {
            pause = self.shadow.affinity().idle_timeout.as_millis() as u64 * 3; // a night
        }
        self.later(pause, Event::Arrive(next));
        Ok(())
    }

    fn hint(&mut self, client: usize) -> Hint {
        match self.shadow.affinity().mode {
            Mode::None => Hint::Free,
            Mode::Cookie => {
                if self.rng.random_bool(0.02) {
                    self.clients[client].token = None;
                }
                let is_known = self.shadow.affinity().coalesce.is_some();
                let free = if is_known { Hint::First(client as u64) } else { Hint::Free };
                self.clients[client].token.map_or(free, Hint::Bound)
            }
            Mode::Hash(_) if self.rng.random_bool(0.05) => Hint::Free,
            Mode::Hash(_) => Hint::Key(stickler::balance::hashing::key(&client.to_le_bytes())),
        }
    }

    // Requests.

    fn is_over(&self, hint: &Hint) -> bool {
        let affinity = self.shadow.affinity();
        let slack = (affinity.idle_timeout / 20).min(Duration::from_secs(60));
        let now = self.now();
        matches!(hint, Hint::Bound(grant) if now > grant.issued + affinity.absolute_timeout
            || now > grant.refreshed + affinity.idle_timeout + slack)
    }

    fn ask(&mut self, number: usize, journal: &mut Journal) -> Checked {
        let (now, request) = (self.now(), &self.requests[number]);
        if !matches!(request.phase, Phase::Asking) {
            return Ok(());
        }
        let facts =
            self.shadow.facts(&request.hint, &request.tried, self.is_over(&request.hint), now);
        if matches!((facts.kind, request.hint), (Kind::Bound(home), Hint::Bound(grant)) if home != grant.backend)
        {
            journal.saw("followed");
        }
        let request = &mut self.requests[number];
        request.facts = facts;
        let ask =
            Ask { hint: request.hint, tried: &request.tried, since: request.since, let_go: None };
        let decision = self.pool.place(&ask, now, &mut self.dice);
        let request = &self.requests[number];
        let rules = Rules { shadow: &self.shadow, request, now };
        let about = |why: String| format!("request {number}, {:?}: {why}", request.facts);
        match decision {
            Ok(Decision::Place(placement, in_flight)) => {
                let to = self.shadow.name(placement.backend.id());
                journal.write(format_args!("        {number} -> {to} {:?}", placement.cause));
                rules
                    .placed_at_once(&placement)
                    .and_then(|()| {
                        rules::nobody_was_first(
                            &self.shadow,
                            &self.requests,
                            request.since,
                            &placement,
                        )
                    })
                    .map_err(about)?;
                if let Hint::First(client) = request.hint {
                    let together = self.shadow.first(client, &request.tried, &placement, now);
                    if together.map_err(about)? {
                        journal.saw("together");
                    }
                }
                self.place(number, placement, in_flight, journal)
            }
            Ok(Decision::Wait(mut wait)) => {
                let bell = Arc::<Bell>::default();
                if let Poll::Ready(woken) = bell.poll(&mut wait) {
                    return self.called_at_once(number, woken, journal);
                }
                let deadline = wait.deadline();
                self.settle(journal)?;
                if bell.has_rung()
                    && let Poll::Ready(woken) = bell.poll(&mut wait)
                {
                    // Somebody left with a place, and it was the next.
                    return self.called_at_once(number, woken, journal);
                }
                let line = self.newcomer()?;
                let name = match line {
                    Line::Any => "any".into(),
                    Line::One(id) => self.shadow.name(id),
                };
                journal.write(format_args!("        {number} waits for {name}"));
                journal.saw(if line == Line::Any { "wait for any" } else { "wait for one" });
                let request = &self.requests[number];
                let rules = Rules { shadow: &self.shadow, request, now };
                rules.waits(line, deadline).map_err(|why| format!("request {number}: {why}"))?;
                self.shadow.lines.entry(line).or_default().push_back(number);
                let request = &mut self.requests[number];
                request.phase = Phase::Waiting(wait, bell);
                request.waits += 1;
                let event = Event::Deadline(number, request.waits);
                let patience = deadline.since(now).as_millis() as u64;
                self.events.at(self.elapsed + patience, event);
                Ok(())
            }
            Err(unavailable) => {
                journal.write(format_args!("        {number} is refused: {unavailable:?}"));
                journal.saw(unavailable.as_str());
                rules.refused(unavailable).map_err(about)?;
                self.shadow.unavailable += 1;
                self.requests[number].phase = Phase::Over;
                Ok(())
            }
        }
    }

    /// It stood in line for no time at all.
    fn called_at_once(&mut self, number: usize, woken: Woken, journal: &mut Journal) -> Checked {
        let Woken::Placed(placement, in_flight) = woken else {
            return Err(format!("request {number} is told to ask again at once"));
        };
        let to = self.shadow.name(placement.backend.id());
        journal.write(format_args!("        {number} ..-> {to} {:?}", placement.cause));
        let request = &self.requests[number];
        let rules = Rules { shadow: &self.shadow, request, now: self.now() };
        rules
            .placed(&placement)
            .map_err(|why| format!("request {number}, {:?}: {why}", request.facts))?;
        self.place(number, placement, in_flight, journal)
    }

    /// The line that is one longer than the shadow knows.
    fn newcomer(&self) -> Checked<Line> {
        if self.pool.waiting() as usize == self.shadow.line(Line::Any) + 1 {
            return Ok(Line::Any);
        }
        let backends = self.pool.backends();
        let is_longer =
            |id: BackendId, waiting: u32| waiting as usize == self.shadow.line(Line::One(id)) + 1;
        let backend = backends.iter().find(|b| is_longer(b.id(), b.waiting()));
        backend.map(|b| Line::One(b.id())).ok_or_else(|| "it waits in no line".into())
    }

    fn place(
        &mut self,
        number: usize,
        placement: Placement,
        in_flight: InFlight,
        journal: &mut Journal,
    ) -> Checked {
        journal.saw(placement.cause.as_str());
        if let Some(reason) = placement.cause.reason() {
            journal.saw(reason.as_str());
        }
        let id = placement.backend.id();
        equal("who counts", &in_flight.backend().id(), &id)?;
        let name = self.shadow.name(id);
        let known = self.shadow.get_mut(id);
        known.in_flight += 1;
        if known.spec.max_connections.is_some_and(|limit| known.in_flight > limit) {
            return Err(format!("{} in flight at {name}, above its limit", known.in_flight));
        }
        self.requests[number].phase = Phase::Placed(placement, in_flight);
        let (well, sick) = self.scenario.refusals;
        let refuses = if self.sick.contains(&id) { sick } else { well };
        match self.rng.random_bool(refuses) {
            true => self.later(2, Event::Refuse(number)),
            false => self.later(self.scenario.service * 2, Event::Answer(number)),
        }
        Ok(())
    }

    /// Takes the request out of its line, or out of its flight.
    fn take(&mut self, number: usize) -> Phase {
        let phase = std::mem::replace(&mut self.requests[number].phase, Phase::Over);
        match &phase {
            Phase::Waiting(..) => drop(self.out_of_line(number)),
            Phase::Placed(placement, _) => {
                self.shadow.get_mut(placement.backend.id()).in_flight -= 1;
            }
            Phase::Asking | Phase::Over => {}
        }
        phase
    }

    fn out_of_line(&mut self, number: usize) -> Option<Line> {
        self.shadow.lines.iter_mut().find_map(|(line, waiters)| {
            let at = waiters.iter().position(|&other| other == number)?;
            waiters.remove(at);
            Some(*line)
        })
    }

    /// Listens to those who wait, until none of them has news.
    pub fn settle(&mut self, journal: &mut Journal) -> Checked {
        loop {
            let lines: Vec<(Line, usize)> = self
                .shadow
                .lines
                .iter()
                .flat_map(|(line, waiters)| waiters.iter().map(|number| (*line, *number)))
                .collect();
            let mut news = Vec::new();
            for (line, number) in lines {
                let has_rung = match &self.requests[number].phase {
                    Phase::Waiting(_, bell) => bell.has_rung(),
                    _ => continue,
                };
                if has_rung && self.rng.random_bool(self.scenario.leavers / 2.0) {
                    // It left before it heard: its place goes on to the next.
                    journal.write(format_args!("        {number} leaves with a place"));
                    drop(self.take(number));
                    news.push(None);
                    continue;
                }
                let Phase::Waiting(wait, bell) = &mut self.requests[number].phase else { continue };
                if let Poll::Ready(woken) = bell.poll(wait) {
                    if !has_rung {
                        return Err(format!("request {number} was not woken"));
                    }
                    news.push(Some((line, number, woken)));
                }
            }
            if news.is_empty() {
                return Ok(());
            }
            for (line, number, woken) in news.iter().flatten() {
                if let Woken::Placed(placement, _) = woken {
                    rules::in_turn(&self.shadow, &self.requests, *number, *line, placement)?;
                }
            }
            for (_, number, woken) in news.into_iter().flatten() {
                self.heard(number, woken, journal)?;
            }
        }
    }

    fn heard(&mut self, number: usize, woken: Woken, journal: &mut Journal) -> Checked {
        match woken {
            Woken::Placed(placement, in_flight) => {
                let to = self.shadow.name(placement.backend.id());
                journal.write(format_args!("        {number} ...-> {to} {:?}", placement.cause));
                journal.saw("handed over");
                let request = &self.requests[number];
                let rules = Rules { shadow: &self.shadow, request, now: self.now() };
                rules
                    .placed(&placement)
                    .map_err(|why| format!("request {number}, {:?}: {why}", request.facts))?;
                drop(self.take(number));
                self.place(number, placement, in_flight, journal)
            }
            Woken::Changed => {
                journal.write(format_args!("        {number} is told to ask again"));
                journal.saw("told to ask again");
                drop(self.take(number));
                self.requests[number].phase = Phase::Asking;
                self.later(2, Event::Ask(number));
                Ok(())
            }
        }
    }

    fn deadline(&mut self, number: usize, wait: u32, journal: &mut Journal) -> Checked {
        let request = &self.requests[number];
        if !matches!(request.phase, Phase::Waiting(..)) || request.waits != wait {
            return Ok(());
        }
        journal.saw("timed out");
        drop(self.take(number));
        self.requests[number].phase = Phase::Asking;
        self.requests[number].tried.clear();
        self.ask(number, journal)
    }

    fn refuse(&mut self, number: usize, journal: &mut Journal) -> Checked {
        let Phase::Placed(placement, in_flight) = self.take(number) else { return Ok(()) };
        let (now, id) = (self.now(), placement.backend.id());
        in_flight.failed(Duration::from_millis(1), now);
        self.settle(journal)?;
        let from = self.shadow.known(id).state();
        let goes = self.shadow.refused(id, now);
        let change = self.pool.connect_failed(&placement.backend, now);
        same_change(change.as_ref(), goes.then(|| (from, self.shadow.known(id).state())))?;
        self.settle(journal)?;
        let attempts = self.scenario.attempts;
        let request = &mut self.requests[number];
        request.tried.push(id);
        if request.tried.len() < attempts {
            request.phase = Phase::Asking;
            self.ask(number, journal)?;
        }
        Ok(())
    }

    fn answer(&mut self, number: usize, journal: &mut Journal) -> Checked {
        let now = self.now();
        let request = &self.requests[number];
        let Phase::Placed(placement, in_flight) = &request.phase else { return Ok(()) };
        self.pool.connect_succeeded(&placement.backend);
        in_flight.answered(Duration::from_millis(number as u64 % 50), now);
        self.shadow.connected(placement.backend.id());
        if self.rng.random_bool(0.03) {
            self.end(number, Outcome::Failure);
            return Ok(());
        }
        let wish = match self.rng.random_range(0..30) {
            0 => Some(Wish::Release),
            1..10 => Some(Wish::Pin),
            _ => None,
        };
        let binding = self.pool.bind(&request.hint, placement, wish, now, &mut self.dice);
        self.shadow.bind(&request.hint, placement, wish, now, &binding)?;
        match wish {
            Some(Wish::Release) => journal.saw("log-out"),
            Some(Wish::Pin) if request.hint == Hint::Free && binding != Binding::Keep => {
                journal.saw("pinned");
            }
            _ => {}
        }
        if binding == Binding::Revoke {
            self.clients[request.client].token = None;
        }
        if let Binding::Issue(grant) = binding {
            let home = self.shadow.name(grant.backend);
            journal.write(format_args!("        {number} gets {home} {}", grant.session));
            self.clients[request.client].token = Some(grant);
        }
        match self.rng.random_bool(0.7) {
            true => self.end(number, Outcome::Success),
            false => self.later(self.scenario.service, Event::End(number)),
        }
        Ok(())
    }

    fn end(&mut self, number: usize, outcome: Outcome) {
        if let Phase::Placed(_, in_flight) = self.take(number) {
            in_flight.finish(outcome);
        }
    }

    fn leave(&mut self, number: usize, journal: &mut Journal) {
        if let Phase::Waiting(..) = self.take(number) {
            journal.saw("left while waiting");
        }
    }

    // Time.

    pub fn tick(&mut self, journal: &mut Journal) -> Checked {
        let now = self.now();
        let mut expected = self.shadow.tick(now);
        let changes = self.pool.tick(now);
        self.shadow.forget(now);
        self.shadow.expire(&self.pool, now)?;
        expected.extend(self.shadow.end_drains(&self.pool, now));
        let changes: Vec<_> = changes.iter().map(|t| (t.backend.id(), t.from, t.to)).collect();
        equal("changes with time", &changes, &expected)?;
        if self
            .shadow
            .all_members()
            .any(|(_, b)| b.drain.as_ref().is_some_and(|drain| drain.cut > 0))
        {
            journal.saw("cut");
        }
        for (id, _, to) in changes {
            journal.write(format_args!("{:>7} {} is {to}", self.elapsed, self.shadow.name(id)));
            journal.saw(to.as_str());
        }
        Ok(())
    }
}
