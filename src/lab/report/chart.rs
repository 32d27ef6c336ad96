//! Charts as SVG text.
//!
//! A chart has a light look of its own. Its colours stand in attributes by which the page's style
//! sheet finds them again in the dark; text is as large as the page's on a narrow screen, since
//! charts are drawn narrow.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours of series, told apart by people who do not see all colours (after Okabe and Ito). The
/// style sheet has the same and their dark counterparts.
pub(super) const COLORS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6F5FA8", "#8C6D31"];
/// Text and axes.
const INK: RGBColor = RGBColor(0x44, 0x4B, 0x55);
/// Grid lines.
const GRID: RGBColor = RGBColor(0xDD, 0xE1, 0xE6);

/// Of most charts. Text is drawn for this width.
const SIZE: (u32, u32) = (400, 230);
/// What a group of bars needs for its name.
const GROUP: u32 = 105;
const FONT: (&str, u32) = ("sans-serif", 12);

/// One line of a chart.
pub(super) struct Line {
    /// x and y.
    pub(super) points: Vec<(f64, f64)>,
}

/// The colour of the series with this number.
pub(super) fn color(index: usize) -> &'static str {
    COLORS[index % COLORS.len()]
}

fn rgb(index: usize) -> RGBColor {
    let value = u32::from_str_radix(&color(index)[1..], 16).unwrap_or_default();
    let [_, r, g, b] = value.to_be_bytes();
    RGBColor(r, g, b)
}

/// Lines over a number, as in requests a second over time.
pub(super) fn lines(lines: &[Line], x_title: &str, y_title: &str) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let right = all().map(|(x, _)| *x).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let top = top(all().map(|(_, y)| *y));
    svg(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(34)
            .y_label_area_size(46)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        mesh(&mut chart, x_title, y_title, &tick, 6)?;
        for (i, line) in lines.iter().enumerate() {
            let style = rgb(i).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
        Ok(())
    })
}

/// Values of several series over a few named steps, joined by lines: latency over percentiles.
pub(super) fn steps(names: &[&str], series: &[Vec<f64>], y_title: &str) -> String {
    let top = top(series.iter().flatten().copied());
    let right = names.len() as f64 - 1.0;
    svg(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(22)
            .y_label_area_size(46)
            .build_cartesian_2d(
                Named { count: names.len(), from: -0.25, to: right + 0.25 },
                0.0..top,
            )?;
        let name = |x: &f64| names.get(x.round() as usize).copied().unwrap_or_default().to_owned();
        mesh(&mut chart, "", y_title, &name, names.len())?;
        for (i, values) in series.iter().enumerate() {
            let points: Vec<_> = values.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), rgb(i).stroke_width(2)))?;
            chart.draw_series(points.iter().map(|&at| Circle::new(at, 4, rgb(i).filled())))?;
        }
        Ok(())
    })
}

/// Groups of bars: for each name one value of each series; `None` leaves a gap.
pub(super) fn bars(names: &[&str], series: &[Vec<Option<f64>>], y_title: &str) -> String {
    /// The part of a group that its bars fill.
    const FILLED: f64 = 0.8;
    let top = top(series.iter().flatten().flatten().copied());
    let width = FILLED / series.len().max(1) as f64;
    let wide = SIZE.0.max(names.len() as u32 * GROUP);
    svg((wide, SIZE.1), |area| {
        let right = names.len() as f64 - 0.5;
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(22)
            .y_label_area_size(46)
            .build_cartesian_2d(Named { count: names.len(), from: -0.5, to: right }, 0.0..top)?;
        let name = |x: &f64| names.get(x.round() as usize).copied().unwrap_or_default().to_owned();
        mesh(&mut chart, "", y_title, &name, names.len())?;
        for (i, values) in series.iter().enumerate() {
            for (x, value) in values.iter().enumerate().filter_map(|(x, v)| Some((x, (*v)?))) {
                let left = x as f64 - FILLED / 2.0 + i as f64 * width;
                let corners = [(left, 0.0), (left + width * 0.92, value)];
                chart.draw_series([Rectangle::new(corners, rgb(i).filled())])?;
                let above = Pos::new(HPos::Center, VPos::Bottom);
                let style = FONT.into_font().color(&INK).pos(above);
                let text = super::words::digits(value);
                chart.draw_series([Text::new(text, (left + width * 0.46, value), style)])?;
            }
        }
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// What `draw` draws. A backend that writes into a string does not fail; if it did, the chart would
/// be empty, and the tables would have the figures all the same.
fn svg(
    size: (u32, u32),
    draw: impl for<'a> FnOnce(&Area<'a>) -> Result<(), Failure<'a>>,
) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        if draw(&area).and_then(|()| area.present()).is_err() {
            return String::new();
        }
    }
    text.trim_end().to_owned()
}

fn mesh<'a, X>(
    chart: &mut ChartContext<
        '_,
        SVGBackend<'a>,
        Cartesian2d<X, plotters::coord::types::RangedCoordf64>,
    >,
    x_title: &str,
    y_title: &str,
    x_text: &dyn Fn(&f64) -> String,
    x_labels: usize,
) -> Result<(), Failure<'a>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(x_labels)
        .y_labels(6)
        .x_label_formatter(x_text)
        .y_label_formatter(&tick)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .label_style(FONT.into_font().color(&INK))
        .x_desc(x_title)
        .y_desc(y_title)
        .draw()
}

/// A number at an axis: as short as it can be.
fn tick(value: &f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A little above the highest value, so that what is there can be seen.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let highest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if highest > 0.0 { highest * 1.12 } else { 1.0 }
}

/// An axis with a label at each whole number from 0 to `count`, and some room on both sides.
struct Named {
    count: usize,
    from: f64,
    to: f64,
}

impl Ranged for Named {
    type FormatOption = plotters::coord::ranged1d::DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = (self.to - self.from).max(f64::MIN_POSITIVE);
        let position = (value - self.from) / length;
        limit.0 + (position * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        (0..self.count).map(|i| i as f64).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_svg_with_every_series_and_label() {
        let two = [vec![1.0, 2.0], vec![3.0, 40.0]];
        let text = steps(&["p50", "p99"], &two, "ms");
        assert!(text.starts_with("<svg") && text.ends_with("</svg>"), "{text}");
        assert!(text.contains("viewBox"), "it can be scaled");
        for expected in ["p50", "p99", "ms", color(0), color(1)] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        let bars = bars(&["crash"], &[vec![Some(412.0)], vec![None]], "sessions");
        assert!(bars.contains("412") && !bars.contains(color(1)), "{bars}");
        let line = Line { points: vec![(0.0, 1.0), (5.0, 3.0)] };
        assert!(lines(&[line], "seconds", "requests/s").contains("seconds"));
    }

    #[test]
    fn nothing_to_draw_is_an_empty_chart() {
        assert!(lines(&[], "s", "ms").contains("</svg>"));
        assert!(bars(&[], &[], "ms").contains("</svg>"));
    }
}
