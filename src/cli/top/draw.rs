//! How `stickler top` looks.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use super::state::{State, lines};
use crate::admin::view::{Backend, Pool, Route};
use crate::cli::arm;
use crate::cli::cost;
use crate::cli::drain::in_words;
use crate::cli::table::{count, percent, rate};

/// Heights of a column of load, from nothing to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Columns before the load, and one blank after each.
const WIDTHS: [u16; 8] = [18, 11, 9, 9, 9, 8, 8, 16];

/// Which columns are numbers.
const NUMBERS: Range<usize> = 2..8;

/// Lines of what stickiness costs.
const COSTS: u16 = 8;

/// The least lines of backends, their titles included, before anything else gets some.
const BACKENDS: u16 = 6;

/// Columns of the routes over several pools: the route, and what [`arm::texts`] has.
const ARM_WIDTHS: [u16; 7] = [18, 18, 12, 8, 11, 11, 9];

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, color: bool) {
    let pools = state.pools.as_ref().map_or(&[][..], |pools| &pools.pools);
    let head = pools.len() as u16 + 1;
    let costs = of_chosen(state);
    let splits = splits(state);
    // What does not fit whole is left out, costs first.
    let mut room = frame.area().height.saturating_sub(head + BACKENDS + 2);
    let mut get = |lines: u16| {
        let got = if lines > room { 0 } else { lines };
        room -= got;
        got
    };
    let arms = splits.len() as u16;
    let (arms, costs_room) = (get(arms + 2 * u16::from(arms > 0)), get(COSTS));
    let areas = Layout::vertical([
        Constraint::Length(head),
        Constraint::Min(3),
        Constraint::Length(arms),
        Constraint::Length(costs_room),
        Constraint::Length(1),
        Constraint::Length(1),
    ]);
    let [totals, table, arms, cost, said, keys] = areas.areas(frame.area());
    let totals_lines: Vec<_> = pools.iter().map(|pool| of_pool(pool)).collect();
    frame.render_widget(Paragraph::new(totals_lines), totals);
    draw_table(frame, state, table, color);
    draw_splits(frame, splits, arms);
    frame.render_widget(Paragraph::new(costs).wrap(Wrap { trim: true }), cost);
    frame.render_widget(below(state, color), said);
    let window = state.window.as_str();
    let help = format!("↑↓ choose  d drain  r ready  m maintenance  w window ({window})  q end");
    frame.render_widget(Paragraph::new(help).dim().alignment(Alignment::Left), keys);
}

fn of_pool(pool: &Pool) -> Line<'static> {
    let mut parts = vec![
        format!("affinity {}", pool.affinity.mode),
        count(pool.sessions, "session"),
        format!("{} in flight", pool.in_flight),
        format!("{} requests/s", rate(pool.request_rate)),
    ];
    parts.extend((pool.waiting > 0).then(|| format!("{} waiting", pool.waiting)));
    parts.extend((pool.unavailable > 0).then(|| format!("{} not placed", pool.unavailable)));
    Line::from(vec![Span::from(pool.name.clone()).bold(), format!("  {}", parts.join(", ")).into()])
}

/// What stickiness costs the pool of the chosen backend.
fn of_chosen(state: &State) -> Vec<Line<'static>> {
    let chosen = || {
        let pools = state.pools.as_ref()?;
        let (name, _) = lines(pools).nth(state.chosen.selected()?)?;
        pools.pools.iter().find(|pool| pool.name == name)?.cost(state.window)
    };
    let shown = chosen().map(cost::in_short).unwrap_or_default();
    shown.into_iter().map(Line::from).collect()
}

/// The pools of routes over several, a line for each.
fn splits(state: &State) -> Vec<Row<'static>> {
    let routes = state.pools.as_ref().map_or(&[][..], |pools| &pools.routes);
    let of_route = |route: &Route| {
        let name = |i| if i == 0 { route.name.clone() } else { String::new() };
        let arms = route.pools.iter().enumerate();
        let row = arms.map(|(i, arm)| splits_row(name(i), arm::texts(arm)));
        row.collect::<Vec<_>>()
    };
    routes.iter().flat_map(of_route).collect()
}

fn splits_row(route: String, texts: [String; 6]) -> Row<'static> {
    let numbers = arm::NUMBERS..arm::TITLES.len();
    let texts = texts.into_iter().enumerate();
    let texts = texts.map(|(i, text)| aligned(numbers.contains(&i), text));
    Row::new(std::iter::once(Cell::from(route)).chain(texts))
}

fn draw_splits(frame: &mut Frame<'_>, rows: Vec<Row<'static>>, area: Rect) {
    let header = splits_row("route".into(), arm::TITLES.map(str::to_owned));
    let table = Table::new(rows, ARM_WIDTHS.map(Constraint::Length))
        .header(header.style(Style::new().add_modifier(Modifier::DIM)))
        .column_spacing(1);
    frame.render_widget(table, area);
}

fn draw_table(frame: &mut Frame<'_>, state: &mut State, area: Rect, color: bool) {
    let Some(pools) = &state.pools else { return };
    let several = pools.pools.len() > 1;
    let used: u16 = WIDTHS.iter().map(|width| width + 1).sum();
    let room = usize::from(area.width.saturating_sub(used + 2));
    // One scale for all, so that lines can be compared.
    let most = state.loads.values().flatten().copied().max().unwrap_or_default();
    let rows = lines(pools).map(|(pool, backend)| {
        let name = match several {
            true => format!("{pool}/{}", backend.name),
            false => backend.name.clone(),
        };
        let key = (pool.to_owned(), backend.name.clone());
        let load = state.loads.get(&key).into_iter().flatten().copied();
        row(name, backend, sparkline(load, most, room), color)
    });
    let titles = [
        "backend",
        "state",
        "sessions",
        "in flight",
        "req/s",
        "share",
        "fair",
        "p50 / p99",
        "load, last minute",
    ];
    let header = titles
        .iter()
        .enumerate()
        .map(|(i, title)| aligned(NUMBERS.contains(&i), (*title).to_owned()));
    // On a narrow screen the first columns whole rather than all of them in pieces.
    let mut used = 0;
    let fitting = WIDTHS.into_iter().take_while(|width| {
        used += width + 1;
        used <= area.width + 1
    });
    let widths: Vec<_> = fitting.map(Constraint::Length).collect();
    let rest = (widths.len() == WIDTHS.len()).then_some(Constraint::Min(0));
    let widths = widths.into_iter().chain(rest);
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .column_spacing(1);
    frame.render_stateful_widget(table, area, &mut state.chosen);
}

/// Numbers stand on the right.
fn aligned(is_number: bool, text: String) -> Cell<'static> {
    let side = if is_number { Alignment::Right } else { Alignment::Left };
    Cell::from(Line::from(text).alignment(side))
}

fn row(name: String, backend: &Backend, load: String, color: bool) -> Row<'static> {
    let fair = if backend.fair_share == 0.0 { "-".into() } else { percent(backend.fair_share) };
    let latency = backend.latency.map_or("-".into(), |latency| {
        format!("{} / {} ms", rate(latency.p50_ms), rate(latency.p99_ms))
    });
    let texts = [
        backend.sessions.to_string(),
        backend.in_flight.to_string(),
        rate(backend.request_rate),
        percent(backend.request_share),
        fair,
        latency,
        load,
    ];
    let mut cells = vec![Cell::from(name), state_cell(&backend.state, color)];
    cells.extend(
        texts.into_iter().enumerate().map(|(i, text)| aligned(NUMBERS.contains(&(i + 2)), text)),
    );
    Row::new(cells)
}

fn state_cell(state: &str, color: bool) -> Cell<'static> {
    let cell = Cell::from(state.to_owned());
    let hue = match state {
        "ready" => Color::Green,
        "down" | "ejected" => Color::Red,
        _ => Color::Yellow,
    };
    if color { cell.style(Style::new().fg(hue)) } else { cell }
}

/// The latest that fit, the last one on the right.
fn sparkline(load: impl DoubleEndedIterator<Item = u64>, most: u64, room: usize) -> String {
    let height = |n: u64| match (n * 8).checked_div(most) {
        None | Some(0) if n == 0 => ' ',
        eighths => BARS[usize::try_from(eighths.unwrap_or_default()).unwrap_or(7).min(7)],
    };
    let mut text: Vec<char> = load.rev().take(room).map(height).collect();
    text.reverse();
    text.into_iter().collect()
}

/// A question, a loss, what was said, or how the chosen backend drains.
fn below(state: &State, color: bool) -> Paragraph<'static> {
    let tinted = |text: String, hue: Color| {
        let paragraph = Paragraph::new(text).bold();
        if color { paragraph.fg(hue) } else { paragraph }
    };
    if let Some(wish) = &state.asked {
        return tinted(format!("{}  y yes, any other key no", wish.question()), Color::Yellow);
    }
    if let Some(why) = &state.lost {
        return tinted(format!("old figures: {why}"), Color::Red);
    }
    if !state.said.is_empty() {
        return Paragraph::new(state.said.clone());
    }
    let pools = state.pools.as_ref();
    let chosen = pools.zip(state.chosen.selected()).and_then(|(pools, i)| lines(pools).nth(i));
    let drain = chosen.and_then(|(_, backend)| Some((backend, backend.drain.as_ref()?)));
    match drain {
        Some((backend, drain)) if drain.ended.is_none() => {
            Paragraph::new(format!("{} drains: {}", backend.name, in_words(drain)))
        }
        _ => Paragraph::new(""),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::admin::view::{Arm, Pools};
    use crate::balance::cost::Window;
    use crate::cli::top::state::tests::pools;

    fn on_screen(state: &mut State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, false)).unwrap();
        terminal.backend().to_string()
    }

    fn drawn(state: &mut State, width: u16) -> String {
        on_screen(state, width, 10)
    }

    fn tall(state: &mut State, height: u16) -> String {
        on_screen(state, 120, height)
    }

    #[test]
    fn every_backend_has_a_line_with_its_load() {
        let mut state = State::default();
        state.show(pools(&[0, 0]));
        state.show(pools(&[8, 4]));
        let text = drawn(&mut state, 120);
        assert!(text.contains("shop  affinity cookie, 24 sessions"), "{text}");
        let line = text.lines().find(|line| line.contains("shop-1")).unwrap();
        assert!(line.contains("ready") && line.contains("50.0 %") && line.contains('█'), "{line}");
        let line = text.lines().find(|line| line.contains("shop-2")).unwrap();
        assert!(line.contains("draining") && line.contains('▅'), "{line}");
        assert!(drawn(&mut state, 40).contains("shop"), "a small screen is no reason to fail");
        assert!(!drawn(&mut State::default(), 80).is_empty());
    }

    #[test]
    fn a_route_over_several_pools_has_a_line_for_each() {
        let mut state = State::default();
        let arm = |pool: &str, weight: u32, share| Arm {
            pool: pool.into(),
            weight,
            wanted: f64::from(weight) / 100.0,
            share,
            sessions: 7,
            takes_new: weight > 0,
        };
        let pools = pools(&[0, 0]);
        let arms = vec![arm("blue", 95, Some(0.941)), arm("green", 5, None)];
        let routes = vec![Route { name: "canary".into(), pools: arms }];
        state.show(Pools { routes, ..pools });
        let text = tall(&mut state, 24);
        let line = |pool| text.lines().find(|line| line.contains(pool)).unwrap();
        let of_blue: Vec<_> = line("blue").trim_matches('"').split_whitespace().collect();
        assert_eq!(of_blue, ["canary", "blue", "yes", "95", "95.0", "%", "94.1", "%", "7"]);
        assert!(line("green").contains("5.0 %           -"), "{text}");
        assert!(line("should have").contains("last minute"), "{text}");
        assert!(!drawn(&mut state, 120).contains("green"), "backends come first");
    }

    #[test]
    fn what_stickiness_costs_the_chosen_pool_is_told_where_there_is_room() {
        let mut state = State::default();
        let mut figures = pools(&[0, 0]);
        figures.pools[0].cost = Window::ALL.map(cost::tests::cost).into();
        state.show(figures);
        let text = tall(&mut state, 24);
        assert!(text.contains("has its price") && text.contains("headroom cost 60.0 %"), "{text}");
        assert!(!tall(&mut state, 10).contains("has its price"));
        assert!(text.contains("moved (1m)") && text.contains("window (1m)"), "{text}");
        state.press(ratatui::crossterm::event::KeyCode::Char('w').into());
        let text = tall(&mut state, 24);
        assert!(text.contains("moved (5m)") && text.contains("window (5m)"), "{text}");
    }

    #[test]
    fn a_question_stands_below_and_so_does_a_loss() {
        let mut state = State::default();
        state.show(pools(&[0]));
        state.press(ratatui::crossterm::event::KeyCode::Char('d').into());
        assert!(drawn(&mut state, 120).contains("Drain shop/shop-1?"));
        state.asked = None;
        state.lose("nobody answers".into());
        assert!(drawn(&mut state, 120).contains("old figures: nobody answers"));
    }

    #[test]
    fn a_sparkline_shows_the_latest_that_fit() {
        assert_eq!(sparkline([0, 1, 4, 8].into_iter(), 8, 10), " ▂▅█");
        assert_eq!(sparkline([0, 1, 4, 8].into_iter(), 8, 2), "▅█");
        assert_eq!(sparkline([0, 0].into_iter(), 0, 2), "  ");
    }
}
