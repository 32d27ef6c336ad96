//! Cases computed by hand.

use super::*;

fn id(i: usize) -> BackendId {
    BackendId::new("shop", &format!("shop-{i}"))
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + secs * 1_000)
}

/// A reading: weight, requests and seconds of work, really and evenly, and sessions.
fn reading(i: usize, weight: u32, real: (u64, u64), even: (u64, u64), sessions: u32) -> Reading {
    let work = |(requests, seconds): (u64, u64)| Work { requests, busy: seconds * 1_000_000_000 };
    let (real, even) = (work(real), work(even));
    Reading { id: id(i), weight, takes_new: true, real, even, forced: 0, sessions }
}

fn close(found: Option<f64>, expected: f64) {
    assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} is not {expected}");
}

#[test]
fn nothing_is_said_about_nothing() {
    let mut meter = Meter::default();
    assert_eq!(meter.figures(Window::Short), None);
    let idle = || vec![reading(0, 1, (0, 0), (0, 0), 0), reading(1, 1, (0, 0), (0, 0), 0)];
    meter.read(idle(), at(0));
    assert_eq!(meter.figures(Window::Short), None, "no time has passed");
    meter.read(idle(), at(1));
    let figures = meter.figures(Window::Short).unwrap();
    assert_eq!((figures.count, figures.forced_share), (0, None));
    assert_eq!((figures.busy, figures.headroom_cost()), (Imbalance::default(), None));
    assert_eq!(figures.blast_radius, BlastRadius::default());
    assert!(!figures.is_meaningful());
}

#[test]
fn the_cost_is_what_the_busiest_has_more_than_in_the_even_world() {
    let mut meter = Meter::default();
    let zero = (0, 0);
    meter.read((0..4).map(|i| reading(i, 1, zero, zero, 0)).collect::<Vec<_>>(), at(0));
    // 100 requests and 100 seconds of work: really 40, 20, 20, 20; evenly 30, 30, 20, 20.
    meter.read(
        vec![
            reading(0, 1, (40, 40), (30, 30), 8),
            reading(1, 1, (20, 20), (30, 30), 0),
            reading(2, 1, (20, 20), (20, 20), 0),
            reading(3, 1, (20, 20), (20, 20), 8),
        ],
        at(1),
    );
    let figures = meter.figures(Window::Short).unwrap();
    assert_eq!(figures.count, 100);
    close(figures.busy.peak_to_mean, 1.6);
    assert_eq!(figures.busy.peak, Some(id(0)));
    close(figures.even_busy.peak_to_mean, 1.2);
    close(figures.headroom_cost(), 1.0 / 3.0);
    // x = 1.6, 0.8, 0.8, 0.8: sum 4, sum of squares 4.48.
    close(figures.requests.jain, 16.0 / (4.0 * 4.48));
    close(figures.requests.variation, 0.12f64.sqrt());
    close(figures.sessions.peak_to_mean, 2.0);
    assert_eq!((figures.blast_radius.sessions, figures.blast_radius.share), (8, 0.5));
}

/// The same in words, of ten times as much: a hundred requests would be too few.
#[test]
fn the_sentence_knows_whether_anything_sticks() {
    let mut meter = Meter::default();
    let zero = (0, 0);
    meter.read((0..4).map(|i| reading(i, 1, zero, zero, 0)).collect::<Vec<_>>(), at(0));
    let worked = [(400, 300), (200, 300), (200, 200), (200, 200)];
    let read =
        |(i, (real, even)): (usize, (u64, u64))| reading(i, 1, (real, real), (even, even), 0);
    meter.read(worked.into_iter().enumerate().map(read).collect::<Vec<_>>(), at(1));
    let figures = meter.figures(Window::Short).unwrap();
    let words = |is_sticky| figures.in_words(Window::Short, is_sticky, |_| Some("shop-0"));
    assert_eq!(
        words(true),
        "Stickiness makes shop-0 need 33 % more capacity: it has 1.60 times its fair share of the \
         in-flight time in the last second, where even distribution would give the busiest backend \
         1.20 times."
    );
    assert_eq!(
        words(false),
        "Sessions do not stick here, which costs nothing: shop-0 has 1.60 times its fair share of \
         the in-flight time in the last second."
    );
}

#[test]
fn fair_is_by_weight() {
    let mut meter = Meter::default();
    meter.read(vec![reading(0, 1, (0, 0), (0, 0), 0), reading(1, 3, (0, 0), (0, 0), 0)], at(0));
    meter.read(
        vec![reading(0, 1, (25, 25), (25, 25), 1), reading(1, 3, (75, 75), (75, 75), 3)],
        at(1),
    );
    let figures = meter.figures(Window::Short).unwrap();
    close(figures.requests.peak_to_mean, 1.0);
    close(figures.sessions.peak_to_mean, 1.0);
    close(figures.headroom_cost(), 0.0);
    close(figures.requests.jain, 1.0);
}

/// What came before a window does not count in it.
#[test]
fn windows_slide() {
    let mut meter = Meter::default();
    for second in 0..=400u64 {
        // All goes to one of two for 100 seconds, then both get the same.
        let (a, b) =
            (second.min(100) + second.saturating_sub(100) / 2, second.saturating_sub(100) / 2);
        let readings = vec![
            reading(0, 1, (a, a), (second / 2, second / 2), 0),
            reading(1, 1, (b, b), (second / 2, second / 2), 0),
        ];
        meter.read(readings, at(second));
        let expected = |window: Window| {
            let length = window.duration().as_secs();
            if second >= 100 + length + 5 { Some(1.0) } else { None }
        };
        for window in Window::ALL {
            if let Some(expected) = expected(window) {
                let found = meter.figures(window).unwrap().requests.peak_to_mean.unwrap();
                assert!((found - expected).abs() < 0.11, "{second} {window:?}: {found}");
            }
        }
        if second == 100 {
            let figures = meter.figures(Window::Long).unwrap();
            close(figures.requests.peak_to_mean, 2.0);
            assert_eq!(figures.elapsed, Duration::from_secs(100), "there is no more yet");
        }
    }
    let pages: usize = meter.books.iter().map(|book| book.len()).sum();
    assert!(pages <= 11 + 62, "memory is bounded: {pages}");
}

/// A backend that joins has a fair share from then on only.
#[test]
fn who_joins_or_leaves_is_compared_for_the_time_that_it_was_there() {
    let mut meter = Meter::default();
    meter.read(vec![reading(0, 1, (0, 0), (0, 0), 0)], at(0));
    meter.read(vec![reading(0, 1, (100, 0), (100, 0), 0), reading(1, 1, (0, 0), (0, 0), 0)], at(5));
    meter.read(
        vec![reading(0, 1, (150, 0), (150, 0), 0), reading(1, 1, (50, 0), (50, 0), 0)],
        at(9),
    );
    let figures = meter.figures(Window::Short).unwrap();
    close(figures.requests.peak_to_mean, 1.0);
    let fair = figures.backends.iter().all(|part| part.requests == Some(1.0));
    assert!(fair, "{figures:?}");
    for second in 10..700 {
        meter.read(vec![reading(0, 1, (150 + second, 0), (150, 0), 0)], at(second));
    }
    let figures = meter.figures(Window::Long).unwrap();
    assert_eq!(figures.backends.len(), 1, "who left is forgotten");
    close(figures.requests.peak_to_mean, 1.0);
}

#[test]
fn who_drains_has_a_share_of_the_real_load_only() {
    let mut meter = Meter::default();
    let draining = |work| Reading { takes_new: false, ..reading(1, 1, work, (0, 0), 5) };
    meter.read(vec![reading(0, 1, (0, 0), (0, 0), 5), draining((0, 0))], at(0));
    meter.read(vec![reading(0, 1, (50, 50), (100, 100), 5), draining((50, 50))], at(1));
    let figures = meter.figures(Window::Short).unwrap();
    close(figures.busy.peak_to_mean, 1.0);
    close(figures.even_busy.peak_to_mean, 1.0);
    let part = figures.backends.iter().find(|part| part.id == id(1)).unwrap();
    assert_eq!(part.even_busy, None);
}
