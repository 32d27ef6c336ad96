//! Log lines on their way to where they are kept. Nobody waits for them.
//!
//! A pipe that is not read, or a terminal that is held, stops whoever writes to it; a worker's
//! requests would all stop with it. So lines go to a buffer of bounded size, and a thread of its
//! own writes them. What finds no room in the buffer, or cannot be written, is lost; how much that
//! was is said as soon as lines get through again.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of lines that wait to be written.
const CAPACITY: usize = 1 << 20;

/// How long the end of the process waits for lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines wait.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    /// There are lines to write, or all of them are written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
    /// Nothing more comes.
    is_closed: bool,
    /// Lines that were never written, so far.
    lost: u64,
}

impl Lines {
    /// Starts the thread that writes the lines. `say` is called on it with the number of lines
    /// that were lost so far, when it has grown.
    pub(super) fn written_to(
        name: &str,
        output: impl Write + Send + 'static,
        say: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let lines = Arc::new(Lines::default());
        let taken = lines.clone();
        thread::Builder::new().name(name.into()).spawn(move || taken.write(output, say))?;
        Ok(lines)
    }

    fn write(&self, mut output: impl Write, say: impl Fn(u64)) {
        let mut batch = Vec::new();
        let mut said = 0;
        loop {
            let nothing = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
            let state = self.changed.wait_while(self.state(), nothing);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                return;
            }
            std::mem::swap(&mut state.waiting, &mut batch);
            state.is_writing = true;
            drop(state);

            let written = output.write_all(&batch).and_then(|()| output.flush());
            let lost = self.lose(if written.is_ok() { 0 } else { count(&batch) });
            batch.clear();
            if written.is_ok() && lost > said {
                said = lost;
                say(lost);
            }
            self.state().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Adds whole lines, if there is room for them.
    pub(super) fn add(&self, lines: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + lines.len() > CAPACITY {
            state.lost += count(lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.changed.notify_all();
    }

    /// How many lines were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Nothing more comes: the thread ends when it has written what there is.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    fn lose(&self, lines: u64) -> u64 {
        let mut state = self.state();
        state.lost += lines;
        state.lost
    }

    /// Waits until all lines are written, but not for long.
    pub(super) fn finish(&self) {
        let unfinished = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.changed.wait_timeout_while(self.state(), PATIENCE, unfinished));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// What `tracing` writes a line to, all of it at once. Never fails, and never waits for output.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that stands still until it is told what becomes of what was written.
    struct Held {
        outcomes: mpsc::Receiver<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.outcomes.recv().unwrap_or(Ok(()))?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Log {
        lines: Arc<Lines>,
        outcomes: mpsc::Sender<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
        said: mpsc::Receiver<u64>,
    }

    fn log() -> Log {
        let (outcomes, receiver) = mpsc::channel();
        let (say, said) = mpsc::channel();
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let held = Held { outcomes: receiver, written: written.clone() };
        let lines = Lines::written_to("log", held, move |lost| say.send(lost).unwrap()).unwrap();
        Log { lines, outcomes, written, said }
    }

    #[test]
    fn an_output_that_stands_still_costs_lines_and_no_time() {
        let log = log();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let written = 3 * CAPACITY / line.len();
        (0..written).for_each(|_| (&*log.lines).write_all(&line).unwrap());
        drop(log.outcomes);
        let lost = log.said.recv().unwrap();
        log.lines.finish();
        let shown = log.written.lock().unwrap().len() / line.len();
        assert_eq!(shown as u64 + lost, written as u64, "each is written or counted");
        assert!(shown >= CAPACITY / line.len(), "{shown}");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_said_later() {
        let log = log();
        log.outcomes.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        (&*log.lines).write_all(b"lost\n").unwrap();
        log.lines.finish();
        assert!(log.said.try_recv().is_err(), "there is nowhere to say it");
        log.outcomes.send(Ok(())).unwrap();
        (&*log.lines).write_all(b"a\n").unwrap();
        log.lines.finish();
        assert_eq!(log.said.try_recv(), Ok(1));
        assert_eq!(*log.written.lock().unwrap(), b"a\n");
    }
}
