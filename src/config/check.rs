//! The first stage's check: the tree against the schema.
//!
//! It finds every unknown and missing key, wrong type, unknown word, number out of range and text
//! that its format's parser refuses, and replaces variables on the way. What it refuses it takes
//! out of the tree and notes in the table around it that it was there, so that the rest can go on to the
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
        let alternatives = schema.alternatives();
        if !self.replace_variables(node, &alternatives) {
            return false;
        }
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
                    None => self.unknown_word(node, text, &words, schema),
                }
            }
            Value::Integer(number) => self.integer(node, *number, first, schema),
            Value::Float(number) => self.format(node, &number.to_string(), first, schema),
            Value::Boolean(_) | Value::Datetime => true,
        }
    }

    fn table(&mut self, node: &mut Node, schema: Schema<'_>) -> bool {
        let Value::Table(table) = &mut node.value else { return true };
        let refused = &mut node.refused;
        table.retain(|key, child| {
            let (meant, is_right) = match schema.property(key) {
                None => (self.unknown_key(key, child, &node.path, schema), false),
                Some(property) => (
                    Some(key.as_str()),
                    self.key_format(key, child, schema) && self.node(child, property),
                ),
            };
            match meant {
                _ if is_right => {}
                Some(meant) => drop(refused.keys.insert(meant.to_owned())),
                None => refused.unknown = true,
            }
            is_right
        });
        let missing: Vec<_> = schema.required().filter(|key| !table.contains_key(*key)).collect();
        for key in &missing {
            // What was refused or is misspelled has been reported already.
            if !node.refused.keys.contains(*key) {
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
        node.refused.items.extend(list.extract_if(.., |item| !self.node(item, items)));
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

    fn unknown_word(
        &mut self,
        node: &Node,
        text: &str,
        words: &[&str],
        schema: Schema<'_>,
    ) -> bool {
        let title = match node.secret {
            true => format!("{}: not right once the variable is replaced", node.path),
            false => format!("{}: unknown value {text:?}", node.path),
        };
        let mistake = self.mistakes.error(node.span.clone(), title);
        match nearest(text, words.iter().copied()).filter(|_| !node.secret) {
            Some(meant) => mistake.label(format!("did you mean {meant:?}?")),
            None => mistake.label("there is no such value"),
        };
        mistake.help(format!("expected {}", schema.in_words()));
        false
    }

    /// The environment has only texts: where there can be an integer and no text, one that is an
    /// integer stands for it.
    fn replace_variables(&mut self, node: &mut Node, alternatives: &[Schema<'_>]) -> bool {
        let Value::String(text) = &mut node.value else { return true };
        match expand(text, self.environment) {
            Ok(expanded) => {
                let is_replaced = expanded.text != *text;
                *text = expanded.text;
                node.secret = expanded.secret;
                let wants_text = |s: &Schema<'_>| s.admits("string") && s.words().is_empty();
                if is_replaced
                    && alternatives.iter().any(|schema| schema.admits("integer"))
                    && !alternatives.iter().any(wants_text)
                    && let Ok(number) = text.parse()
                {
                    node.value = Value::Integer(number);
                }
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
