//! Figures in columns, as the commands print them.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use super::terminal::Terminal;
pub(super) use crate::lab::board::render::percent;

/// One line, under the titles.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// A table with these columns, those from `numbers` on aligned to the right.
pub(super) fn table(
    terminal: &Terminal,
    titles: &[&str],
    numbers: usize,
    rows: Vec<Vec<Cell>>,
) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    // We know better than the library where the text will go.
    table.force_no_tty();
    if let Some((columns, _)) = terminal.size() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    table.set_header(titles);
    table.add_rows(rows);
    for column in numbers..titles.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if terminal.color() {
        table.enforce_styling();
    }
    format!("{}\n", table.trim_fmt())
}

/// A state, in its color where there are colors.
pub(super) fn state(terminal: &Terminal, state: &str) -> Cell {
    let cell = Cell::new(state);
    match (terminal.color(), state) {
        (false, _) => cell,
        (true, "ready") => cell.fg(Color::Green),
        (true, "down" | "ejected") => cell.fg(Color::Red),
        (true, _) => cell.fg(Color::Yellow),
    }
}

/// `1 session`, `2 sessions`
pub(super) fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// `4.2`, `117`
pub(super) fn rate(rate: f64) -> String {
    let digits = usize::from(rate < 100.0);
    format!("{rate:.digits$}")
}
