//! The text formats that scrapers read: OpenMetrics 1.0, and Prometheus' own 0.0.4.
//!
//! They differ in how counters are announced, in their last line and in their media type. A crate
//! for this would keep the counts itself, in its own way; what is left to do here is to write lines.

use std::fmt::{Display, Write};

/// Which of the two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: what every scraper and every person reads.
    Prometheus,
    /// `application/openmetrics-text`: for those who ask for it.
    OpenMetrics,
}

impl Format {
    /// The format for a scraper that sent this `Accept`.
    pub fn accepted(accept: Option<&str>) -> Self {
        let mut best = (0.0, Format::Prometheus);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next() {
                Some("application/openmetrics-text") => Format::OpenMetrics,
                Some("text/plain" | "text/*" | "*/*") => Format::Prometheus,
                _ => continue,
            };
            let mut quality = 1.0;
            let mut is_known = true;
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                match (name, format) {
                    ("q", _) => quality = value.parse().unwrap_or(0.0),
                    ("version", Format::OpenMetrics) => {
                        is_known = matches!(value, "1.0.0" | "0.0.1")
                    }
                    _ => {}
                }
            }
            if is_known && quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    /// The media type of what is sent.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics on their way into a text.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
    format: Format,
    /// The metric that is being written, and what its samples end with.
    name: &'static str,
    suffix: &'static str,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Text { out: String::with_capacity(16 * 1024), format, name: "", suffix: "" }
    }

    /// Begins a metric: its name without `_total`, and one sentence without line ends or
    /// backslashes.
    pub(super) fn metric(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        self.suffix = if kind == Kind::Counter { "_total" } else { "" };
        let announced = match self.format {
            Format::OpenMetrics => "",
            Format::Prometheus => self.suffix,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.write(format_args!("# HELP {name}{announced} {help}\n"));
        self.write(format_args!("# TYPE {name}{announced} {kind}\n"));
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.write(format_args!("# UNIT {name} {unit}\n"));
        }
    }

    /// A sample of the metric.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line(self.suffix, labels, value);
    }

    /// A sample with another suffix, as histograms have them.
    pub(super) fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.write(format_args!("{}{name}=\"", if i == 0 { '{' } else { ',' }));
            for c in value.chars() {
                match c {
                    '\\' | '"' => self.out.extend(['\\', c]),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{end} {value}\n"));
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text); // a String takes everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_differ_where_they_must() {
        let text = |format| {
            let mut text = Text::new(format);
            text.metric("a_bytes", Kind::Counter, "Bytes.");
            text.sample(&[("b", "c\\\"\n"), ("d", "")], 1);
            text.metric("e", Kind::Gauge, "E.");
            text.sample(&[], 0.5);
            text.finish()
        };
        assert_eq!(
            text(Format::Prometheus),
            "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\n\
             a_bytes_total{b=\"c\\\\\\\"\\n\",d=\"\"} 1\n# HELP e E.\n# TYPE e gauge\ne 0.5\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
             a_bytes_total{b=\"c\\\\\\\"\\n\",d=\"\"} 1\n# HELP e E.\n# TYPE e gauge\ne 0.5\n# EOF\n"
        );
    }

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let accepted = |text| Format::accepted(Some(text));
        assert_eq!(accepted(prometheus), Format::OpenMetrics);
        assert_eq!(accepted("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Format::Prometheus);
        assert_eq!(accepted("*/*"), Format::Prometheus);
        assert_eq!(accepted("application/openmetrics-text; version=2.0.0"), Format::Prometheus);
        assert_eq!(accepted("application/openmetrics-text;q=0.1, text/plain"), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
