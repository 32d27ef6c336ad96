//! The way from a value of the second stage back to its place in the file.

use super::document::{Node, Value};
use super::source::Place;

/// A place in the tree, found by following keys. Where the file leaves a key out, it is the
/// innermost table that the file does have.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    node: &'a Node,
    /// `node` is what was asked for, not only a table around it.
    found: bool,
    /// Something in `node` or in the table around it was refused.
    doubtful: bool,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        At { node, found: true, doubtful: node.doubtful }
    }

    /// The entry of a table.
    pub(super) fn key(self, key: &str) -> At<'a> {
        self.step(self.node.get(key))
    }

    /// The item of a list; of a single value that stands for a list, the value.
    pub(super) fn index(self, index: usize) -> At<'a> {
        match &self.node.value {
            Value::Array(items) => self.step(items.get(index)),
            _ => self,
        }
    }

    fn step(self, child: Option<&'a Node>) -> At<'a> {
        match child {
            Some(node) if self.found => {
                At { node, found: true, doubtful: self.node.doubtful || node.doubtful }
            }
            _ => At { found: false, ..self },
        }
    }

    /// Is it in the file?
    pub(super) fn exists(self) -> bool {
        self.found
    }

    /// The keys that lead here, joined by dots.
    pub(super) fn path(self) -> &'a str {
        &self.node.path
    }

    /// The place of the value, for a mistake that is one whatever stands beside it.
    pub(super) fn alone(self) -> Place {
        let doubtful = if self.found { self.node.doubtful } else { self.doubtful };
        Place { doubtful, ..self.into() }
    }

    /// The place of the key, where the key is what is wrong. A table in a list has none: its
    /// header.
    pub(super) fn name(self) -> Place {
        let place = Place::from(self);
        Place { span: self.node.key.clone().or(place.span), ..place }
    }
}

/// The place of the value; of a `[table]`, of its header; of the root, the file.
impl From<At<'_>> for Place {
    fn from(at: At<'_>) -> Place {
        let is_root = at.node.path.is_empty();
        Place { span: (!is_root).then(|| at.node.span.clone()), doubtful: at.doubtful }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::*;

    #[test]
    fn what_is_left_out_is_found_in_the_table_around_it() {
        let text = "a = [1, 2]\n[t]\nb = 1\n";
        let document = Document::parse(text);
        let root = At::root(&document.root);
        let shown = |at: At<'_>| Place::from(at).span.map(|span| &text[span]);
        assert_eq!(shown(root), None);
        assert_eq!(shown(root.key("a").index(1)), Some("2"));
        assert_eq!(shown(root.key("t").key("b")), Some("1"));
        assert_eq!(root.key("t").key("b").name().span.map(|span| &text[span]), Some("b"));
        let missing = root.key("t").key("x");
        assert_eq!(shown(missing), Some("[t]"));
        assert!(!missing.exists());
        assert_eq!(shown(missing.key("b")), Some("[t]"), "not an entry of another table");
    }

    #[test]
    fn doubt_reaches_the_entries_of_a_table_but_no_further() {
        let text = "[t]\nbroken = x\na.b = 1";
        let mut document = Document::parse(text);
        document.mend(text);
        let table = At::root(&document.root).key("t");
        let doubtful = |place: Place| place.doubtful;
        assert!(doubtful(table.into()) && doubtful(table.key("a").into()));
        assert!(doubtful(table.key("missing").alone()));
        assert!(!doubtful(table.key("a").alone()));
        assert!(!doubtful(table.key("a").key("b").into()));
    }
}
