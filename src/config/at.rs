//! The way from a value of the second stage back to its place in the file.

use super::document::{Node, Value};
use super::source::Place;

/// A place in the tree, found by following keys. Where the file leaves a key out, it is the
/// innermost table that the file does have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    node: &'a Node,
    /// `node` is what was asked for, not only a table around it.
    found: bool,
    /// If it is found, something in it was refused; if not, it may have been refused itself.
    doubtful: bool,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        At { node, found: true, doubtful: node.is_doubtful() }
    }

    /// The entry of a table.
    pub(crate) fn key(self, key: &str) -> At<'a> {
        let refused = &self.node.refused;
        self.step(self.node.get(key), refused.unknown || refused.keys.contains(key))
    }

    /// The item of a list; of a single value that stands for a list, the value.
    pub(crate) fn index(self, index: usize) -> At<'a> {
        match &self.node.value {
            Value::Array(items) => self.step(items.get(index), self.node.is_doubtful()),
            _ => self,
        }
    }

    fn step(self, child: Option<&'a Node>, doubtful_without: bool) -> At<'a> {
        match child {
            _ if !self.found => self,
            Some(node) => At { node, found: true, doubtful: node.is_doubtful() },
            None => At { found: false, doubtful: doubtful_without, ..self },
        }
    }

    /// The items of a list, refused ones included, in the order of the file.
    pub(super) fn all_items(self) -> Vec<At<'a>> {
        let Value::Array(items) = &self.node.value else { return Vec::new() };
        let mut nodes: Vec<&Node> = items.iter().chain(&self.node.refused.items).collect();
        nodes.sort_by_key(|node| node.span.start);
        nodes.into_iter().map(At::root).collect()
    }

    /// What it is, if it is a string.
    pub(super) fn text(self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) if self.found => Some(text),
            _ => None,
        }
    }

    /// Is it in the file?
    pub(crate) fn exists(self) -> bool {
        self.found
    }

    /// Was something in it refused, or, if it is not in the file, may it have been refused itself?
    pub(super) fn is_doubtful(self) -> bool {
        self.doubtful
    }

    /// The keys that lead here, joined by dots.
    pub(crate) fn path(self) -> &'a str {
        &self.node.path
    }

    /// The place of the key, where the key is what is wrong, whatever its value. A table in a list
    /// has none: its header.
    pub(crate) fn name(self) -> Place {
        let span = self.node.key.clone().or(Place::from(self).span);
        Place { span, doubtful: self.doubtful && !self.found }
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
    fn doubt_reaches_what_is_missing_in_a_table_and_not_what_is_there() {
        let text = "[t]\nbroken = x\na.b = 1";
        let mut document = Document::parse(text);
        document.mend(text);
        let table = At::root(&document.root).key("t");
        assert!(table.is_doubtful() && table.key("missing").is_doubtful());
        assert!(!table.key("a").is_doubtful() && !table.key("a").key("b").is_doubtful());
        assert!(!table.key("a").key("missing").is_doubtful());
    }
}
