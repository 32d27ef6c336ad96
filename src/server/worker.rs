//! Worker threads.
//!
//! The kernel deals connections out to the workers' sockets by a hash, without regard to how many
//! each one has. So a worker that has clearly more than another one, picked by chance, passes a
//! new connection on to it: HAProxy's rule of two choices.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_core::Rng;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::MissedTickBehavior;

use super::acceptor::Acceptors;
use super::listener::Place;
use super::{Ending, Load};
use crate::clock::Stopwatch;
use crate::observe::{Observer, Witness};
use crate::proxy::{self, Entrance, Site, TICK, Tick, Worker};

/// A connection on its way from one worker to another.
pub(super) type Dealt = (std::net::TcpStream, SocketAddr, Place);

/// What a worker is told to do from now on.
pub(super) struct Order {
    /// To serve this.
    pub(super) site: Arc<Site>,
    /// To accept on these, in the name of a listener.
    pub(super) open: Vec<(u64, std::net::TcpListener, Arc<Entrance>)>,
    /// What connections of these listeners share from now on.
    pub(super) change: Vec<(u64, Arc<Entrance>)>,
    /// Not to accept on these any more.
    pub(super) close: Vec<u64>,
    /// Dropped when it is done.
    pub(super) _done: mpsc::Sender<()>,
}

/// Connections that may wait for a worker.
const QUEUE: usize = 128;

/// A worker, as others see it.
#[derive(Clone)]
struct Peer {
    load: Load,
    queue: mpsc::Sender<Dealt>,
}

/// A worker thread.
pub(super) struct Handle {
    thread: thread::JoinHandle<()>,
    /// Set when the thread has finished what was in flight.
    done: std_mpsc::Receiver<()>,
    load: Load,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// Grows while the thread does its work.
    pub(super) beat: Arc<AtomicU64>,
}

impl Handle {
    /// Has the thread ended?
    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread to end after it was told to. Gives the number of connections that it
    /// had to cut.
    pub(super) fn finish(self, timeout: Duration) -> usize {
        match self.done.recv_timeout(timeout) {
            Ok(()) | Err(std_mpsc::RecvTimeoutError::Disconnected) => {
                let _ = self.thread.join();
                0
            }
            // The thread goes on until the process ends, which is now.
            Err(std_mpsc::RecvTimeoutError::Timeout) => self.load.load(Ordering::Relaxed),
        }
    }
}

/// Starts `count` workers, which accept nothing before they are told to.
pub(super) fn start_all(
    site: &Arc<Site>,
    count: usize,
    stopping: &watch::Receiver<Ending>,
    observer: &Observer,
    rng: &mut StdRng,
) -> io::Result<Vec<Handle>> {
    let (peers, queues): (Vec<Peer>, Vec<_>) = (0..count)
        .map(|_| {
            let (queue, receiver) = mpsc::channel(QUEUE);
            (Peer { load: Arc::new(AtomicUsize::new(0)), queue }, receiver)
        })
        .unzip();
    let parts = queues.into_iter().enumerate();
    parts
        .map(|(index, queue)| {
            let thread = Thread {
                index,
                site: site.clone(),
                peers: peers.clone(),
                stopping: stopping.clone(),
                witness: observer.witness(),
                rng: StdRng::from_rng(rng),
            };
            thread.start(queue)
        })
        .collect()
}

/// What a worker thread starts with.
struct Thread {
    index: usize,
    site: Arc<Site>,
    peers: Vec<Peer>,
    stopping: watch::Receiver<Ending>,
    witness: Witness,
    rng: StdRng,
}

impl Thread {
    fn start(self, queue: mpsc::Receiver<Dealt>) -> io::Result<Handle> {
        let runtime = Builder::new_current_thread;
        let load = self.peers[self.index].load.clone();
        let (ready, is_ready) = std_mpsc::channel();
        let (done, is_done) = std_mpsc::channel();
        let (orders, receiver) = mpsc::unbounded_channel();
        let beat: Arc<AtomicU64> = Arc::default();
        let beats = beat.clone();
        let name = format!("worker-{}", self.index);
        let thread = thread::Builder::new().name(name).spawn(move || {
            // The runtime belongs to its thread, so it is made here; whether that worked is told.
            match runtime().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    self.run(&runtime, receiver, queue, &beats);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
            drop(done);
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Handle { thread, done: is_done, load, orders, beat })
    }

    fn run(
        self,
        runtime: &LocalRuntime,
        orders: mpsc::UnboundedReceiver<Order>,
        queue: mpsc::Receiver<Dealt>,
        beat: &AtomicU64,
    ) {
        let Thread { index, site, peers, stopping, witness, mut rng } = self;
        runtime.block_on(async move {
            let dealer = Dealer { index, peers, rng: StdRng::from_rng(&mut rng) };
            let worker = Worker::new(site, rng, dealer.own_load().clone(), witness);
            let acceptors = Acceptors::new(worker.clone(), dealer);
            work(&worker, acceptors, queue, orders, stopping, beat).await;
        });
    }
}

/// Keeps the worker's coarse clock going, and does what it is told. Ends when the process shuts
/// down and no connection is left.
async fn work(
    worker: &Rc<Worker>,
    mut acceptors: Acceptors,
    mut queue: mpsc::Receiver<Dealt>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut stopping: watch::Receiver<Ending>,
    beat: &AtomicU64,
) {
    let since = Stopwatch::start();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                beat.fetch_add(1, Ordering::Relaxed);
                let ticks = since.elapsed().as_millis() / TICK.as_millis();
                worker.sweep(Tick::try_from(ticks).unwrap_or(Tick::MAX).saturating_add(1));
                if worker.is_shutting_down() && worker.is_deserted() && acceptors.are_done() {
                    queue.close();
                    let mut is_over = true;
                    // All of them: nobody asks for the queue any more before these have left.
                    while let Some(dealt) = queue.recv().await {
                        take(dealt, worker);
                        is_over = false;
                    }
                    if is_over {
                        return;
                    }
                }
            }
            Some(dealt) = queue.recv(), if !queue.is_closed() => take(dealt, worker),
            Some(order) = orders.recv() => obey(order, worker, &mut acceptors),
            Ok(()) = stopping.changed() => {
                // What was said before is done before, whatever is heard first.
                while let Ok(order) = orders.try_recv() {
                    obey(order, worker, &mut acceptors);
                }
                let ending = *stopping.borrow_and_update();
                match ending {
                    Ending::NotYet => {}
                    Ending::Gently => worker.shut_down(false),
                    Ending::Now => worker.shut_down(true),
                }
            }
        }
        if worker.is_shutting_down() {
            acceptors.close_all();
        }
    }
}

fn obey(order: Order, worker: &Worker, acceptors: &mut Acceptors) {
    worker.serve(order.site);
    order.change.into_iter().for_each(|(id, entrance)| acceptors.change(id, entrance));
    for (id, socket, entrance) in order.open {
        acceptors.open(id, socket, entrance);
    }
    order.close.into_iter().for_each(|id| acceptors.close(id));
}

/// Who gets a new connection?
pub(super) struct Dealer {
    index: usize,
    peers: Vec<Peer>,
    rng: StdRng,
}

impl Dealer {
    fn own_load(&self) -> &Load {
        &self.peers[self.index].load
    }

    pub(super) fn fork(&mut self) -> Self {
        let rng = StdRng::from_rng(&mut self.rng);
        Dealer { index: self.index, peers: self.peers.clone(), rng }
    }

    /// Another worker that has clearly fewer connections than we have, if the one that chance
    /// picks is one.
    fn less_loaded(&mut self) -> Option<&Peer> {
        let others = self.peers.len() - 1;
        if others == 0 {
            return None;
        }
        let pick = (self.index + 1 + self.rng.next_u64() as usize % others) % self.peers.len();
        let own = self.own_load().load(Ordering::Relaxed);
        let peer = &self.peers[pick];
        let theirs = peer.load.load(Ordering::Relaxed);
        // Passing one on has its price, so a small lead is left alone.
        (own > theirs + theirs / 8 + 2).then_some(peer)
    }
}

/// Serves a new connection here, or has it served by a worker that has less to do.
pub(super) fn admit(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    place: Place,
    worker: &Rc<Worker>,
    dealer: &mut Dealer,
) {
    // A place in the other's queue is reserved first, so that nothing can go wrong afterwards.
    match dealer.less_loaded().and_then(|other| other.queue.try_reserve().ok()) {
        Some(place_in_queue) => match stream.into_std() {
            Ok(stream) => place_in_queue.send((stream, peer, place)),
            Err(error) => tracing::warn!(%error, "cannot pass a connection on"),
        },
        None => serve(stream, peer, place, worker),
    }
}

/// A connection that another worker has passed on.
fn take((stream, peer, place): Dealt, worker: &Rc<Worker>) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => serve(stream, peer, place, worker),
        Err(error) => tracing::warn!(%error, "cannot take a connection over"),
    }
}

fn serve(stream: tokio::net::TcpStream, peer: SocketAddr, place: Place, worker: &Rc<Worker>) {
    let entrance = place.entrance().clone();
    // A panic in there is caught by the runtime and ends this one connection.
    spawn_local(proxy::serve(stream, peer, worker.clone(), entrance, place));
}
