//! Whole logs, from text to figures.

use std::fmt::Write as _;
use std::io::{Cursor, Read};

use super::*;

fn settings() -> Settings {
    Settings {
        policies: ["two_choices", "two_choices+cookie", "random+hash"]
            .map(|text| text.parse().unwrap())
            .into(),
        fleets: vec![3, 6],
        concurrency: 8,
        format: None,
        session: None,
        service_time: None,
        idle_timeout: Duration::from_secs(60),
        window: Duration::from_secs(5),
        max_sessions: 100_000,
        seed: 1,
        threads: 2,
    }
}

/// A line of `user` at `millis` after some moment, answered after 10 ms.
fn line(millis: u64, user: u64, to: &mut String) {
    let end = 1_760_000_000_000 + millis + 10;
    let _ = writeln!(to, "{}.{:03}|u{user}|0.010|10.0.0.{}", end / 1_000, end % 1_000, user % 200);
}

const FORMAT: &str = "$msec|$remote_user|$request_time|$remote_addr";

fn play(settings: Settings, text: &str) -> (LogFacts, Vec<Run>) {
    let mut replay = Replay::new(settings);
    let mut lines = Lines::new(Cursor::new(text.as_bytes().to_vec())).unwrap();
    replay.play("a.log", &mut lines).unwrap();
    replay.finish()
}

fn by_user() -> Settings {
    Settings {
        format: Some(FORMAT.parse().unwrap()),
        session: Some("user".parse().unwrap()),
        ..settings()
    }
}

fn log() -> String {
    let mut text = String::new();
    // 100 requests a second by 50 users; the tenth has half of all.
    for i in 0..20_000u64 {
        let user = if i % 2 == 0 { 10 } else { i % 97 % 50 };
        line(i * 10, user, &mut text);
    }
    text
}

#[test]
fn a_log_becomes_figures() {
    let (facts, runs) = play(by_user(), &log());
    assert_eq!((facts.lines, facts.bad, facts.requests), (20_000, 0, 20_000));
    assert_eq!((facts.sessions, facts.without_session, facts.late), (50, 0, 0));
    assert!((facts.seconds - 199.99).abs() < 0.001, "{}", facts.seconds);
    assert_eq!(runs.len(), 6);
    for run in &runs {
        let figures = &run.figures;
        assert_eq!(figures.requests.answered + figures.requests.unfinished, 20_000);
        assert!((figures.latency.p50 - 0.010).abs() < 0.0001, "{:?}", figures.latency);
    }
    // Half of the requests are one user's, who stays where he is: two thirds of the requests at
    // one of three, with a sixth of the others; stateless they are even.
    let [even, cookie, hash, _, wide, _] = &runs[..] else { panic!() };
    assert!((even.figures.imbalance.requests - 1.0).abs() < 0.03);
    let peak = cookie.figures.imbalance.requests;
    assert!((1.7..2.4).contains(&peak), "{peak}");
    assert!(hash.figures.imbalance.requests > 1.7);
    assert!(wide.figures.imbalance.requests > 3.0);
    assert!(cookie.figures.cost.unwrap().headroom > 0.6);
    assert_eq!(cookie.figures.sessions.as_ref().unwrap().lost, Some(0));
}

#[test]
fn the_same_log_gives_the_same_bytes() {
    let bytes = |threads| {
        let (facts, runs) = play(Settings { threads, ..by_user() }, &log());
        serde_json::to_string(&(facts, runs)).unwrap()
    };
    assert_eq!(bytes(1), bytes(3));
}

#[test]
fn bad_lines_are_counted_and_the_first_are_shown() {
    let mut text = String::new();
    for i in 0..100 {
        line(i * 10, i, &mut text);
        if i % 10 == 0 {
            let _ = writeln!(text, "bad line {i} \u{1b}[31m");
        }
    }
    text.push_str(&"x".repeat(100_000));
    let (facts, _) = play(by_user(), &text);
    assert_eq!((facts.lines, facts.bad, facts.requests), (111, 11, 100));
    assert_eq!(facts.examples.len(), EXAMPLES);
    let BadLine { log, line, text, .. } = &facts.examples[0];
    assert_eq!((log.as_str(), *line, text.as_str()), ("a.log", 2, "bad line 0 ?[31m"));
}

#[test]
fn an_empty_or_unknown_log_is_no_catastrophe() {
    let (facts, runs) = play(by_user(), "");
    assert_eq!((facts.lines, facts.requests), (0, 0));
    assert!(runs.iter().all(|run| run.figures.requests.offered == 0));
    let mut replay = Replay::new(settings());
    let mut lines = Lines::new(Cursor::new(b"what\nis\nthis\n")).unwrap();
    let error = replay.play("a.log", &mut lines).unwrap_err().to_string();
    for part in ["log_format", "stickler, caddy, haproxy, combined, common", "--format"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn several_logs_are_one_and_each_counts_its_own_lines() {
    let mut replay = Replay::new(by_user());
    let whole = log();
    let at = whole.len() / 2 + whole[whole.len() / 2..].find('\n').unwrap() + 1;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    io::Write::write_all(&mut encoder, &whole.as_bytes()[..at]).unwrap();
    let mut first = encoder.finish().unwrap();
    first.truncate(first.len() - first.len() / 10);
    let second = format!("\nbad\n{}", &whole[at..]);
    for (name, bytes) in [("a.log.gz", first), ("b.log", second.into_bytes())] {
        replay.play(name, &mut Lines::new(Cursor::new(bytes)).unwrap()).unwrap();
    }
    let (facts, _) = replay.finish();
    // A tenth of the first half is lost; what is half a line is none.
    assert!((18_000..19_900).contains(&facts.requests), "{}", facts.requests);
    assert_eq!((facts.bad, facts.broken.len()), (1, 1), "{facts:?}");
    assert_eq!(facts.broken[0].log, "a.log.gz");
    assert_eq!((facts.examples[0].log.as_str(), facts.examples[0].line), ("b.log", 2));
}

#[test]
fn without_sessions_nothing_is_compared() {
    let settings = Settings { session: Some("cookie:sid".parse().unwrap()), ..by_user() };
    let (facts, runs) = play(settings, &log());
    assert_eq!((facts.sessions, facts.without_session), (0, 20_000));
    assert_eq!(facts.possible_keys, "user and address");
    for run in runs {
        assert_eq!(run.figures.cost, None);
        assert!(run.figures.sessions.is_none_or(|sessions| sessions.lost.is_none()));
    }
    let combined: Format = "combined".parse().unwrap();
    assert_eq!(combined.keys(), "address, user, header:referer and user-agent");
}

/// A log without an end, made as it is read.
struct Endless {
    next: u64,
    lines: u64,
    left: Vec<u8>,
}

impl Read for Endless {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() && self.next < self.lines {
            let mut text = String::new();
            for i in self.next..(self.next + 100).min(self.lines) {
                // Each user asks three times and is never seen again.
                line(i, i / 3, &mut text);
            }
            self.next += 100;
            self.left = text.into_bytes();
        }
        let length = self.left.len().min(to.len());
        to[..length].copy_from_slice(&self.left[..length]);
        self.left.drain(..length);
        Ok(length)
    }
}

#[test]
fn memory_follows_the_sessions_at_a_time_and_not_the_log() {
    let settings = Settings {
        policies: vec!["two_choices+cookie".parse().unwrap()],
        fleets: vec![3],
        idle_timeout: Duration::from_secs(10),
        ..by_user()
    };
    let mut replay = Replay::new(settings);
    // 1,000 requests a second by 333 new users a second, for some eight minutes.
    let lines = Endless { next: 0, lines: 500_000, left: Vec::new() };
    replay.play("a.log", &mut Lines::new(lines).unwrap()).unwrap();
    // Ten seconds' sessions, an eighth more until they are swept, and some that are just ending.
    assert!(replay.reception.len() < 333 * 13, "{}", replay.reception.len());
    assert!(replay.worlds.iter().all(|world| world.visitors() < 333 * 13));
    let (facts, runs) = replay.finish();
    assert_eq!((facts.requests, facts.untracked), (500_000, 0));
    assert_eq!(facts.sessions, 500_000u64.div_ceil(3));
    let timeline = runs[0].figures.timeline.len();
    assert!((20..=240).contains(&timeline), "{timeline}");
}
