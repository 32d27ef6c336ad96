//! One app server: so many requests at once, the others in line.

use std::collections::VecDeque;
use std::num::NonZeroU32;

/// Which life of which server: a session in memory ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Life {
    /// Which server.
    pub(in crate::lab) server: u32,
    /// Which of its lives, from 1 on. Not zero, so that a session without a home is no larger
    /// than one with a home, and fits into a cache line.
    pub(in crate::lab) number: NonZeroU32,
}

/// An app server with a limit on what it works on, and a line in front of it.
#[derive(Debug)]
pub(super) struct Server {
    /// Requests that it works on at once, at most.
    concurrency: u32,
    /// Requests that may stand in line, at most.
    backlog: u32,
    /// What its service times are multiplied by.
    pub(super) slowness: f64,
    /// Does it answer at all?
    pub(super) is_alive: bool,
    /// Is it a member of the pool?
    pub(super) is_member: bool,
    /// Which life it leads, or will lead next.
    life: NonZeroU32,
    /// Requests that it works on.
    busy: u32,
    /// Those in line, first come first served.
    line: VecDeque<u32>,
    pub(super) load: Load,
}

/// What a server has carried, of the requests that are measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Requests answered.
    pub(super) requests: u64,
    /// Time spent on them, in nanoseconds.
    pub(super) busy: u64,
    /// Time that they were here, waiting included, in nanoseconds.
    pub(super) resident: u64,
    /// Time during which it took requests, in nanoseconds.
    pub(super) ready: u64,
    /// Sessions that lived here, summed over looks at it.
    pub(super) sessions: u64,
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is worked on at once.
    Served,
    /// It stands in line.
    InLine,
    /// The line is full.
    Refused,
}

impl Server {
    pub(super) fn new(concurrency: u32, backlog: u32, slowness: f64) -> Self {
        Server {
            concurrency,
            backlog,
            slowness,
            is_alive: true,
            is_member: true,
            life: NonZeroU32::MIN,
            busy: 0,
            line: VecDeque::new(),
            load: Load::default(),
        }
    }

    /// A request arrives.
    #[inline]
    pub(super) fn arrive(&mut self, flight: u32) -> Arrival {
        if self.busy < self.concurrency {
            self.busy += 1;
            Arrival::Served
        } else if self.line.len() < self.backlog as usize {
            self.line.push_back(flight);
            Arrival::InLine
        } else {
            Arrival::Refused
        }
    }

    /// A request is done. Gives the one that it works on next.
    #[inline]
    pub(super) fn finish(&mut self) -> Option<u32> {
        let next = self.line.pop_front();
        self.busy -= u32::from(next.is_none());
        next
    }

    /// It ends, and with it everything that it knew.
    pub(super) fn die(&mut self) {
        self.is_alive = false;
        self.life = self.life.saturating_add(1);
        self.busy = 0;
        self.line.clear();
    }

    /// Which life it leads.
    pub(super) fn life(&self, server: u32) -> Life {
        Life { server, number: self.life }
    }
}
