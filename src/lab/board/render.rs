//! A frame as text: a table to be redrawn in place, or plain lines for a pipe.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use super::{Frame, Row, WINDOW};
use crate::balance::BackendState;

/// The longest half of a bar, in characters. A bar's middle is the fair share, its end twice that
/// or more.
const LONGEST_HALF: usize = 12;
/// A bar with a shorter half says nothing and is left out.
const SHORTEST_HALF: usize = 4;

/// One line, under the titles.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// A table and two lines of totals. `width` is the terminal's, if known; bars take what is left.
pub fn table(frame: &Frame, color: bool, width: Option<u16>) -> String {
    let longest = width.map_or(usize::MAX, usize::from);
    let without_bars = figures(frame, false, width, None).trim_fmt();
    let used = without_bars.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    // A bar has a mark in its middle and a blank on either side.
    let half = (longest.saturating_sub(used + 3) / 2).min(LONGEST_HALF);
    let half = (half >= SHORTEST_HALF).then_some(half);
    let totals = [
        format!(
            "sessions {}, sessions lost {}, errors {}",
            frame.sessions, frame.lost, frame.errors
        ),
        format!("last {} s: shares, {}", WINDOW.as_secs(), speed(frame)),
    ];
    // A line that wraps would be two lines, and the next frame would be drawn too low.
    let [counts, speed] = totals.map(|line| line.chars().take(longest).collect::<String>());
    format!("{}\n\n{counts}\n{speed}\n", figures(frame, color, width, half).trim_fmt())
}

fn figures(frame: &Frame, color: bool, width: Option<u16>, half: Option<usize>) -> Table {
    let mut table = plain_table(width);
    let titles =
        ["backend", "state", "sessions", "requests", "in flight", "share", "fair share", ""];
    let columns = titles.len() - usize::from(half.is_none());
    table.set_header(&titles[..columns]);
    for row in &frame.rows {
        let state = Cell::new(row.state);
        let mut cells = vec![
            Cell::new(&row.name),
            if color { state.fg(color_of(row.state)) } else { state },
            Cell::new(sessions(row)),
            Cell::new(row.requests),
            Cell::new(row.in_flight),
            Cell::new(percent(row.share)),
            Cell::new(percent(row.fair_share)),
        ];
        cells.extend(half.map(|half| Cell::new(bar(row, half))));
        table.add_row(cells);
    }
    if color {
        table.enforce_styling();
    }
    align_right(&mut table, 2..7);
    table
}

/// A line for each backend and one for the totals, each of which says when it was taken.
pub fn lines(frame: &Frame) -> String {
    let seconds = frame.at.as_secs();
    let names = frame.rows.iter().map(|row| row.name.len()).chain(["total".len()]);
    let width = names.max().unwrap_or_default();
    let mut text = String::new();
    for row in &frame.rows {
        let _ = writeln!(
            text,
            "{seconds:>4} s  {:width$}  {:<11}  sessions {:>4}  requests {:>7}  in flight {:>3}  \
             share {:>6}  fair share {:>6}",
            row.name,
            row.state.as_str(),
            sessions(row),
            row.requests,
            row.in_flight,
            percent(row.share),
            percent(row.fair_share),
        );
    }
    let _ = writeln!(
        text,
        "{seconds:>4} s  {:width$}  {:<11}  sessions {:>4}  sessions lost {}, errors {}, {}",
        "total",
        "",
        frame.sessions,
        frame.lost,
        frame.errors,
        speed(frame),
    );
    text
}

fn speed(frame: &Frame) -> String {
    let (p50, p99) = (millis(frame.p50), millis(frame.p99));
    format!("{:.0} requests/s, p50 {p50}, p99 {p99}", frame.rate)
}

/// An empty table, as wide as its content or the terminal.
pub(in crate::lab) fn plain_table(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    // We know better than the library where the text will go.
    table.force_no_tty();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// Aligns columns of numbers.
pub(in crate::lab) fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// `33.3 %`
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `4.2 ms`
pub(in crate::lab) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    let digits = usize::from(millis < 100.0);
    format!("{millis:.digits$} ms")
}

fn sessions(row: &Row) -> String {
    row.sessions.map_or_else(|| "-".into(), |sessions| sessions.to_string())
}

/// The share as a bar, with a mark at the fair share.
fn bar(row: &Row, half: usize) -> String {
    let of_fair = if row.fair_share > 0.0 { row.share / row.fair_share } else { 0.0 };
    let filled = (of_fair * half as f64).round() as usize;
    let cell = |i| match (i == half, i < filled) {
        (true, _) => '│',
        (false, true) => '█',
        (false, false) => '·',
    };
    (0..=2 * half).map(cell).collect()
}

fn color_of(state: BackendState) -> Color {
    match state {
        BackendState::Ready => Color::Green,
        BackendState::Draining | BackendState::Drained | BackendState::Maintenance => Color::Yellow,
        BackendState::Ejected | BackendState::Down => Color::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let row = |name: &str, state, share| Row {
            name: name.into(),
            state,
            sessions: Some(12),
            requests: 1_234,
            in_flight: 2,
            share,
            fair_share: 0.25,
        };
        Frame {
            at: Duration::from_secs(6),
            rows: vec![row("app-1", BackendState::Ready, 0.375), row("b", BackendState::Down, 0.0)],
            sessions: 24,
            rate: 117.4,
            errors: 1,
            lost: 2,
            p50: Duration::from_micros(4_210),
            p99: Duration::from_millis(131),
        }
    }

    #[test]
    fn bars_have_their_mark_at_the_fair_share() {
        let frame = frame();
        assert_eq!(bar(&frame.rows[0], 12), "████████████│█████·······");
        assert_eq!(bar(&frame.rows[1], 12), "············│············");
        let far_beyond = Row { share: 1.0, ..frame.rows[0].clone() };
        assert_eq!(bar(&far_beyond, 12), "████████████│████████████");
    }

    #[test]
    fn plain_lines_say_everything_without_colors() {
        let text = lines(&frame());
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("   6 s  app-1  ready "), "{text}");
        assert!(text.contains("share 37.5 %  fair share 25.0 %"), "{text}");
        let totals = "sessions   24  sessions lost 2, errors 1, \
                      117 requests/s, p50 4.2 ms, p99 131 ms";
        assert!(text.contains(totals), "{text}");
    }

    #[test]
    fn the_table_has_colors_only_if_asked() {
        let plain = table(&frame(), false, None);
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(table(&frame(), true, None).contains('\u{1b}'));
        assert!(plain.lines().any(|line| line.contains("app-1") && line.contains("37.5 %")));
    }

    #[test]
    fn the_table_fits_its_terminal_and_bars_take_what_is_left() {
        for width in [40, 60, 70, 80, 90, 100, 200] {
            let text = table(&frame(), false, Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(width), "{width}:\n{text}");
            assert_eq!(text.contains('█'), width >= 80, "{width}:\n{text}");
        }
    }
}
