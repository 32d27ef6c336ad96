//! Who accepts connections on a worker's sockets, for as long as there are listeners to accept for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::listener::{PAUSE, Place, accept, accept_waiting};
use super::worker::{Dealer, admit};
use crate::proxy::{Entrance, Worker};

/// A worker's.
pub(super) struct Acceptors {
    worker: Rc<Worker>,
    dealer: Dealer,
    /// By listener, each with one acceptor a socket.
    running: HashMap<u64, Vec<Rc<Acceptor>>, FixedState>,
    /// How many there are, those that are about to end included.
    count: Rc<Cell<usize>>,
}

/// What an acceptor is told.
struct Acceptor {
    entrance: RefCell<Arc<Entrance>>,
    stop: Notify,
}

impl Acceptors {
    pub(super) fn new(worker: Rc<Worker>, dealer: Dealer) -> Self {
        Acceptors { worker, dealer, running: HashMap::default(), count: Rc::default() }
    }

    /// Accepts on a socket from now on.
    pub(super) fn open(&mut self, listener: u64, socket: TcpListener, entrance: Arc<Entrance>) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                let address = entrance.address;
                return tracing::error!(%address, %error, "a worker cannot accept there");
            }
        };
        let acceptor = Rc::new(Acceptor { entrance: RefCell::new(entrance), stop: Notify::new() });
        self.running.entry(listener).or_default().push(acceptor.clone());
        self.count.set(self.count.get() + 1);
        let (count, worker, dealer) = (self.count.clone(), self.worker.clone(), self.dealer.fork());
        spawn_local(async move {
            acceptor.run(socket, &worker, dealer).await;
            count.set(count.get() - 1);
        });
    }

    /// New connections of a listener share this from now on.
    pub(super) fn change(&self, listener: u64, entrance: Arc<Entrance>) {
        for acceptor in self.running.get(&listener).into_iter().flatten() {
            acceptor.entrance.replace(entrance.clone());
        }
    }

    /// Takes what waits already, and then no more.
    pub(super) fn close(&mut self, listener: u64) {
        for acceptor in self.running.remove(&listener).into_iter().flatten() {
            acceptor.stop.notify_one();
        }
    }

    pub(super) fn close_all(&mut self) {
        let listeners: Vec<u64> = self.running.keys().copied().collect();
        listeners.into_iter().for_each(|listener| self.close(listener));
    }

    /// Is nobody accepting any more?
    pub(super) fn are_done(&self) -> bool {
        self.count.get() == 0
    }
}

impl Acceptor {
    async fn run(&self, socket: tokio::net::TcpListener, worker: &Rc<Worker>, mut dealer: Dealer) {
        let entrance = || self.entrance.borrow().clone();
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = self.stop.notified() => break,
                accepted = accept(&socket, entrance) => accepted,
            };
            let place = loop {
                match Place::take(&entrance()) {
                    Some(place) => break place,
                    None => tokio::time::sleep(PAUSE).await, // another worker was faster
                }
            };
            admit(stream, peer, place, worker, &mut dealer);
        }
        // Who has connected has been told that all is well: a closed socket would take that back.
        for (stream, peer) in accept_waiting(socket) {
            let place = Place::squeeze_in(&entrance());
            admit(stream, peer, place, worker, &mut dealer);
        }
    }
}
