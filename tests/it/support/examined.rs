use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use super::{Backend, PATIENCE, visitor, wait_until};

/// The settings of a pool whose health checks an [`Examined`] answers: they come quickly one after
/// the other, and each of them waits for its answer.
pub const CHECKS: &str = "[pools.pool.health]\npath = \"/healthz\"\ntimeout = \"20s\"\n\
                          interval = \"10ms\"\nfast_interval = \"10ms\"\n";

/// An app server as in [`apps`](super::apps) whose health checks are answered by the test, one by
/// one.
pub struct Examined {
    pub backend: Backend,
    /// Checks that have arrived.
    checks: Arc<AtomicUsize>,
    /// Answers given.
    given: AtomicUsize,
    answers: Sender<String>,
}

impl Examined {
    pub fn new(number: usize) -> Self {
        let checks: Arc<AtomicUsize> = Arc::default();
        let (answers, next) = mpsc::channel();
        let (counter, next) = (checks.clone(), Mutex::new(next));
        let backend = Backend::answering(move |request| match request.target.as_str() {
            "/healthz" => {
                counter.fetch_add(1, Ordering::SeqCst);
                next.lock().unwrap().recv_timeout(PATIENCE).unwrap_or_default()
            }
            _ => visitor::answer(number, request),
        });
        Examined { backend, checks, given: AtomicUsize::new(0), answers }
    }

    /// Answers the next check with this response (the status, and more lines if need be). When
    /// this returns, the proxy has drawn its conclusion.
    #[track_caller]
    pub fn check(&self, response: &str) {
        let given = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let close = "Connection: close\r\nContent-Length: 0";
        self.answers.send(format!("HTTP/1.1 {response}\r\n{close}\r\n\r\n")).unwrap();
        wait_until("the next check comes", || self.checks.load(Ordering::SeqCst) > given);
    }
}
