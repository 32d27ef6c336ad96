//! Which pool takes which request: host, path, method and header matching; who may come at all
//! ([`Access`]), and as what a request goes on or is sent elsewhere ([`Rewrite`], [`Template`]).
//! Pure.
//!
//! The most specific rule wins, whatever the order in the file: an exact host before a wildcard
//! before none; then an exact path before a longer prefix before a shorter one; then the rule with
//! a method list; then the one with more header conditions; then the earlier one. That is the
//! order of the Kubernetes Gateway API. When the best host has no rule for the path, the
//! next-best host is asked.

mod access;
mod host;
mod path;
mod rewrite;
mod template;

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use http::header::HeaderName;
use http::{HeaderValue, Method};

pub use access::Access;
pub use host::HostMatch;
pub use path::PathMatch;
pub use rewrite::Rewrite;
pub use template::{Asked, Template};

/// What must be true of a request. Absent conditions are true of every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The host.
    pub host: HostMatch,
    /// The path.
    pub path: PathMatch,
    /// The method is one of these; empty for any.
    pub methods: Vec<Method>,
    /// Each of these fields is there, with this value if one is given.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Rule {
    /// What is compared among rules of the same host and path: the smaller, the more specific.
    fn precedence(&self) -> impl Ord + use<> {
        (self.methods.is_empty(), Reverse(self.headers.len()))
    }

    fn admits(&self, method: &Method, has: impl HasField) -> bool {
        let has = |(name, value): &(HeaderName, Option<HeaderValue>)| has(name, value.as_ref());
        (self.methods.is_empty() || self.methods.contains(method)) && self.headers.iter().all(has)
    }
}

/// Does a request have a field of this name, with this value if one is given?
pub trait HasField: Fn(&HeaderName, Option<&HeaderValue>) -> bool + Copy {}
impl<F: Fn(&HeaderName, Option<&HeaderValue>) -> bool + Copy> HasField for F {}

/// Rules and what they lead to.
#[derive(Debug)]
pub struct Table<T> {
    exact: HashMap<Box<str>, Paths<T>, FixedState>,
    /// By the part after `*.`.
    wildcard: HashMap<Box<str>, Paths<T>, FixedState>,
    any: Paths<T>,
}

/// The rules of one host.
#[derive(Debug)]
struct Paths<T> {
    exact: HashMap<Box<str>, Vec<Entry<T>>, FixedState>,
    prefix: HashMap<Box<str>, Vec<Entry<T>>, FixedState>,
    /// The lengths that occur in `prefix`, longest first: only these need be looked up.
    prefix_lengths: Vec<usize>,
}

#[derive(Debug)]
struct Entry<T> {
    rule: Rule,
    target: T,
}

impl<T> Table<T> {
    /// A table of these rules, in the order of the file.
    pub fn new(rules: impl IntoIterator<Item = (Rule, T)>) -> Self {
        let mut table = Table {
            exact: HashMap::default(),
            wildcard: HashMap::default(),
            any: Paths::default(),
        };
        for (rule, target) in rules {
            let paths = match &rule.host {
                HostMatch::Any => &mut table.any,
                HostMatch::Exact(host) => table.exact.entry(host.clone()).or_default(),
                HostMatch::Wildcard(suffix) => table.wildcard.entry(suffix.clone()).or_default(),
            };
            paths.add(rule, target);
        }
        table
    }

    /// The target of the most specific rule that matches. `host` may carry a port; `path` comes
    /// without the query; `has` says which fields there are.
    pub fn find(&self, host: &str, path: &str, method: &Method, has: impl HasField) -> Option<&T> {
        let path = path::normalize(path);
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return self.any.find(&path, method, has);
        }
        let host = host::normalize(host);
        let exact = self.exact.get(&*host).and_then(|paths| paths.find(&path, method, has));
        exact
            .or_else(|| {
                host::parents(&host)
                    .filter_map(|parent| self.wildcard.get(parent))
                    .find_map(|paths| paths.find(&path, method, has))
            })
            .or_else(|| self.any.find(&path, method, has))
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Paths { exact: HashMap::default(), prefix: HashMap::default(), prefix_lengths: Vec::new() }
    }
}

impl<T> Paths<T> {
    fn add(&mut self, rule: Rule, target: T) {
        let entries = match &rule.path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathMatch::Prefix(prefix) => {
                if let Err(at) =
                    self.prefix_lengths.binary_search_by(|length| prefix.len().cmp(length))
                {
                    self.prefix_lengths.insert(at, prefix.len());
                }
                self.prefix.entry(prefix.clone()).or_default()
            }
        };
        entries.push(Entry { rule, target });
        entries.sort_by_key(|entry| entry.rule.precedence()); // stable: the earlier stays first
    }

    fn find(&self, path: &str, method: &Method, has: impl HasField) -> Option<&T> {
        let admitted = |entries: &'_ Vec<Entry<T>>| {
            entries.iter().position(|entry| entry.rule.admits(method, has))
        };
        if !self.exact.is_empty()
            && let Some(entries) = self.exact.get(path)
            && let Some(index) = admitted(entries)
        {
            return Some(&entries[index].target);
        }
        self.prefix_lengths.iter().filter(|&&length| path::ends_segment(path, length)).find_map(
            |&length| {
                let entries = self.prefix.get(&path[..length])?;
                Some(&entries[admitted(entries)?].target)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str, path: &str) -> Rule {
        Rule { host: host.parse().unwrap(), path: path_match(path), ..Rule::default() }
    }

    /// `=/path` is exact here.
    fn path_match(text: &str) -> PathMatch {
        match text.strip_prefix('=') {
            Some(exact) => PathMatch::exact(exact).unwrap(),
            None => PathMatch::prefix(text).unwrap(),
        }
    }

    fn find<'a>(table: &'a Table<&'static str>, host: &str, path: &str) -> Option<&'a str> {
        table.find(host, path, &Method::GET, |_, _| false).copied()
    }

    #[test]
    fn the_most_specific_host_wins_and_falls_back() {
        let table = Table::new([
            (rule("*", "/"), "any"),
            (rule("*.example.com", "/"), "wild"),
            (rule("*.shop.example.com", "/"), "wilder"),
            (rule("shop.example.com", "/only"), "exact"),
        ]);
        assert_eq!(find(&table, "shop.example.com", "/only/this"), Some("exact"));
        assert_eq!(find(&table, "shop.example.com", "/else"), Some("wild"));
        assert_eq!(find(&table, "a.b.shop.example.com", "/"), Some("wilder"));
        assert_eq!(find(&table, "example.com", "/"), Some("any"), "a wildcard needs a label");
        assert_eq!(find(&table, "SHOP.Example.com.:8080", "/only"), Some("exact"));
        assert_eq!(find(&table, "[::1]:80", "/"), Some("any"));
    }

    #[test]
    fn the_most_specific_path_wins() {
        let table = Table::new([
            (rule("*", "/"), "root"),
            (rule("*", "/api"), "api"),
            (rule("*", "/api/v2/"), "v2"),
            (rule("*", "=/api/v2"), "exact"),
        ]);
        assert_eq!(find(&table, "h", "/api/v2"), Some("exact"));
        assert_eq!(find(&table, "h", "/api/v2/x"), Some("v2"));
        assert_eq!(find(&table, "h", "/api/v22"), Some("api"), "prefixes end at segments");
        assert_eq!(find(&table, "h", "/apis"), Some("root"));
        assert_eq!(find(&table, "h", "*"), Some("root"), "OPTIONS *");
    }

    #[test]
    fn methods_and_headers_refine() {
        let get = Rule { methods: vec![Method::GET], ..rule("*", "/") };
        let beta = (HeaderName::from_static("x-beta"), None);
        let v2 = (HeaderName::from_static("x-version"), Some(HeaderValue::from_static("2")));
        let table = Table::new([
            (rule("*", "/"), "plain"),
            (Rule { headers: vec![beta.clone()], ..rule("*", "/") }, "beta"),
            (Rule { headers: vec![beta.clone(), v2], ..rule("*", "/") }, "beta2"),
            (get, "get"),
        ]);
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let mut find = |method, name: &'static str, value| {
            fields.retain(|(other, _)| *other != name);
            fields.push((name, value));
            let has = |name: &HeaderName, wanted: Option<&HeaderValue>| {
                let is_it = |(other, value): &(&str, &str)| {
                    other == name && wanted.is_none_or(|wanted| wanted == value)
                };
                fields.iter().any(is_it)
            };
            table.find("h", "/", &method, has).copied()
        };
        assert_eq!(find(Method::POST, "x-other", "1"), Some("plain"));
        assert_eq!(find(Method::POST, "x-beta", ""), Some("beta"));
        assert_eq!(find(Method::POST, "x-version", "1"), Some("beta"));
        assert_eq!(find(Method::POST, "x-version", "2"), Some("beta2"));
        assert_eq!(find(Method::GET, "x-version", "2"), Some("get"));
    }

    #[test]
    fn no_rule_no_target() {
        let table = Table::new([(rule("a.com", "/x"), "x")]);
        assert_eq!(find(&table, "a.com", "/"), None);
        assert_eq!(find(&table, "b.com", "/x"), None);
    }

    #[test]
    fn dots_do_not_lead_past_a_rule() {
        let table = Table::new([(rule("*", "/"), "root"), (rule("*", "/admin"), "admin")]);
        assert_eq!(find(&table, "h", "/public/../admin/x"), Some("admin"));
        assert_eq!(find(&table, "h", "/public/%2e%2E/admin"), Some("admin"));
        assert_eq!(find(&table, "h", "/./admin"), Some("admin"));
    }
}
