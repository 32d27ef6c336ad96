//! The access log: a line for each request.
//!
//! A worker writes its lines into a buffer of its own and hands that over when it is full or at the
//! next tick of its clock; a thread writes them out. Nobody waits for the output: what finds no
//! room is lost, and counted.

mod file;
mod line;
mod stamp;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use self::file::{LogFile, Reopen};
pub(crate) use self::line::{Head, Id, Line, Outline, Phase, Request, hex};
use self::stamp::Stamp;
use super::lines::Lines;
use crate::balance::Timestamp;
use crate::config::{self, AccessLogPath, LinesKept};

/// A worker's buffer is handed over when it holds so much.
const HANDED_OVER: usize = 16 * 1024;

/// Line buffers that a worker keeps for later.
const SPARE: usize = 64;

/// Where the lines of all workers go, if there is an access log.
#[derive(Debug, Default)]
pub struct AccessLog {
    sink: ArcSwapOption<Sink>,
    /// Lines that were lost on their way to outputs that are no longer used.
    lost: AtomicU64,
}

/// An output and what goes there.
struct Sink {
    settings: config::AccessLog,
    lines: Arc<Lines>,
    reopen: Option<Reopen>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.lines.close();
    }
}

impl AccessLog {
    /// From now on lines go there. If that cannot be opened, they go where they went before. The
    /// same settings once more open the file anew, as [`AccessLog::reopen`] does.
    pub fn configure(&self, settings: Option<&config::AccessLog>) -> io::Result<()> {
        let former = self.sink.load_full();
        if former.as_ref().map(|sink| &sink.settings) == settings {
            self.reopen();
            return Ok(());
        }
        let sink = settings.map(Sink::open).transpose()?;
        self.sink.store(sink.map(Arc::new));
        if let Some(former) = former {
            self.lost.fetch_add(former.lines.lost(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Opens the file anew: somebody has given it another name.
    pub fn reopen(&self) {
        if let Some(reopen) = self.sink.load().as_ref().and_then(|sink| sink.reopen.as_ref()) {
            reopen.ask();
        }
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        let now = self.sink.load().as_ref().map_or(0, |sink| sink.lines.lost());
        self.lost.load(Ordering::Relaxed) + now
    }

    /// Waits until what was handed over is written, for a moment at most.
    pub fn finish(&self) {
        if let Some(sink) = &*self.sink.load() {
            sink.lines.finish();
        }
    }
}

impl Sink {
    fn open(settings: &config::AccessLog) -> io::Result<Self> {
        let say = |lost| {
            tracing::warn!(lost, "access log lines were lost: their output does not take them");
        };
        let name = "access-log";
        let (lines, reopen) = match &settings.path {
            AccessLogPath::Stdout => (Lines::written_to(name, io::stdout(), say)?, None),
            AccessLogPath::Stderr => (Lines::written_to(name, io::stderr(), say)?, None),
            AccessLogPath::File(path) => {
                let file = LogFile::open(path)?;
                let reopen = file.reopen();
                (Lines::written_to(name, file, say)?, Some(reopen))
            }
        };
        Ok(Sink { settings: settings.clone(), lines, reopen })
    }
}

/// What one worker writes lines with.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    log: Arc<AccessLog>,
    /// Where they go, as of the last tick.
    sink: RefCell<Option<Arc<Sink>>>,
    is_on: Cell<bool>,
    /// Lines that were not handed over yet.
    buffer: RefCell<Vec<u8>>,
    stamp: RefCell<Stamp>,
    /// Buffers of lines that are not in use. Boxed, since so they are kept by their requests.
    #[expect(clippy::vec_box, reason = "a line moves between here and its request as a pointer")]
    spare: RefCell<Vec<Box<Line>>>,
}

impl Pen {
    pub(crate) fn new(log: Arc<AccessLog>) -> Self {
        let mut pen = Pen::default();
        pen.log = log;
        pen.refresh();
        pen
    }

    /// Are lines wanted?
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// Begins the line of a request that came at `now`.
    pub(crate) fn begin(&self, request: &Request<'_>, now: Timestamp) -> Option<Box<Line>> {
        let sink = self.sink.borrow();
        let settings = &sink.as_ref()?.settings;
        let mut line = self.spare.borrow_mut().pop().unwrap_or_default();
        line.begin(settings, request, &mut self.stamp.borrow_mut(), now);
        Some(line)
    }

    /// Ends a line, and adds it to the log if it belongs there.
    pub(crate) fn end(&self, line: Box<Line>, outline: &Outline<'_>) {
        let is_wanted = |sink: &Arc<Sink>| match sink.settings.lines {
            LinesKept::All => true,
            LinesKept::Notable => outline.is_notable(),
        };
        let mut buffer = self.buffer.borrow_mut();
        if self.sink.borrow().as_ref().is_some_and(is_wanted) {
            line.end(outline, &mut buffer);
        }
        let is_full = buffer.len() >= HANDED_OVER;
        drop(buffer);
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE && line.is_worth_keeping() {
            spare.push(line);
        }
        drop(spare);
        if is_full {
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if let Some(sink) = self.sink.borrow().as_ref().filter(|_| !buffer.is_empty()) {
            sink.lines.add(&buffer);
        }
        buffer.clear();
    }

    /// Hands lines over, and looks where they are to go from now on.
    pub(crate) fn refresh(&self) {
        self.hand_over();
        let sink = self.log.sink.load_full();
        self.is_on.set(sink.is_some());
        *self.sink.borrow_mut() = sink;
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests;
