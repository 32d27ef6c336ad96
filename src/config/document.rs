//! The file as a tree of values, each with its place in the text.
//!
//! Why not let serde read TOML directly? It stops at the first mistake. A tree can be checked in
//! full, and what was refused can be taken out of it, so that serde reads the rest; and what the
//! second stage has to say about a value still finds its place ([`At`](super::at::At)).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// A text as TOML, as far as it is.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    /// What is not TOML, and why.
    pub(super) errors: Vec<(Range<usize>, String)>,
    /// A bracket is never closed: nobody knows how what is behind it was meant.
    is_open: bool,
}

/// A value and where it is.
#[derive(Debug)]
pub(super) struct Node {
    /// The keys that lead to it, joined by dots.
    pub(super) path: String,
    /// Where its key is, if it has one.
    pub(super) key: Option<Range<usize>>,
    /// Where its value is; of a `[table]`, the header.
    pub(super) span: Range<usize>,
    pub(super) value: Value,
    /// It holds a variable's value, which must not be shown.
    pub(super) secret: bool,
    /// What stood in it and was refused and taken out.
    pub(super) refused: Refused,
}

/// What was taken out of a table or a list.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Entries, by their keys, or by the keys that were meant.
    pub(super) keys: BTreeSet<String>,
    /// Items of a list, as far as they can still be looked at.
    pub(super) items: Vec<Node>,
    /// Something of which nobody knows what it was meant to be.
    pub(super) unknown: bool,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Document {
    /// Reads a text, and goes on after mistakes.
    pub(super) fn parse(text: &str) -> Document {
        let (table, errors) = DeTable::parse_recoverable(text);
        let span = table.span();
        let root = Node::new(String::new(), None, span, table_value("", table.get_ref()));
        let errors = errors
            .iter()
            .map(|error| (error.span().unwrap_or_default(), error.message().to_owned()));
        let mut errors: Vec<_> = errors.collect();
        let end =
            errors.iter().find(|(_, message)| is_unclosed(message)).map(|(span, _)| span.start);
        let open = end.and_then(|end| root.bracket_around(end, text));
        if let Some(open) = open {
            // The rest of the file was read as a part of it, which gives a mistake a line.
            errors.retain(|(span, _)| span.start < open);
            errors.push((open..open + 1, "this bracket is never closed".into()));
        }
        Document { root, errors, is_open: open.is_some() }
    }

    /// Takes out what shares a line with a mistake, so that the rest can be checked.
    ///
    /// False if nothing can be said about the rest: after a mistake in a header nobody knows to
    /// which table the keys below it belong, and after a bracket that is never closed nothing else.
    pub(super) fn mend(&mut self, text: &str) -> bool {
        let lines: Vec<_> = self.errors.iter().map(|(span, _)| line_around(text, span)).collect();
        let is_header = |line: &Range<usize>| text[line.clone()].trim_start().starts_with('[');
        self.root.take_out(&lines);
        !self.is_open && !lines.iter().any(is_header)
    }
}

impl Node {
    fn new(path: String, key: Option<Range<usize>>, span: Range<usize>, value: Value) -> Node {
        Node { path, key, span, value, secret: false, refused: Refused::default() }
    }

    /// The entry of this key, if this is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(table) => table.get(key),
            _ => None,
        }
    }

    /// Was something in it refused?
    pub(super) fn is_doubtful(&self) -> bool {
        self.refused.unknown || !self.refused.keys.is_empty() || !self.refused.items.is_empty()
    }

    /// The tree without places, for serde.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::String(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(value) => (*value).into(),
            Value::Datetime => serde_json::Value::Null,
            Value::Array(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(table) => {
                table.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()
            }
        }
    }

    /// The first bracket that opens a list or table which reaches so far, or does not end in the
    /// other one.
    fn bracket_around(&self, end: usize, text: &str) -> Option<usize> {
        let written = text.get(self.span.clone()).unwrap_or_default();
        let is_open = |open: char, close: char| {
            written.starts_with(open) && (self.span.end >= end || !written.ends_with(close))
        };
        match &self.value {
            Value::Array(_) if is_open('[', ']') => Some(self.span.start),
            Value::Table(_) if is_open('{', '}') => Some(self.span.start),
            Value::Array(items) => {
                items.iter().filter_map(|item| item.bracket_around(end, text)).min()
            }
            Value::Table(table) => {
                table.values().filter_map(|node| node.bracket_around(end, text)).min()
            }
            _ => None,
        }
    }

    fn take_out(&mut self, lines: &[Range<usize>]) {
        let Value::Table(table) = &mut self.value else { return };
        let before = table.len();
        table.retain(|_, node| !node.touches(lines));
        self.refused.unknown |= table.len() < before;
        for node in table.values_mut() {
            if let Value::Array(items) = &mut node.value {
                items.iter_mut().for_each(|item| item.take_out(lines));
            }
            node.take_out(lines);
        }
    }

    /// Does it, key included, stand on one of these lines?
    fn touches(&self, lines: &[Range<usize>]) -> bool {
        let start = self.key.as_ref().map_or(self.span.start, |key| key.start.min(self.span.start));
        lines.iter().any(|line| start <= line.end && line.start <= self.span.end)
    }
}

impl Value {
    /// The type's name in JSON Schema.
    pub(super) fn json_type(&self) -> &'static str {
        match self {
            Value::String(_) => "string",
            Value::Integer(_) => "integer",
            Value::Float(_) => "number",
            Value::Boolean(_) => "boolean",
            Value::Datetime => "datetime", // JSON has none, so that no schema admits one
            Value::Array(_) => "array",
            Value::Table(_) => "object",
        }
    }

    /// The type's name in an English sentence.
    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a decimal number",
            Value::Boolean(_) => "true or false",
            Value::Datetime => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

fn table_value(path: &str, table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let name = key.get_ref().to_string();
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        (name, node(path, Some(key.span()), value))
    });
    Value::Table(entries.collect())
}

fn node(path: String, key: Option<Range<usize>>, value: &Spanned<DeValue<'_>>) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => Value::Integer(saturating(integer)),
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| node(path.clone(), None, item)).collect())
        }
        DeValue::Table(table) => table_value(&path, table),
    };
    Node::new(path, key, value.span(), converted)
}

/// No key of ours admits numbers near the ends of 64 bits, so saturating cannot make a wrong number
/// right.
fn saturating(integer: &DeInteger<'_>) -> i64 {
    let text = integer.as_str();
    let extreme = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    i64::from_str_radix(text, integer.radix()).unwrap_or(extreme)
}

/// Does the parser say that the end of the file came before that of a list or table?
fn is_unclosed(message: &str) -> bool {
    message.starts_with("unclosed array,") || message.starts_with("unclosed inline table")
}

/// The line on which a span begins.
fn line_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let at = span.start.min(text.len());
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|&b| b == b'\n').map_or(text.len(), |n| at + n);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(node: &Node) -> Vec<&str> {
        match &node.value {
            Value::Table(table) => table.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_value_has_a_place_and_a_path() {
        let text = "[pools.shop]\nbackends = [{ name = 'a' }]\n";
        let document = Document::parse(text);
        let shop = document.root.get("pools").and_then(|pools| pools.get("shop")).unwrap();
        assert_eq!(&text[shop.span.clone()], "[pools.shop]");
        let Value::Array(backends) = &shop.get("backends").unwrap().value else { panic!() };
        let name = backends[0].get("name").unwrap();
        assert_eq!(&text[name.key.clone().unwrap()], "name");
        assert_eq!(&text[name.span.clone()], "'a'");
        assert_eq!(name.path, "pools.shop.backends.name");
    }

    #[test]
    fn a_mistake_costs_its_line_only() {
        let text = "a = 30s\nb = 1\n[t]\nc = [1,\n 2s]\nd = 2\nd = 3\ne = 1\n";
        let mut document = Document::parse(text);
        assert!(document.mend(text));
        assert!(document.errors.len() >= 3, "{:?}", document.errors);
        assert_eq!(keys(&document.root), ["b", "t"]);
        assert!(document.root.is_doubtful());
        let table = document.root.get("t").unwrap();
        assert_eq!(keys(table), ["d", "e"], "of two entries one is kept");
        assert!(table.is_doubtful());
    }

    #[test]
    fn a_mistake_in_a_header_costs_everything() {
        let text = "[a\nx = 1\n";
        assert!(!Document::parse(text).mend(text));
    }

    #[test]
    fn of_a_bracket_that_is_never_closed_only_the_bracket_is_reported() {
        for open in ["[1, 2", "{ b = 1,", "[[1], [2]"] {
            let text = format!("x = 1s\na = {open}\n\n[[t]]\nc = 'd'\n[u.v]\ne = 2\n[w]\nf = []\n");
            let mut document = Document::parse(&text);
            let starts: Vec<_> = document.errors.iter().map(|(span, _)| span.start).collect();
            assert_eq!(starts, [4, 11], "{text}{:?}", document.errors);
            assert!(!document.mend(&text));
        }
        let text = "a = [[1], { b = [2] }]\n[[t]]\nc = {}\n[u]\n";
        assert!(Document::parse(text).errors.is_empty());
    }

    #[test]
    fn numbers_beyond_64_bits_are_the_largest_there_are() {
        let document = Document::parse("a = 99999999999999999999\nb = -99999999999999999999");
        let value = |key: &str| document.root.get(key).unwrap().to_json();
        assert_eq!((value("a"), value("b")), (i64::MAX.into(), i64::MIN.into()));
    }
}
