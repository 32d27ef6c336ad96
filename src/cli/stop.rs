//! When to stop.

use std::io;
use std::thread;

use tokio::sync::oneshot;

use super::failure::Failure;
use crate::server::signals;

/// Completes at the first signal that asks us to stop. From now on such a signal does not end the
/// process by itself; a second one does.
pub(super) fn signal() -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let received = watch("signals", signals::wait)?;
    Ok(async {
        match received.await {
            Ok(Ok(_signal)) => Ok(()),
            Ok(Err(error)) => Err(Failure::failed(format!("cannot wait for signals: {error}"))),
            Err(gone) => Err(Failure::failed(gone)),
        }
    })
}

/// Completes when whoever holds the other end of our standard input is gone.
pub(super) fn end_of_input() -> Result<impl Future<Output = ()>, Failure> {
    let ended = watch("standard-input", || io::copy(&mut io::stdin().lock(), &mut io::sink()))?;
    // An input that cannot be read has ended, too.
    Ok(async { drop(ended.await) })
}

/// Waits for something on a thread of its own, which is left behind when the process ends: neither
/// a signal nor the end of a pipe has to come.
fn watch<T: Send + 'static>(
    name: &str,
    wait: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Failure> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        // Nobody receives when we stop for another reason.
        let _ = sender.send(wait());
    };
    thread::Builder::new().name(name.into()).spawn(wait).map_err(Failure::failed)?;
    Ok(receiver)
}
