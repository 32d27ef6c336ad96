//! Waiting for the end of a drain.

use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::sleep;

use super::{Args, CANCELLED, LATE, in_words};
use crate::admin::view::{BackendDetail, Drain};
use crate::cli::failure::Failure;
use crate::cli::remote::{Client, Unanswered};
use crate::cli::table::count;
use crate::cli::terminal::Terminal;

/// How often to look.
const PERIOD: Duration = Duration::from_millis(500);

/// How often in a row the proxy may not answer: it may be about to be replaced.
const PATIENCE: u32 = 20;

/// On a pipe: how often to say how far it is.
const LINE_EVERY: u32 = 20;

/// Waits until the backend is drained, and says how it went.
pub(super) async fn wait(args: &Args, client: &Client, terminal: &Terminal) -> Result<(), Failure> {
    let screen = Screen::new(args, terminal);
    let (mut looks, mut unanswered) = (0, 0);
    loop {
        let backend = match client.get::<BackendDetail>(&args.target.path("")).await {
            Ok(backend) => backend,
            Err(Unanswered::Unreachable(_)) if unanswered < PATIENCE => {
                unanswered += 1;
                sleep(PERIOD).await;
                continue;
            }
            Err(Unanswered::Refused(problem)) if problem.status == 404 => {
                screen.clear();
                let text = format!("{} is no longer in the pool", args.target);
                return Err(Failure::Because(CANCELLED, text));
            }
            Err(other) => return Err(other.into()),
        };
        unanswered = 0;
        let drain = backend.backend.drain.clone().unwrap_or_default();
        if drain.ended.is_some() || backend.backend.state == "drained" {
            screen.clear();
            return report(args, &backend, &drain, terminal);
        }
        screen.show(&drain, looks);
        looks += 1;
        sleep(PERIOD).await;
    }
}

fn report(
    args: &Args,
    backend: &BackendDetail,
    drain: &Drain,
    terminal: &Terminal,
) -> Result<(), Failure> {
    if args.remote.json {
        terminal.print(&format!("{}\n", crate::cli::json(backend)?))?;
    }
    let target = &args.target;
    if drain.was_cancelled {
        let text = format!("{target} is {} again: it was not drained", backend.backend.state);
        return Err(Failure::Because(CANCELLED, text));
    }
    if !args.remote.json {
        let took = took(drain).map_or(String::new(), |took| format!(" in {took}"));
        let mut text = format!("{target} is drained{took}. {}", how_it_went(drain));
        text.push('\n');
        terminal.print(&text)?;
    }
    match is_late(drain) {
        true => Err(Failure::Because(LATE, "not every session had left by the deadline".into())),
        false => Ok(()),
    }
}

/// Kept, moved and cut.
fn how_it_went(drain: &Drain) -> String {
    let all = drain.sessions_at_start + drain.joined;
    let mut parts = vec![format!("{} left by themselves", drain.left)];
    let by_reason: Vec<_> =
        drain.moved_by_reason.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    parts.push(match by_reason.is_empty() {
        true => "0 moved".into(),
        false => format!("{} moved ({})", drain.moved, by_reason.join(", ")),
    });
    parts.push(format!("{} no longer waited for", drain.cut));
    parts.extend(
        (drain.tunnels_closed > 0)
            .then(|| format!("{} closed", count(drain.tunnels_closed, "tunnel"))),
    );
    format!("{}: {}", count(all, "session"), parts.join(", "))
}

/// Was there anybody left at the deadline?
fn is_late(drain: &Drain) -> bool {
    let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_deref()?).ok();
    match (time(&drain.deadline), time(&drain.ended)) {
        (Some(deadline), Some(ended)) => ended > deadline,
        _ => false,
    }
}

fn took(drain: &Drain) -> Option<humantime::FormattedDuration> {
    let since: SystemTime = humantime::parse_rfc3339(&drain.since).ok()?;
    let ended = humantime::parse_rfc3339(drain.ended.as_deref()?).ok()?;
    Some(seconds(ended.duration_since(since).ok()?))
}

/// A duration without what nobody wants to know: whole seconds, if there is one.
fn seconds(duration: Duration) -> humantime::FormattedDuration {
    let duration = match duration.as_secs() {
        0 => Duration::from_millis(duration.as_millis() as u64),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(duration)
}

/// Where the progress is shown: on standard error, which a script does not read.
struct Screen {
    bar: Option<ProgressBar>,
    terminal: Terminal,
    name: String,
}

impl Screen {
    fn new(args: &Args, terminal: &Terminal) -> Self {
        let bar = (terminal.is_error_live() && !args.remote.json).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let color = if terminal.error_color() { "{bar:30.cyan/dim}" } else { "{bar:30}" };
            let style = ProgressStyle::with_template(&format!("{{prefix}} {color} {{msg}}"));
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━╸─"));
            bar.set_prefix(args.target.to_string());
            bar
        });
        Screen { bar, terminal: *terminal, name: args.target.to_string() }
    }

    fn show(&self, drain: &Drain, looks: u32) {
        let all = drain.sessions_at_start + drain.joined;
        match &self.bar {
            Some(bar) => {
                bar.set_length(all.max(1));
                bar.set_position(all.saturating_sub(drain.sessions.into()));
                bar.set_message(in_words(drain));
            }
            None if looks.is_multiple_of(LINE_EVERY) => {
                self.terminal.complain(&format!("{}: {}\n", self.name, in_words(drain)));
            }
            None => {}
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_who_left_how() {
        let drain = Drain {
            since: "2026-11-21T07:00:00.000Z".into(),
            deadline: Some("2026-11-21T07:10:00.000Z".into()),
            ended: Some("2026-11-21T07:10:04.500Z".into()),
            sessions_at_start: 10,
            joined: 1,
            left: 4,
            moved: 6,
            moved_by_reason: [("draining".to_owned(), 6)].into(),
            cut: 1,
            ..Drain::default()
        };
        let text = "11 sessions: 4 left by themselves, 6 moved (draining 6), \
                    1 no longer waited for";
        assert_eq!(how_it_went(&drain), text);
        assert_eq!(took(&drain).unwrap().to_string(), "10m 4s");
        assert!(is_late(&drain));
        let in_time = Drain { ended: Some("2026-11-21T07:09:59.000Z".into()), ..drain.clone() };
        assert!(!is_late(&in_time));
        assert!(!is_late(&Drain { deadline: None, ..drain }));
    }
}
