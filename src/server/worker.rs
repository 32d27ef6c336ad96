//! Worker threads.
//!
//! The kernel deals connections out to the workers' sockets by a hash, without regard to how many
//! each one has. So a worker that has clearly more than another one, picked by chance, passes a
//! new connection on to it: HAProxy's rule of two choices.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_core::Rng;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::MissedTickBehavior;

use super::listener::{Place, accept};
use super::{Bound, Load};
use crate::clock::Stopwatch;
use crate::observe::{Observer, Witness};
use crate::proxy::{self, Site, TICK, Tick, Worker};

/// A connection on its way from one worker to another.
type Dealt = (std::net::TcpStream, SocketAddr, Place);

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
}

impl Handle {
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

/// Starts `count` workers on the bound listeners.
pub(super) fn start_all(
    site: &Arc<Site>,
    bound: Vec<Bound>,
    count: usize,
    stopping: &watch::Receiver<bool>,
    observer: &Observer,
    rng: &mut StdRng,
) -> io::Result<Vec<Handle>> {
    let (peers, queues): (Vec<Peer>, Vec<_>) = (0..count)
        .map(|_| {
            let (queue, receiver) = mpsc::channel(QUEUE);
            (Peer { load: Arc::new(AtomicUsize::new(0)), queue }, receiver)
        })
        .unzip();
    let mut sockets: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    for Bound { sockets: of_listener, entrance } in bound {
        for (worker, socket) in sockets.iter_mut().zip(of_listener) {
            worker.push((socket, entrance.clone()));
        }
    }
    let parts = sockets.into_iter().zip(queues).enumerate();
    parts
        .map(|(index, (sockets, queue))| {
            let thread = Thread {
                index,
                site: site.clone(),
                peers: peers.clone(),
                stopping: stopping.clone(),
                witness: observer.witness(),
                rng: StdRng::from_rng(rng),
            };
            thread.start(sockets, queue)
        })
        .collect()
}

/// What a worker thread starts with.
struct Thread {
    index: usize,
    site: Arc<Site>,
    peers: Vec<Peer>,
    stopping: watch::Receiver<bool>,
    witness: Witness,
    rng: StdRng,
}

type Sockets = Vec<(std::net::TcpListener, Arc<proxy::Entrance>)>;

impl Thread {
    fn start(self, sockets: Sockets, queue: mpsc::Receiver<Dealt>) -> io::Result<Handle> {
        let runtime = Builder::new_current_thread;
        let load = self.peers[self.index].load.clone();
        let (ready, is_ready) = std_mpsc::channel();
        let (done, is_done) = std_mpsc::channel();
        let name = format!("worker-{}", self.index);
        let thread = thread::Builder::new().name(name).spawn(move || {
            // The runtime belongs to its thread, so it is made here; whether that worked is told.
            match runtime().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => self.run(&runtime, sockets, queue, ready),
                Err(error) => drop(ready.send(Err(error))),
            }
            drop(done);
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Handle { thread, done: is_done, load })
    }

    fn run(
        self,
        runtime: &LocalRuntime,
        sockets: Sockets,
        queue: mpsc::Receiver<Dealt>,
        ready: std_mpsc::Sender<io::Result<()>>,
    ) {
        let Thread { index, site, peers, stopping, witness, mut rng } = self;
        runtime.block_on(async move {
            let mut dealer = Dealer { index, peers, rng: StdRng::from_rng(&mut rng) };
            let worker = Worker::new(site, rng, dealer.own_load().clone(), witness);
            let mut acceptors = JoinSet::new();
            for (socket, entrance) in sockets {
                let listener = match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => listener,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let dealer = dealer.fork();
                acceptors.spawn_local(accept_all(listener, entrance, worker.clone(), dealer));
            }
            acceptors.spawn_local(take_dealt(queue, worker.clone()));
            let _ = ready.send(Ok(()));
            sweep(&worker, stopping, acceptors).await;
        });
    }
}

/// Keeps the worker's coarse clock going. Ends when the process shuts down and no connection is
/// left.
async fn sweep(worker: &Worker, mut stopping: watch::Receiver<bool>, acceptors: JoinSet<()>) {
    let since = Stopwatch::start();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut acceptors = Some(acceptors);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                let ticks = since.elapsed().as_millis() / TICK.as_millis();
                worker.sweep(Tick::try_from(ticks).unwrap_or(Tick::MAX).saturating_add(1));
                if worker.is_shutting_down() && worker.is_deserted() {
                    return;
                }
            }
            _ = stopping.wait_for(|&stop| stop), if acceptors.is_some() => {
                acceptors = None; // dropping them closes the listeners
                worker.shut_down();
            }
        }
    }
}

/// Who gets a new connection?
struct Dealer {
    index: usize,
    peers: Vec<Peer>,
    rng: StdRng,
}

impl Dealer {
    fn own_load(&self) -> &Load {
        &self.peers[self.index].load
    }

    fn fork(&mut self) -> Self {
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

async fn accept_all(
    listener: tokio::net::TcpListener,
    entrance: Arc<proxy::Entrance>,
    worker: Rc<Worker>,
    mut dealer: Dealer,
) {
    loop {
        let (stream, peer, place) = accept(&listener, &entrance).await;
        // A place in the other's queue is reserved first, so that nothing can go wrong afterwards.
        match dealer.less_loaded().and_then(|other| other.queue.try_reserve().ok()) {
            Some(place_in_queue) => match stream.into_std() {
                Ok(stream) => place_in_queue.send((stream, peer, place)),
                Err(error) => tracing::warn!(%error, "cannot pass a connection on"),
            },
            None => serve(stream, peer, place, &worker),
        }
    }
}

async fn take_dealt(mut queue: mpsc::Receiver<Dealt>, worker: Rc<Worker>) {
    while let Some((stream, peer, place)) = queue.recv().await {
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => serve(stream, peer, place, &worker),
            Err(error) => tracing::warn!(%error, "cannot take a connection over"),
        }
    }
}

fn serve(stream: tokio::net::TcpStream, peer: SocketAddr, place: Place, worker: &Rc<Worker>) {
    let entrance = place.entrance().clone();
    // A panic in there is caught by the runtime and ends this one connection.
    spawn_local(proxy::serve(stream, peer, worker.clone(), entrance, place));
}
