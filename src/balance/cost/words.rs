//! The headroom cost in one plain sentence, the same wherever it is told.

use super::{Figures, Window};
use crate::balance::BackendId;

/// A headroom cost that is not worth a word: chance alone makes as much.
const NOISE: f64 = 0.03;

impl Figures {
    /// What the headroom cost of this window means, in one sentence: of a pool whose sessions stick
    /// (`is_sticky`), or of one whose sessions do not. `name` knows the backends.
    pub fn in_words<'a>(
        &self,
        window: Window,
        is_sticky: bool,
        name: impl FnOnce(BackendId) -> Option<&'a str>,
    ) -> String {
        let when = match window {
            // Not all of it has been.
            _ if self.elapsed.as_secs() + 2 < window.duration().as_secs() => {
                match self.elapsed.as_secs() {
                    0 | 1 => "in the last second".into(),
                    seconds => format!("in the last {seconds} seconds"),
                }
            }
            Window::Short => "in the last 10 seconds".into(),
            Window::Medium => "in the last minute".into(),
            Window::Long => "in the last 5 minutes".into(),
        };
        let (Some(cost), Some(real), Some(even)) =
            (self.headroom_cost(), self.busy.peak_to_mean, self.even_busy.peak_to_mean)
        else {
            return format!("No request has ended {when}, so there is nothing to compare.");
        };
        if !self.is_meaningful() {
            let count = self.count;
            let requests = if count == 1 { "request" } else { "requests" };
            let what = if is_sticky { "what stickiness costs" } else { "how even the load is" };
            return format!("Only {count} {requests} {when}: too few to say {what}.");
        }
        let busiest = self.busy.peak.and_then(name).unwrap_or("the busiest backend");
        if !is_sticky {
            return format!(
                "Sessions do not stick here, which costs nothing: {busiest} has {real:.2} times its \
                 fair share of the in-flight time {when}."
            );
        }
        let percent = (cost.abs() * 100.0).round();
        let against = format!(
            "it has {real:.2} times its fair share of the in-flight time {when}, where even \
             distribution would give the busiest backend {even:.2} times"
        );
        if cost > NOISE {
            format!("Stickiness makes {busiest} need {percent} % more capacity: {against}.")
        } else if cost < -NOISE {
            format!(
                "Stickiness costs nothing at present, {busiest} needs {percent} % less capacity: \
                 {against}."
            )
        } else {
            format!(
                "Stickiness costs next to nothing: {busiest} has {real:.2} times its fair share of \
                 the in-flight time {when}, as much as under even distribution ({even:.2} times)."
            )
        }
    }
}
