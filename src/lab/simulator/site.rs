//! The proxied site on virtual time: the pool that decides, the servers behind it, the requests
//! on their way.
//!
//! The [`Pool`] is the live proxy's, called as the proxy calls it: `place`, then the request is in
//! flight, then `bind` when the answer goes out. It has one caller only, who keeps a [`View`] of
//! it. What is simulated is everything around it. Who the clients are is somebody else's: they ask
//! ([`Site::ask`]) and are told how it ended ([`Ended`]).

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use slab::Slab;

use super::agenda::Agenda;
use super::bell::{Bell, Ring};
use super::happening::{Drain, Step};
use super::meter::{Failure, Meter};
use super::plan::{Plan, Proxy};
use super::server::{Arrival, Life, Server};
use crate::balance::affinity::AffinitySpec;
use crate::balance::queue::{Wait, Woken};
use crate::balance::{
    Address, Ask, Backend, BackendId, BackendSpec, Binding, Cause, Decision, Grant, Hint, InFlight,
    Outcome, Placement, Pool, PoolSpec, Timestamp, Unavailable, View,
};
use crate::lab::policy::Policy;

/// Sessions that the ledger of a simulated pool knows at most.
const MAX_SESSIONS: usize = 100_000_000;

/// How often the pool is told the time.
const TICK: u64 = 250_000_000;

/// What a connection costs that is refused.
const REFUSAL: Duration = Duration::from_millis(1);

/// Something that is going to happen.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) enum Event {
    /// A client wanted to be reminded of this.
    Client(u32),
    /// A server is done with a request, if it is still that one.
    Done { flight: u32, stamp: u32 },
    /// A request has waited for long enough, if it still does.
    Deadline { waiting: u32, stamp: u32 },
    /// Time passes for the pool.
    Tick,
    /// A part of the timeline is over.
    Slot,
    /// Something happens to the fleet.
    Step(u32),
}

/// A request as its client makes it.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Request {
    /// Who is to be told.
    pub(in crate::lab) client: u32,
    /// What it carries.
    pub(in crate::lab) hint: Hint,
    /// How long a server of normal speed takes, in nanoseconds.
    pub(in crate::lab) work: u64,
    /// When it arrived.
    pub(in crate::lab) arrived: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Ended {
    /// Whose it was.
    pub(in crate::lab) client: u32,
    /// The answer, if there is one.
    pub(in crate::lab) answer: Option<Answer>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Answer {
    /// Who gave it.
    pub(in crate::lab) by: Life,
    /// It was given away from home, which stays where it is.
    pub(in crate::lab) is_detour: bool,
    /// What to keep from now on.
    pub(in crate::lab) grant: Option<Grant>,
}

/// A request at a server.
#[derive(Debug)]
struct Flight {
    request: Request,
    placement: Placement,
    in_flight: InFlight,
    /// When it came to this server.
    since: u64,
    stamp: u32,
    server: u32,
}

/// A request that waits at the proxy.
#[derive(Debug)]
struct Waiting {
    request: Request,
    wait: Wait,
    tried: Vec<BackendId>,
    stamp: u32,
}

/// The site.
#[derive(Debug)]
pub(in crate::lab) struct Site {
    /// What decides.
    pub(in crate::lab) pool: Pool,
    /// Its members as placements have seen them last.
    view: View,
    pub(super) servers: Vec<Server>,
    pub(super) plan: Plan,
    /// In nanoseconds since the beginning.
    pub(in crate::lab) now: u64,
    pub(in crate::lab) agenda: Agenda<Event>,
    pub(in crate::lab) meter: Meter,
    /// How requests ended about which nobody was told yet.
    pub(super) ended: Vec<Ended>,
    flights: Slab<Flight>,
    waiting: Slab<Waiting>,
    bell: Arc<Bell>,
    /// What the pool draws from.
    dice: Xoshiro256PlusPlus,
    stamp: u32,
    wants_latency: bool,
    pub(super) steps: Vec<Step>,
    pub(super) drains: Vec<Drain>,
    /// Servers that were asked for and have not started yet.
    pub(super) coming: u32,
    /// The arrival rate, next to that of the beginning.
    pub(in crate::lab) load_factor: f64,
}

impl Site {
    /// The site of this plan under this policy, before anybody comes.
    pub(in crate::lab) fn new(plan: &Plan, policy: &Policy, seed: u64) -> Self {
        let fleet = &plan.fleet;
        let slowness = |number: u32| match fleet.slow {
            Some((count, factor)) if number < count => factor,
            _ => 1.0,
        };
        let server = |number| Server::new(fleet.concurrency, fleet.backlog, slowness(number));
        let rate = plan.requests_per_second();
        let pool = Pool::new(&pool_spec(plan, policy), seed);
        let mut site = Site {
            view: pool.view(),
            pool,
            servers: (0..fleet.backends).map(server).collect(),
            now: 0,
            // Two events a request; what is pending is mostly sessions that think.
            agenda: Agenda::new(2.0 * rate / 1e9, pending(plan, rate)),
            meter: Meter::new(plan),
            ended: Vec::new(),
            flights: Slab::new(),
            waiting: Slab::new(),
            bell: Arc::default(),
            dice: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed_d1ce),
            stamp: 0,
            wants_latency: policy.balance.wants_latency(),
            steps: Vec::new(),
            drains: Vec::new(),
            coming: 0,
            load_factor: 1.0,
            plan: plan.clone(),
        };
        site.agenda.add(TICK, Event::Tick);
        site.agenda.add(site.meter.next_slot(), Event::Slot);
        site.schedule_happenings();
        site
    }

    /// The same for the core.
    pub(super) fn timestamp(&self) -> Timestamp {
        timestamp(self.now)
    }

    /// Something of the site's own happens. A request that is done is told at once, others by
    /// [`Site::next_ended`].
    #[inline]
    pub(in crate::lab) fn happen(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Done { flight, stamp } => return self.done(flight, stamp),
            Event::Deadline { waiting, stamp } => self.deadline(waiting, stamp),
            Event::Tick => self.tick(),
            Event::Slot => {
                self.slot();
                self.agenda.add(self.meter.next_slot(), Event::Slot);
            }
            Event::Step(step) => self.step(step),
            Event::Client(_) => {}
        }
        None
    }

    /// How another request ended.
    #[inline]
    pub(in crate::lab) fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop()
    }

    fn tick(&mut self) {
        self.pool.tick(self.timestamp());
        self.look_at_drains();
        self.hear();
        self.agenda.add(self.now + TICK, Event::Tick);
    }

    /// A request arrives.
    #[inline]
    pub(in crate::lab) fn ask(&mut self, request: Request) {
        self.meter.offered(request.arrived);
        self.place(&request, &[]);
    }

    /// Sends a request where the pool says, or where it says next if that refuses.
    #[inline]
    fn place(&mut self, request: &Request, tried: &[BackendId]) {
        let since = timestamp(request.arrived);
        let ask = Ask { hint: request.hint, tried, since, let_go: None };
        match self.pool.place_by(&mut self.view, &ask, timestamp(self.now), &mut self.dice) {
            Ok(Decision::Place(placement, in_flight)) => {
                if let Err(refused) = self.begin(request, placement, in_flight) {
                    self.place_again(request, tried, refused);
                }
            }
            Ok(Decision::Wait(wait)) => self.wait(*request, wait, tried.to_vec()),
            Err(unavailable) => {
                let why = match unavailable {
                    // What was tried is out of the question: nobody answers.
                    Unavailable::NoBackend if !tried.is_empty() => Failure::Refused,
                    Unavailable::NoBackend => Failure::NoBackend,
                    Unavailable::Full => Failure::Full,
                    Unavailable::Home { .. } => Failure::Home,
                };
                self.fail(request, why);
            }
        }
    }

    /// One more could not be connected to.
    #[cold]
    fn place_again(&mut self, request: &Request, tried: &[BackendId], refused: BackendId) {
        let tried = [tried, &[refused]].concat();
        match tried.len() < self.plan.proxy.attempts {
            true => self.place(request, &tried),
            false => self.fail(request, Failure::Refused),
        }
    }

    /// A placed request comes to its server. The error is the backend that could not be connected
    /// to.
    #[inline]
    fn begin(
        &mut self,
        request: &Request,
        placement: Placement,
        in_flight: InFlight,
    ) -> Result<(), BackendId> {
        let number = number(&placement.backend);
        let server = &mut self.servers[number as usize];
        if !server.is_alive {
            let now = timestamp(self.now);
            in_flight.failed(REFUSAL, now);
            self.pool.connect_failed(&placement.backend, now);
            self.hear();
            return Err(placement.backend.id());
        }
        self.pool.connect_succeeded(&placement.backend);
        self.stamp = self.stamp.wrapping_add(1);
        let entry = self.flights.vacant_entry();
        let flight = entry.key() as u32;
        let arrival = server.arrive(flight);
        if arrival == Arrival::Refused {
            in_flight.finish(Outcome::Failure);
            self.fail(request, Failure::Backlog);
            self.hear();
            return Ok(());
        }
        entry.insert(Flight {
            request: *request,
            placement,
            in_flight,
            since: self.now,
            stamp: self.stamp,
            server: number,
        });
        if arrival == Arrival::Served {
            self.serve(flight);
        }
        Ok(())
    }

    /// A server begins with a request.
    #[inline]
    fn serve(&mut self, flight: u32) {
        let Some(Flight { request, stamp, server, .. }) = self.flights.get(flight as usize) else {
            return;
        };
        let server = &mut self.servers[*server as usize];
        let work = match server.slowness {
            1.0 => request.work,
            slowness => (request.work as f64 * slowness) as u64,
        };
        if self.meter.measures(request.arrived) {
            server.load.busy += work;
            self.meter.waited(self.now - request.arrived);
        }
        self.agenda.add(self.now + work, Event::Done { flight, stamp: *stamp });
    }

    #[inline]
    fn done(&mut self, flight: u32, stamp: u32) -> Option<Ended> {
        let key = flight as usize;
        if self.flights.get(key).is_none_or(|flight| flight.stamp != stamp) {
            return None; // its server died meanwhile
        }
        let Flight { request, placement, in_flight, since, server: number, .. } =
            self.flights.remove(key);
        let server = &mut self.servers[number as usize];
        let by = server.life(number);
        if self.meter.measures(request.arrived) {
            server.load.requests += 1;
            server.load.resident += self.now - since;
            self.meter.answered(number, self.now - request.arrived);
        }
        if let Some(next) = server.finish() {
            self.serve(next);
        }
        let now = timestamp(self.now);
        if self.wants_latency {
            in_flight.answered(Duration::from_nanos(self.now - since), now);
        }
        let Request { client, hint, .. } = request;
        let bound = self.pool.bind_by(&mut self.view, &hint, &placement, None, now, &mut self.dice);
        let grant = match bound {
            Binding::Issue(grant) => Some(grant),
            Binding::Keep | Binding::Revoke => None,
        };
        in_flight.finish(Outcome::Success);
        self.hear();
        let is_detour = matches!(placement.cause, Cause::Detoured(_));
        Some(Ended { client, answer: Some(Answer { by, is_detour, grant }) })
    }

    pub(super) fn fail(&mut self, request: &Request, why: Failure) {
        self.meter.failed(request.arrived, why);
        self.ended.push(Ended { client: request.client, answer: None });
    }

    // Waiting at the proxy.

    fn wait(&mut self, request: Request, wait: Wait, tried: Vec<BackendId>) {
        self.stamp = self.stamp.wrapping_add(1);
        let (deadline, stamp) = (wait.deadline().as_nanos(), self.stamp);
        let waiting = self.waiting.insert(Waiting { request, wait, tried, stamp }) as u32;
        self.agenda.add(deadline, Event::Deadline { waiting, stamp });
        self.bell.ring(Ring { waiting, stamp });
        self.hear();
    }

    /// Listens to those who wait.
    #[inline]
    pub(super) fn hear(&mut self) {
        if !self.waiting.is_empty() {
            self.hear_waiting();
        }
    }

    fn hear_waiting(&mut self) {
        while let Some(ring) = self.bell.heard() {
            let Ring { waiting, stamp } = ring;
            let Some(entry) = self.waiting.get_mut(waiting as usize) else { continue };
            if entry.stamp != stamp {
                continue;
            }
            let waker = Waker::from(self.bell.handle(ring));
            let Poll::Ready(woken) = entry.wait.poll(&mut Context::from_waker(&waker)) else {
                continue;
            };
            let Waiting { request, tried, .. } = self.waiting.remove(waiting as usize);
            match woken {
                Woken::Changed => self.place(&request, &tried),
                Woken::Placed(placement, in_flight) => {
                    if let Err(refused) = self.begin(&request, placement, in_flight) {
                        self.place_again(&request, &tried, refused);
                    }
                }
            }
        }
    }

    fn deadline(&mut self, waiting: u32, stamp: u32) {
        if self.waiting.get(waiting as usize).is_some_and(|entry| entry.stamp == stamp) {
            let Waiting { request, wait, .. } = self.waiting.remove(waiting as usize);
            drop(wait);
            self.place(&request, &[]);
        }
    }

    // Servers.

    /// Everything that this server works on, or that is in its line, is lost.
    pub(super) fn lose_flights(&mut self, server: u32) {
        let there = self.flights.iter().filter(|(_, flight)| flight.server == server);
        let there: Vec<usize> = there.map(|(flight, _)| flight).collect();
        for flight in there {
            let Flight { request, in_flight, .. } = self.flights.remove(flight);
            in_flight.finish(Outcome::Failure);
            self.fail(&request, Failure::Crashed);
        }
        self.hear();
    }

    /// The backend that this server is.
    pub(super) fn backend(&self, server: u32) -> Option<Arc<Backend>> {
        self.pool.backend(BackendId::new(POOL, &name(server)))
    }

    fn slot(&mut self) {
        let from = self.meter.slot_start();
        let mut ready = 0;
        if self.now > self.meter.from() {
            for backend in self.pool.backends() {
                let server = &mut self.servers[number(&backend) as usize];
                if backend.state().accepts_bound() {
                    server.load.ready += self.now - from;
                    ready += 1;
                }
                server.load.sessions += u64::from(backend.sessions());
            }
        }
        let (in_flight, sessions) = self.pool.backends().iter().fold((0, 0), |sum, backend| {
            (sum.0 + u64::from(backend.in_flight()), sum.1 + u64::from(backend.sessions()))
        });
        self.meter.turn_slot(self.now, in_flight, sessions, ready);
    }

    /// Ends the measurement now.
    pub(in crate::lab) fn close(&mut self) {
        self.slot();
        self.meter.end_at(self.now);
    }
}

/// The name of every simulated pool.
pub(super) const POOL: &str = "shop";

/// The name of a server.
pub(super) fn name(server: u32) -> String {
    format!("app-{}", server + 1)
}

/// Which server a backend is: that is the port at which it listens.
#[inline]
fn number(backend: &Backend) -> u32 {
    match backend.address() {
        Address::Tcp { port, .. } => u32::from(*port) - 1,
        Address::Unix(_) => 0,
    }
}

fn timestamp(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// What a server is to the pool.
pub(super) fn backend_spec(server: u32, proxy: &Proxy) -> BackendSpec {
    let address = Address::Tcp { host: "simulated".into(), port: (server + 1) as u16 };
    BackendSpec {
        max_connections: proxy.max_connections,
        ..BackendSpec::new(name(server), address)
    }
}

fn pool_spec(plan: &Plan, policy: &Policy) -> PoolSpec {
    let proxy = &plan.proxy;
    let backends = (0..plan.fleet.backends).map(|server| backend_spec(server, proxy)).collect();
    PoolSpec {
        balance: policy.balance,
        affinity: AffinitySpec {
            idle_timeout: proxy.idle_timeout,
            absolute_timeout: Duration::from_secs(366 * 24 * 60 * 60),
            max_sessions: MAX_SESSIONS,
            ..policy.affinity
        },
        ejection: proxy.ejection,
        queue: proxy.queue,
        slow_start: proxy.slow_start,
        ..PoolSpec::new(POOL, backends)
    }
}

/// How many events lie ahead at a time, by Little's law.
fn pending(plan: &Plan, rate: f64) -> f64 {
    let think = match &plan.clients {
        super::plan::Clients::Sessions(sessions) => sessions.think.mean(),
        super::plan::Clients::Requests => 0.0,
    };
    rate * (think + 2.0 * plan.fleet.service_time.mean())
}
