//! How far something is that takes longer than anybody likes to wait without a word.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::terminal::Terminal;
use crate::clock::Stopwatch;

/// What takes no longer needs no word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Does something, and shows on standard error how far it is, if that is a terminal.
pub(super) fn show<T: Send>(
    terminal: &Terminal,
    what: &str,
    progress: impl Fn() -> f64 + Sync,
    work: impl FnOnce() -> T + Send,
) -> T {
    if !terminal.is_error_live() {
        return work();
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let since = Stopwatch::start();
            let mut has_shown = false;
            while !is_done.load(Ordering::Relaxed) {
                std::thread::park_timeout(INTERVAL);
                if since.elapsed() > PATIENCE && !is_done.load(Ordering::Relaxed) {
                    terminal.complain(&line(what, progress(), since.elapsed()));
                    has_shown = true;
                }
            }
            if has_shown {
                terminal.complain("\r\u{1b}[K");
            }
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        result
    })
}

/// `simulating [=====     ] 50 %, 10 s left`
fn line(what: &str, share: f64, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    let share = share.clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let left = match share {
        little if little < 0.01 => String::new(),
        share => format!(", {:.0} s left", elapsed.as_secs_f64() * (1.0 / share - 1.0)),
    };
    let (bar, rest) = ("=".repeat(full), " ".repeat(WIDTH - full));
    format!("\r{what} [{bar}{rest}] {:.0} %{left}\u{1b}[K", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long() {
        let half = line("simulating", 0.5, Duration::from_secs(10));
        assert!(half.contains("[===============               ] 50 %, 10 s left"), "{half:?}");
        assert!(!line("simulating", 0.0, Duration::from_secs(3)).contains("left"));
    }
}
