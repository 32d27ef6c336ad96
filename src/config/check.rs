//! The first stage's check: the tree against the schema.
//!
//! It finds every unknown and missing key, wrong type, unknown word, number out of range and text
//! that its format's parser refuses, and replaces variables on the way. What it refuses it takes
//! out of the tree and marks the table around it as doubtful, so that the rest can go on to the
//! second stage: that stage's mistakes are then reported together with these.

use std::ops::Range;

use super::document::{Node, Value};
use super::report::Mistakes;
use super::schema::Schema;
use super::suggest::{list, nearest};
use super::variables::{Environment, expand};

/// Checks a tree and mends it. After this, serde finds nothing to complain about.
pub(super) fn check(
    root: &mut Node,
    schema: Schema<'_>,
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
) {
    // The root has no required key, so it stays usable.
    Checker { environment, mistakes }.node(root, schema);
}

struct Checker<'a> {
    environment: Environment<'a>,
    mistakes: &'a mut Mistakes,
}

impl Checker<'_> {
    /// Checks a value and what is in it. False if it cannot be used.
    fn node(&mut self, node: &mut Node, schema: Schema<'_>) -> bool {
        if !self.replace_variables(node) {
            return false;
        }
        let alternatives = schema.alternatives();
        let json_type = node.value.json_type();
        let fitting: Vec<_> = alternatives.iter().filter(|s| s.admits(json_type)).collect();
        let Some(&&first) = fitting.first() else {
            let title = format!("{} cannot be {}", node.path, node.value.in_words());
            let label = format!("expected {}", schema.in_words());
            self.mistakes.error(node.span.clone(), title).label(label);
            return false;
        };
        match &node.value {
            Value::Table(_) => self.table(node, first),
            Value::Array(_) => self.array(node, first.items()),
            Value::String(text) => {
                let words: Vec<_> = fitting.iter().flat_map(|schema| schema.words()).collect();
                match fitting.iter().find(|schema| schema.words().is_empty()) {
                    _ if words.contains(&text.as_str()) => true,
                    Some(inner) => self.format(node, text, **inner, schema),
                    None => self.unknown_word(node, text, &words),
                }
            }
            Value::Integer(number) => self.integer(node, *number, first, schema),
            Value::Float(number) => self.format(node, &number.to_string(), first, schema),
            Value::Boolean(_) | Value::Datetime => true,
        }
    }

    fn table(&mut self, node: &mut Node, schema: Schema<'_>) -> bool {
        let Value::Table(table) = &mut node.value else { return true };
        let written: Vec<String> = table.keys().cloned().collect();
        let mut meant = Vec::new(); // keys that are there, only misspelled
        table.retain(|key, child| match schema.property(key) {
            None => {
                meant.extend(self.unknown_key(key, child, &node.path, schema));
                false
            }
            Some(property) => self.key_format(key, child, schema) && self.node(child, property),
        });
        node.doubtful |= table.len() < written.len();
        let missing: Vec<_> = schema.required().filter(|key| !table.contains_key(*key)).collect();
        for key in &missing {
            // What was refused or is misspelled has been reported already.
            if !written.iter().any(|written| written == key) && !meant.contains(key) {
                self.missing_key(key, node, schema);
            }
        }
        missing.is_empty()
    }

    fn missing_key(&mut self, key: &str, node: &Node, schema: Schema<'_>) {
        let expected = schema.property(key).map(Schema::in_words).unwrap_or_default();
        let title = format!("{}: missing key `{key}`", node.path);
        let mistake = self.mistakes.error(node.span.clone(), title);
        mistake.label(format!("there is no `{key}` here"));
        mistake.help(format!("`{key}` is {expected}"));
    }

    fn array(&mut self, node: &mut Node, items: Schema<'_>) -> bool {
        let Value::Array(list) = &mut node.value else { return true };
        let before = list.len();
        list.retain_mut(|item| self.node(item, items));
        node.doubtful |= list.len() < before;
        true
    }

    /// Reports a key that must not be there. Gives the key that was meant, if that is clear.
    fn unknown_key<'s>(
        &mut self,
        key: &str,
        node: &Node,
        table: &str,
        schema: Schema<'s>,
    ) -> Option<&'s str> {
        let title = match table {
            "" => format!("unknown key `{key}`"),
            table => format!("{table}: unknown key `{key}`"),
        };
        let span = node.key.clone().unwrap_or(node.span.clone());
        let keys = schema.keys();
        let meant = nearest(key, keys.iter().copied());
        let mistake = self.mistakes.error(span, title);
        match meant {
            Some(meant) => mistake.label(format!("did you mean `{meant}`?")),
            None => mistake.label("there is no such key"),
        };
        mistake.help(format!("the keys here are {}", list(keys)));
        meant
    }

    /// Checks the key of a map.
    fn key_format(&mut self, key: &str, node: &Node, schema: Schema<'_>) -> bool {
        let Some(format) = schema.key_format() else { return true };
        let Err(message) = (format.check)(key) else { return true };
        let span = node.key.clone().unwrap_or(node.span.clone());
        let mistake = self.mistakes.error(span, format!("{}: {message}", node.path));
        mistake.label(format!("expected {}", format.expected));
        false
    }

    fn integer(&mut self, node: &Node, number: i64, fit: Schema<'_>, schema: Schema<'_>) -> bool {
        let (min, max) = fit.range();
        if !(min..=max).contains(&number) {
            let title = format!("{} is out of range", node.path);
            let label = format!("expected {}", schema.in_words());
            self.mistakes.error(node.span.clone(), title).label(label);
            return false;
        }
        self.format(node, &number.to_string(), fit, schema)
    }

    /// Checks a text by the parser of its format, if it has one. `fit` is the alternative of
    /// `schema` that fits its type.
    fn format(&mut self, node: &Node, text: &str, fit: Schema<'_>, schema: Schema<'_>) -> bool {
        let Some(format) = fit.format() else { return true };
        let Err(message) = (format.check)(text) else { return true };
        let title = match node.secret {
            // The parser quotes what it is given.
            true => format!("{}: not right once the variable is replaced", node.path),
            false => format!("{}: {message}", node.path),
        };
        let label = format!("expected {}", schema.in_words());
        self.mistakes.error(node.span.clone(), title).label(label);
        false
    }

    fn unknown_word(&mut self, node: &Node, text: &str, words: &[&str]) -> bool {
        let title = match node.secret {
            true => format!("{}: not right once the variable is replaced", node.path),
            false => format!("{}: unknown value {text:?}", node.path),
        };
        let mistake = self.mistakes.error(node.span.clone(), title);
        match nearest(text, words.iter().copied()).filter(|_| !node.secret) {
            Some(meant) => mistake.label(format!("did you mean {meant:?}?")),
            None => mistake.label("there is no such value"),
        };
        let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
        mistake.help(format!("the values here are {}", words.join(", ")));
        false
    }

    fn replace_variables(&mut self, node: &mut Node) -> bool {
        let Value::String(text) = &mut node.value else { return true };
        match expand(text, self.environment) {
            Ok(expanded) => {
                *text = expanded.text;
                node.secret = expanded.secret;
                true
            }
            Err(problems) => {
                for problem in problems {
                    let span = self.find(&node.span, &text[problem.range]);
                    let title = format!("{}: {}", node.path, problem.message);
                    self.mistakes.error(span, title).help(problem.help);
                }
                false
            }
        }
    }

    /// Where in the source text of a string a part of its value stands. Escapes can hide it; then
    /// it is the whole string.
    fn find(&self, string: &Range<usize>, part: &str) -> Range<usize> {
        match self.mistakes.source().slice(string.clone()).find(part) {
            Some(offset) => string.start + offset..string.start + offset + part.len(),
            None => string.clone(),
        }
    }
}
