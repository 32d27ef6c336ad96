//! What is counted, timed and logged about the request that a client connection serves.
//!
//! A connection has one record, which is opened when a request begins and closed when its response
//! has ended, exactly once: by [`Client::end_exchange`], by the end of a tunnel, or, whatever was
//! cancelled, by the end of the connection. In between, whoever learns something notes it here.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{StatusCode, Version};

use super::body::Broken;
use super::client::Client;
use super::error::Problem;
use super::request_id::RequestId;
use crate::balance::unstick::{Arm, Unstick};
use crate::balance::{Cause, Hint, Pool, SessionId};
use crate::clock::{self, Moment};
use crate::http::fields::Found;
use crate::observe::access_log::{Head, Id, Line, Outline, Phase, Request};
use crate::observe::metrics::{Ended, Meter, Tally};
use crate::observe::{End, ProblemKind};

/// What is counted, timed and logged about a request.
#[derive(Debug, Default)]
pub(crate) struct Record {
    is_open: Cell<bool>,
    began: Cell<Moment>,
    /// When the last phase ended.
    marked: Cell<Moment>,
    /// When it was placed at the backend that has it.
    placed: Cell<Moment>,
    phases: [Cell<u64>; Phase::COUNT],
    /// The id of a request that has one so far.
    id: RefCell<Option<RequestId>>,
    /// The pool, while no backend is known, and only where a request may end there.
    pool: RefCell<Option<Arc<Pool>>>,
    /// Where it was sent last.
    meter: RefCell<Option<Arc<Meter>>>,
    cause: Cell<Option<Cause>>,
    session: Cell<Option<u64>>,
    /// The arm of the unstick experiment that its session is in, if there is an experiment.
    arm: Cell<Option<Arm>>,
    /// The app does not know its session.
    is_unknown: Cell<bool>,
    attempts: Cell<u16>,
    status: Cell<u16>,
    problem: Cell<Option<ProblemKind>>,
    end: Cell<End>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// The line of the access log, if there is one.
    line: RefCell<Option<Box<Line>>>,
}

impl Record {
    /// A request begins.
    pub(crate) fn open(&self) {
        let now = clock::moment();
        self.is_open.set(true);
        self.began.set(now);
        self.marked.set(now);
        self.placed.set(now);
        self.phases.iter().for_each(|phase| phase.set(0));
        self.cause.set(None);
        self.session.set(None);
        self.arm.set(None);
        self.is_unknown.set(false);
        self.attempts.set(0);
        self.status.set(0);
        self.problem.set(None);
        self.end.set(End::Complete);
        self.bytes_in.set(0);
        self.bytes_out.set(0);
    }

    /// Its line in the access log has begun.
    pub(crate) fn set_line(&self, line: Option<Box<Line>>) {
        *self.line.borrow_mut() = line;
    }

    /// It belongs to this trace.
    pub(crate) fn set_trace(&self, trace: [u8; 32]) {
        if let Some(line) = &mut *self.line.borrow_mut() {
            line.trace = Some(trace);
        }
    }

    /// Is there a line of the access log to be written?
    pub(crate) fn has_line(&self) -> bool {
        self.line.borrow().is_some()
    }

    /// It goes by this id.
    pub(crate) fn set_id(&self, id: RequestId) {
        *self.id.borrow_mut() = Some(id);
    }

    /// Its id; made now if it has none yet.
    pub(crate) fn id(&self, client: &Client) -> RequestId {
        let mut id = self.id.borrow_mut();
        id.get_or_insert_with(|| RequestId::random(&mut *client.worker.rng.borrow_mut())).clone()
    }

    /// It is for this pool. Where it waits, or fails, before a backend is known.
    pub(crate) fn note_pool(&self, pool: &Arc<Pool>) {
        *self.pool.borrow_mut() = Some(pool.clone());
    }

    /// What it says about its session, and the experiment that this may be part of.
    pub(crate) fn note_hint(&self, hint: &Hint, unstick: Option<&Unstick>) {
        let session = match hint {
            Hint::Free | Hint::First(_) => None,
            Hint::Bound(grant) => Some(grant.session),
            Hint::Key(key) => Some(SessionId::from_bits(*key)),
        };
        self.session.set(session.map(SessionId::to_bits));
        if let (Some(unstick), Some(session)) = (unstick, session) {
            self.arm.set(Some(unstick.arm(session)));
        }
    }

    /// The app says that it does not know its session.
    pub(crate) fn note_unknown(&self) {
        self.is_unknown.set(true);
        self.count(Tally::Unknown);
    }

    /// It has, or is now, this session.
    pub(crate) fn note_session(&self, session: u64) {
        self.session.set(Some(session));
    }

    /// So much of its body has come.
    pub(crate) fn note_received(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
    }

    /// So much of the response's body was handed over.
    pub(crate) fn note_sent(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
    }

    /// So much of that was compressed, to so much.
    pub(crate) fn note_coded(&self, from: usize, to: usize) {
        let others = self.bytes_out.get().saturating_sub(from as u64);
        self.bytes_out.set(others + to as u64);
    }

    /// It is a backend's from now on: `meter` counts there.
    pub(crate) fn attempt(&self, meter: &Arc<Meter>, cause: Cause) {
        let mut current = self.meter.borrow_mut();
        if let Some(former) = &*current {
            former.leave();
            former.add(Tally::Retries, 1);
        }
        meter.add(Tally::Open, 1);
        self.placed.set(self.marked.get());
        *current = Some(meter.clone());
        self.cause.set(Some(cause));
        self.attempts.set(self.attempts.get().saturating_add(1));
    }

    /// Adds to a count of the backend that has it.
    pub(crate) fn count(&self, tally: Tally) {
        self.add(tally, 1);
    }

    /// The same for more than one at once.
    pub(crate) fn add(&self, tally: Tally, count: u64) {
        if let Some(meter) = &*self.meter.borrow() {
            meter.add(tally, count);
        }
    }

    /// A phase has ended.
    pub(crate) fn mark(&self, phase: Phase) {
        let now = clock::moment();
        let sum = &self.phases[phase as usize];
        sum.set(sum.get() + now.since(self.marked.replace(now)));
    }

    /// How long it was with the backend that has it, up to the end of the last phase.
    pub(crate) fn in_flight(&self) -> Duration {
        Duration::from_nanos(self.marked.get().since(self.placed.get()))
    }

    /// The head of the answer has come.
    pub(crate) fn answered(&self) {
        let now = clock::moment();
        let nanos = now.since(self.marked.replace(now));
        self.phases[Phase::Head as usize].set(nanos);
        if let Some(meter) = &*self.meter.borrow() {
            meter.answered(nanos);
        }
    }

    /// The answer has this status.
    pub(crate) fn note_status(&self, status: StatusCode) {
        self.status.set(status.as_u16());
    }

    /// The answer is one of ours.
    pub(crate) fn note_problem(&self, problem: ProblemKind) {
        self.problem.set(Some(problem));
    }

    /// The response could not be passed on to its end.
    pub(crate) fn note_broken(&self, broken: Broken) {
        self.end.set(match broken {
            Broken::Client => End::ClientLeft,
            Broken::ClientStalled | Broken::TooLarge => End::ClientBroke,
            Broken::Backend => End::BackendBroke,
            Broken::BackendStalled => End::BackendStalled,
        });
    }

    /// Nobody was there any more to take the response.
    pub(crate) fn note_left(&self) {
        if self.end.get() == End::Complete {
            self.end.set(End::ClientLeft);
        }
    }

    /// The request has ended: counts it, and writes its line. Does nothing if that was done.
    pub(crate) fn close(&self, client: &Client) {
        if !self.is_open.replace(false) {
            return;
        }
        let status = self.status.get();
        let nanos = self.marked.get().since(self.began.get());
        let cause = self.cause.get();
        let ended = Ended {
            cause,
            status,
            end: self.end.get(),
            problem: self.problem.get(),
            nanos: (status != StatusCode::SWITCHING_PROTOCOLS.as_u16()).then_some(nanos),
            arm: self.arm.get().filter(|_| Arm::counts(cause)),
            is_unknown: self.is_unknown.get(),
        };
        let meter = self.meter.take();
        match &meter {
            Some(meter) => {
                meter.leave();
                meter.end(&ended);
            }
            None => self.end_unplaced(client, &ended),
        }
        if let Some(line) = self.line.take() {
            self.write(line, client, &ended, meter.as_deref(), nanos);
        }
        self.pool.take();
        self.id.take();
    }

    #[cold]
    fn end_unplaced(&self, client: &Client, ended: &Ended) {
        let pool = self.pool.borrow();
        let pool = pool.as_ref().map(|pool| pool.name());
        client.worker.witness.meters.unplaced(pool).end(ended);
    }

    fn write(
        &self,
        line: Box<Line>,
        client: &Client,
        ended: &Ended,
        meter: Option<&Meter>,
        nanos: u64,
    ) {
        let pool = self.pool.borrow();
        let id = self.id(client);
        let outline = Outline {
            status: ended.status,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            pool: meter.and_then(Meter::pool_name).or(pool.as_ref().map(|pool| pool.name())),
            backend: meter.and_then(Meter::backend_name),
            cause: ended.cause,
            attempts: self.attempts.get(),
            session: self.session.get(),
            end: ended.end,
            problem: ended.problem,
            request_id: match &id {
                RequestId::Made(id) => Id::Number(*id),
                RequestId::Given(id) => Id::Text(id),
            },
            phases: self.phases.each_ref().map(Cell::get),
            nanos,
        };
        client.worker.witness.pen.end(line, &outline);
    }
}

/// Begins a request's line in the access log, if there is one.
pub(crate) fn begin_line(client: &Client, head: &Parts) {
    if client.worker.witness.pen.is_on() {
        write_beginning(client, Some(head));
    }
}

/// A request was refused before it could be understood. Gives its id.
pub(crate) fn refuse(client: &Client, problem: &Problem) -> RequestId {
    let record = &client.record;
    // Whatever the connection was busy with has ended with it.
    record.note_left();
    record.close(client);
    record.open();
    if client.worker.witness.pen.is_on() {
        write_beginning(client, None);
    }
    let id = record.id(client);
    record.note_status(problem.status());
    record.note_problem(problem.kind());
    record.close(client);
    id
}

fn write_beginning(client: &Client, head: Option<&Parts>) {
    let fields = &*client.fields.borrow();
    let request = Request {
        client: match head {
            Some(_) if client.is_trusted => client.origin(fields).client,
            _ => client.peer,
        },
        peer: client.peer,
        head: head.map(|head| Head {
            method: head.method.as_str(),
            host: fields.of_kind(Found::HOST).next().unwrap_or_default(),
            path: head.uri.path(),
            query: head.uri.query(),
            protocol: match head.version {
                _ if client.is_stream() => "HTTP/2.0",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            user_agent: fields.get("user-agent"),
            referer: fields.get("referer"),
        }),
    };
    client.record.set_line(client.worker.witness.pen.begin(&request, clock::now()));
}
